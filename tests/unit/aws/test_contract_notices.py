"""ports.Notices: the fake and DynamoDB alike."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.aws.notices import DynamoNotices
from relay.ports import Notices, Turn
from tests.fakes import FakeNotices
from tests.unit.aws.contract import NOW, boto, make_table, with_client

Run = Callable[[Callable[[Notices], Awaitable[Any]]], Any]
HOUR = 3600.0


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeNotices()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "refusal")
    return lambda test: with_client(endpoint, lambda client: test(DynamoNotices(client, table)))


def test_one_tells_and_the_others_are_counted(run: Run) -> None:
    async def test(notices: Notices) -> None:
        async def turn(by: str, now: float, count: int = 1, refusal: str = "r") -> Turn | None:
            return await notices.turn(refusal, by=by, count=count, now=now, until=now + HOUR)

        assert await turn("a", NOW) == Turn(0, NOW)
        assert await turn("b", NOW) is None
        assert await turn("c", NOW + HOUR - 1, 100) is None
        assert await turn("a", NOW + 5) == Turn(0, NOW)  # a report that comes twice
        assert await turn("d", NOW + 5, refusal="another") == Turn(0, NOW + 5)
        assert await turn("e", NOW + HOUR) == Turn(101, NOW)
        assert await turn("f", NOW + HOUR, 7) is None
        assert await turn("e", NOW + HOUR) == Turn(101, NOW)
        assert await turn("g", NOW + 5 * HOUR) == Turn(7, NOW + HOUR)
        assert await turn("h", NOW + 9 * HOUR) == Turn(0, NOW + 5 * HOUR)

    run(test)


def test_of_many_at_once_one_tells(run: Run) -> None:
    async def test(notices: Notices) -> None:
        turns = (notices.turn("r", by=str(by), count=2, now=NOW, until=NOW + 1) for by in range(10))
        assert sorted(map(str, await asyncio.gather(*turns))) == sorted([str(Turn(0, NOW)), *["None"] * 9])
        assert await notices.turn("r", by="x", count=2, now=NOW + 1, until=NOW + 2) == Turn(18, NOW)

    run(test)


# --- of DynamoDB alone --------------------------------------------------------------------------


class Unclear:
    """A client whose writes take effect, and whose answers `lost` says are lost are tried again, as AwsClient does."""

    def __init__(self, client: Any, lost: int) -> None:
        self._client = client
        self._lost = lost

    async def json(self, service: str, target: str, payload: dict[str, Any]) -> Any:
        if "SET" in payload["UpdateExpression"] and self._lost:
            self._lost -= 1
            await self._client.json(service, target, payload)
        return await self._client.json(service, target, payload)


def test_a_turn_whose_answer_was_lost_is_ours(moto_endpoint: str) -> None:
    table = make_table(moto_endpoint, "refusal")

    async def test(client: Any) -> None:
        notices = DynamoNotices(Unclear(client, 1), table)  # type: ignore[arg-type]
        assert await notices.turn("r", by="a", count=1, now=NOW, until=NOW + HOUR) == Turn(0, NOW)

    with_client(moto_endpoint, test)
    (item,) = boto("dynamodb", moto_endpoint).scan(TableName=table)["Items"]
    assert item["expires"] == {"N": str(int(NOW + HOUR) + 7 * 86_400)}
