"""One connection to a remote server: drives exchanges over asyncio, with a time for each phase."""

import asyncio
import ssl
from collections import deque
from typing import Final, TypeVar, cast

from relay.smtp import protocol
from relay.smtp.limits import Limits
from relay.smtp.login import Login, authenticate
from relay.smtp.protocol import Capabilities, Exchange, Phase, RefusedError
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
    """An SMTP session. Use `connect` to make one.

    host, address: the remote. tls: "TLSv1.3", "TLSv1.3 verified" or "". capabilities: after EHLO.
    transactions: how many were run. opened: loop time.
    """

    def __init__(self, host: str, address: str, limits: Limits) -> None:
        self.host = host
        self.address = address
        self.tls = ""
        self.capabilities = Capabilities()
        self.transactions = 0
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.opened = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._room = memoryview(bytearray(ROOM))  # our own: asyncio.Protocol allocates 256 KiB for each read
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._expires = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._broken = ""

    @property
    def remote(self) -> str:
        return f"{self.host}[{self.address}]"

    @property
    def fit(self) -> bool:
        """Nothing came unasked and it isn't closed, worn or old: another message may be sent on it."""
        return (
            self._silent
            and self.transactions < self._limits.per_connection
            and self._loop.time() - self.opened < self._limits.longest_connection
        )

    @property
    def _silent(self) -> bool:
        return not self._broken and not self._replies and self._reader.clean

    @property
    def _flushed(self) -> bool:
        """Nothing waits on this side to be sent, as far as that is still known."""
        return bool(self._broken) or self._transport is None or not self._transport.get_write_buffer_size()

    async def run(self, exchange: Exchange[T], *, until: float) -> T:
        """Drive `exchange`; until: loop time by which it is over.

        BrokenError, and the connection is gone; RefusedError as the exchange has it. An exchange's content is
        not sent unless the least wait for its answer still fits.
        """
        phase, whole = Phase.MAIL, True
        try:
            data, phase = next(exchange)
            while True:
                if data:
                    if phase is Phase.CONTENT:
                        self._before_content(until)
                    whole = await self._write(data, until)
                reply = self._replies.popleft() if self._replies else await self._reply(phase, until)
                if phase is Phase.CONTENT and reply.ok and not (whole and self._flushed):
                    raise ProtocolError("an answer before the message was sent")  # so not to the final dot
                data, phase = exchange.send(reply)
        except StopIteration as result:
            value: T = result.value
            return value
        except ProtocolError as error:
            self.abort()
            raise BrokenError(phase, str(error)) from None
        except RefusedError:
            raise
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """QUIT, without waiting for the answer."""
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
            self._replies += self._reader.feed(bytes(self._room[:nbytes]))
        except ProtocolError as error:
            self._end(str(error))
            return
        if len(self._replies) > MOST_WAITING:
            self._end("replies that nobody asked for")
        elif self._replies:
            _wake(self._waiter)

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

    async def _reply(self, phase: Phase, until: float) -> Reply:
        if not self._broken:
            self._waiter = self._loop.create_future()
            self._expire(min(self._loop.time() + self._limits.wait(phase), until))
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._replies:  # also what came before the connection broke
            return self._replies.popleft()
        raise BrokenError(phase, self._broken)

    async def _write(self, data: bytes, until: float) -> bool:
        """Whether all was written. If the connection breaks meanwhile, it just ends: a reply may have come before."""
        transport = self._transport
        if transport is None or self._broken:
            return False
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

    def _expire(self, when: float) -> None:
        """One timer serves all waits: when it fires early, it is set to the time that then holds."""
        self._expires = when
        if self._timer is None or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._waiter is None and self._writable is None:
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
        _wake(self._waiter)
        _wake(self._writable)
        self._writable = None


async def connect(
    host: str,
    address: str,
    port: int,
    *,
    name: str,
    limits: Limits,
    tls: Tls | None,
    until: float,
    login: Login | None = None,
) -> Connection:
    """A connection that is ready for its first transaction.

    address: what is dialled; `host` is never looked up here. name: ours, for EHLO. tls: None for plaintext even if
    STARTTLS is offered. until: loop time. login: for AUTH, which needs verified TLS. BrokenError (SilentError),
    RefusedError (greeting, EHLO or AUTH refused), TlsFailedError.
    """
    connection = await _open(host, address, port, limits, tls if tls and tls.implicit else None, until)
    try:
        await connection.run(protocol.greeting(), until=until)
        connection.capabilities = await connection.run(protocol.hello(name), until=until)
        if connection.tls:
            pass  # from the first octet on
        elif tls is not None and connection.capabilities.starttls:
            await connection.start_tls(tls, until=until)
            connection.capabilities = await _hello_again(connection, name, until)
        elif tls is not None and tls.verified:
            connection.close()
            raise TlsFailedError("STARTTLS is not offered")
        if login is not None:
            assert tls is not None and tls.verified  # noqa: PT018 - a password is for the server it belongs to
            await connection.run(authenticate(connection.capabilities, login), until=until)
    except RefusedError:
        connection.close()
        raise
    except BaseException:
        connection.abort()
        raise
    return connection


async def _open(host: str, address: str, port: int, limits: Limits, implicit: Tls | None, until: float) -> Connection:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(min(loop.time() + limits.connect, until)):
            _, connection = await loop.create_connection(
                lambda: Connection(host, address, limits),
                address,
                port,
                ssl=implicit.context if implicit else None,
                server_hostname=host if implicit else None,
                ssl_handshake_timeout=limits.tls if implicit else None,
            )
    except TimeoutError:
        raise SilentError(Phase.CONNECT, "no connection in time") from None
    except ssl.SSLCertVerificationError as error:
        raise TlsFailedError(f"certificate: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise TlsFailedError(f"handshake: {type(error).__name__}") from None
    except OSError as error:
        raise BrokenError(Phase.CONNECT, error.strerror or "no connection") from None
    if implicit is not None:
        connection.secured(implicit)
    return connection


async def _hello_again(connection: Connection, name: str, until: float) -> Capabilities:
    """RFC 3207 §4.2: what was offered before TLS is forgotten. TLS 1.3 may fail as late as here."""
    try:
        return await connection.run(protocol.hello(name), until=until)
    except BrokenError as error:
        raise TlsFailedError(str(error)) from None


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
