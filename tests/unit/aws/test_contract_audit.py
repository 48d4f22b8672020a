"""audit.Audit: the fake and DynamoDB alike; and whose credentials these are."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.audit import DONE, Audit, Entry
from relay.aws.audit import KEPT, DynamoAudit, item_of
from relay.aws.identity import caller_arn
from tests.fakes import FakeAudit
from tests.unit.aws.contract import NOW, make_table, with_client

Run = Callable[[Callable[[Audit], Awaitable[Any]]], Any]

FIRST = Entry(NOW + 0.25, "jo@example.com", "create", "arn:aws:iam::1:user/al", "r-1")


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeAudit()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "subject", "at")
    return lambda test: with_client(endpoint, lambda client: test(DynamoAudit(client, table)))


def test_entries_come_in_order_and_the_end_is_written_over_the_beginning(run: Run) -> None:
    second = replace(FIRST, time=NOW + 100, action="rotate", request="r-0")
    other = replace(FIRST, subject="d.example", request="r-2")

    async def test(audit: Audit) -> None:
        assert await audit.find() == ()
        for each in (second, FIRST, other, replace(FIRST, result=DONE)):
            await audit.put(each)
        assert await audit.find("jo@example.com") == (replace(FIRST, result=DONE), second)
        assert await audit.find("d.example") == (other,)
        assert await audit.find("nobody@example.com") == ()
        assert await audit.find() == (replace(FIRST, result=DONE), other, second)

    run(test)


def test_it_is_kept_for_a_year() -> None:
    assert item_of(FIRST)["expires"] == {"N": str(int(FIRST.time + KEPT))}
    assert 365 * 86_400 <= KEPT <= 367 * 86_400


def test_whose_credentials_these_are(moto_endpoint: str) -> None:
    assert with_client(moto_endpoint, caller_arn).startswith("arn:aws:")
