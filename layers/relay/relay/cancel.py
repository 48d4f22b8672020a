"""cancel: no further attempt at what has not been delivered yet.

    the message          a mark that deliver finds with the addresses it may not send to, in the same read, before
                         each attempt: so whatever has not begun yet ends as cancelled when its turn comes
    tried by deliver     the ledger's item becomes final as cancelled at once, unless a worker has it in hand
    put off by validate  there is no item yet: one is made that is final, as for a refusal

The mark comes first, so that nothing begins between it and the rest. What is ended at once is passed on, as the stages
do; the queue message of the next attempt finds the item final, reports once more and ends. To run it again changes
nothing, and passes on what a run that died did not.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from relay.encoding import encode_report
from relay.outcome import Outcome, Report, State, cancelled
from relay.ports import Clock, Ledger, LedgerEntry, Messages, Queue, Row, Suppressions
from relay.submission import DeliveryKey, recipients_by_part

TRIES: Final = 5  # at an item that others write at the same time


@dataclass(slots=True)
class Cancellation:
    """What came of it. known: anything is recorded about the message; if not, what there is of it ends when its turn
    comes.

    cancelled: recipients. ended: (recipient, state) that were final before. held: (domain, until): a worker has
    these in hand, and what it doesn't deliver ends then. coming: domains whose recipients end when their turn comes:
    an attempt that left nothing, or more recipients than one delivery takes, put off by validate, of which only
    deliver knows which belong together.
    """

    known: bool = True
    cancelled: list[str] = field(default_factory=list)
    ended: list[tuple[str, State]] = field(default_factory=list)
    held: list[tuple[str, float]] = field(default_factory=list)
    coming: list[str] = field(default_factory=list)


class Cancel:
    """reports: RecordQueue. owner: a new name for each run."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        messages: Messages,
        suppressions: Suppressions,
        reports: Queue,
        clock: Clock,
        owner: Callable[[], str] = lambda: f"cancel {secrets.token_hex(8)}",
    ) -> None:
        self._ledger = ledger
        self._messages = messages
        self._suppressions = suppressions
        self._reports = reports
        self._clock = clock
        self._owner = owner

    async def __call__(self, id: str) -> Cancellation:
        """TemporaryError if a port is away; what was cancelled until then stays so, and the next run reports it."""
        await self._suppressions.cancel(id, now=self._clock.now())
        rows = await self._messages.of_id(id)
        if not rows:
            return Cancellation(known=False)
        result = Cancellation()
        entries = await self._ledger.of_id(id)
        for entry in entries:
            await self._tried(entry, rows[0], result)
        seen = {recipient for entry in entries for recipient in entry.outcomes}
        domains = {entry.key.domain for entry in entries}
        await self._put_off([row for row in _newest(rows) if row.outcome.recipient not in seen], domains, result)
        return result

    async def _tried(self, entry: LedgerEntry, row: Row, result: Cancellation) -> None:
        owner = self._owner()
        for _ in range(TRIES):
            now = self._clock.now()
            if entry.final or entry.claimed_until > now or not entry.outcomes:
                break
            outcomes = tuple(_stopped(last, entry.attempt, now) for last in _open(entry))
            entry = await self._ledger.cancel(entry, owner=owner, now=now, outcomes=outcomes)
        if entry.final:
            mine = entry.owner == owner
            for outcome in entry.outcomes.values():
                if mine and outcome.state is State.CANCELLED:
                    result.cancelled.append(outcome.recipient)
                else:
                    result.ended.append((outcome.recipient, outcome.state))
            if any(outcome.state is State.CANCELLED for outcome in entry.outcomes.values()):
                await self._report(entry.key, row, "deliver", entry.outcomes.values())
        elif entry.claimed_until > self._clock.now() or entry.outcomes:
            result.held.append((entry.key.domain, entry.claimed_until))
        else:
            result.coming.append(entry.key.domain)

    async def _put_off(self, rows: list[Row], tried: set[str], result: Cancellation) -> None:
        """What validate has put off, and deliver has never seen."""
        open_ = {row.outcome.recipient: row for row in rows if not row.outcome.state.final}
        result.ended += [(row.outcome.recipient, row.outcome.state) for row in rows if row.outcome.state.final]
        parts = recipients_by_part(tuple(open_))
        told = {*result.coming, *(domain for domain, _ in result.held)}
        for (domain, chunk), recipients in parts.items():
            if domain in told or chunk:
                continue
            if (domain, 1) in parts or domain in tried:
                # Chunks are numbered in the order of the envelope, which the rows don't have.
                result.coming.append(domain)
                continue
            now, row = self._clock.now(), open_[recipients[0]]
            outcomes = tuple(_stopped(open_[each].outcome, 0, now) for each in recipients)
            key = DeliveryKey(row.id, domain, chunk)
            entry = await self._ledger.refuse(key, attempt=outcomes[0].attempt, outcomes=outcomes)
            if not entry.final:  # deliver has begun in this moment
                result.held.append((domain, entry.claimed_until))
                continue
            await self._report(key, row, "validate", entry.outcomes.values())
            for outcome in entry.outcomes.values():
                if outcome.state is State.CANCELLED:
                    result.cancelled.append(outcome.recipient)
                else:
                    result.ended.append((outcome.recipient, outcome.state))

    async def _report(self, key: DeliveryKey, row: Row, stage: str, outcomes: Iterable[Outcome]) -> None:
        report = Report(
            id=key.id,
            account=row.account,
            mail_from=row.mail_from,
            domain=key.domain,
            chunk=key.chunk,
            received=row.received,
            stage=stage,
            outcomes=tuple(outcome for outcome in outcomes if outcome.state is State.CANCELLED),
            notice=row.notice,
        )
        await self._reports.send(encode_report(report), group=row.account)


def _open(entry: LedgerEntry) -> list[Outcome]:
    return [outcome for outcome in entry.outcomes.values() if not outcome.state.final]


def _stopped(last: Outcome, attempt: int, now: float) -> Outcome:
    """attempt: the ledger's; the outcome's is a row of its own behind the last one."""
    return cancelled(last.recipient, attempt=max(attempt, last.attempt + 1), now=now)


def _newest(rows: tuple[Row, ...]) -> list[Row]:
    """The newest row of each recipient; `Messages.of_id` gives them oldest first."""
    return list({row.outcome.recipient: row for row in rows}.values())
