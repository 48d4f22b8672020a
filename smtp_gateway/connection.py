"""The pump between socket, TLS and Session, and the deadlines. It decides nothing about SMTP."""

import asyncio
import ssl
from math import inf
from time import monotonic
from typing import Final, cast

from relay.errors import TemporaryError
from relay.proof.ruling import Question, Standing
from smtp_gateway import replies
from smtp_gateway.accounts import MAX_NAME
from smtp_gateway.auth import Credentials
from smtp_gateway.deadlines import Deadlines
from smtp_gateway.events import Authenticate, Close, Message, Prove, StartTls
from smtp_gateway.metrics import Count, Time
from smtp_gateway.peer import Peer, address_of
from smtp_gateway.quotas import Attempt, network
from smtp_gateway.replies import Reply
from smtp_gateway.session import Session
from smtp_gateway.site import Site
from smtp_gateway.states import State
from smtp_gateway.tls import Tls

BACKLOG: Final = 65_536  # octets kept for a session that waits for us; then its socket isn't read


class Connection(asyncio.Protocol):
    """tls: the connection begins with TLS (RFC 8314 §3.3). client: its IP address, if not the peer's."""

    def __init__(self, site: Site, *, tls: bool, client: str = "") -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._session = Session(site.host_name, site.limits, room=site.room, tls=tls)
        self._tls = Tls(site.tls.context) if tls else None
        self._transport: asyncio.Transport
        self._implicit = tls
        self._peer = Peer(client, "")
        self._network = ""  # of the peer, as quotas count it
        self._logged_out = False  # the login holds no more
        self._gone: asyncio.Future[None] | None = None  # while a login is delayed: the client is
        self._task: asyncio.Task[None] | None = None
        self._ended = False  # the client says no more, but may still hear
        self._lost = False
        self._clogged = False  # the client doesn't read
        self._reading = True
        self._deadlines = Deadlines(site.timeouts, self._loop.time())
        if tls:
            self._deadlines.handshake(self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = inf  # when the timer calls

    # --- what the loop calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        site = self._site
        if not self._peer.ip:
            self._peer = Peer(address_of(transport), "")
        site.connections.add(self)
        site.log.metrics.count(Count.SESSIONS)
        self._network = network(self._peer.ip)
        over = site.quotas.arrived(self._network, self._loop.time())
        self._tick()
        if site.draining or len(site.connections) > site.max_connections:
            self._turn_away(replies.SHUTTING_DOWN if site.draining else replies.TOO_MANY_CONNECTIONS, "turned away")
        elif over:
            self._turn_away(over, "quota of the address")
        elif not self._tls:
            self._send(self._session.greeting())

    def data_received(self, data: bytes) -> None:
        if self._session.state is State.CLOSED:
            return  # read so that the kernel needn't reset the connection
        if self._tls:
            self._decrypt(self._tls, data)
        else:
            self._advance(b"", data)

    def eof_received(self) -> bool:
        """Whether to stay: a message that is on its way to the queue gets its answer."""
        self._ended = True
        return self._task is not None and isinstance(self._session.event, Message)

    def pause_writing(self) -> None:
        self._clogged = True
        self._arm(self._deadlines.unread(self._loop.time()))
        self._set_reading()

    def resume_writing(self) -> None:
        self._clogged = False
        self._deadlines.unread(inf)
        self._set_reading()
        if isinstance(self._session.event, Prove):
            self._act()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._lost = True
        if self._gone and not self._gone.done():
            self._gone.set_result(None)
        self._session.forget()
        if self._timer:
            self._timer.cancel()
        self._forget()

    # --- what the server calls -----------------------------------------------------------------

    def drain(self) -> None:
        if not self._session.event and not self._session.in_transaction:
            self._end(replies.SHUTTING_DOWN, "shutting down")

    def abort(self) -> None:
        if not self._session.event:
            self._send(replies.SHUTTING_DOWN.wire)
        self._transport.close()
        if self._task:
            self._task.cancel()

    # --- what `site.logins` calls --------------------------------------------------------------

    def log_out(self) -> None:
        """End now; or, if an answer is under way, after it: a message that may be stored already gets its 250."""
        self._logged_out = True
        if not self._task and self._session.state is not State.CLOSED:
            self._end(replies.LOGIN_ENDED, "login ended")

    # --- octets --------------------------------------------------------------------------------

    def _advance(self, reply: bytes, data: bytes = b"") -> None:
        """Write `reply` and what the session says to `data`; do what it asks for."""
        session = self._session
        if self._lost:  # what is in the buffer has nobody to hear of it
            return
        now = self._loop.time()
        self._deadlines.heard(now)
        try:
            if self._logged_out:
                reply += session.close(replies.LOGIN_ENDED, "login ended")
            elif not self._ended:  # else it may have gone: no more is begun
                reply += session.receive(data) + self._rule(now)
        except Exception as error:  # noqa: BLE001 - our bug ends this session, with a 4xx, and no other
            reply += self._ours(error)
        if session.refusals:
            self._log_refusals()
        if self._site.draining and not session.event and not session.in_transaction:
            reply += session.close(replies.SHUTTING_DOWN, "shutting down")
        self._send(reply)
        self._act()

    def _rule(self, now: float) -> bytes:
        """What the session says as long as the senders that it asks about are known to be proved, or over quota."""
        site, session, said = self._site, self._session, b""
        while not self._task and isinstance(event := session.event, Prove):  # else that one answers
            account = site.logins.account(event.account)
            if over := site.leases.may_send(account) or site.quotas.may_send(event.account, now):
                said += session.not_proved(over)
            elif event.sender is None or self._is_proved(event.account, event.sender.domain):
                said += session.proved()
            else:
                break
            said += session.receive(b"")
        return said

    def _is_proved(self, account: str, domain: str) -> bool:
        ruling = self._site.senders.known(account, domain)
        return ruling is not None and ruling.standing is Standing.PASSED

    def _act(self) -> None:
        session = self._session
        match session.event:
            case None:
                self._arm(self._deadlines.moved(session))
            case StartTls():
                session.tls_started()
                self._arm(self._deadlines.handshake(self._loop.time()))
                self._tls = Tls(self._site.tls.context)
            case Close(why, blame):
                if blame:
                    self._site.quotas.cut_off(self._network, self._loop.time())
                self._close(why)
            case Prove() if self._clogged:
                pass  # a refusal is long, and the next MAIL may be here: not before the client reads
            case event if not self._task:
                self._task = self._loop.create_task(self._work(event, monotonic()))
        if session.backlog > BACKLOG or not self._reading:
            self._set_reading()

    async def _work(self, event: Authenticate | Prove | Message, began: float) -> None:
        try:
            reply = await self._answer(event, began)
        except Exception as error:  # noqa: BLE001 - our bug leaves no client without an answer
            reply = self._ours(error)
        finally:
            self._task = None
        try:
            self._advance(reply)
            if self._ended and not self._task:
                self._transport.close()
        finally:
            self._forget()

    async def _answer(self, event: Authenticate | Prove | Message, began: float) -> bytes:
        session = self._session
        match event:
            case Authenticate(credentials):
                return await self._log_in(credentials)
            case Prove():
                return await self._prove(event)
            case Message():
                answer = await self._submit(event)
                if answer.ok:
                    self._site.log.metrics.time(Time.TO_250, monotonic() - began)
                    now = self._loop.time()
                    self._site.quotas.taken(event.account, len(event.content), now)
                    self._arm(self._deadlines.progressed(now))
                return session.answered(answer)

    async def _log_in(self, credentials: Credentials) -> bytes:
        """The same whether the password is right or wrong, as it is checked after the delay only."""
        name = credentials.user.lower()[:MAX_NAME]
        attempt = self._site.quotas.attempts.begin(name, self._network, self._loop.time())
        if attempt.retry:
            reply = replies.too_many_failed_logins(attempt.retry)
            return self._session.close(reply, "failed logins of the address")
        if attempt.delay and await self._goes_within(attempt.delay):
            return b""
        return await self._authenticate(credentials, attempt)

    async def _authenticate(self, credentials: Credentials, attempt: Attempt) -> bytes:
        site, session, attempts = self._site, self._session, self._site.quotas.attempts
        try:
            account = await site.authenticate(credentials)
        except TemporaryError as error:
            attempts.unchecked(attempt, self._loop.time())
            site.log.auth_unavailable(peer=self._peer.ip, error=error)
            return session.authentication_failed(replies.CANNOT_CHECK_LOGIN)
        except Exception as error:  # noqa: BLE001 - our bug is not a wrong password
            attempts.unchecked(attempt, self._loop.time())
            site.log.bug(error=error)
            return session.authentication_failed(replies.CANNOT_CHECK_LOGIN)
        if account is None:
            site.log.auth_failed(peer=self._peer.ip)
            return session.authentication_failed(replies.WRONG_LOGIN)
        attempts.succeeded(attempt, self._loop.time())
        name = attempt.account
        if over := site.quotas.may_log_in(site.logins.count(name)):
            return session.close(over, "sessions of the account")
        site.log.auth_ok(account=name, peer=self._peer.ip)
        site.logins.enter(account, self)
        self._arm(self._deadlines.progressed(self._loop.time()))
        limits = site.leases.limits(account)
        return session.authenticated(name, recipients=limits.recipients, size=limits.size)

    async def _goes_within(self, seconds: float) -> bool:
        """Wait, unless the client goes."""
        self._gone = self._loop.create_future()
        done, _ = await asyncio.wait((self._gone,), timeout=seconds)
        return bool(done)

    async def _prove(self, event: Prove) -> bytes:
        site, session = self._site, self._session
        sender, account = event.sender, event.account
        questions = (Question(sender.domain, account, str(sender)),) if sender else ()
        try:
            refusal = await site.senders(account, questions)
        except Exception as error:  # noqa: BLE001 - our bug is no reason to refuse mail: the queue decides
            site.log.bug(error=error)
            refusal = None
        return session.not_proved(refusal) if refusal else session.proved()

    async def _submit(self, message: Message) -> Reply:
        site = self._site
        account = site.logins.account(message.account)
        if over := await site.leases.take(account):
            site.log.refused(account=message.account, peer=self._peer.ip, reply=over)
            return over
        try:
            reply = await site.submit(message, self._peer)
        except Exception as error:  # noqa: BLE001 - our bug is no reason to refuse mail for good
            site.log.bug(error=error)
            reply = replies.NOT_STORED
        if not reply.ok:
            site.leases.give_back(account)
        return reply

    def _set_reading(self) -> None:
        """Read unless the client doesn't, or enough is kept already."""
        wanted = not self._clogged and self._session.backlog <= BACKLOG
        if wanted != self._reading and not self._lost:
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # --- TLS -----------------------------------------------------------------------------------

    def _decrypt(self, tls: Tls, data: bytes) -> None:
        greeting = b""
        greeted = tls.ready
        try:
            plain = tls.receive(data)
        except ssl.SSLError as error:
            self._site.log.tls_failed(peer=self._peer.ip, error=error)
            self._transport.write(tls.outgoing())  # the alert
            self._transport.close()
            return
        if tls.ready and not greeted:
            self._deadlines.handshake(inf)
            self._peer = Peer(self._peer.ip, tls.suite)
            if self._implicit:
                greeting = self._session.greeting()
        if out := tls.outgoing():
            self._transport.write(out)
        if plain or greeting:
            self._advance(greeting, plain)
        if tls.ended and not self.eof_received():
            self._transport.close()

    def _send(self, reply: bytes) -> None:
        tls = self._tls
        if not reply or self._transport.is_closing():
            return
        if not tls:
            self._transport.write(reply)
        elif tls.ready:  # in mid-handshake there is no way to say it
            tls.send(reply)
            self._transport.write(tls.outgoing())

    # --- ends ----------------------------------------------------------------------------------

    def _ours(self, error: Exception) -> bytes:
        """What to say after a bug."""
        self._site.log.bug(error=error)
        return self._session.close(replies.INTERNAL_CLOSE, "bug")

    def _end(self, reply: Reply, why: str) -> None:
        """End the session from our side, now."""
        self._send(self._session.close(reply, why))
        self._close(why)

    def _turn_away(self, reply: Reply, why: str) -> None:
        """At once: a crowd at the door must not take the places of those inside."""
        self._send(self._session.close(reply, why))
        self._site.log.cut_off(account="", peer=self._peer.ip, why=why)
        self._transport.close()

    def _close(self, why: str) -> None:
        """To close with octets unread would reset the connection, and the client might never see our reply; so
        we end our side, and wait a little for the client to end its."""
        if why != "quit":
            self._site.log.cut_off(account=self._session.account, peer=self._peer.ip, why=why)
        if self._transport.is_closing():
            return
        if self._timer:
            self._timer.cancel()
        if self._tls and self._tls.ready:
            self._tls.end()
            self._transport.write(self._tls.outgoing())
        self._transport.write_eof()
        self._timer = self._loop.call_later(self._site.timeouts.linger, self._transport.abort)

    def _forget(self) -> None:
        site = self._site
        if not self._lost or self._task or self not in site.connections:
            return
        site.connections.discard(self)
        site.quotas.left(self._network)
        if account := self._session.account:
            site.logins.leave(account, self)
        if not site.connections:
            site.empty.set()

    # --- deadlines -----------------------------------------------------------------------------

    def _arm(self, when: float) -> None:
        """See to it that the timer isn't later than `when`. It looks again by itself, so it may be earlier."""
        if when >= self._alarm:
            return
        if self._timer:
            self._timer.cancel()
        self._alarm = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._alarm = inf
        now = self._loop.time()
        when, reply, why = self._deadlines.nearest(self._session, now, busy=self._task is not None)
        if when > now:
            self._arm(when)
        elif self._task:
            self._arm(now + 1.0)  # the answer is on its way
        else:
            self._end(reply, why)

    def _log_refusals(self) -> None:
        for reply in self._session.refusals:
            self._site.log.refused(account=self._session.account, peer=self._peer.ip, reply=reply)
        self._session.refusals.clear()
