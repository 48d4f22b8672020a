"""relay.cancel: what is stopped, what isn't, and that every recipient still has one final state."""

import asyncio
from dataclasses import dataclass, field

import pytest

from relay.cancel import Cancel, Cancellation
from relay.encoding import decode_report
from relay.errors import TemporaryError
from relay.outcome import Outcome, Report, State
from relay.ports import Finished, LedgerEntry, Row
from relay.submission import Delivery, DeliveryKey, Stored
from tests.fakes import FakeClock, FakeLedger, FakeMessages, FakeQueue, FakeSuppressions

ID = "0192f0c4-0000-7000-8000-000000000001"
A, B, C = "a@in.example", "b@in.example", "c@other.example"


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    messages: FakeMessages = field(default_factory=FakeMessages)
    suppressions: FakeSuppressions = field(default_factory=FakeSuppressions)
    reports: FakeQueue = field(default_factory=FakeQueue)

    def outcome(self, recipient: str, state: State, attempt: int = 1) -> Outcome:
        return Outcome(recipient, state, self.clock.time, attempt, 451, "4.2.2", "Mailbox full", "mx", "TLSv1.3", 9.0)

    def recorded(self, *outcomes: Outcome, stage: str = "deliver") -> None:
        rows = tuple(
            Row(ID, "jo@example.com", "jo@example.com", each.recipient.partition("@")[2], 1.0, stage, each)
            for each in outcomes
        )
        asyncio.run(self.messages.put(rows))

    def tried(self, *outcomes: Outcome, attempt: int = 2, until: float = 0.0, chunk: int = 0) -> DeliveryKey:
        key = DeliveryKey(ID, outcomes[0].recipient.partition("@")[2], chunk)
        known = {each.recipient: each for each in outcomes}
        final = all(each.state.final for each in outcomes)
        owner = "worker" if until else ""
        self.ledger.items[key] = LedgerEntry(key, attempt, self.clock.time + 300, owner, until, final, known)
        self.recorded(*outcomes)
        return key

    def cancel(self) -> Cancellation:
        stage = Cancel(
            ledger=self.ledger,
            messages=self.messages,
            suppressions=self.suppressions,
            reports=self.reports,
            clock=self.clock,
        )
        return asyncio.run(stage(ID))

    def told(self) -> list[Report]:
        return [decode_report(body) for body in self.reports.bodies]


def test_a_message_of_which_nothing_is_recorded_ends_when_its_turn_comes() -> None:
    world = World()
    assert world.cancel() == Cancellation(known=False)
    assert world.suppressions.cancelled == {ID}


def test_the_mark_comes_before_the_look() -> None:
    """Else an attempt could begin, unseen, between the two."""
    world = World()
    world.messages.fail = TemporaryError("away")
    with pytest.raises(TemporaryError):
        world.cancel()
    assert world.suppressions.cancelled == {ID}


def test_what_is_put_off_is_stopped_and_the_rest_stands() -> None:
    world = World()
    delivered = world.outcome(A, State.DELIVERED)
    key = world.tried(delivered, world.outcome(B, State.DEFERRED))
    result = world.cancel()
    assert (result.cancelled, result.ended, result.held) == ([B], [(A, State.DELIVERED)], [])
    entry = world.ledger.items[key]
    assert entry.final
    stopped = entry.outcomes[B]
    assert (stopped.state, stopped.attempt, stopped.text) == (State.CANCELLED, 2, "cancelled by the operator")
    assert entry.outcomes[A] == delivered
    (report,) = world.told()
    assert (report.outcomes, report.stage, report.account, report.domain) == (
        (stopped,),
        "deliver",
        "jo@example.com",
        "in.example",
    )
    delivery = Delivery(ID, "jo@example.com", "", "in.example", 0, (B,), 1.0, Stored("k", 1), attempt=2)
    claim = asyncio.run(world.ledger.claim(delivery, owner="w", now=world.clock.time, until=world.clock.time + 9))
    assert claim == Finished(entry)  # the attempt that was queued ends here


def test_a_worker_that_has_it_in_hand_is_left_alone() -> None:
    world = World()
    until = world.clock.time + 20
    key = world.tried(world.outcome(A, State.DEFERRED), until=until)
    before = world.ledger.items[key]
    assert world.cancel().held == [("in.example", until)]
    assert world.ledger.items[key] == before
    assert not world.reports.sent
    world.clock.time = until
    assert world.cancel().cancelled == [A]


