"""quota.UsageTable and bounces.BounceTable: the fake and DynamoDB alike."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.aws.usage import DynamoUsage
from relay.bounces import DayOfAccount
from relay.quota import Bounces, Usage
from tests.fakes import FakeUsage
from tests.unit.aws.contract import NOW, make_table, with_client

Run = Callable[[Callable[[DynamoUsage], Awaitable[Any]]], Any]

JO, AL = "jo@example.com", "al@example.com"
DAY, NEXT = "2027-01-15", "2027-01-16"
ONE, TWO, THREE = Usage(10, NOW + 0.1 + 0.2, "a1"), Usage(12, NOW + 1 / 3, "b1"), Usage(12, NOW + 1 / 3, "c1")


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeUsage()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "account", "day")
    return lambda test: with_client(endpoint, lambda client: test(DynamoUsage(client, table)))


def test_nothing_is_used_at_first(run: Run) -> None:
    async def test(usage: DynamoUsage) -> None:
        assert await usage.find(JO, DAY) == Usage()
        assert await usage.days(None, DAY) == ()

    run(test)


def test_what_is_there_is_replaced(run: Run) -> None:
    async def test(usage: DynamoUsage) -> None:
        assert await usage.replace(JO, DAY, Usage(), ONE) == ONE
        assert await usage.replace(JO, DAY, ONE, TWO) == TWO
        assert await usage.find(JO, DAY) == TWO
        assert await usage.find(JO, NEXT) == await usage.find(AL, DAY) == Usage()

    run(test)


@pytest.mark.parametrize("before", [Usage(), ONE._replace(by="x")], ids=["nothing", "the same by another"])
def test_what_isn_t_there_is_not_replaced(run: Run, before: Usage) -> None:
    async def test(usage: DynamoUsage) -> None:
        await usage.replace(JO, DAY, Usage(), ONE)
        assert await usage.replace(JO, DAY, before, TWO) == ONE
        assert await usage.find(JO, DAY) == ONE

    run(test)


def test_of_two_at_once_one_replaces_it(run: Run) -> None:
    async def test(usage: DynamoUsage) -> None:
        found = await asyncio.gather(*(usage.replace(JO, DAY, Usage(), each) for each in (TWO, THREE)))
        assert found[0] == found[1] == await usage.find(JO, DAY)

    run(test)


def test_bounces_are_counted_beside_messages(run: Run) -> None:
    async def test(usage: DynamoUsage) -> None:
        assert await usage.count(JO, DAY, Bounces(10, 2)) == Bounces(10, 2)
        assert await usage.replace(JO, DAY, Usage(), ONE) == ONE
        assert await usage.count(JO, DAY, Bounces(5, 0)) == Bounces(15, 2)
        assert await usage.find(JO, DAY) == ONE
        assert await usage.days(JO, DAY) == (DayOfAccount(JO, DAY, 10, Bounces(15, 2)),)

    run(test)


def test_what_was_forgiven_does_not_count_any_more(run: Run) -> None:
    async def test(usage: DynamoUsage) -> None:
        await usage.forgive(JO, DAY)
        await usage.count(JO, DAY, Bounces(10, 9))
        await usage.forgive(JO, DAY)
        assert await usage.count(JO, DAY, Bounces(2, 1)) == Bounces(2, 1)
        await usage.forgive(JO, DAY)
        assert await usage.count(JO, DAY, Bounces(1, 1)) == Bounces(1, 1)
        (day,) = await usage.days(JO, DAY)
        assert day.bounces == Bounces(13, 11)

    run(test)


def test_forgiving_where_nothing_was_counted_makes_no_day(run: Run) -> None:
    async def test(usage: DynamoUsage) -> None:
        await usage.forgive(JO, DAY)
        assert await usage.days(None, DAY) == ()

    run(test)


def test_days_of_one_and_of_all(run: Run) -> None:
    async def test(usage: DynamoUsage) -> None:
        for account in (JO, AL):
            for day in (DAY, NEXT):
                await usage.replace(account, day, Usage(), ONE)
        keys = [(each.account, each.day) for each in await usage.days(None, DAY)]
        assert keys == [(AL, DAY), (AL, NEXT), (JO, DAY), (JO, NEXT)]
        assert [each.day for each in await usage.days(JO, DAY)] == [DAY, NEXT]
        assert [each.account for each in await usage.days(None, NEXT)] == [AL, JO]

    run(test)
