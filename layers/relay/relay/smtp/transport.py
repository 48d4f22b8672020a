"""ports.Transport over SMTP: route, connection, transaction, and which host is tried next."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable
from typing import Final, TypeVar

from relay.ports import Clock, RecipientReply, Resolver
from relay.smtp import protocol
from relay.smtp.client import BrokenError, Connection, TlsFailedError, connect
from relay.smtp.limits import Limits
from relay.smtp.mx import NO_ROUTE, NoRouteError, Route, Routes
from relay.smtp.pool import BusyError, Pool, Slot
from relay.smtp.protocol import Message, Phase, RefusedError
from relay.smtp.replies import Reply
from relay.submission import Delivery

T = TypeVar("T")

OUT_OF_TIME: Final = Reply.ours(451, "4.4.7", "no time left in this attempt")
MORE_HOSTS: Final = Reply.ours(451, "4.4.4", "none of the mail servers looked up has an address; there are more")
BUSY: Final = Reply.ours(451, "4.4.5", "all connections to the destination are in use")


def opportunistic_tls() -> ssl.SSLContext:
    """TLS with whoever answers: against listeners only, since without a policy nobody is authenticated
    and the alternative is plaintext (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class SmtpTransport:
    """host_name: ours, for EHLO. port: where remote servers listen. chance: the order among equal MXs."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        host_name: str,
        clock: Clock,
        port: int = 25,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._routes = Routes(resolver)
        self._host_name = host_name
        self._clock = clock
        self._port = port
        self._limits = limits or Limits()
        self._pool = Pool(self._limits)
        self._tls = tls or opportunistic_tls()
        self._chance = chance or random.SystemRandom()

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        """ports.Transport.send."""
        until = asyncio.get_running_loop().time() + deadline - self._clock.now()
        attempt = _Attempt(recipients)
        try:
            route = await self._in_time(self._routes.find(delivery.domain), until)
            async with self._pool.slot(route.site, until=until - self._limits.least) as slot:
                message = Message.prepare(
                    delivery.mail_from,
                    content,
                    smtputf8=delivery.smtputf8,
                    ret=delivery.ret,
                    envid=delivery.envid,
                    dsn=delivery.dsn,
                )
                await self._deliver(attempt, message, route, slot, until)
        except NoRouteError as error:
            attempt.fail(error.reply)
        except BusyError:
            attempt.fail(BUSY)
        return attempt.replies()

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    async def _deliver(self, attempt: "_Attempt", message: Message, route: Route, slot: Slot, until: float) -> None:
        """Host after host until no recipient is left for the next one."""
        spoken_to = set()
        reused = slot.reuse()
        if reused is not None and await self._transact(attempt, message, reused, slot, until):
            spoken_to.add(reused.host)
        if not attempt.pending:
            return
        async for connection in self._connections(attempt, route, spoken_to, until):
            if await self._transact(attempt, message, connection, slot, until):
                spoken_to.add(connection.host)
            if not attempt.pending:
                return

    async def _connections(
        self, attempt: "_Attempt", route: Route, spoken_to: set[str], until: float
    ) -> AsyncIterator[Connection]:
        """A fresh connection to one address after the other; hosts in `spoken_to` have had their say."""
        tried = 0
        hosts = route.hosts(self._chance)
        asked = hosts[: self._limits.hosts]
        attempt.fail(NO_ROUTE if asked == hosts else MORE_HOSTS)  # stands unless a host fails otherwise
        for host in asked:
            try:
                addresses = () if host in spoken_to else await self._in_time(self._routes.addresses(host), until)
            except NoRouteError as error:
                attempt.fail(error.reply)
                if error.reply is OUT_OF_TIME:
                    return
                continue
            for address in addresses:
                if host in spoken_to:
                    break
                if tried == self._limits.addresses:
                    return
                tried += 1
                connection = await self._connect(attempt, host, address, until)
                if connection is not None:
                    yield connection

    async def _in_time(self, question: Awaitable[T], until: float) -> T:
        """DNS may be silent for longer than there is time: a hostile domain can name hundreds of such hosts."""
        try:
            async with asyncio.timeout_at(until - self._limits.least):
                return await question
        except TimeoutError:
            raise NoRouteError(OUT_OF_TIME) from None

    async def _connect(self, attempt: "_Attempt", host: str, address: str, until: float) -> Connection | None:
        remote = f"{host}[{address}]"
        for tls in (self._tls, None):
            if until - asyncio.get_running_loop().time() < self._limits.least:
                attempt.fail(OUT_OF_TIME)
                return None
            try:
                return await connect(
                    host, address, self._port, name=self._host_name, limits=self._limits, tls=tls, until=until
                )
            except TlsFailedError:
                continue  # RFC 3207 allows plaintext where no policy demands TLS; on a connection of its own
            except RefusedError as error:
                attempt.fail(error.reply, remote)
            except BrokenError as error:
                attempt.fail(_broken(error), remote)
            return None
        return None

    async def _transact(
        self, attempt: "_Attempt", message: Message, connection: Connection, slot: Slot, until: float
    ) -> bool:
        """One transaction for all pending recipients; whether the remote had its say (or may have had)."""
        if until - asyncio.get_running_loop().time() < self._limits.least:
            attempt.fail(OUT_OF_TIME)
            slot.keep(connection)
            return True
        recipients = attempt.pending
        exchange = protocol.transaction(connection.capabilities, message, recipients)
        connection.transactions += 1
        try:
            result = await connection.run(exchange, until=until)
        except BrokenError as error:
            # After content was sent the answer is lost, not the message: no other host may get it now.
            attempt.fail(_broken(error), connection.remote, connection.tls, over=error.phase is Phase.CONTENT)
            return error.phase is not Phase.MAIL
        for recipient, (reply, phase) in zip(recipients, result.answers, strict=True):
            over = reply.ok or reply.permanent or phase is Phase.CONTENT
            dsn = connection.capabilities.dsn
            attempt.note(recipient, reply, connection.remote, connection.tls, over=over, dsn=dsn)
        await self._release(connection, slot, usable=result.usable, reset=result.reset, until=until)
        closing = any(reply.code == protocol.CLOSING and phase is Phase.MAIL for reply, phase in result.answers)
        return not (closing and connection.transactions > 1)  # an old connection's 421 says nothing of a new one

    async def _release(self, connection: Connection, slot: Slot, *, usable: bool, reset: bool, until: float) -> None:
        try:
            if usable and (not reset or await connection.run(protocol.reset(), until=until)):
                slot.keep(connection)
                return
        except BrokenError:
            return
        connection.close()


class _Attempt:
    """What is known of each recipient so far. pending: those that another host may still be tried for."""

    def __init__(self, recipients: tuple[str, ...]) -> None:
        self._recipients = recipients
        self._known: dict[str, RecipientReply] = {}
        self._heard: set[str] = set()
        self.pending = recipients

    def note(self, recipient: str, reply: Reply, remote: str, tls: str, *, over: bool, dsn: bool) -> None:
        """The remote's answer for this recipient. over: for this attempt, too. dsn: it offers DSN."""
        self._heard.add(recipient)
        self._set(recipient, reply, remote, tls, over=over, dsn=dsn)

    def fail(self, reply: Reply, remote: str = "", tls: str = "", *, over: bool = False) -> None:
        """The host (or route) failed for all pending recipients. That says less than what a host answered for
        one of them; and "never" of one host doesn't outweigh "later" of another."""
        for recipient in self.pending:
            known = self._known.get(recipient)
            if over or (recipient not in self._heard and (known is None or known.permanent or not reply.permanent)):
                self._set(recipient, reply, remote, tls, over=over)

    def replies(self) -> tuple[RecipientReply, ...]:
        return tuple(self._known[recipient] for recipient in self._recipients)

    def _set(self, recipient: str, reply: Reply, remote: str, tls: str, *, over: bool, dsn: bool = False) -> None:
        self._known[recipient] = RecipientReply(
            recipient,
            ok=reply.ok,
            permanent=reply.permanent,
            code=reply.code,
            enhanced=reply.enhanced,
            text=reply.text,
            remote=remote,
            tls=tls,
            dsn=dsn,
        )
        if over:
            self.pending = tuple(each for each in self.pending if each != recipient)


def _broken(error: BrokenError) -> Reply:
    """RFC 3463: X.4.1 no answer from host, X.4.2 bad connection."""
    status = "4.4.1" if error.phase in (Phase.CONNECT, Phase.GREETING) else "4.4.2"
    return Reply.ours(451, status, str(error))
