"""In-memory stand-ins for the ports; tests/unit/aws/test_contracts_*.py hold them to what the real adapters do.

Each can be told to fail: `fail_next(error, ...)` queues errors for the coming calls, one each;
`fail = error` makes every call fail until it is None again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.account import Account, BouncePause
from relay.audit import Entry
from relay.bounces import DayOfAccount
from relay.errors import PermanentError, RelayError
from relay.outcome import Outcome
from relay.ports import (
    Checked,
    Claim,
    Claimed,
    DeadLetter,
    Depth,
    Finished,
    Held,
    LedgerEntry,
    Row,
    Superseded,
    Suppression,
    Turn,
)
from relay.proof.receipt import Known
from relay.proof.verdict import Verdict
from relay.quota import Bounces, Usage
from relay.sites import Pause
from relay.submission import Delivery, DeliveryKey

LONGEST_DELAY = 900.0
LARGEST_BODY = 1_048_576


class FakeClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


class Failing:
    def __init__(self) -> None:
        self.fail: RelayError | None = None
        self._failures: deque[RelayError | None] = deque()

    def fail_next(self, *errors: RelayError | None) -> None:
        """The coming calls raise these, one each; None lets a call through."""
        self._failures.extend(errors)

    def _maybe_fail(self) -> None:
        error = self._failures.popleft() if self._failures else self.fail
        if error is not None:
            raise error


@dataclass(frozen=True, slots=True)
class Sent:
    """What was put on a queue; delay in seconds, as the queue would keep it (0-900)."""

    body: str
    group: str
    delay: float


class FakeQueue(Failing):
    """ports.Queue; `sent` in order, `take()` empties it, `bodies` for short."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []

    @property
    def bodies(self) -> list[str]:
        return [each.body for each in self.sent]

    def take(self) -> list[Sent]:
        taken, self.sent = self.sent, []
        return taken

    async def send(self, body: str, *, group: str, delay: float = 0.0) -> None:
        self._maybe_fail()
        if not body or not all(_legal(character) for character in body):
            raise PermanentError("message is not legal text for the queue")
        if len(body.encode()) > LARGEST_BODY:
            raise PermanentError("message is larger than the queue takes")
        self.sent.append(Sent(body, group, min(max(delay, 0.0), LONGEST_DELAY)))


def _legal(character: str) -> bool:
    return (
        character in "\t\n\r"
        or " " <= character <= "\ud7ff"
        or "\ue000" <= character <= "\ufffd"
        or character > "\uffff"
    )


class FakeDeadLetters(Failing):
    """ports.DeadLetters; `letters` on it, `held` among them (by message id)."""

    def __init__(self) -> None:
        super().__init__()
        self.letters: dict[str, DeadLetter] = {}
        self.held: set[str] = set()
        self.now_depth: Depth | None = None
        self.now_oldest: float | None = None

    def add(self, message_id: str, body: str, *, group: str = "", sent: float = 0.0, receives: int = 5) -> None:
        self.letters[message_id] = DeadLetter(message_id, f"receipt {message_id}", body, group, sent, receives)

    async def depth(self) -> Depth:
        self._maybe_fail()
        return self.now_depth or Depth(len(self.letters) - len(self.held), len(self.held), 0)

    async def oldest(self, now: float) -> float | None:
        self._maybe_fail()
        return self.now_oldest

    async def take(self, hold: float) -> tuple[DeadLetter, ...]:
        self._maybe_fail()
        taken = [each for each in self.letters.values() if each.message_id not in self.held][:10]
        self.held |= {each.message_id for each in taken}
        return tuple(taken)

    async def give_back(self, letters: Sequence[DeadLetter]) -> None:
        self.held -= {each.message_id for each in letters}

    async def remove(self, letter: DeadLetter) -> None:
        self._maybe_fail()
        self.letters.pop(letter.message_id, None)
        self.held.discard(letter.message_id)


