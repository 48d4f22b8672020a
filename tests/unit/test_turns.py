"""relay.turns: what is run in whose company; and queues with what kills its worker, run until they are empty."""

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from aws_lambda_powertools import Logger
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import turns
from relay.errors import PermanentError
from relay.turns import Record, Turns, is_apart, plain, set_apart
from relay.worker import QueueWorker
from tests.fakes import FakeClock, FakeQueue
from tests.unit.test_template import STAGES, mapping, properties

VISIBILITY = 1800.0


def record(id: str, body: str, receives: int) -> Record:
    attributes = {"ApproximateReceiveCount": str(receives), "MessageGroupId": "group"}
    return {"messageId": id, "body": body, "attributes": attributes, "eventSource": "aws:sqs"}


def of(short: str) -> Record:
    """ "a3" is a on its third receive, "a3!" the same, set apart."""
    body = set_apart(short[0]) if short.endswith("!") else short[0]
    return record(short, body, int(short[1]))


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param("a1 b2", {"crowd": "a1 b2"}, id="nobody suspect"),
        pytest.param("a3 b1", {"crowd": "b1", "alone": "a3"}, id="one"),
        pytest.param("a1! b1", {"crowd": "b1", "alone": "a1!"}, id="one that was set apart"),
        pytest.param("a3! b1", {"crowd": "b1", "alone": "a3!"}, id="one that was set apart and came to three"),
        pytest.param("a3 b4 c1", {"crowd": "c1", "apart": "a3 b4"}, id="several"),
        pytest.param("a1! b2! c1", {"crowd": "c1", "alone": "a1! b2!"}, id="several that were set apart: in turn"),
        pytest.param("a3! b3! c1", {"crowd": "c1", "apart": "a3! b3!"}, id="several that have been in turn: again"),
        pytest.param("a3! b3 c3", {"left": "a3!", "apart": "b3 c3"}, id="one that others became suspect beside"),
        pytest.param("a2! b3", {"left": "a2!", "apart": "b3"}, id="the same, sooner"),
        pytest.param("a1! b3", {"apart": "a1! b3"}, id="one that has not been run since"),
        pytest.param("a5 b3 c1 d1!", {"alone": "a5", "again": "b3 c1 d1!"}, id="a last receive"),
        pytest.param("a6! b4!", {"alone": "a6!", "again": "b4!"}, id="a receive too many"),
        pytest.param("a5 b5! c3 d1", {"apart": "a5 b5!", "again": "c3 d1"}, id="several last receives"),
    ],
)
def test_turns(records: str, expected: dict[str, str]) -> None:
    found = turns.turns(map(of, records.split()))
    parts = {name: getattr(found, name) for name in Turns.__slots__}
    assert {name: " ".join(each["messageId"] for each in part) for name, part in parts.items() if part} == expected


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=8))
def test_each_record_is_in_one_part_and_a_last_receive_is_run_by_itself(shape: list[tuple[int, bool]]) -> None:
    records = [record(str(n), set_apart("x") if apart else "x", receives) for n, (receives, apart) in enumerate(shape)]
    found = turns.turns(records)
    parts = [each["messageId"] for name in Turns.__slots__ for each in getattr(found, name)]
    assert sorted(parts) == sorted(each["messageId"] for each in records)
    run = found.crowd + found.alone
    if any(turns.receives(each) >= turns.LAST for each in records):
        assert len(run) <= 1
    assert not any(turns.receives(each) >= turns.LAST for each in found.left)


def test_set_apart_once_is_enough_and_can_be_undone() -> None:
    assert plain(set_apart(set_apart("{}"))) == "{}"


@pytest.mark.parametrize("stage", STAGES)
def test_last_is_the_queues_last_receive_and_apart_is_a_few_times_what_a_batch_is_gathered_in(stage: str) -> None:
    assert properties(f"{stage}Queue")["RedrivePolicy"]["maxReceiveCount"] == turns.LAST
    assert mapping(stage)["MaximumBatchingWindowInSeconds"] * 3 < turns.APART


