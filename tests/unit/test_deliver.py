import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from relay import deliver as deliver_module
from relay.deliver import Deliver, Timing
from relay.encoding import decode_delivery, decode_report, encode_delivery
from relay.errors import PermanentError, TemporaryError
from relay.outcome import Outcome, Report, State
from relay.ports import LedgerEntry, RecipientReply
from relay.retry import DELAYS, LEAST, LIFETIME, RetryPolicy
from relay.room import COPIES, MEMORY
from relay.stopped import DISABLED
from relay.submission import Delivery, Dsn, Inline, Stored
from tests.fakes import FakeClock, FakeContent, FakeLedger, FakeQueue, FakeSuppressions

NOW = FakeClock().now()
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
A, B, C = "a@b.example", "b@b.example", "c@b.example"
OK, LATER, NEVER = (250, "2.0.0"), (450, "4.2.0"), (550, "5.1.1")
DELIVERY = Delivery("id", "account", "s@a.example", "b.example", 0, (A, B), NOW, Inline(CONTENT))


def reply(recipient: str, answer: tuple[int, str] = OK) -> RecipientReply:
    code, enhanced = answer
    return RecipientReply(recipient, code < 300, code >= 500, code, enhanced, "words", "mx[192.0.2.1]", "TLSv1.3")


@dataclass
class FakeTransport:
    """ports.Transport; `answers`: recipient -> what it is answered; everybody else is OK."""

    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    sent: list[tuple[int, tuple[str, ...], bytes]] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        self.sent.append((delivery.attempt, recipients, content))
        self.deadlines.append(deadline)
        await asyncio.sleep(0)
        self.meanwhile()
        return tuple(reply(recipient, self.answers.get(recipient, OK)) for recipient in recipients)


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger()
        self.content = FakeContent()
        self.suppressions = FakeSuppressions()
        self.disabled: set[str] = set()
        self.transport = FakeTransport()
        self.queue = FakeQueue()
        self.reports = FakeQueue()
        self.observed: list[Outcome] = []
        self.paused: list[float] = []
        self.stage = Deliver(
            ledger=self.ledger,
            content=self.content,
            suppressions=self.suppressions,
            stopped=self._stopped,
            transport=self.transport,
            queue=self.queue,
            reports=self.reports,
            clock=self.clock,
            retry=RetryPolicy(),
            timing=Timing(claim=330.0),
            observe=lambda _, outcome: self.observed.append(outcome),
            chance=lambda: 0.5,
            pause=self._pause,
        )

    async def _stopped(self, account: str) -> str:
        return DISABLED if account in self.disabled else ""

    async def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.clock.advance(seconds)

    def run(self, *deliveries: Delivery, left: float = 300.0) -> None:
        async def all_at_once() -> None:
            deadline = self.clock.now() + left
            await asyncio.gather(*(self.stage(delivery, deadline=deadline) for delivery in deliveries))

        asyncio.run(all_at_once())

    def queued(self) -> list[tuple[Delivery, float]]:
        return [(decode_delivery(each.body), each.delay) for each in self.queue.take()]

    def reported(self) -> list[Report]:
        return [decode_report(each.body) for each in self.reports.take()]

    def states(self) -> dict[str, State]:
        return {to: outcome.state for to, outcome in self.ledger.items[DELIVERY.key].outcomes.items()}


@pytest.fixture
def world() -> World:
    return World()


def test_delivered(world: World) -> None:
    world.run(DELIVERY)
    assert world.transport.sent == [(1, (A, B), CONTENT)]
    assert world.ledger.items[DELIVERY.key].final
    (report,) = world.reported()
    assert report.outcomes == tuple(
        Outcome(to, State.DELIVERED, NOW, 1, 250, "2.0.0", "words", "mx[192.0.2.1]", "TLSv1.3") for to in (A, B)
    )
    assert report == Report(
        "id", "account", "s@a.example", "b.example", 0, NOW, "deliver", report.outcomes, content=None, notice=False
    )
    assert world.queued() == []
    assert world.content.items == {}
    assert world.observed == list(report.outcomes)


