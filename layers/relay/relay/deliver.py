"""deliver: one Delivery -> the remote server -> outcomes, with the ledger as the truth about sending.

    message                 ledger item                      what a crash right after costs
    -------                 -----------                      ------------------------------
    claim  ---------------> attempt n, owner, until          the claim has to expire
    look what stops it (cancelled, account disabled, addresses suppressed): no server is asked then
    load content
    send to the remote                                       THE window: it has the mail, we have no note
    settle ---------------> outcomes of n [final]            nothing: a replay goes on below, sends nothing
    store content (if anything is left or failed)            nothing
    report outcomes ------------------> RecordQueue          they are reported again, which record allows
      final: end
    queue attempt n+1 ----------------> DeliverQueue         it is queued twice; the ledger lets one send
    advance --------------> attempt n+1, due, no owner       a message of attempt n is dropped

Where the destination is left alone, or it isn't this one's turn, no attempt is made: the same message is queued again
with a delay, before the claim if that is known then, else
    queue attempt n ------------------> DeliverQueue         it is queued twice; the ledger lets one send
    advance --------------> attempt n, no owner              the claim has to expire

Settle comes at once after the send, before anything else that can fail, so that the window is as narrow
as it gets. An attempt whose outcomes the ledger has is never sent again, however often its message comes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from relay.encoding import encode_delivery, encode_report
from relay.errors import TemporaryError
from relay.failure import Ends, dead
from relay.judgement import delivered, failed, waits
from relay.outcome import Outcome, Report, State, cancelled
from relay.owners import Owners
from relay.ports import (
    Checked,
    Claimed,
    Clock,
    ContentStore,
    Finished,
    Held,
    Ledger,
    LedgerEntry,
    Queue,
    RecipientReply,
    Superseded,
    Suppressions,
    Transport,
)
from relay.retry import LEAST, RetryPolicy, hop
from relay.room import MEMORY, Room
from relay.submission import NO_DSN, NOTHING_ASKED, Content, Delivery, Inline, Stored, content_key, dsn_of
from relay.suppression import in_force, key, lifted, refused

SETTLE_ROOM: Final = 15.0  # seconds kept of every attempt to note what became of it
START_ROOM: Final = 90.0  # with less left no attempt is begun: the least wait for an answer, and to get there
LONGEST_PAUSE: Final = 5.0
NONE: Final[tuple[Outcome, ...]] = ()
SMALL: Final = 16_384  # octets of content that may travel with a message that only waits, or with a report


@dataclass(frozen=True, slots=True)
class Timing:
    """claim: seconds that a claim lives, longer than the function does. start, settle: seconds that must be
    left of the invocation to begin an attempt, and that an attempt leaves for its notes."""

    claim: float
    start: float = START_ROOM
    settle: float = SETTLE_ROOM

    def scaled(self, factor: float) -> "Timing":
        return Timing(self.claim * factor, self.start * factor, self.settle * factor)


class _PutOffError(Exception):
    """No server was asked, and none is to be before `until` (epoch seconds)."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until


def _unobserved(_delivery: Delivery, _outcome: Outcome) -> None: ...


async def _open(_delivery: Delivery) -> float:
    return 0.0


