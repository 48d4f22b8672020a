"""One invocation of the deliver function over real sockets; its ledger, tables and queues are in memory."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

import pytest
from aws_lambda_powertools import Logger

from relay.deliver import Deliver, Timing
from relay.encoding import decode_delivery, encode_delivery
from relay.outcome import State
from relay.retry import RetryPolicy
from relay.submission import Delivery, Inline
from relay.worker import ANSWER_ROOM, QueueWorker
from tests.fakes import FakeContent, FakeLedger, FakeQueue, FakeSuppressions
from tests.unit.smtp.scripted import Script
from tests.unit.smtp.world import CONTENT, LIMITS, World, world

WORKING = 1.0  # seconds that the invocation's deliveries have
SETTLE = 0.2
BUSY = 2.0  # what a machine that does something else may add


@dataclass
class Context:
    seconds: float

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


class Function:
    """Two MX hosts, mx1 of slow.example and mx2 of good.example; all of it on the worker's loop."""

    def __init__(self, slow: Script) -> None:
        logger = Logger("invocation", stream=StringIO(), level=logging.CRITICAL)
        self.queue, self.ledger = FakeQueue(), FakeLedger()
        self._stage: Deliver | None = None
        self.worker: QueueWorker[Delivery] = QueueWorker(
            decode=decode_delivery, stage=self._deliver, queue=self.queue, clock=_Zero(), logger=logger
        )
        self._world = world(slow, Script(), limits=LIMITS)
        self.here: World = self.worker.loop.run_until_complete(self._world.__aenter__())
        self.here.zone.mx_records = {
            f"{name}.example": ((10, f"mx{n}.b.example"),) for n, name in ((1, "slow"), (2, "good"))
        }
        self._stage = Deliver(
            ledger=self.ledger,
            content=FakeContent(),
            suppressions=FakeSuppressions(),
            stopped=self._stopped,
            transport=self.here.transport,
            queue=self.queue,
            reports=FakeQueue(),
            clock=self.here.clock,
            retry=RetryPolicy(),
            timing=Timing(claim=330.0, start=0.5, settle=SETTLE),
        )

    async def _stopped(self, _account: str) -> str:
        return ""

    async def _deliver(self, delivery: Delivery, /, *, deadline: float) -> None:
        assert self._stage
        await self._stage(delivery, deadline=self.here.clock.now() + deadline)

    def invoke(self, *deliveries: Delivery, seconds: float = WORKING) -> dict:
        records = [
            {
                "messageId": each.id,
                "body": encode_delivery(each),
                "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": each.account},
                "eventSource": "aws:sqs",
            }
            for each in deliveries
        ]
        return self.worker.handle({"Records": records}, Context(seconds + ANSWER_ROOM))

    def state(self, delivery: Delivery) -> list[State]:
        entry = self.ledger.items.get(delivery.key)
        return [outcome.state for outcome in entry.outcomes.values()] if entry else []

    def close(self) -> None:
        self.worker.loop.run_until_complete(self._world.__aexit__(None, None, None))
        self.worker.close()


class _Zero:
    """The worker's clock: deadlines are seconds from the start of the invocation."""

    def now(self) -> float:
        return 0.0


@pytest.fixture
def function() -> Iterator[Function]:
    made = Function(Script(mail="hang"))
    try:
        yield made
    finally:
        made.close()


def deliveries(function: Function, domain: str, count: int) -> list[Delivery]:
    now = function.here.clock.now()
    return [
        Delivery(f"{domain}-{n}", "account", "s@a.example", domain, 0, (f"a@{domain}",), now, Inline(CONTENT))
        for n in range(count)
    ]


def test_a_server_that_hangs_costs_its_own_deliveries_and_the_invocation_ends_in_time(function: Function) -> None:
    slow, good = deliveries(function, "slow.example", 20), deliveries(function, "good.example", 20)
    mixed = [each for pair in zip(slow, good, strict=True) for each in pair]
    began = time.monotonic()
    assert function.invoke(*mixed) == {"batchItemFailures": []}
    assert time.monotonic() - began < WORKING + BUSY
    assert {state for each in good for state in function.state(each)} == {State.DELIVERED}
    assert function.here.received == [0, 20]
    assert {state for each in slow for state in function.state(each)} == {State.DEFERRED}
    again = [decode_delivery(each.body) for each in function.queue.take()]
    assert sorted((each.id, each.attempt) for each in again) == sorted((each.id, 2) for each in slow)


def test_what_there_is_no_time_for_is_queued_again_as_it_was(function: Function) -> None:
    good = deliveries(function, "good.example", 5)
    assert function.invoke(*good, seconds=0.4) == {"batchItemFailures": []}
    assert function.here.received == [0, 0]
    assert [function.state(each) for each in good] == [[]] * 5
    again = [decode_delivery(each.body) for each in function.queue.take()]
    assert sorted(again, key=lambda each: each.id) == list(good)