@pytest.mark.parametrize(
    ("answer", "age", "attempt", "state"),
    [
        (OK, 0.0, 1, State.DELIVERED),
        (NEVER, 0.0, 1, State.BOUNCED),
        (LATER, 0.0, 1, State.DEFERRED),
        (LATER, LIFETIME, 20, State.EXPIRED),
        (LATER, LIFETIME, LEAST, State.EXPIRED),
        (LATER, LIFETIME, LEAST - 1, State.DEFERRED),  # our outage made it old: it has its attempts all the same
        (LATER, 20 * LIFETIME, 1, State.DEFERRED),
        (NEVER, LIFETIME, 20, State.BOUNCED),
        (OK, LIFETIME + 1e6, 1, State.DELIVERED),
    ],
)
def test_states(world: World, answer: tuple[int, str], age: float, attempt: int, state: State) -> None:
    world.transport.answers = {A: answer}
    world.run(DELIVERY._replace(rcpt_to=(A,), received=NOW - age, attempt=attempt))
    (outcome,) = world.reported()[0].outcomes
    assert outcome.state is state
    assert (outcome.next_due > 0) == (state is State.DEFERRED)
    assert world.ledger.items[DELIVERY.key].final == state.final


def test_what_is_left_is_the_next_attempt(world: World) -> None:
    world.transport.answers = {B: LATER, C: NEVER}
    world.run(DELIVERY._replace(rcpt_to=(A, B, C)))
    due = NOW + DELAYS[0] * 1.05
    ((following, delay),) = world.queued()
    assert following == DELIVERY._replace(
        rcpt_to=(B,), attempt=2, due=due, content=Stored("content/id", len(CONTENT)), tried=NOW
    )
    assert delay == pytest.approx(due - NOW)
    assert world.content.items == {"content/id": CONTENT}
    entry = world.ledger.items[DELIVERY.key]
    assert (entry.attempt, entry.due, entry.owner, entry.claimed_until, entry.final) == (2, due, "", 0.0, False)
    (first,) = world.reported()
    assert [outcome.state for outcome in first.outcomes] == [State.DELIVERED, State.DEFERRED, State.BOUNCED]
    assert first.content == Stored("content/id", len(CONTENT))

    world.clock.time = due
    world.transport.answers = {}
    world.run(following)
    assert world.transport.sent[1] == (2, (B,), CONTENT)
    (last,) = world.reported()  # of all the delivery's recipients
    assert {(outcome.recipient, outcome.state, outcome.attempt) for outcome in last.outcomes} == {
        (A, State.DELIVERED, 1),
        (B, State.DELIVERED, 2),
        (C, State.BOUNCED, 1),
    }
    assert world.queued() == []


def test_content_by_reference_is_loaded_and_stays_where_it_is(world: World) -> None:
    world.content.items = {"k": CONTENT}
    world.transport.answers = {A: LATER, B: NEVER}
    world.run(DELIVERY._replace(content=Stored("k", len(CONTENT))))
    assert world.transport.sent[0][2] == CONTENT
    assert world.content.items == {"k": CONTENT}
    assert world.queued()[0][0].content == world.reported()[0].content == Stored("k", len(CONTENT))


def test_a_report_of_success_has_no_content(world: World) -> None:
    world.run(DELIVERY)
    assert world.reported()[0].content is None


def test_what_was_asked_about_notices_goes_along(world: World) -> None:
    a, b = Dsn("SUCCESS"), Dsn("NEVER", "rfc822;b@b.example")
    world.transport.answers = {B: LATER}
    world.run(DELIVERY._replace(ret="HDRS", envid="e1", dsn={A: a, B: b}))
    (report,) = world.reported()
    assert (report.ret, report.envid, report.dsn, report.tried) == ("HDRS", "e1", {A: a, B: b}, 0.0)
    ((following, _),) = world.queued()
    assert (following.ret, following.envid, following.dsn, following.tried) == ("HDRS", "e1", {A: a, B: b}, NOW)


