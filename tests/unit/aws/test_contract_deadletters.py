"""ports.DeadLetters: the fake and SQS alike."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

import pytest

from relay.aws.deadletters import SqsDeadLetters
from relay.aws.queue import SqsQueue
from relay.ports import DeadLetters, Depth
from tests.fakes import FakeDeadLetters
from tests.unit.aws.contract import boto, unique, with_client

BODIES = [f"letter {number}" for number in range(12)]


class Run(Protocol):
    def __call__(self, test: Callable[[DeadLetters], Awaitable[Any]], bodies: list[str] = BODIES) -> None:
        """Runs `test` with these on the queue."""
        ...


@pytest.fixture(params=["fake", "sqs"])
def run(request: pytest.FixtureRequest) -> Run:
    def fake(test: Callable[[DeadLetters], Awaitable[Any]], bodies: list[str] = BODIES) -> None:
        queue = FakeDeadLetters()
        for body in bodies:
            queue.add(unique("id"), body, group="jo", sent=1_700_000_000.0)
        asyncio.run(test(queue))  # type: ignore[arg-type]

    if request.param == "fake":
        return fake
    endpoint = request.getfixturevalue("moto_endpoint")
    url = boto("sqs", endpoint).create_queue(QueueName=unique("queue"))["QueueUrl"]

    def real(test: Callable[[DeadLetters], Awaitable[Any]], bodies: list[str] = BODIES) -> None:
        async def whole(client: Any) -> None:
            queue = SqsQueue(client, url)
            await asyncio.gather(*(queue.send(body, group="jo") for body in bodies))
            await test(SqsDeadLetters(client, url))

        with_client(endpoint, whole)

    return real


async def take_all(letters: DeadLetters) -> list[Any]:
    taken: list[Any] = []
    while more := await letters.take(60):
        taken += more
    return taken


def test_each_is_taken_once(run: Run) -> None:
    async def test(letters: DeadLetters) -> None:
        taken = await take_all(letters)
        assert sorted(each.body for each in taken) == sorted(BODIES)
        assert len({each.message_id for each in taken}) == len(BODIES)
        assert {each.group for each in taken} == {"jo"}
        assert all(each.sent > 1_600_000_000 for each in taken)
        assert await letters.depth() == Depth(0, 12, 0)

    run(test)


def test_what_is_given_back_can_be_taken_again(run: Run) -> None:
    async def test(letters: DeadLetters) -> None:
        first = await take_all(letters)
        await letters.give_back(first)
        assert await letters.depth() == Depth(12, 0, 0)
        again = await take_all(letters)
        assert {each.message_id for each in again} == {each.message_id for each in first}

    run(test)


def test_what_is_removed_is_gone(run: Run) -> None:
    async def test(letters: DeadLetters) -> None:
        (one, two) = await take_all(letters)
        await letters.remove(one)
        await letters.give_back([two])
        assert [each.body for each in await take_all(letters)] == [two.body]
        assert await letters.depth() == Depth(0, 1, 0)

    run(test, ["a", "b"])


def test_an_empty_queue(run: Run) -> None:
    async def test(letters: DeadLetters) -> None:
        assert await letters.take(60) == ()
        await letters.give_back(())
        assert await letters.depth() == Depth(0, 0, 0)

    run(test, [])


def test_a_give_back_that_fails_is_no_error(moto_endpoint: str) -> None:
    url = boto("sqs", moto_endpoint).create_queue(QueueName=unique("queue"))["QueueUrl"]

    async def test(client: Any) -> None:
        await SqsQueue(client, url).send("x", group="jo")
        letters = SqsDeadLetters(client, url)
        (letter,) = await letters.take(60)
        await letters.give_back([replace(letter, receipt="nonsense")])

    with_client(moto_endpoint, test, backoff=0.0)
