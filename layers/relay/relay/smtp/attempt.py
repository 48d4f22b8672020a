"""What is known of each recipient in one attempt, while host after host is tried."""

from relay.ports import RecipientReply
from relay.smtp.replies import Reply


class Attempt:
    """pending: the recipients that another host may still be tried for."""

    def __init__(self, recipients: tuple[str, ...]) -> None:
        self._recipients = recipients
        self._known: dict[str, RecipientReply] = {}
        self._heard: set[str] = set()
        self.pending = recipients

    def note(self, recipient: str, reply: Reply, remote: str, tls: str, *, over: bool, dsn: bool) -> None:
        """The remote's answer for this recipient. over: for this attempt, too. dsn: it offers DSN."""
        self._heard.add(recipient)
        self._set(recipient, reply, remote, tls, over=over, dsn=dsn)

    def fail(
        self, reply: Reply, remote: str = "", tls: str = "", *, over: bool = False, only: tuple[str, ...] | None = None
    ) -> None:
        """The host (or route) failed for all pending recipients, or `only` for these. That says less than what a host
        answered for one of them; and "never" of one host doesn't outweigh "later" of another."""
        for recipient in self.pending if only is None else only:
            known = self._known.get(recipient)
            if over or (recipient not in self._heard and (known is None or known.permanent or not reply.permanent)):
                self._set(recipient, reply, remote, tls, over=over)

    def replies(self) -> tuple[RecipientReply, ...]:
        """One for each recipient, in order."""
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
