import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO

import pytest
from aws_lambda_powertools import Logger

from relay.errors import FaultError, OutageError, PermanentError, TemporaryError
from relay.turns import APART, MARK
from relay.worker import QueueWorker
from tests.fakes import FakeClock, FakeQueue

SECRET = "secret content"


@dataclass(frozen=True)
class Message:
    body: str
    account: str = "a@example.com"


@dataclass
class Context:
    millis: int = 60_000

    def get_remaining_time_in_millis(self) -> int:
        return self.millis


def decode(body: str) -> Message:
    if body == "unreadable":
        raise PermanentError("unreadable message")
    return Message(body)


def event(*bodies: str, receives: int = 1) -> dict:
    return {"Records": [record(f"id-{number}", body, receives) for number, body in enumerate(bodies)]}


def record(id: str, body: str, receives: int = 1, group: str | None = "group") -> dict:
    attributes = {"ApproximateReceiveCount": str(receives)} | ({"MessageGroupId": group} if group else {})
    return {"messageId": id, "body": body, "attributes": attributes, "eventSource": "aws:sqs"}


def failures(*ids: str) -> dict:
    return {"batchItemFailures": [{"itemIdentifier": each} for each in ids]}


class Stage:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.done: list[str] = []
        self.deadlines: list[float] = []
        self.loops: set[int] = set()
        self.errors: dict[str, BaseException] = {}

    async def __call__(self, message: Message, /, *, deadline: float) -> None:
        self.seen.append(message.body)
        self.deadlines.append(deadline)
        self.loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0)
        if message.body == "endless":
            await asyncio.Event().wait()
        if message.body in self.errors:
            raise self.errors[message.body]
        self.done.append(message.body)


Build = Callable[..., QueueWorker[Message]]


@pytest.fixture
def log() -> StringIO:
    return StringIO()


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def worker(stage: Stage, queue: FakeQueue, log: StringIO) -> Iterator[QueueWorker[Message]]:
    handler = logging.StreamHandler(log)
    made = QueueWorker(
        decode=decode,
        stage=stage,
        queue=queue,
        clock=FakeClock(1000.0),
        logger=Logger(service=f"test-{id(log)}", logger_handler=handler, level="DEBUG"),
        clock_speed=10.0,
        chance=random.Random(1),
    )
    yield made
    made.close()


def test_every_record_reaches_the_stage_with_the_invocations_deadline(
    worker: QueueWorker[Message], stage: Stage
) -> None:
    assert worker.handle(event("a", "b"), Context(60_000)) == failures()
    assert stage.done == ["a", "b"]
    assert stage.deadlines == [1055.0, 1055.0]


def test_no_records(worker: QueueWorker[Message]) -> None:
    assert worker.handle({"Records": []}, Context()) == failures()


def test_one_loop_for_all_invocations_in_lambda_and_elsewhere(
    worker: QueueWorker[Message], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.handle(event("a"), Context())
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    worker.handle(event("b"), Context())
    assert stage.loops == {id(worker.loop)}


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), PermanentError("gone"), asyncio.CancelledError(), KeyError(SECRET), TimeoutError()]
)
def test_a_bug_fails_its_record_only_and_is_logged_once_without_content(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue, log: StringIO, error: BaseException
) -> None:
    stage.errors["b"] = error
    assert worker.handle(event("a", "b", "c"), Context()) == failures("id-1")
    assert stage.done == ["a", "c"]
    assert queue.sent == []
    assert log.getvalue().count("record failed") == 1
    assert SECRET not in log.getvalue()


def test_where_a_bug_is_can_be_read_in_the_log(worker: QueueWorker[Message], stage: Stage, log: StringIO) -> None:
    stage.errors["a"] = ZeroDivisionError(SECRET)
    worker.handle(event("a"), Context())
    assert "ZeroDivisionError" in log.getvalue()
    assert "test_worker.py" in log.getvalue()


def test_every_record_failing_is_no_exception(worker: QueueWorker[Message]) -> None:
    assert worker.handle(event("unreadable", "unreadable"), Context()) == failures("id-0", "id-1")


def test_unreadable_message_fails_and_the_rest_is_unharmed(worker: QueueWorker[Message], stage: Stage) -> None:
    assert worker.handle(event("a", "unreadable", "c"), Context()) == failures("id-1")
    assert stage.done == ["a", "c"]


