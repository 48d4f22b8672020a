"""ports.Transport over one SMTP server of the operator's choice, for all recipients."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from relay.failure_rules import Stage
from relay.ports import Clock, RecipientReply, Resolver
from relay.settings import Smarthost
from relay.smtp.limits import Limits
from relay.smtp.login import Login
from relay.smtp.mx import Route, Routes
from relay.smtp.protocol import NO_8BITMIME, NO_SMTPUTF8, NO_TIME
from relay.smtp.reach import Reach
from relay.smtp.replies import LONGEST_TEXT
from relay.smtp.tls import Tls, verified_tls
from relay.smtp.transport import BUSY, SmtpTransport
from relay.submission import Delivery

BEFORE_MAIL: Final = (Stage.ROUTE, Stage.CONNECT, Stage.EHLO)
LACKS: Final = (NO_8BITMIME.enhanced, NO_SMTPUTF8.enhanced, "5.3.4")  # of what the message needs (relay.smtp.protocol)
AUTH_CODES: Final = (530, 534, 535, 538)  # RFC 4954 §4, §6
NOT_OURS_TO_RELAY: Final = re.compile(
    r"relay(?:ing)? (?:access )?(?:denied|not)|not permitted to relay|unable to relay|authentication required",
    re.IGNORECASE,
)


class SmarthostRoutes(Routes):
    """The one way, whatever the domain."""

    def __init__(self, resolver: Resolver, host: str, reach: Reach) -> None:
        super().__init__(resolver, "", reach)
        self._route = Route(((0, host),), (host,))

    def known(self, _domain: str) -> Route | None:
        return self._route

    async def find(self, _domain: str) -> Route:
        return self._route


class SmarthostTransport:
    """That the server is away, can't be trusted or doesn't let the relay in is the relay's own matter: later, for as
    long as it takes. What it says about a sender, a recipient or a message is an answer like another server's."""

    def __init__(self, smtp: SmtpTransport, host: str) -> None:
        self._smtp = smtp
        self._host = host

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        """ports.Transport.send."""
        replies = await self._smtp.send(delivery, recipients, content, deadline=deadline)
        return tuple(map(self._judged, replies))

    def close(self) -> None:
        """Close idle connections."""
        self._smtp.close()

    def _judged(self, reply: RecipientReply) -> RecipientReply:
        if reply.ok or not _is_ours(reply):
            return reply
        said = f"the smarthost {reply.remote or self._host}: {reply.code} {reply.enhanced} {reply.text}"
        text = said.encode()[:LONGEST_TEXT].decode("utf-8", "ignore")
        # As relay.failure has it: status 4.3.* at ROUTE, by no server, is ours and never expires.
        return reply._replace(
            permanent=False, code=451, enhanced="4.3.0", text=text, remote="", tls="", stage=Stage.ROUTE
        )


def smarthost_transport(
    smarthost: Smarthost,
    *,
    resolver: Resolver,
    host_name: str,
    clock: Clock,
    limits: Limits,
    login: Callable[[], Awaitable[Login]] | None,
) -> SmarthostTransport:
    """host_name: ours, for EHLO. login: None for a server that knows the relay without."""
    smtp = SmtpTransport(
        routes=SmarthostRoutes(resolver, smarthost.host, Reach(smarthost.networks)),
        policies=None,
        host_name=host_name,
        clock=clock,
        port=smarthost.port,
        limits=limits,
        tls=Tls(verified_tls(ca=smarthost.ca), verified=True, implicit=smarthost.implicit),
        login=login,
    )
    return SmarthostTransport(smtp, smarthost.host)


def _is_ours(reply: RecipientReply) -> bool:
    if reply.stage == Stage.ROUTE and reply.enhanced in (NO_TIME.enhanced, BUSY.enhanced):
        return False  # nobody has to mend that
    if reply.stage in BEFORE_MAIL:
        return not (reply.stage == Stage.EHLO and reply.permanent and reply.enhanced in LACKS)
    if reply.stage == Stage.DOT:
        return False
    return reply.code in AUTH_CODES or bool(NOT_OURS_TO_RELAY.search(reply.text))
