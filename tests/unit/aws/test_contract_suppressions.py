"""ports.Suppressions: the fake and DynamoDB alike."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.aws import suppressions as module
from relay.aws.suppressions import DynamoSuppressions, item_of, suppression_of
from relay.errors import OutageError
from relay.ports import Checked, Suppression, Suppressions
from tests.fakes import FakeSuppressions
from tests.unit.aws.contract import NOW, boto, make_table, with_client

Run = Callable[[Callable[[Suppressions], Awaitable[Any]]], Any]
ACCOUNT = "jo@login.example"
DEAD = Suppression(ACCOUNT, "gone@there.example", NOW + 0.1, NOW + 86_400.7, "550 5.1.1 No such user", "018f-1")
BARRED = Suppression(ACCOUNT, "no#pe@there.example", NOW, NOW + 5, "she asked for it")
OF_ANOTHER = replace(DEAD, account="al@login.example")


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeSuppressions()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "account", "address")
    return lambda test: with_client(endpoint, lambda client: test(DynamoSuppressions(client, table)))


def test_what_is_known_of_a_delivery(run: Run) -> None:
    async def test(suppressions: Suppressions) -> None:
        await suppressions.set(BARRED)
        await suppressions.set(OF_ANOTHER)
        assert await suppressions.put(DEAD, None) is None
        all_ = ("fine@there.example", DEAD.address, BARRED.address)
        assert await suppressions.check("id", ACCOUNT, all_) == Checked(
            known={DEAD.address: DEAD, BARRED.address: BARRED}
        )
        assert await suppressions.check("id", ACCOUNT, ("fine@there.example",)) == Checked()
        assert await suppressions.check("id", "al@login.example", all_) == Checked(known={DEAD.address: OF_ANOTHER})

    run(test)


def test_a_cancelled_message(run: Run) -> None:
    async def test(suppressions: Suppressions) -> None:
        await suppressions.set(DEAD)
        await suppressions.cancel("id", now=NOW)
        await suppressions.cancel("id", now=NOW)
        assert await suppressions.check("id", ACCOUNT, (DEAD.address,)) == Checked(True, {DEAD.address: DEAD})
        assert await suppressions.check("id", "al@login.example", ("x@there.example",)) == Checked(True)
        assert await suppressions.check("another", ACCOUNT, ("x@there.example",)) == Checked()
        assert await suppressions.all() == (DEAD,)

    run(test)


def test_as_many_as_a_delivery_has(run: Run) -> None:
    many = [replace(DEAD, address=f"u{number:03}@there.example") for number in range(100)]

    async def test(suppressions: Suppressions) -> None:
        await asyncio.gather(*(suppressions.set(each) for each in many))
        await suppressions.cancel("id", now=NOW)
        addresses = [each.address for each in many]
        assert await suppressions.check("id", ACCOUNT, [*addresses, *addresses]) == Checked(
            True, dict(zip(addresses, many, strict=True))
        )
        assert await suppressions.all(ACCOUNT) == tuple(many)

    run(test)


def test_a_write_that_finds_something_else_says_what(run: Run) -> None:
    later = replace(DEAD, since=NOW + 90_000, until=NOW + 180_000, id="018f-2")

    async def test(suppressions: Suppressions) -> None:
        assert await suppressions.put(DEAD, None) is None
        assert await suppressions.put(DEAD, None) is None  # our own, whose answer was lost
        assert await suppressions.put(later, None) == DEAD
        assert await suppressions.put(later, BARRED) == DEAD
        assert await suppressions.put(later, DEAD) is None
        assert await suppressions.put(later, DEAD) is None
        assert await suppressions.put(DEAD, DEAD) == later
        await suppressions.remove(ACCOUNT, DEAD.address)
        assert await suppressions.put(later, DEAD) is None  # what was before is gone
        assert await suppressions.all() == (later,)

    run(test)


def test_removed_at_will_or_only_when_it_has_ended(run: Run) -> None:
    async def test(suppressions: Suppressions) -> None:
        await suppressions.set(DEAD)
        assert not await suppressions.remove(ACCOUNT, DEAD.address, ended=DEAD.until - 0.1)
        assert await suppressions.remove(ACCOUNT, DEAD.address, ended=DEAD.until)
        assert not await suppressions.remove(ACCOUNT, DEAD.address, ended=DEAD.until)
        await suppressions.set(DEAD)
        assert await suppressions.remove(ACCOUNT, DEAD.address)
        assert not await suppressions.remove(ACCOUNT, DEAD.address)
        assert await suppressions.all() == ()

    run(test)


def test_listed_by_account_and_address(run: Run) -> None:
    async def test(suppressions: Suppressions) -> None:
        for each in (BARRED, DEAD, OF_ANOTHER):
            await suppressions.set(each)
        assert await suppressions.all() == (OF_ANOTHER, DEAD, BARRED)
        assert await suppressions.all(ACCOUNT) == (DEAD, BARRED)
        assert await suppressions.all("nobody@login.example") == ()

    run(test)


# --- of DynamoDB alone --------------------------------------------------------------------------


def test_an_item_survives_and_outlives_its_end() -> None:
    item = item_of(DEAD)
    assert suppression_of(item) == DEAD
    assert item["expires"] == {"N": str(int(DEAD.until) + module.REMEMBERED)}


def test_a_cancellation_outlives_what_may_still_ask(moto_endpoint: str) -> None:
    table = make_table(moto_endpoint, "account", "address")
    with_client(moto_endpoint, lambda client: DynamoSuppressions(client, table).cancel("id", now=NOW))
    (item,) = boto("dynamodb", moto_endpoint).scan(TableName=table)["Items"]
    assert item["expires"] == {"N": str(int(NOW) + 45 * 86_400)}


class Throttled:
    """A client whose BatchGetItem leaves all but the first key unprocessed, `times` times."""

    def __init__(self, client: Any, times: int) -> None:
        self._client = client
        self._times = times

    async def json(self, service: str, target: str, payload: dict[str, Any]) -> Any:
        if "BatchGetItem" not in target or not self._times:
            return await self._client.json(service, target, payload)
        self._times -= 1
        ((table, asked),) = payload["RequestItems"].items()
        first, rest = asked["Keys"][:1], asked["Keys"][1:]
        answer = await self._client.json(service, target, {"RequestItems": {table: {"Keys": first}}})
        return {**answer, "UnprocessedKeys": {table: {"Keys": rest}} if rest else {}}


@pytest.mark.parametrize(("times", "away"), [(2, False), (99, True)])
def test_what_is_left_unprocessed_is_asked_again(
    moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, times: int, away: bool
) -> None:
    monkeypatch.setattr(module, "BACKOFF", 0.0)
    table = make_table(moto_endpoint, "account", "address")
    addresses = [f"u{number}@there.example" for number in range(9)]

    async def test(client: Any) -> Checked:
        suppressions = DynamoSuppressions(Throttled(client, times), table)  # type: ignore[arg-type]
        for each in addresses:
            await suppressions.set(replace(DEAD, address=each))
        return await suppressions.check("id", ACCOUNT, addresses)

    if away:
        with pytest.raises(OutageError):
            with_client(moto_endpoint, test)
    else:
        assert set(with_client(moto_endpoint, test).known) == set(addresses)