def test_temporary_error_queues_the_same_body_again_and_is_done(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    stage.errors["b"] = TemporaryError("table is away")
    assert worker.handle(event("a", "b"), Context()) == failures()
    assert [(each.body, each.group, each.delay) for each in queue.sent] == [("b", "group", 3.0)]


def test_an_outage_of_ours_queues_it_again_and_a_fault_of_ours_does_not(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    stage.errors["a"] = OutageError("table is away")
    stage.errors["b"] = FaultError("table refuses the item")  # would come again, new, every 30 s for ever
    assert worker.handle(event("a", "b"), Context()) == failures("id-1")
    assert queue.bodies == ["a"]


def test_without_a_group_attribute_the_account_is_the_group(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    stage.errors["a"] = TemporaryError("table is away")
    worker.handle({"Records": [record("id-0", "a", group=None)]}, Context())
    assert [each.group for each in queue.sent] == ["a@example.com"]


def test_temporary_error_and_the_queue_away_too_fails_the_record(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    stage.errors["b"] = TemporaryError("table is away")
    queue.fail = TemporaryError("queue is away")
    assert worker.handle(event("a", "b"), Context()) == failures("id-1")


def test_a_stage_that_overruns_fails_its_record_only(worker: QueueWorker[Message], stage: Stage, log: StringIO) -> None:
    assert worker.handle(event("a", "endless"), Context(2_500)) == failures("id-1")  # half a second for "a"
    assert stage.done == ["a"]
    assert "out of time" in log.getvalue()


def test_third_receive_is_handled_after_all_others(worker: QueueWorker[Message], stage: Stage) -> None:
    records = [record("x", "suspect", 3), record("y", "b", 2), record("z", "c", 1)]
    assert worker.handle({"Records": records}, Context()) == failures()
    assert stage.seen == ["b", "c", "suspect"]
    assert stage.done == ["b", "c", "suspect"]


def test_of_several_suspects_none_is_run_and_they_are_set_apart_from_each_other(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    records = [record(f"s{n}", f"s{n}", 3 + n % 2) for n in range(3)] + [record("y", "b", 1)]
    assert worker.handle({"Records": records}, Context()) == failures()
    assert stage.done == ["b"]
    assert [(each.body, each.group) for each in queue.sent] == [(f"s{n}{MARK}", "group") for n in range(3)]
    delays = {each.delay for each in queue.sent}
    assert len(delays) == 3
    assert max(delays) < APART * 3


def test_what_was_set_apart_is_run_in_turn_and_comes_to_the_stage_as_it_was(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    stage.errors["a"] = ValueError()
    stage.errors["b"] = TemporaryError("table is away")
    assert worker.handle(event(f"a{MARK}", f"b{MARK}", f"c{MARK}", "d"), Context()) == failures("id-0")
    assert stage.seen == ["d", "a", "b", "c"]
    assert queue.bodies == ["b"]  # the stage has had it, and the process lives


def test_those_whose_turn_comes_late_are_set_apart_anew(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    """No time at all: the first one overruns, the others keep what they have."""
    assert worker.handle(event(f"a{MARK}", f"b{MARK}"), Context(0)) == failures("id-0")
    assert stage.done == []
    assert queue.bodies == [f"b{MARK}"]


def test_on_its_last_receive_a_message_is_run_by_itself(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    records = [record("x", "last", 5), record("y", "b", 1), record("z", f"c{MARK}", 2)]
    assert worker.handle({"Records": records}, Context()) == failures()
    assert stage.seen == ["last"]
    assert [(each.body, each.delay) for each in queue.sent] == [("b", 0.0), (f"c{MARK}", 0.0)]


def test_one_that_others_became_suspect_beside_is_left_for_its_next_receive(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue, log: StringIO
) -> None:
    records = [record("x", f"killer{MARK}", 3), record("y", "b", 3), record("z", "c", 1)]
    assert worker.handle({"Records": records}, Context()) == failures("x")
    assert stage.seen == ["c"]
    assert queue.bodies == [f"b{MARK}"]
    assert "left for its next receive" in log.getvalue()


@pytest.mark.parametrize("receives", range(1, 6))
def test_an_unreadable_message_fails_at_once_whatever_its_receive(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue, log: StringIO, receives: int
) -> None:
    records = [record(f"u{n}", "unreadable", receives) for n in range(3)] + [record("x", "a", 3)]
    assert worker.handle({"Records": records}, Context()) == failures("u0", "u1", "u2")
    assert stage.done == ["a"]
    assert queue.sent == []
    assert log.getvalue().count("record failed") == 3


def test_suspects_that_cannot_be_queued_again_fail(
    worker: QueueWorker[Message], stage: Stage, queue: FakeQueue
) -> None:
    queue.fail = TemporaryError("queue is away")
    assert worker.handle(event("a", "b", receives=3), Context()) == failures("id-0", "id-1")
    assert stage.done == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_caught(
    worker: QueueWorker[Message], stage: Stage, error: type[BaseException]
) -> None:
    stage.errors["a"] = error()
    with pytest.raises(error):
        worker.handle(event("a"), Context())


def test_an_event_that_is_none_is_an_error(worker: QueueWorker[Message]) -> None:
    with pytest.raises(KeyError):
        worker.handle({"hello": "world"}, Context())
