"""smtp.policies.PolicyStore: the fake and DynamoDB alike."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.aws.policies import DynamoPolicies
from relay.errors import TemporaryError
from relay.smtp.policies import Known, PolicyStore
from relay.smtp.sts import Mode, Policy
from tests.unit.aws.contract import NOW, boto, make_table, with_client
from tests.unit.smtp.world import FakePolicies

Run = Callable[[Callable[[PolicyStore], Awaitable[Any]]], Any]
FIRST = Known("a1", Policy(Mode.ENFORCE, ("mx.b.example", "*.b.example"), 86400), NOW)
LATER = Known("b2", Policy(Mode.NONE, (), 60), NOW + 1.5)


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakePolicies()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "domain")
    return lambda test: with_client(endpoint, lambda client: test(DynamoPolicies(client, table)))


def test_what_is_put_is_found(run: Run) -> None:
    async def test(policies: PolicyStore) -> None:
        assert await policies.find("b.example") is None
        await policies.put("b.example", FIRST)
        assert await policies.find("b.example") == FIRST
        assert await policies.find("c.example") is None

    run(test)


def test_the_one_that_was_fetched_last_stays(run: Run) -> None:
    async def test(policies: PolicyStore) -> None:
        await policies.put("b.example", FIRST)
        await policies.put("b.example", LATER)
        await policies.put("b.example", FIRST)
        await policies.put("b.example", LATER)  # our own write, whose answer was lost
        assert await policies.find("b.example") == LATER

    run(test)


def test_dynamodb_forgets_what_has_expired(moto_endpoint: str) -> None:
    table = make_table(moto_endpoint, "domain")
    with_client(moto_endpoint, lambda client: DynamoPolicies(client, table).put("b.example", LATER))
    (item,) = boto("dynamodb", moto_endpoint).scan(TableName=table)["Items"]
    assert item["expires"]["N"] == str(int(NOW + 61.5))


def test_a_table_that_is_away() -> None:
    async def find(client: Any) -> None:
        with pytest.raises(TemporaryError):
            await DynamoPolicies(client, "policies").find("b.example")
        with pytest.raises(TemporaryError):
            await DynamoPolicies(client, "policies").put("b.example", FIRST)

    with_client("http://127.0.0.1:9", find, tries=1)


def test_a_table_that_is_missing(moto_endpoint: str) -> None:
    async def find(client: Any) -> None:
        with pytest.raises(TemporaryError):
            await DynamoPolicies(client, "no-such-table").put("b.example", FIRST)

    with_client(moto_endpoint, find)