# --- a queue, its dead-letter queue, and workers that die ---


class DiedError(BaseException):
    """The process has ended: nothing catches it, nothing is reported."""


@dataclass(frozen=True)
class Message:
    body: str
    account: str = "a@example.com"


def decode(body: str) -> Message:
    if body.startswith("unreadable"):
        raise PermanentError("unreadable message")
    return Message(body)


@dataclass
class InQueue:
    id: str
    body: str
    visible: float
    receives: int = 0


@dataclass
class Model:
    """SQS and Lambda by rounds: what is visible is cut into batches, and with each batch come `traffic` good messages,
    as many as fit, while there are any."""

    chance: random.Random
    batch: int = 10
    pollers: int = 1
    traffic: int = 0
    now: float = 0.0
    queued: list[InQueue] = field(default_factory=list)
    dead: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    invocations: int = 0
    ids: int = 0

    def put(self, *bodies: str, delay: float = 0.0) -> list[InQueue]:
        new = [InQueue(f"id-{self.ids + number}", body, self.now + delay) for number, body in enumerate(bodies)]
        self.ids += len(bodies)
        self.queued += new
        return new

    def run(self, rounds: int = 2000) -> None:
        for _ in range(rounds):
            if not self.queued:
                return
            self._round()
        raise AssertionError(f"still queued: {self.queued}")

    def _round(self) -> None:
        self.now = max(self.now + 1, min(each.visible for each in self.queued))
        visible = [each for each in self.queued if each.visible <= self.now]
        for each in [each for each in visible if each.receives >= turns.LAST]:
            self.dead[plain(each.body)] += 1
            self.queued.remove(each)
            visible.remove(each)
        self.chance.shuffle(visible)
        for number in range(self.pollers):
            mine = visible[number :: self.pollers]
            for start in range(0, len(mine), self.batch):
                self._invoke(mine[start : start + self.batch])

    def _invoke(self, batch: list[InQueue]) -> None:
        fresh = min(self.batch - len(batch), self.traffic)
        batch = batch + self.put(*(f"good {self.traffic - number} of the traffic" for number in range(fresh)))
        self.traffic -= fresh
        for each in batch:
            each.receives += 1
            each.visible = self.now + VISIBILITY
        queue = FakeQueue()
        logger = Logger(service="model", logger_handler=logging.NullHandler(), level="CRITICAL")
        worker = QueueWorker(
            decode=decode, stage=self._stage, queue=queue, clock=FakeClock(), logger=logger, chance=self.chance
        )
        self.invocations += 1
        try:
            answer = worker.handle({"Records": [record(each.id, each.body, each.receives) for each in batch]}, self)
            failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        except DiedError:
            failed = {each.id for each in batch}
        worker.close()
        for sent in queue.sent:
            self.put(sent.body, delay=sent.delay)
        self.queued = [each for each in self.queued if each not in batch or each.id in failed]

    def get_remaining_time_in_millis(self) -> int:
        return 300_000

    async def _stage(self, message: Message, /, *, deadline: float) -> None:
        self.runs[message.body] += 1
        for _ in range(self.chance.randint(0, 20)):
            await asyncio.sleep(0)
        if message.body.startswith("killer"):
            raise DiedError
        if message.body.startswith("bug"):
            raise ValueError
        self.done[message.body] += 1


def test_unreadable_messages_are_dead_after_five_receives_however_many_there_are() -> None:
    model = Model(random.Random(1))
    model.put(*(f"unreadable {number}" for number in range(10)))
    model.run()
    assert model.dead == {f"unreadable {number}": 1 for number in range(10)}
    assert model.invocations == 5
    assert model.now == 1 + 5 * VISIBILITY