class FakeContent(Failing):
    """ports.ContentStore; `items`: key -> bytes; `octets_read`: of all `get`s."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, bytes] = {}
        self.octets_read = 0

    async def put(self, key: str, data: bytes) -> None:
        self._maybe_fail()
        self.items[key] = data

    async def get(self, key: str, most: int | None = None) -> bytes:
        self._maybe_fail()
        try:
            self.octets_read += len(self.items[key][:most])
            return self.items[key][:most]
        except KeyError:
            raise PermanentError("the message's content is gone", f"no content under {key!r}") from None


class FakeLedger(Failing):
    """ports.Ledger; `items`: key -> LedgerEntry."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[DeliveryKey, LedgerEntry] = {}

    async def claim(self, delivery: Delivery, *, owner: str, now: float, until: float) -> Claim:
        self._maybe_fail()
        entry = self.items.get(delivery.key)
        if entry is None:
            entry = LedgerEntry(delivery.key, delivery.attempt)
        if entry.final:
            return Finished(entry)
        if entry.attempt > delivery.attempt:
            return Superseded(entry)
        if entry.claimed_until > now and entry.owner != owner:
            return Held(entry.claimed_until)
        entry = entry._replace(attempt=delivery.attempt, due=delivery.due, owner=owner, claimed_until=until)
        self.items[delivery.key] = entry
        return Claimed(entry)

    async def settle(self, key: DeliveryKey, *, owner: str, outcomes: tuple[Outcome, ...], final: bool) -> None:
        self._maybe_fail()
        if not outcomes and not final:
            return
        entry = self.items.get(key)
        if entry is None or entry.owner != owner or (entry.final and not final):
            raise PermanentError("claim lost")
        if entry.final:
            return  # our own write, whose answer was lost
        now_known = {**entry.outcomes, **{outcome.recipient: outcome for outcome in outcomes}}
        until = 0.0 if final else entry.claimed_until
        self.items[key] = entry._replace(outcomes=now_known, final=final, claimed_until=until)

    async def advance(self, key: DeliveryKey, *, owner: str, attempt: int, due: float) -> None:
        self._maybe_fail()
        entry = self.items.get(key)
        if entry is not None and entry.owner == owner and not entry.final:
            self.items[key] = entry._replace(attempt=attempt, due=due, owner="", claimed_until=0.0)

    async def refuse(self, key: DeliveryKey, *, attempt: int, outcomes: tuple[Outcome, ...]) -> LedgerEntry:
        self._maybe_fail()
        refused = LedgerEntry(key, attempt, final=True, outcomes={each.recipient: each for each in outcomes})
        return self.items.setdefault(key, refused)

    async def of_id(self, id: str) -> tuple[LedgerEntry, ...]:
        self._maybe_fail()
        return tuple(self.items[key] for key in sorted(self.items) if key.id == id)

    async def cancel(self, read: LedgerEntry, *, owner: str, now: float, outcomes: tuple[Outcome, ...]) -> LedgerEntry:
        self._maybe_fail()
        entry = self.items.get(read.key)
        if entry is None:
            raise PermanentError("there is no such delivery")
        as_read = (entry.attempt, entry.owner) == (read.attempt, read.owner)
        if as_read and not entry.final and entry.claimed_until <= now:
            known = {**entry.outcomes, **{outcome.recipient: outcome for outcome in outcomes}}
            entry = entry._replace(owner=owner, claimed_until=0.0, final=True, outcomes=known)
            self.items[read.key] = entry
        return entry


class FakeMessages(Failing):
    """ports.Messages; `rows` as they are kept, one for each recipient, stage and attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[tuple[str, str, str, int], Row] = {}

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows.values())

    async def put(self, rows: tuple[Row, ...]) -> None:
        self._maybe_fail()
        for row in rows:
            self._rows[row.id, row.outcome.recipient, row.stage, row.outcome.attempt] = row

    async def of_id(self, id: str) -> tuple[Row, ...]:
        self._maybe_fail()
        return tuple(sorted((row for row in self.rows if row.id == id), key=_recipient_attempt))

    async def of_account(self, account: str, *, since: float = 0.0, limit: int = 1000) -> tuple[Row, ...]:
        self._maybe_fail()
        found = sorted((row for row in self.rows if row.account == account), key=_recipient_attempt)
        found.sort(key=lambda row: row.id, reverse=True)
        return tuple(row for row in found if row.received >= since)[:limit]


def _recipient_attempt(row: Row) -> tuple[str, bool, int]:
    return row.outcome.recipient, row.stage != "validate", row.outcome.attempt


@dataclass
class _Refusal:
    by: str
    since: float
    until: float
    turn: Turn
    count: int = 0


class FakeNotices(Failing):
    """ports.Notices; `items`: by refusal."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, _Refusal] = {}

    async def turn(self, refusal: str, *, by: str, count: int, now: float, until: float) -> Turn | None:
        self._maybe_fail()
        item = self.items.get(refusal)
        if item is None or item.until <= now:
            turn = Turn(item.count, item.since) if item else Turn(0, now)
            self.items[refusal] = _Refusal(by, now, until, turn)
            return turn
        if item.by == by:
            return item.turn
        item.count += count
        return None


