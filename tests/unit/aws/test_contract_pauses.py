"""sites.Pauses: the fake and DynamoDB alike."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.aws.pauses import DynamoPauses
from relay.errors import TemporaryError
from relay.shaping import Heard
from relay.sites import KEPT, Pause, Pauses
from tests.fakes import FakePauses
from tests.unit.aws.contract import NOW, boto, make_table, with_client

Run = Callable[[Callable[[Pauses], Awaitable[Any]]], Any]
SITE = "mx1.b.example,mx2.b.example"
FIRST = Pause(SITE, NOW + 60.123456, 1, NOW, Heard.SLOW, "421 4.7.0 too much")
TRIAL = replace(FIRST, until=NOW + 120.5, trial=True)
SECOND = Pause(SITE, NOW + 240.25, 2, NOW, Heard.AWAY, "451 4.4.1 refused (connect)")


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakePauses()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "site")
    return lambda test: with_client(endpoint, lambda client: test(DynamoPauses(client, table)))


def test_a_pause_begins_is_tried_grows_and_ends(run: Run) -> None:
    async def test(pauses: Pauses) -> None:
        assert await pauses.find(SITE) is None
        for before, after in ((None, FIRST), (FIRST, TRIAL), (TRIAL, SECOND)):
            assert await pauses.put(after, before) == after
            assert await pauses.find(SITE) == after
        assert await pauses.find("mx1.b.example") is None
        await pauses.end(SECOND)
        assert await pauses.find(SITE) is None

    run(test)


def test_of_two_workers_one_is_first(run: Run) -> None:
    async def test(pauses: Pauses) -> None:
        assert await pauses.put(FIRST, None) == FIRST
        assert await pauses.put(replace(FIRST, until=NOW + 61), None) == FIRST
        assert await pauses.put(TRIAL, FIRST) == TRIAL
        assert await pauses.put(replace(TRIAL, until=NOW + 121), FIRST) == TRIAL
        assert await pauses.find(SITE) == TRIAL

    run(test)


def test_our_own_write_whose_answer_was_lost(run: Run) -> None:
    async def test(pauses: Pauses) -> None:
        await pauses.put(FIRST, None)
        assert await pauses.put(FIRST, None) == FIRST
        await pauses.end(FIRST)
        await pauses.end(FIRST)

    run(test)


def test_all_of_them(run: Run) -> None:
    async def test(pauses: Pauses) -> None:
        assert await pauses.all() == ()
        other = replace(SECOND, site="a.example")
        for pause in (FIRST, other):
            await pauses.put(pause, None)
        assert await pauses.all() == (other, FIRST)

    run(test)


def test_what_ended_meanwhile_is_not_written_again(run: Run) -> None:
    async def test(pauses: Pauses) -> None:
        assert await pauses.put(TRIAL, FIRST) is None
        assert await pauses.find(SITE) is None

    run(test)


def test_what_began_meanwhile_is_not_ended(run: Run) -> None:
    async def test(pauses: Pauses) -> None:
        await pauses.put(SECOND, None)
        await pauses.end(FIRST)
        assert await pauses.find(SITE) == SECOND

    run(test)


def test_dynamodb_forgets_a_pause_that_is_long_over(moto_endpoint: str) -> None:
    table = make_table(moto_endpoint, "site")
    with_client(moto_endpoint, lambda client: DynamoPauses(client, table).put(FIRST, None))
    (item,) = boto("dynamodb", moto_endpoint).scan(TableName=table)["Items"]
    assert item["expires"]["N"] == str(int(FIRST.until + KEPT))


def test_an_item_that_somebody_else_wrote_is_read_as_far_as_it_goes(moto_endpoint: str) -> None:
    table = make_table(moto_endpoint, "site")
    item = {"site": {"S": SITE}, "until": {"N": "1"}, "heard": {"S": "?"}}
    boto("dynamodb", moto_endpoint).put_item(TableName=table, Item=item)
    found = with_client(moto_endpoint, lambda client: DynamoPauses(client, table).find(SITE))
    assert found == Pause(SITE, 1.0, 1, 0.0, Heard.SLOW, "")


@pytest.mark.parametrize(
    "call",
    [lambda p: p.find(SITE), lambda p: p.put(FIRST, None), lambda p: p.end(FIRST), lambda p: p.all()],
    ids=["find", "put", "end", "all"],
)
def test_a_table_that_is_away_or_missing(moto_endpoint: str, call: Callable[[Pauses], Awaitable[Any]]) -> None:
    async def test(client: Any) -> None:
        with pytest.raises(TemporaryError):
            await call(DynamoPauses(client, "no-such-table"))

    with_client("http://127.0.0.1:9", test, tries=1)
    with_client(moto_endpoint, test)
