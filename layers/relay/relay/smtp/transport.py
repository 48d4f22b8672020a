"""ports.Transport over SMTP: route, connection, transaction, and which host is tried next."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from relay.errors import TemporaryError
from relay.ports import Clock, RecipientReply
from relay.smtp import protocol
from relay.smtp.attempt import Attempt
from relay.smtp.client import BrokenError, Connection, SilentError, TlsFailedError
from relay.smtp.connect import connect
from relay.smtp.limits import Limits
from relay.smtp.login import Login
from relay.smtp.mx import NO_ROUTE, NoRouteError, Route, Routes
from relay.smtp.pace import Pace
from relay.smtp.policies import Policies
from relay.smtp.pool import BusyError, Pool, Slot
from relay.smtp.protocol import NO_TIME, Message, Phase, RefusedError, Result
from relay.smtp.replies import Reply
from relay.smtp.shaping import Shaping
from relay.smtp.shared import Shared
from relay.smtp.silence import Silence
from relay.smtp.sts import Mode
from relay.smtp.tls import Tls, opportunistic_tls, verified_tls
from relay.submission import Delivery

T = TypeVar("T")

MORE_HOSTS: Final = Reply.ours(451, "4.4.4", "none of the mail servers looked up has an address; there are more")
NOT_NAMED: Final = Reply.ours(451, "4.7.5", "no mail server of the domain is among those that its MTA-STS policy names")
NOT_MET: Final = "the domain's MTA-STS policy demands TLS with a valid certificate"
NOT_SECURE: Final = "no TLS with a valid certificate"
TOO_MANY: Final = 452  # RFC 5321 §4.5.3.1.10, where the enhanced code says nothing else
ENOUGH: Final = ("4.5.3", "4.0.0")
BUSY: Final = Reply.ours(451, "4.4.5", "all connections to the destination are in use")


class SmtpTransport:
    """routes, policies: where mail goes, and what the domain demands on the way. host_name: ours, for EHLO.
    port: where remote servers listen. verified: makes the TLS context for who demands a valid certificate.
    chance: the order among equal MXs. tls: instead of whatever certificate there is; policies are None then.
    login: for AUTH, asked for at each connection; its TemporaryError is one of ours. shaping: how much a site may be
    asked, and when; without it `limits` hold for all.
    """

    def __init__(
        self,
        *,
        routes: Routes,
        policies: Policies | None,
        host_name: str,
        clock: Clock,
        port: int = 25,
        limits: Limits | None = None,
        verified: Callable[[], ssl.SSLContext] = verified_tls,
        chance: random.Random | None = None,
        tls: Tls | None = None,
        login: Callable[[], Awaitable[Login]] | None = None,
        shaping: Shaping | None = None,
    ) -> None:
        self._routes = routes
        self._policies = policies
        self._host_name = host_name
        self._clock = clock
        self._port = port
        self._limits = limits or Limits()
        self._pool = Pool(self._limits)
        self._tls = tls or Tls(opportunistic_tls())
        self._verified = verified
        self._enforced: Tls | None = None
        self._chance = chance or random.SystemRandom()
        self._login = login
        self._silence = Silence(port)
        self._shaping = shaping
        self._shared = Shared(self._pool, self._limits)

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        """ports.Transport.send."""
        until = asyncio.get_running_loop().time() + deadline - self._clock.now()
        attempt = Attempt(recipients)
        try:
            route, tls = await self._way(delivery.domain, until)
            if self._shaping is not None:
                return await self._shaped(self._shaping, attempt, delivery, content, route, tls, until)
            async with self._pool.slot((route.site, tls), until=until - self._limits.least) as slot:
                await self._deliver(attempt, _prepared(delivery, content), route, tls, slot, until)
        except NoRouteError as error:
            attempt.fail(error.reply)
        except BusyError:
            attempt.fail(BUSY)
        return attempt.replies()

    async def _shaped(
        self,
        shaping: Shaping,
        attempt: Attempt,
        delivery: Delivery,
        content: bytes,
        route: Route,
        tls: Tls,
        until: float,
    ) -> tuple[RecipientReply, ...]:
        """As the destination wants it: when it is its turn, or not now."""
        shaped = shaping.of(route.site)
        turn = min(until - self._limits.least, asyncio.get_running_loop().time() + self._limits.turn)
        try:
            async with self._shared.slot((route.site, tls), shaped, until=turn) as slot:
                # asked again: it may have come to be left alone while this one waited
                put_off = await shaping.enter(shaped, delivery) or await shaping.turn(
                    delivery, until - self._limits.least - asyncio.get_running_loop().time()
                )
                if put_off is not None:
                    return put_off.replies(attempt.pending)
                await self._deliver(attempt, _prepared(delivery, content), route, tls, slot, until)
        except BusyError:
            return shaping.busy().replies(attempt.pending)
        replies = attempt.replies()
        shaping.heard(shaped, delivery, replies)
        return replies

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    async def _way(self, domain: str, until: float) -> tuple[Route, Tls]:
        """RFC 8461 §5: of a domain whose policy is to be enforced, the hosts that it names, with verified TLS."""
        route = self._routes.known(domain)
        if route is None:
            route = await self._in_time(self._routes.find(domain), until)
        if self._policies is None:
            return route, self._tls
        known = self._policies.known(domain)
        policy = known[0] if known else await self._in_time(self._policies.find(domain), until)
        if policy is None or policy.mode is not Mode.ENFORCE:
            return route, self._tls
        route = route.only(policy.names)
        if not route.records:
            raise NoRouteError(NOT_NAMED)
        if self._enforced is None:  # not earlier: the CAs take a while to load, and most domains have no policy
            self._enforced = Tls(self._verified(), verified=True)
        return route, self._enforced

    async def _deliver(
        self, attempt: Attempt, message: Message, route: Route, tls: Tls, slot: Slot, until: float
    ) -> None:
        """Host after host until no recipient is left for the next one."""
        spoken_to = set()
        reused = slot.reuse()
        if reused is not None and await self._transact(attempt, message, reused, slot, until):
            spoken_to.add(reused.host)
        if not attempt.pending:
            return
        async for connection in self._connections(attempt, route, tls, spoken_to, until):
            if await self._transact(attempt, message, connection, slot, until):
                spoken_to.add(connection.host)
            if not attempt.pending:
                return

    async def _connections(
        self, attempt: Attempt, route: Route, tls: Tls, spoken_to: set[str], until: float
    ) -> AsyncIterator[Connection]:
        """A fresh connection to one address after the other; hosts in `spoken_to` have had their say."""
        tried = 0
        hosts = route.hosts(self._chance)
        asked = hosts[: self._limits.hosts]
        if asked != hosts:
            attempt.fail(MORE_HOSTS)  # stands unless a host fails otherwise
        elif not spoken_to:  # else what that host lacks stands
            attempt.fail(NO_ROUTE)
        for host in asked:
            try:
                addresses = () if host in spoken_to else await self._in_time(self._routes.addresses(host), until)
            except NoRouteError as error:
                attempt.fail(error.reply)
                if error.reply is NO_TIME:
                    return
                continue
            for address in addresses:
                if host in spoken_to:
                    break
                if tried == self._limits.addresses:
                    return
                tried += 1
                connection = await self._connect(attempt, host, address, route, tls, until)
                if connection is not None:
                    yield connection

    async def _in_time(self, question: Awaitable[T], until: float) -> T:
        """DNS may be silent for longer than there is time: a hostile domain can name hundreds of such hosts."""
        try:
            async with asyncio.timeout_at(until - self._limits.least):
                return await question
        except TimeoutError:
            raise NoRouteError(NO_TIME) from None

    async def _connect(
        self, attempt: Attempt, host: str, address: str, route: Route, tls: Tls, until: float
    ) -> Connection | None:
        remote = f"{host}[{address}]"
        for way in (tls,) if tls.verified else (tls, None):
            if until - asyncio.get_running_loop().time() < self._limits.least:
                attempt.fail(NO_TIME)
                return None
            try:
                connection = await connect(
                    host,
                    address,
                    self._port,
                    name=self._host_name,
                    limits=self._shaping.of(route.site).limits if self._shaping else self._limits,
                    tls=way,
                    until=until,
                    login=await self._login() if self._login else None,
                )
            except TlsFailedError as error:
                # RFC 3207 allows plaintext where no policy demands TLS, on a connection of its own. A policy that
                # can't be met puts the mail off (RFC 8461 §5.1); it is looked at again before the next attempt.
                if tls.verified:
                    why = NOT_MET if self._policies else NOT_SECURE
                    attempt.fail(Reply.ours(451, "4.7.5", f"{why}: {error}"), remote, phase=Phase.TLS)
                self._silence.heard()
                continue
            except RefusedError as error:
                attempt.fail(error.reply, remote, phase=error.phase)
            except SilentError as error:
                attempt.fail(self._silent(error, route.site), remote, phase=error.phase)
                return None
            except BrokenError as error:
                attempt.fail(_broken(error), remote, phase=error.phase)
            except TemporaryError as error:
                attempt.fail(Reply.ours(451, "4.3.0", error.safe))
                return None
            else:
                self._silence.heard()
                return connection
            self._silence.heard()
            return None
        return None

    def _silent(self, error: SilentError, site: tuple[str, ...]) -> Reply:
        reply, hint = _broken(error), self._silence.silent(site)
        return Reply.ours(reply.code, reply.enhanced, f"{error}; {hint}") if hint else reply

    async def _transact(
        self, attempt: Attempt, message: Message, connection: Connection, slot: Slot, until: float
    ) -> bool:
        """Transactions for all pending recipients; whether the remote had its say (or may have had).

        It is one, unless the remote is so slow that time is up before all have been asked about, or takes no more of
        them in one (RFC 5321 §4.5.3.1.10): then more follow for the rest.
        """
        recipients = attempt.pending
        pace = Pace(asyncio.get_running_loop().time, until - self._limits.least)
        while True:
            if until - asyncio.get_running_loop().time() < self._limits.least:
                attempt.fail(NO_TIME)
                slot.keep(connection)
                return True
            try:
                exchange = protocol.transaction(connection.capabilities, message, recipients, pace)
                connection.transactions += 1
                behind = connection.in_use
                result = await connection.run(exchange, until=until, hand_over=partial(slot.hand_over, connection))
            except BrokenError as error:
                if behind:
                    slot.distrust()  # maybe it did not stand an envelope right behind a message
                # After content was sent the answer is lost, not the message: no other host may get it now.
                attempt.fail(
                    _broken(error),
                    connection.remote,
                    connection.tls,
                    phase=error.phase,
                    over=error.phase is Phase.CONTENT,
                )
                return error.phase is Phase.CONTENT or (error.phase is not Phase.MAIL and not behind)
            rest = _note(attempt, connection, recipients, result)
            if not rest or result.reset or not result.usable:
                break
            pace.begin()
            if not pace(0):
                break
            recipients = rest
        if result.usable:
            await self._release(connection, slot, reset=result.reset, until=until)
            return True
        connection.close()
        closing = any(reply.code == protocol.CLOSING and phase is Phase.MAIL for reply, phase in result.answers)
        return not (closing and connection.transactions > 1)  # an old connection's 421 says nothing of a new one

    async def _release(self, connection: Connection, slot: Slot, *, reset: bool, until: float) -> None:
        try:
            if not reset or await connection.run(protocol.reset(), until=until):
                slot.keep(connection)
            else:
                connection.close()
        except BrokenError:
            pass


def _note(attempt: Attempt, connection: Connection, recipients: tuple[str, ...], result: Result) -> tuple[str, ...]:
    """The answers into `attempt`; returns those recipients that another transaction of the session is for."""
    remote, tls, dsn, rest = connection.remote, connection.tls, connection.capabilities.dsn, []
    for recipient, (reply, phase) in zip(recipients, result.answers, strict=True):
        if reply is NO_TIME or (phase is Phase.RCPT and not result.reset and _were_enough(reply)):
            rest.append(recipient)
        if phase is Phase.HELLO:  # of what the message needs: another host may have it
            attempt.fail(reply, remote, tls, phase=phase, only=(recipient,))
        elif reply is not NO_TIME:
            over = reply.ok or reply.permanent or phase is Phase.CONTENT
            attempt.note(recipient, reply, remote, tls, phase=phase, over=over, dsn=dsn)
    if rest:
        attempt.fail(NO_TIME, remote, tls, phase=Phase.RCPT)
    return tuple(rest)


def _were_enough(reply: Reply) -> bool:
    """The recipients before, for one transaction (RFC 5321 §4.5.3.1.10)."""
    return reply.code == TOO_MANY and reply.enhanced in ENOUGH


def _prepared(delivery: Delivery, content: bytes) -> Message:
    return Message.prepare(
        delivery.mail_from,
        content,
        smtputf8=delivery.smtputf8,
        ret=delivery.ret,
        envid=delivery.envid,
        dsn=delivery.dsn,
    )


def _broken(error: BrokenError) -> Reply:
    """RFC 3463: X.4.1 no answer from host, X.4.2 bad connection."""
    status = "4.4.1" if error.phase in (Phase.CONNECT, Phase.GREETING) else "4.4.2"
    doubt = "; the server may have the message" if error.phase is Phase.CONTENT else ""
    return Reply.ours(451, status, f"{error}{doubt}")