@pytest.mark.parametrize(("notify", "quoted"), [("SUCCESS,DELAY", Inline(CONTENT)), ("FAILURE", None)])
def test_a_success_that_is_to_be_told_brings_the_header(world: World, notify: str, quoted: Inline | None) -> None:
    world.run(DELIVERY._replace(dsn={B: Dsn(notify)}))
    assert world.reported()[0].content == quoted
    assert world.content.items == {}


@pytest.mark.parametrize(("ahead", "delay"), [(5.0, 5.0), (899.0, 899.0), (5000.0, 900.0)])
def test_not_due_yet_is_another_hop(world: World, ahead: float, delay: float) -> None:
    early = DELIVERY._replace(attempt=3, due=NOW + ahead)
    world.run(early)
    assert world.queued() == [(early, delay)]
    assert world.transport.sent == []
    assert world.ledger.items == {}


def test_a_hop_carries_large_content_by_reference(world: World) -> None:
    content = b"x" * 20_000 + b"\r\n"
    world.run(DELIVERY._replace(content=Inline(content), due=NOW + 60))
    assert world.queued()[0][0].content == Stored("content/id", 20_002)
    assert world.content.items == {"content/id": content}


def test_too_little_time_left_queues_it_again_unharmed(world: World) -> None:
    world.run(DELIVERY, left=89.0)
    assert world.queued() == [(DELIVERY, 0.0)]
    assert world.ledger.items == {}
    assert world.transport.sent == []


@pytest.mark.parametrize(("left", "claimed"), [(300.0, 300.0), (400.0, 330.0)])
def test_time_to_settle_is_kept_and_no_claim_is_outlived(world: World, left: float, claimed: float) -> None:
    world.run(DELIVERY, left=left)
    assert world.transport.deadlines == [NOW + claimed - deliver_module.SETTLE_ROOM]


def test_a_living_claim_sends_it_back_until_then(world: World) -> None:
    asyncio.run(world.ledger.claim(DELIVERY, owner="other", now=NOW, until=NOW + 100))
    world.run(DELIVERY)
    assert world.queued() == [(DELIVERY, 100.0)]
    assert world.transport.sent == []


def test_several_copies_at_once_send_one(world: World) -> None:
    world.run(DELIVERY, DELIVERY, DELIVERY)
    assert len(world.transport.sent) == 1
    assert len(world.queued()) == 2


def test_a_final_delivery_is_reported_again_and_nothing_else(world: World) -> None:
    world.transport.answers = {B: NEVER}
    world.run(DELIVERY)
    first = world.reported()
    world.run(DELIVERY)
    assert world.reported() == first
    assert len(world.transport.sent) == 1
    assert len(world.observed) == 2


def test_a_refused_delivery_is_never_sent(world: World) -> None:
    rejected = Outcome(A, State.REJECTED, NOW, 1, 550, "5.7.1", "no token")
    asyncio.run(world.ledger.refuse(DELIVERY.key, attempt=1, outcomes=(rejected,)))
    world.run(DELIVERY)
    assert world.transport.sent == []
    (report,) = world.reported()
    assert report.outcomes == (rejected,)
    assert report.stage == "validate"  # the same row again, and no notice to a sender that is not proved


def test_only_recipients_that_are_not_final_yet_are_sent_to(world: World) -> None:
    cancelled = Outcome(A, State.CANCELLED, NOW, 1, 550, "5.7.0", "cancelled")
    world.ledger.items[DELIVERY.key] = LedgerEntry(DELIVERY.key, 1, outcomes={A: cancelled})
    world.run(DELIVERY)
    assert world.transport.sent == [(1, (B,), CONTENT)]
    assert world.states() == {A: State.CANCELLED, B: State.DELIVERED}


def test_nobody_left_to_send_to_is_the_end(world: World) -> None:
    cancelled = {to: Outcome(to, State.CANCELLED, NOW, 1, 550, "5.7.0", "cancelled") for to in (A, B)}
    world.ledger.items[DELIVERY.key] = LedgerEntry(DELIVERY.key, 1, outcomes=cancelled)
    world.run(DELIVERY)
    assert world.transport.sent == []
    assert world.ledger.items[DELIVERY.key].final
    assert set(world.reported()[0].outcomes) == set(cancelled.values())