class FakeAccounts(Failing):
    """ports.Accounts; `items`: user name in lower case -> Account."""

    def __init__(self, *accounts: Account) -> None:
        super().__init__()
        self.items: dict[str, Account] = {account.user.lower(): account for account in accounts}

    async def find(self, user: str) -> Account | None:
        self._maybe_fail()
        return self.items.get(user.lower())

    async def create(self, account: Account) -> bool:
        self._maybe_fail()
        return self.items.setdefault(account.user.lower(), account) == account

    async def update(self, account: Account, before: Account) -> bool:
        self._maybe_fail()
        found = self.items.get(account.user.lower())
        if found is not None and found.version == before.version:
            self.items[account.user.lower()] = found = account
        return found == account

    async def pause(self, user: str, pause: BouncePause) -> bool:
        self._maybe_fail()
        found = self.items.get(user.lower())
        if found is None or found.pause or found.deleted:
            return False
        self.items[user.lower()] = replace(found, pause=pause, version=found.version + 1)
        return True

    async def remove(self, user: str) -> None:
        self._maybe_fail()
        self.items.pop(user.lower(), None)

    async def list(self) -> tuple[Account, ...]:
        self._maybe_fail()
        return tuple(self.items[user] for user in sorted(self.items) if not self.items[user].deleted)


class FakeUsage(Failing):
    """quota.UsageTable and bounces.BounceTable; `items` by account and day, `bounces` and `forgiven`, too. writes: how
    often messages were written."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[tuple[str, str], Usage] = {}
        self.bounces: dict[tuple[str, str], Bounces] = {}
        self.forgiven: dict[tuple[str, str], Bounces] = {}
        self.writes = 0

    async def find(self, account: str, day: str) -> Usage:
        await asyncio.sleep(0)
        self._maybe_fail()
        return self.items.get((account, day), Usage())

    async def replace(self, account: str, day: str, before: Usage, after: Usage) -> Usage:
        await asyncio.sleep(0)
        self._maybe_fail()
        self.writes += 1
        if self.items.get((account, day), Usage()).by == before.by:
            self.items[account, day] = after
        return self.items[account, day]

    async def count(self, account: str, day: str, more: Bounces) -> Bounces:
        self._maybe_fail()
        there = self.bounces.get((account, day), Bounces())
        self.bounces[account, day] = there = Bounces(there.finished + more.finished, there.bounced + more.bounced)
        forgiven = self.forgiven.get((account, day), Bounces())
        return Bounces(there.finished - forgiven.finished, there.bounced - forgiven.bounced)

    async def forgive(self, account: str, day: str) -> None:
        self._maybe_fail()
        self.forgiven[account, day] = self.bounces.get((account, day), Bounces())

    async def days(self, account: str | None, since: str) -> tuple[DayOfAccount, ...]:
        self._maybe_fail()
        keys = sorted(self.items.keys() | self.bounces.keys())
        return tuple(
            DayOfAccount(*key, self.items.get(key, Usage()).messages, self.bounces.get(key, Bounces()))
            for key in keys
            if account in (None, key[0]) and key[1] >= since
        )


class FakeOperator(Failing):
    """ports.Operator; `told`: (subject, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    async def tell(self, subject: str, text: str) -> None:
        self._maybe_fail()
        self.told.append((subject, text))


class FakeAudit(Failing):
    """audit.Audit; `items` by subject, time and request."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[tuple[str, float, str], Entry] = {}

    async def put(self, entry: Entry) -> None:
        self._maybe_fail()
        self.items[entry.subject, entry.time, entry.request] = entry

    async def find(self, subject: str = "") -> tuple[Entry, ...]:
        self._maybe_fail()
        found = [each for each in self.items.values() if subject in ("", each.subject)]
        return tuple(sorted(found, key=lambda entry: (entry.time, entry.request)))


class FakeSms(Failing):
    """ports.Sms; `sent`: (phone, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, str]] = []

    async def send(self, phone: str, text: str) -> None:
        self._maybe_fail()
        self.sent.append((phone, text))