def test_unreadable_messages_don_t_wait_for_suspects_nor_these_for_them() -> None:
    model = Model(random.Random(1), batch=30)
    model.put(*(f"unreadable {number}" for number in range(10)), *(f"good {number}" for number in range(10)))
    for each in model.queued:
        each.receives = 2
    model.run()
    assert len(model.dead) == 10
    assert model.now == 1 + 3 * VISIBILITY
    assert model.done == {f"good {number}": 1 for number in range(10)}


def test_messages_that_fail_by_a_bug_take_no_turns() -> None:
    model = Model(random.Random(1))
    model.put(*(f"bug {number}" for number in range(10)))
    model.run()
    assert model.dead == {f"bug {number}": 1 for number in range(10)}
    assert model.now < 10 * VISIBILITY  # two receives together, five set apart, if it goes well


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("good", "batch", "pollers", "traffic"),
    [
        pytest.param(0, 10, 1, 0, id="by itself"),
        pytest.param(1, 10, 1, 0, id="among one"),
        pytest.param(9, 10, 1, 0, id="among nine"),
        pytest.param(99, 100, 1, 0, id="a full batch"),
        pytest.param(9, 10, 1, 300, id="full batches all the time"),
        pytest.param(9, 10, 3, 300, id="full batches, several pollers"),
    ],
)
def test_a_killer_gets_to_the_dead_letter_queue_and_takes_nobody_along(
    seed: int, good: int, batch: int, pollers: int, traffic: int
) -> None:
    model = Model(random.Random(seed), batch, pollers, traffic)
    expected = {f"good {number}" for number in range(good)}
    expected |= {f"good {1 + number} of the traffic" for number in range(traffic)}
    model.put("killer", *(f"good {number}" for number in range(good)))
    model.run()
    assert model.dead == {"killer": 1}
    assert set(model.done) >= expected - {f"good {n} of the traffic" for n in range(1, model.traffic + 1)}
    assert model.runs["killer"] <= 9  # four at most before it is set apart, five then
    assert model.now < 10 * VISIBILITY


@pytest.mark.parametrize("killed", [0, 2, 4])
def test_a_message_on_its_last_receive_is_safe_from_whom_it_meets(killed: int) -> None:
    for seed in range(5):
        model = Model(random.Random(seed))
        model.put("killer", "good 0", "good 1")
        model.queued[0].receives = killed
        model.queued[1].receives = turns.LAST - 1
        model.run()
        assert model.dead == {"killer": 1}
        assert set(model.done) == {"good 0", "good 1"}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    good=st.integers(0, 12),
    killers=st.integers(0, 4),
    bugs=st.integers(0, 3),
    batch=st.integers(1, 12),
    pollers=st.integers(1, 3),
    traffic=st.integers(0, 100),
    receives=st.integers(0, 4),
)
def test_whoever_is_at_fault_is_dead_in_the_end_and_nobody_else(
    seed: int, good: int, killers: int, bugs: int, batch: int, pollers: int, traffic: int, receives: int
) -> None:
    model = Model(random.Random(seed), batch, pollers, traffic)
    bad = {f"killer {number}" for number in range(killers)} | {f"bug {number}" for number in range(bugs)}
    fine = {f"good {number}" for number in range(good)}
    model.put(*sorted(bad | fine))
    for each in model.queued:  # an outage of the functions has used up some
        each.receives = model.chance.randint(0, receives)
    model.run()
    assert set(model.dead) == bad
    assert set(model.done) >= fine


def test_after_an_outage_thousands_get_through() -> None:
    """All have used up their receives but one, and are set apart at once: more than can each be by itself."""
    model = Model(random.Random(1), batch=100, pollers=5)
    for each in model.put(*(f"good {number}" for number in range(2000))):
        each.receives = turns.LAST - 1
    model.run()
    assert not model.dead
    assert len(model.done) == 2000
    assert model.now < VISIBILITY
    assert not any(is_apart({"body": body}) for body in model.done)