def test_a_settled_attempt_is_not_made_again(world: World) -> None:
    world.transport.answers = {A: LATER}
    world.queue.fail_next(TemporaryError("away"))
    with pytest.raises(TemporaryError):
        world.run(DELIVERY)
    world.clock.advance(400.0)
    world.run(DELIVERY)
    assert len(world.transport.sent) == 1
    ((following, delay),) = world.queued()
    assert (following.attempt, following.rcpt_to, delay) == (2, (A,), 0.0)
    assert [outcome.recipient for outcome in world.observed] == [A, B]


def test_an_attempt_that_the_ledger_has_left_behind_is_dropped(world: World) -> None:
    world.transport.answers = {A: LATER}
    world.run(DELIVERY)
    world.queued(), world.reported()
    world.run(DELIVERY)
    assert (world.queued(), world.reported(), len(world.transport.sent)) == ([], [], 1)


def test_missing_content_is_our_fault_and_bounces_nothing(world: World) -> None:
    with pytest.raises(PermanentError):
        world.run(DELIVERY._replace(content=Stored("gone", 5)))
    assert (world.queued(), world.reported()) == ([], [])
    assert world.states() == {}


@pytest.mark.parametrize("part", ["ledger", "content", "queue", "reports", "suppressions"])
def test_an_outage_of_ours_bounces_nothing(world: World, part: str) -> None:
    world.content.items = {"k": CONTENT}
    world.transport.answers = {A: LATER, B: LATER}
    getattr(world, part).fail = TemporaryError("away")
    with pytest.raises(TemporaryError):
        world.run(DELIVERY._replace(content=Stored("k", len(CONTENT))))
    assert all(state is State.DEFERRED for entry in world.ledger.items for state in world.states().values())


def test_the_note_of_what_was_sent_is_tried_until_time_is_out(world: World) -> None:
    world.ledger.fail_next(None, *[TemporaryError("away")] * 8)
    world.run(DELIVERY)
    assert world.paused == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert world.states() == {A: State.DELIVERED, B: State.DELIVERED}

    other = DELIVERY._replace(id="other")
    world.ledger.fail_next(None, *[TemporaryError("away")] * 100)
    with pytest.raises(TemporaryError):
        world.run(other)
    assert world.clock.now() - NOW < 330.0


def test_a_lost_claim_reports_nothing(world: World) -> None:
    def steal() -> None:
        entry = world.ledger.items[DELIVERY.key]
        world.ledger.items[DELIVERY.key] = entry._replace(owner="other")

    world.transport.meanwhile = steal
    with pytest.raises(PermanentError):
        world.run(DELIVERY)
    assert (world.queued(), world.reported()) == ([], [])


def test_a_notice_stays_a_notice(world: World) -> None:
    world.transport.answers = {A: LATER}
    world.run(DELIVERY._replace(notice=True, mail_from=""))
    assert world.reported()[0].notice
    assert world.queued()[0][0].notice


def test_queue_messages_go_into_the_accounts_group(world: World) -> None:
    world.transport.answers = {A: LATER}
    world.run(DELIVERY)
    assert {each.group for each in (*world.queue.sent, *world.reports.sent)} == {"account"}


def test_large_content_is_held_by_few_at_once(world: World) -> None:
    held: list[int] = []
    peak = 0

    class Counting(FakeContent):
        async def get(self, key: str, most: int | None = None) -> bytes:
            nonlocal peak
            held.append(1)
            peak = max(peak, len(held))
            await asyncio.sleep(0)
            held.pop()
            return CONTENT

    world.stage._content = Counting()
    size = MEMORY // COPIES // 2
    world.run(*(DELIVERY._replace(id=f"{n}", content=Stored(f"{n}", size)) for n in range(6)))
    assert len(world.transport.sent) == 6
    assert peak == 2
    world.run(DELIVERY._replace(id="huge", content=Stored("huge", 10 * size)))
    assert len(world.transport.sent) == 7


def test_what_is_queued_is_what_encoding_makes(world: World) -> None:
    world.run(DELIVERY, left=1.0)
    assert world.queue.bodies == [encode_delivery(DELIVERY)]