class FakeReceipts(Failing):
    """proof.receipt.Receipts; `items` in force by (domain, account), `superseded` by (domain, account, name).

    stale: what the next `find` says, as if it had been asked before the last `put`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[tuple[str, str], Known] = {}
        self.superseded: dict[tuple[str, str, str], Verdict] = {}
        self.stale: Known | None = None

    async def find(self, domain: str, account: str) -> Known | None:
        self._maybe_fail()
        stale, self.stale = self.stale, None
        return stale or self.items.get((domain, account))

    async def put(self, account: str, known: Known, before: Known | None) -> bool:
        self._maybe_fail()
        key = known.verdict.domain, account
        if before and before.verdict.decided != known.verdict.decided:
            self.superseded[*key, before.verdict.name] = before.verdict
        there = self.items.get(key)
        if (there.version if there else None) != (before.version if before else None):
            return there == known
        self.items[key] = known
        return True

    async def keep(self, account: str, verdict: Verdict, now: float) -> None:
        self._maybe_fail()
        self.superseded[verdict.domain, account, verdict.name] = verdict

    async def receipt(self, domain: str, account: str, name: str) -> Verdict | None:
        self._maybe_fail()
        known = self.items.get((domain, account))
        if known and known.verdict.name == name:
            return known.verdict
        return self.superseded.get((domain, account, name))


class FakeSuppressions(Failing):
    """ports.Suppressions; `items` by (account, address), `cancelled`: ids; `checked`: how often `check` was called."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[tuple[str, str], Suppression] = {}
        self.cancelled: set[str] = set()
        self.checked = 0

    async def check(self, id: str, account: str, addresses: Sequence[str]) -> Checked:
        self.checked += 1
        self._maybe_fail()
        known = {each: self.items[account, each] for each in addresses if (account, each) in self.items}
        return Checked(id in self.cancelled, known)

    async def put(self, suppression: Suppression, before: Suppression | None) -> Suppression | None:
        self._maybe_fail()
        key = suppression.account, suppression.address
        there = self.items.get(key)
        if there is not None and there != suppression and there != before:
            return there
        self.items[key] = suppression
        return None

    async def set(self, suppression: Suppression) -> None:
        self._maybe_fail()
        self.items[suppression.account, suppression.address] = suppression

    async def remove(self, account: str, address: str, *, ended: float | None = None) -> bool:
        self._maybe_fail()
        there = self.items.get((account, address))
        if there is None or (ended is not None and there.until > ended):
            return False
        del self.items[account, address]
        return True

    async def all(self, account: str | None = None) -> tuple[Suppression, ...]:
        self._maybe_fail()
        return tuple(self.items[key] for key in sorted(self.items) if account is None or key[0] == account)

    async def cancel(self, id: str, *, now: float) -> None:
        self._maybe_fail()
        self.cancelled.add(id)


class FakePauses(Failing):
    """sites.Pauses; `items` by site; `reads` and `writes` count the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Pause] = {}
        self.reads = self.writes = 0

    async def find(self, site: str) -> Pause | None:
        self.reads += 1
        self._maybe_fail()
        return self.items.get(site)

    async def put(self, pause: Pause, before: Pause | None) -> Pause | None:
        self.writes += 1
        self._maybe_fail()
        there = self.items.get(pause.site)
        if (there.until if there else None) == (before.until if before else None):
            there = self.items[pause.site] = pause
        return there

    async def end(self, pause: Pause) -> None:
        self.writes += 1
        self._maybe_fail()
        there = self.items.get(pause.site)
        if there is not None and there.until == pause.until:
            del self.items[pause.site]

    async def all(self) -> tuple[Pause, ...]:
        self._maybe_fail()
        return tuple(self.items[site] for site in sorted(self.items))
