"""resend: what failed goes out again, as a new message with a new id, through validation and all.

The content is kept under the new id, too: it then lives as long as any new message's. NOTIFY, ORCPT, RET and ENVID
travel with queue messages only; neither the rows nor the ledger keep them, so they are the defaults (RFC 3461 §4).
"""

from dataclasses import dataclass
from typing import Final

from relay.encoding import encode_submission
from relay.errors import PermanentError, TemporaryError
from relay.ids import new_id
from relay.outcome import State
from relay.ports import Clock, ContentStore, Messages, Queue
from relay.submission import Stored, Submission, content_key

FAILED: Final = frozenset({State.BOUNCED, State.EXPIRED, State.REJECTED, State.SUPPRESSED})
IF_NAMED: Final = FAILED | {State.CANCELLED}  # somebody didn't want it sent
# The gateway's own trace header on top names the protocol (RFC 6531 §4.3)
UTF8_TRACE: Final = b" with UTF8SMTPSA "


class UnclearError(TemporaryError):
    """The queue has not said whether it took the new message; `safe` names its id."""


@dataclass(frozen=True, slots=True)
class Resent:
    """id: of the new message."""

    id: str
    recipients: tuple[str, ...]


class Resend:
    """queue: ValidateQueue."""

    def __init__(self, *, messages: Messages, content: ContentStore, queue: Queue, clock: Clock) -> None:
        self._messages = messages
        self._content = content
        self._queue = queue
        self._clock = clock

    async def __call__(self, id: str, only: frozenset[str] = frozenset()) -> Resent:
        """only: just these recipients, failed or cancelled; none means all that failed.

        PermanentError says why nothing was sent: not known, a notice, nothing failed, content gone.
        UnclearError if it may have been sent, any other TemporaryError if it was not.
        """
        rows = await self._messages.of_id(id)
        if not rows:
            raise PermanentError(f"nothing is recorded about {id}: check the id")
        if rows[0].notice:
            raise PermanentError(f"{id} is a notice of the relay's own, which is not sent again")
        newest = {row.outcome.recipient: row.outcome.state for row in rows}
        recipients = _chosen(newest, only)
        try:
            content = await self._content.get(content_key(id))
        except PermanentError as error:
            raise PermanentError(
                f"the content of {id} is gone (it is kept for 21 days): have the application send it anew", error.detail
            ) from error
        now = self._clock.now()
        again = new_id(now, rows[0].account)
        stored = Stored(content_key(again), len(content))
        await self._content.put(stored.key, content)
        submission = Submission(
            id=again,
            account=rows[0].account,
            mail_from=rows[0].mail_from,
            rcpt_to=recipients,
            received=now,
            content=stored,
            eightbit=not content.isascii(),
            smtputf8=UTF8_TRACE in content.partition(b";")[0],
        )
        try:
            await self._queue.send(encode_submission(submission), group=submission.account)
        except TemporaryError as error:
            safe = f"{error.safe}; it may have been sent again or not; see mailrelay trace {again}"
            raise UnclearError(safe, error.detail) from error
        return Resent(again, recipients)


def _chosen(newest: dict[str, State], only: frozenset[str]) -> tuple[str, ...]:
    for recipient in sorted(only):
        if recipient not in newest:
            raise PermanentError(f"{recipient} is not among the recipients: {_some(newest)}")
        if newest[recipient] not in IF_NAMED:
            raise PermanentError(f"{recipient} has not failed, it is {newest[recipient]}: nothing to send again")
    recipients = tuple(each for each, state in newest.items() if (each in only if only else state in FAILED))
    if not recipients:
        states = ", ".join(sorted({str(state) for state in newest.values()}))
        raise PermanentError(f"nothing to send again: no recipient has failed ({states})")
    return recipients


def _some(recipients: dict[str, State], most: int = 5) -> str:
    more = f" and {len(recipients) - most} more" if len(recipients) > most else ""
    return ", ".join(list(recipients)[:most]) + more