class Deliver:
    """The stage. Raises TemporaryError when one of our own parts is away, PermanentError when the content is
    gone or the claim was lost: our fault, so the record fails and no mail bounces.

    stopped: why an account's mail waits, "" if it doesn't. gate: until when a delivery is put off (epoch seconds), 0.0
    if it may be tried now; asked before the claim, where that costs no write. queue: DeliverQueue; reports:
    RecordQueue. observe: told of each new outcome, for logs and metrics. chance: uniform in [0, 1). owner: a new name
    for each claim. pause: asyncio.sleep.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        content: ContentStore,
        suppressions: Suppressions,
        stopped: Callable[[str], Awaitable[str]],
        transport: Transport,
        queue: Queue,
        reports: Queue,
        clock: Clock,
        retry: RetryPolicy,
        timing: Timing,
        gate: Callable[[Delivery], Awaitable[float]] = _open,
        observe: Callable[[Delivery, Outcome], None] = _unobserved,
        chance: Callable[[], float] = random.random,
        owner: Callable[[], str] | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._content = content
        self._suppressions = suppressions
        self._stopped = stopped
        self._transport = transport
        self._queue = queue
        self._reports = reports
        self._clock = clock
        self._retry = retry
        self._timing = timing
        self._gate = gate
        self._observe = observe
        self._chance = chance
        self._owner = owner or Owners()
        self._pause = pause
        self._room = Room(MEMORY)

    async def __call__(self, delivery: Delivery, /, *, deadline: float) -> None:
        """deadline: epoch seconds by which it returns."""
        if delivery.due > self._clock.now():
            await self._wait(delivery, delivery.due)
            return
        if (until := await self._gate(delivery)) and self._may_be_put_off(delivery):
            await self._put_off(delivery, until)
            return
        # The relay's own notices go on. Asked before the claim, which would outlive a failure here for minutes.
        stopped = "" if delivery.notice else await self._stopped(delivery.account)
        if isinstance(delivery.content, Inline):
            await self._claimed(delivery, deadline, stopped=stopped)
            return
        held = await self._room.take(delivery.content.size)
        try:
            await self._claimed(delivery, deadline, stopped=stopped)
        finally:
            self._room.give(held)

    async def _claimed(self, delivery: Delivery, deadline: float, *, stopped: str) -> None:
        now = self._clock.now()
        if deadline - now < self._timing.start:
            await self._wait(delivery, now)
            return
        owner, until = self._owner(), now + self._timing.claim
        match await self._ledger.claim(delivery, owner=owner, now=now, until=until):
            case Claimed(entry):
                ends = min(deadline, until) - self._timing.settle
                try:
                    await self._attempt(delivery, entry, owner, ends, stopped=stopped)
                except _PutOffError as put_off:
                    await self._put_off(delivery, put_off.until)
                    await self._ledger.advance(delivery.key, owner=owner, attempt=delivery.attempt, due=put_off.until)
            case Held(until=theirs):
                await self._wait(delivery, theirs)
            case Finished(entry):
                # A copy of the submission was refused: the sender isn't proved, and is told as validate tells.
                stage = "validate" if entry.refused else "deliver"
                await self._report(delivery, tuple(entry.outcomes.values()), stage)
            case Superseded():
                pass  # the later attempt was queued before the ledger moved on to it

    async def _attempt(
        self, delivery: Delivery, entry: LedgerEntry, owner: str, deadline: float, *, stopped: str
    ) -> None:
        recipients, noted = delivery.rcpt_to, NONE
        if entry.outcomes:
            recipients = tuple(each for each in recipients if not _is_final(entry.outcomes, each))
            noted = tuple(entry.outcomes[each] for each in recipients if each in entry.outcomes)
        if len(noted) == len(recipients) and all(outcome.attempt == delivery.attempt for outcome in noted):
            # Sent and settled before: only what follows is left to do.
            outcomes, known, checked = noted, entry.outcomes, Checked()
        else:
            checked = await self._suppressions.check(delivery.id, delivery.account, tuple(map(key, recipients)))
            outcomes = await self._decide(delivery, recipients, checked, deadline, stopped=stopped)
            known = {outcome.recipient: outcome for outcome in outcomes}
            if entry.outcomes:
                known = {**entry.outcomes, **known}
        final = State.DEFERRED not in [outcome.state for outcome in known.values()]
        if outcomes is not noted or final:
            await self._settle(delivery, owner, outcomes, final, deadline + self._timing.settle)
        if outcomes is not noted:
            for outcome in outcomes:
                self._observe(delivery, outcome)
        if not _all_delivered(outcomes):
            delivery = delivery._replace(content=await self._stored(delivery))
        await self._report(delivery, tuple(known.values()) if final else outcomes)
        if not final:
            await self._next(delivery, tuple(each for each in outcomes if not each.state.final), owner)
        if checked.known:
            await self._lift(checked, outcomes)

    async def _decide(
        self, delivery: Delivery, recipients: tuple[str, ...], checked: Checked, deadline: float, *, stopped: str
    ) -> tuple[Outcome, ...]:
        """One outcome for each of `recipients`, from a server or from what stops it before one is asked."""
        if not (checked.cancelled or stopped or checked.known):
            return await self._send(delivery, recipients, deadline)
        attempt, now = delivery.attempt, self._clock.now()
        if checked.cancelled:
            return tuple(cancelled(each, attempt=attempt, now=now) for each in recipients)
        if stopped:
            return self._judged(delivery, tuple(waits(each, stopped) for each in recipients))
        barred = in_force(checked, recipients, now)
        outcomes = {each: refused(each, why, attempt=attempt, now=now) for each, why in barred.items()}
        if rest := tuple(each for each in recipients if each not in barred):
            outcomes |= {each.recipient: each for each in await self._send(delivery, rest, deadline)}
        return tuple(outcomes[each] for each in recipients)

    async def _lift(self, checked: Checked, outcomes: tuple[Outcome, ...]) -> None:
        """An address that takes mail is not remembered as dead. If that fails, it is remembered until it expires."""
        now = self._clock.now()
        try:
            for each in lifted(checked, outcomes, now):
                await self._suppressions.remove(each.account, each.address, ended=now)
        except TemporaryError:
            pass

    async def _send(self, delivery: Delivery, recipients: tuple[str, ...], deadline: float) -> tuple[Outcome, ...]:
        match delivery.content:
            case Inline(data):
                content = data
            case Stored(key, _):
                content = await self._content.get(key)
        content = delivery.signature.encode("ascii") + content  # no copy where there is none
        replies = await self._transport.send(delivery, recipients, content, deadline=deadline)
        if 0.0 not in [each.put_off for each in replies] and self._may_be_put_off(delivery):
            raise _PutOffError(max(each.put_off for each in replies))
        return self._judged(delivery, replies)

    def _judged(self, delivery: Delivery, replies: tuple[RecipientReply, ...]) -> tuple[Outcome, ...]:
        attempt, now = delivery.attempt, self._clock.now()
        if False not in [each.ok for each in replies]:
            return tuple([delivered(each, attempt, now) for each in replies])
        chance = self._chance()
        clock = {
            Ends.NOW: None,
            Ends.EXPIRY: self._retry.next_due(
                received=delivery.received, attempt=attempt, now=now, chance=chance, least=LEAST
            ),
            Ends.MENDED: self._retry.later(attempt=attempt, now=now, chance=chance),
        }
        gone = dead(replies)
        return tuple(
            delivered(each, attempt, now)
            if each.ok
            else failed(each, attempt, now, clock, is_dead=each.recipient in gone)
            for each in replies
        )

    async def _settle(
        self, delivery: Delivery, owner: str, outcomes: tuple[Outcome, ...], final: bool, deadline: float
    ) -> None:
        """The remote has decided; to give up before time is out would send the mail twice."""
        pause = 0.1
        while True:
            try:
                await self._ledger.settle(delivery.key, owner=owner, outcomes=outcomes, final=final)
            except TemporaryError:
                if self._clock.now() + pause >= deadline:
                    raise
                await self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return

    async def _report(self, delivery: Delivery, outcomes: tuple[Outcome, ...], stage: str = "deliver") -> None:
        report = Report(
            id=delivery.id,
            account=delivery.account,
            mail_from=delivery.mail_from,
            domain=delivery.domain,
            chunk=delivery.chunk,
            received=delivery.received,
            stage=stage,
            outcomes=outcomes,
            content=await self._quotable(delivery, outcomes),
            notice=delivery.notice,
            tried=delivery.tried,
            ret=delivery.ret,
            envid=delivery.envid,
            dsn=dsn_of(delivery.dsn, (outcome.recipient for outcome in outcomes)) if delivery.dsn else NO_DSN,
            proved=delivery.proved,
        )
        await self._reports.send(encode_report(report), group=delivery.account)

    async def _next(self, delivery: Delivery, deferred: tuple[Outcome, ...], owner: str) -> None:
        due = max(outcome.next_due for outcome in deferred)
        attempt = delivery.attempt + 1
        rest = tuple(outcome.recipient for outcome in deferred)
        later = delivery._replace(
            rcpt_to=rest,
            attempt=attempt,
            due=due,
            tried=max(outcome.time for outcome in deferred),
        )  # dsn whole: the last report is about all recipients
        await self._wait(later, due)
        await self._ledger.advance(delivery.key, owner=owner, attempt=attempt, due=due)

    def _may_be_put_off(self, delivery: Delivery) -> bool:
        """Without it counting as an attempt: so what waits for long is seen, told to its sender, and expires."""
        return self._retry.may_be_put_off(received=delivery.received, due=delivery.due, now=self._clock.now())

    async def _put_off(self, delivery: Delivery, until: float) -> None:
        await self._wait(delivery, min(until, self._retry.expiry(delivery.received)))

    async def _wait(self, delivery: Delivery, until: float) -> None:
        """Queue `delivery` again, to come at `until` or as near as one hop gets."""
        delay = hop(until, self._clock.now())
        match delivery.content:
            case Inline(data) if delay > 0 and len(data) > SMALL:
                delivery = delivery._replace(content=await self._stored(delivery))
        await self._queue.send(encode_delivery(delivery), group=delivery.account, delay=delay)

    async def _quotable(self, delivery: Delivery, outcomes: tuple[Outcome, ...]) -> Content | None:
        """What a notice about these outcomes may quote: of a success the header, which the queue can carry."""
        if not _all_delivered(outcomes):
            return await self._stored(delivery)
        if not delivery.dsn:
            return None
        if not any(delivery.dsn.get(outcome.recipient, NOTHING_ASKED).wants("SUCCESS") for outcome in outcomes):
            return None
        match delivery.content:
            case Inline(data):
                return Inline(data[:SMALL])
            case stored:
                return stored

    async def _stored(self, delivery: Delivery) -> Stored:
        """The content by reference. The key is the message's own: putting it twice puts the same."""
        match delivery.content:
            case Stored() as stored:
                return stored
            case Inline(data):
                key = content_key(delivery.id)
                await self._content.put(key, data)
                return Stored(key, len(data))


def _all_delivered(outcomes: tuple[Outcome, ...]) -> bool:
    return [outcome.state for outcome in outcomes].count(State.DELIVERED) == len(outcomes)


def _is_final(outcomes: Mapping[str, Outcome], recipient: str) -> bool:
    return recipient in outcomes and outcomes[recipient].state.final
