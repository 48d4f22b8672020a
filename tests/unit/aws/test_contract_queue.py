"""ports.Queue: the fake and SQS alike."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from relay.aws.queue import SqsQueue
from relay.errors import PermanentError
from relay.ports import Queue
from tests.fakes import FakeQueue
from tests.unit.aws.contract import boto, unique, with_client

LARGEST = 1_048_576


class Run(Protocol):
    def __call__(self, test: Callable[[Queue], Awaitable[Any]]) -> list[tuple[str, str]]:
        """Runs `test` with an empty queue; returns (body, group) of what can be received afterwards."""
        ...


def receive(sqs: Any, url: str) -> list[tuple[str, str]]:
    received = []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    ).get("Messages"):
        received += [(message["Body"], message["Attributes"]["MessageGroupId"]) for message in messages]
    return received


@pytest.fixture(params=["fake", "sqs"])
def run(request: pytest.FixtureRequest) -> Run:
    def fake(test: Callable[[Queue], Awaitable[Any]]) -> list[tuple[str, str]]:
        queue = FakeQueue()
        asyncio.run(test(queue))  # type: ignore[arg-type]
        return [(sent.body, sent.group) for sent in queue.sent if not sent.delay]

    if request.param == "fake":
        return fake
    endpoint = request.getfixturevalue("moto_endpoint")
    sqs = boto("sqs", endpoint)
    url = sqs.create_queue(QueueName=unique("queue"))["QueueUrl"]

    def real(test: Callable[[Queue], Awaitable[Any]]) -> list[tuple[str, str]]:
        with_client(endpoint, lambda client: test(SqsQueue(client, url)))
        return receive(sqs, url)

    return real


def test_a_body_arrives_as_it_was_sent(run: Run) -> None:
    body = '{"text":"a\\tb\\u00fc <>&\'"}\r\n\t ü🎉'
    assert run(lambda queue: queue.send(body, group="jo@example.com")) == [(body, "jo@example.com")]


def test_many_at_once_all_arrive(run: Run) -> None:
    sent = [(f"message {number}", f"user{number % 3}@example.com") for number in range(37)]

    async def test(queue: Queue) -> None:
        await asyncio.gather(*(queue.send(body, group=group) for body, group in sent))

    assert sorted(run(test)) == sorted(sent)


def test_large_ones_at_once_all_arrive(run: Run) -> None:
    sizes = [LARGEST, 1, LARGEST // 2, LARGEST // 2, LARGEST // 2 + 1, LARGEST]

    async def test(queue: Queue) -> None:
        await asyncio.gather(*(queue.send("x" * size, group="jo") for size in sizes))

    assert sorted(len(body) for body, _ in run(test)) == sorted(sizes)


def test_a_delayed_one_is_not_there_yet(run: Run) -> None:
    async def test(queue: Queue) -> None:
        await queue.send("late", group="jo", delay=600.5)
        await queue.send("latest", group="jo", delay=86_400.0)
        await queue.send("now", group="jo", delay=0.0)
        await queue.send("past", group="jo", delay=-3.0)

    assert sorted(run(test)) == [("now", "jo"), ("past", "jo")]


@pytest.mark.parametrize(
    "body",
    ["", "a\0b", "\x1b", "\x7f\ufffe", "\ud800", "x" * (LARGEST + 1), "ü" * (LARGEST // 2 + 1)],
    ids=["empty", "NUL", "control", "noncharacter", "lone surrogate", "too large", "too large in octets"],
)
def test_what_the_queue_never_takes_is_refused_alone(run: Run, body: str) -> None:
    async def test(queue: Queue) -> None:
        good = asyncio.gather(queue.send("one", group="jo"), queue.send("two", group="jo"))
        with pytest.raises(PermanentError):
            await queue.send(body, group="jo")
        await good

    assert sorted(run(test)) == [("one", "jo"), ("two", "jo")]