def test_nobody_knows_the_recipients_of_a_first_attempt_that_left_nothing() -> None:
    world = World()
    world.recorded(world.outcome(C, State.DELIVERED))
    key = DeliveryKey(ID, "in.example", 0)
    world.ledger.items[key] = LedgerEntry(key, 1, owner="gone", claimed_until=world.clock.time - 1)
    assert world.cancel().coming == ["in.example"]
    assert not world.ledger.items[key].final


def test_what_validate_put_off_is_stopped() -> None:
    world = World()
    world.recorded(*(world.outcome(each, State.DEFERRED) for each in (A, B, C)), stage="validate")
    result = world.cancel()
    assert result.cancelled == [A, B, C]
    assert {key.part: set(entry.outcomes) for key, entry in world.ledger.items.items()} == {
        "in.example#0": {A, B},
        "other.example#0": {C},
    }
    assert all(entry.final for entry in world.ledger.items.values())
    assert [(report.stage, len(report.outcomes)) for report in world.told()] == [("validate", 2), ("validate", 1)]
    assert {outcome.attempt for report in world.told() for outcome in report.outcomes} == {2}


def test_part_tried_part_put_off() -> None:
    world = World()
    world.recorded(world.outcome(A, State.DEFERRED), world.outcome(C, State.DEFERRED), stage="validate")
    world.tried(world.outcome(A, State.DEFERRED))
    assert world.cancel().cancelled == [A, C]


@pytest.mark.parametrize("began", [False, True], ids=["none begun", "one begun"])
def test_more_than_one_delivery_s_recipients_wait_for_deliver(began: bool) -> None:
    """Which of them are in which delivery isn't known: to guess could lose one."""
    world = World()
    many = [f"u{number}@in.example" for number in range(150)]
    world.recorded(*(world.outcome(each, State.DEFERRED) for each in many), stage="validate")
    if began:
        world.tried(*(world.outcome(each, State.DEFERRED) for each in many[50:]))
    result = world.cancel()
    assert result.coming == ["in.example"]
    assert len(result.cancelled) == (100 if began else 0)


def test_what_has_ended_is_left() -> None:
    world = World()
    world.tried(world.outcome(A, State.DELIVERED))
    world.recorded(world.outcome(C, State.REJECTED), stage="validate")
    result = world.cancel()
    assert result.ended == [(A, State.DELIVERED), (C, State.REJECTED)]
    assert not result.cancelled
    assert not world.reports.sent


def test_a_run_that_died_before_its_report_is_completed_by_the_next() -> None:
    world = World()
    world.tried(world.outcome(A, State.DEFERRED))
    world.reports.fail_next(TemporaryError("away"))
    with pytest.raises(TemporaryError):
        world.cancel()
    result = world.cancel()
    assert result.ended == [(A, State.CANCELLED)]
    assert [report.outcomes[0].state for report in world.told()] == [State.CANCELLED]


class Racing(FakeLedger):
    """Another attempt is over just before our first write."""

    async def cancel(self, read: LedgerEntry, **options: object) -> LedgerEntry:  # type: ignore[override]
        if read.attempt == 2:
            self.items[read.key] = read._replace(attempt=3)
        return await super().cancel(read, **options)  # type: ignore[arg-type]


def test_an_item_that_moves_on_meanwhile_is_read_again() -> None:
    world = World(ledger=Racing())
    key = world.tried(world.outcome(A, State.DEFERRED))
    assert world.cancel().cancelled == [A]
    assert world.ledger.items[key].outcomes[A].attempt == 3


def test_deliver_begins_just_then() -> None:
    world = World()
    world.recorded(world.outcome(A, State.DEFERRED), stage="validate")
    key = DeliveryKey(ID, "in.example", 0)

    async def of_id(_: str) -> tuple[LedgerEntry, ...]:
        world.ledger.items[key] = LedgerEntry(key, 1, owner="w", claimed_until=world.clock.time + 5)
        return ()

    world.ledger.of_id = of_id  # type: ignore[method-assign]
    assert world.cancel().held == [("in.example", world.clock.time + 5)]
