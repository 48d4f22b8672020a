"""What is known of each recipient in one attempt, while host after host is tried."""

from relay.failure_rules import Stage
from relay.ports import RecipientReply
from relay.smtp.protocol import Phase
from relay.smtp.replies import Reply

STAGES = {
    Phase.CONNECT: Stage.CONNECT,
    Phase.GREETING: Stage.CONNECT,
    Phase.HELLO: Stage.EHLO,
    Phase.TLS: Stage.EHLO,
    Phase.AUTH: Stage.EHLO,
    Phase.MAIL: Stage.MAIL,
    Phase.RCPT: Stage.RCPT,
    Phase.DATA: Stage.DATA,
    Phase.CONTENT: Stage.DOT,
}


class Attempt:
    def __init__(self, recipients: tuple[str, ...]) -> None:
        self._recipients = recipients
        self._known: dict[str, RecipientReply] = {}
        self._heard: set[str] = set()  # who got an answer and is pending yet
        self._pending = dict.fromkeys(recipients)

    @property
    def pending(self) -> tuple[str, ...]:
        """The recipients that another host may still be tried for."""
        return tuple(self._pending)

    def note(self, recipient: str, reply: Reply, remote: str, tls: str, *, phase: Phase, over: bool, dsn: bool) -> None:
        """The remote's answer for this recipient, to what `phase` says. over: for this attempt, too. dsn: it offers
        DSN."""
        self._known[recipient] = _answer(recipient, reply, remote, tls, STAGES[phase], dsn=dsn)
        if over:
            self._pending.pop(recipient, None)
        else:
            self._heard.add(recipient)

    def fail(
        self,
        reply: Reply,
        remote: str = "",
        tls: str = "",
        *,
        phase: Phase | None = None,
        over: bool = False,
        only: tuple[str, ...] | None = None,
    ) -> None:
        """The host (or route) failed for all pending recipients, or `only` for these. That says less than what a host
        answered for one of them; and "never" of one host doesn't outweigh "later" of another. phase: what was waited
        for; None if no host was reached."""
        stage = STAGES[phase] if phase else Stage.ROUTE
        for recipient in self.pending if only is None else only:
            known = self._known.get(recipient)
            if over or (recipient not in self._heard and (known is None or known.permanent or not reply.permanent)):
                self._known[recipient] = _answer(recipient, reply, remote, tls, stage, dsn=False)
                if over:
                    self._pending.pop(recipient, None)

    def replies(self) -> tuple[RecipientReply, ...]:
        """One for each recipient, in order."""
        return tuple([self._known[recipient] for recipient in self._recipients])


def _answer(recipient: str, reply: Reply, remote: str, tls: str, stage: Stage, *, dsn: bool) -> RecipientReply:
    return RecipientReply(
        recipient, reply.ok, reply.permanent, reply.code, reply.enhanced, reply.text, remote, tls, dsn, stage
    )
