"""One connection to a remote server: drives exchanges over asyncio, with a time for each phase."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar, cast

from relay.smtp import protocol
from relay.smtp.limits import Limits
from relay.smtp.order import Order
from relay.smtp.protocol import Ask, Capabilities, Exchange, Phase, RefusedError
from relay.smtp.replies import MOST_WAITING, ProtocolError, Reply, ReplyReader
from relay.smtp.tls import Tls

T = TypeVar("T")

BLOCK: Final = 262_144  # octets of content handed to the socket at a time
ROOM: Final = 16_384  # octets read at a time: a TLS record; more than what answers 100 recipients


class BrokenError(Exception):
    """The session ended without an answer: lost, timed out, out of time, or the remote sent nonsense.

    phase: what was waited for. If it is CONTENT, the remote may have taken the message.
    text: what happened, for a person; never what the remote sent.
    """

    def __init__(self, phase: Phase, text: str) -> None:
        super().__init__(f"{text} ({phase.value})")
        self.phase = phase
        self.text = text


class SilentError(BrokenError):
    """Nothing at all came back when a connection was asked for."""


class TlsFailedError(Exception):
    """There is no TLS, for the reason given; plaintext, where no policy forbids it, needs a new connection."""


class Connection(asyncio.BufferedProtocol):
    """An SMTP session. Use `relay.smtp.connect` to make one.

    host: the remote's. remote: it and its address, as in Outcome. tls: "TLSv1.3", "TLSv1.3 verified" or "".
    capabilities: after EHLO. transactions: how many were run. opened: loop time. order: what is known of how it
    answers.

    Exchanges may overlap (RFC 2920 §3.1): one's envelope is written behind the other's content, and its answers are
    those that come after the other's.
    """

    def __init__(self, host: str, address: str, limits: Limits) -> None:
        self.host = host
        self.remote = f"{host}[{address}]"
        self.tls = ""
        self.capabilities = Capabilities()
        self.transactions = 0
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.opened = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._room = memoryview(bytearray(ROOM))  # our own: asyncio.Protocol allocates 256 KiB for each read
        self._reader = ReplyReader()
        self.order = Order()
        self._replies: deque[Reply] = deque()  # that nobody waits for yet
        self._waiting: deque[tuple[asyncio.Future[Reply | None], float, float]] = deque()  # in the order of what was
        # written: (reply or None at the end, seconds that it may take, loop time by which it must be there)
        self._running: list[object] = []  # exchanges, likewise
        self._held: list[bytes] = []  # content, which goes out with the envelope that may follow
        self._behind = 0  # octets written behind content
        self._closing = False
        self._writable: asyncio.Future[None] | None = None
        self._expires = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._broken = ""

    @property
    def in_use(self) -> bool:
        """An exchange is run on it."""
        return bool(self._running)

    @property
    def fit(self) -> bool:
        """Nothing came unasked and it isn't in use, closed, worn or old: another message may be sent on it."""
        return self._silent and not self._running and self.lasts

    @property
    def lasts(self) -> bool:
        """It's neither worn nor old, nor about to be closed."""
        return (
            not self._closing
            and self.transactions < self._limits.per_connection
            and self._loop.time() - self.opened < self._limits.longest_connection
        )

    @property
    def _silent(self) -> bool:
        return not self._broken and not self._replies and self._reader.clean

    @property
    def _flushed(self) -> bool:
        """No content waits on this side to be sent, as far as that is still known."""
        if self._broken or self._transport is None:
            return True
        return not self._held and self._transport.get_write_buffer_size() <= self._behind

    async def run(self, exchange: Exchange[T], *, until: float, hand_over: Callable[[], bool] | None = None) -> T:
        """Drive `exchange`; until: loop time by which it is over.

        BrokenError, and the connection is gone; RefusedError as the exchange has it. An exchange's content is
        not sent unless the least wait for its answer still fits. hand_over: called when all but the content is
        written, of a server that answers in order: whether another exchange is run from now on. Its envelope, if it
        is written at once, goes out with the content.
        """
        phase = Phase.MAIL
        self._running.append(exchange)
        try:
            ask = next(exchange)
            while True:
                phase = ask.phase
                if phase is Phase.CONTENT:
                    reply = await self._content(ask, until, hand_over)
                else:
                    if ask.data:
                        await self._write(ask.data, until)
                    reply = self._replies.popleft() if self._replies else await self._reply(phase, until)
                    if phase is Phase.MAIL:
                        self.order.mail(reply)
                ask = exchange.send(reply)
        except StopIteration as result:
            value: T = result.value
            return value
        except ProtocolError as error:
            self._drop(exchange)
            raise BrokenError(phase, str(error)) from None
        except RefusedError:
            raise
        except BaseException:
            self._drop(exchange)
            raise
        finally:
            self._running.remove(exchange)
            if self._closing and not self._running:
                self.close()

    def close(self) -> None:
        """QUIT, without waiting for the answer; once nothing is run any more."""
        if self._running:
            self._closing = True
            return
        if self._transport is not None and not self._broken:
            self._transport.write(b"QUIT\r\n")
            self._transport.close()
        self._end("closed")

    def abort(self) -> None:
        self._end("closed")

    async def start_tls(self, tls: Tls, *, until: float) -> None:
        """RFC 3207. TlsFailedError if it doesn't work; BrokenError if text was injected after the 220."""
        try:
            begun = await self.run(protocol.starttls(), until=until)
        except BrokenError as error:
            raise TlsFailedError(str(error)) from None
        if not begun:
            raise TlsFailedError("STARTTLS refused")
        if not self._silent:
            # What came in plaintext would be read as if it had come over TLS (CVE-2011-0411 and its kin).
            self.abort()
            raise BrokenError(Phase.TLS, "text after the answer to STARTTLS")
        assert self._transport is not None
        patience = max(0.01, min(self._limits.tls, until - self._loop.time()))
        try:
            secured = await self._loop.start_tls(
                self._transport,
                self,
                tls.context,
                server_hostname=self.host,
                ssl_handshake_timeout=patience,
                ssl_shutdown_timeout=self._limits.reset,
            )
        except ssl.SSLCertVerificationError as error:
            self.abort()
            raise TlsFailedError(f"certificate: {error.verify_message}") from None
        except (OSError, ssl.SSLError, ValueError) as error:  # ValueError: a host name that can't be an SNI
            self.abort()
            raise TlsFailedError(f"handshake: {type(error).__name__}") from None
        if secured is None or not self._silent:
            self.abort()
            raise TlsFailedError("connection lost")
        self._transport = secured
        self.secured(tls)

    def secured(self, tls: Tls) -> None:
        """The handshake is done."""
        assert self._transport is not None
        self.tls = self._transport.get_extra_info("ssl_object").version() or ""
        if tls.verified:
            self.tls += " verified"

    # --- asyncio.BufferedProtocol ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio names it
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        if self._broken:
            return
        try:
            replies = self._reader.feed(bytes(self._room[:nbytes]))
        except ProtocolError as error:
            self._end(str(error))
            return
        waiting = self._waiting
        for reply in replies:
            if waiting:
                _answer(waiting.popleft()[0], reply)
            else:
                self._replies.append(reply)
        if len(self._replies) > MOST_WAITING:
            self._end("replies that nobody asked for")
        elif replies and waiting:
            self._expire_first()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("connection lost" if exc else "connection closed by the remote server")

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        _wake(self._writable)
        self._writable = None

    # --- waiting -------------------------------------------------------------------------------

    def _before_content(self, until: float) -> None:
        """The last look before the point of no return; BrokenError(DATA): not an octet of content was sent."""
        if until - self._loop.time() < self._limits.least:
            raise BrokenError(Phase.DATA, "no time left to wait for the answer")
        if not self._silent and not self._broken:
            # Taken for the final dot's answer, a reply too many would lose the message.
            raise BrokenError(Phase.DATA, "a reply that nobody asked for")

    async def _content(self, ask: Ask, until: float, hand_over: Callable[[], bool] | None) -> Reply:
        """Writes it, and returns what answers the final dot."""
        self._before_content(until)
        began, whole = self._loop.time(), True
        followed = bool(ask.last and hand_over and self.order.kept and len(ask.data) <= BLOCK and hand_over())
        if followed:
            self._held.append(ask.data)
            self._loop.call_soon(self._flush)  # after the other exchange, which begins in the same turn of the loop
        else:
            whole = await self._write(ask.data, until)
        reply = self._replies.popleft() if self._replies else await self._reply(Phase.CONTENT, until)
        if reply.ok and not (whole and self._flushed):
            raise ProtocolError("an answer before the message was sent")  # so not to the final dot
        self.order.content(reply, self._loop.time() - began, followed=followed)
        return reply

    async def _reply(self, phase: Phase, until: float) -> Reply:
        if not self._broken:
            coming: asyncio.Future[Reply | None] = self._loop.create_future()
            self._waiting.append((coming, self._limits.wait(phase), until))
            if len(self._waiting) == 1:
                self._expire_first()
            reply = await coming
            if reply is not None:
                return reply
        raise BrokenError(phase, self._broken)

    async def _write(self, data: bytes, until: float) -> bool:
        """Whether all was written. If the connection breaks meanwhile, it just ends: a reply may have come before."""
        transport = self._transport
        if transport is None or self._broken:
            return False
        if self._held:
            self._held.append(data)
            return True
        self._behind = self._behind + len(data) if len(self._running) > 1 else 0
        if len(data) <= BLOCK:
            transport.write(data)
            return True
        view = memoryview(data)
        for start in range(0, len(data), BLOCK):
            transport.write(view[start : start + BLOCK])
            while self._writable is not None and not self._broken:
                self._expire(min(self._loop.time() + self._limits.block, until))
                await self._writable
            if self._broken:
                return False
        return True

    def _flush(self) -> None:
        """The content of one message and, if it is there, the envelope of the next."""
        content, *behind = self._held or (b"",)
        self._held = []
        if self._transport is not None and not self._broken:
            self._behind = sum(map(len, behind))
            self._transport.write(b"".join((content, *behind)))

    def _drop(self, exchange: object) -> None:
        """It failed. If another one still waits for its answer, that comes first."""
        if self._running[0] is exchange:
            self.abort()
        else:
            self._closing = True

    def _expire_first(self) -> None:
        """The time for a reply begins when all those before it are there."""
        _, seconds, until = self._waiting[0]
        self._expire(min(self._loop.time() + seconds, until))

    def _expire(self, when: float) -> None:
        """One timer serves all waits: when it fires early, it is set to the time that then holds."""
        self._expires = when
        if self._timer is None or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._waiting and self._writable is None:
            return
        if self._loop.time() >= self._expires:
            self._end("no answer in time")
        else:
            self._timer = self._loop.call_at(self._expires, self._tick)

    def _end(self, why: str) -> None:
        if self._broken:
            return
        self._broken = why
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()
        while self._waiting:
            _answer(self._waiting.popleft()[0], None)
        _wake(self._writable)
        self._writable = None


def _answer(wait: "asyncio.Future[Reply | None]", reply: Reply | None) -> None:
    if not wait.done():
        wait.set_result(reply)


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
