"""ports.Accounts and ports.Sms: the fakes, DynamoDB and SNS alike."""

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.account import Account, Accounts, BouncePause, Secret
from relay.aws.accounts import DynamoAccounts
from relay.aws.sms import SnsSms
from relay.quota import Limits
from tests.fakes import FakeAccounts, FakeClock, FakeSms
from tests.unit.aws.contract import NOW, make_table, with_client

Run = Callable[[Callable[[Accounts], Awaitable[Any]]], Any]

JO = Account("Jo@Example.com", b"\0salt", b"\xffhash", "+46701234567", NOW + 0.5)


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeAccounts()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "user")
    return lambda test: with_client(endpoint, lambda client: test(DynamoAccounts(client, table)))


def test_an_account_is_found_in_any_case(run: Run) -> None:
    async def test(accounts: Accounts) -> None:
        assert await accounts.create(JO)
        for user in ("Jo@Example.com", "jo@example.com", "JO@EXAMPLE.COM"):
            assert await accounts.find(user) == JO
        assert await accounts.find("jo@example.org") is None

    run(test)


def test_a_disabled_account_says_so(run: Run) -> None:
    async def test(accounts: Accounts) -> None:
        await accounts.create(replace(JO, disabled=True))
        assert await accounts.find(JO.user) == replace(JO, disabled=True)

    run(test)


def test_limits_of_its_own_and_a_pause_are_kept(run: Run) -> None:
    limited = replace(JO, limits=Limits(per_second=5, size=100_000), pause=BouncePause(NOW, 60, 200), version=1)

    async def test(accounts: Accounts) -> None:
        await accounts.create(JO)
        assert await accounts.update(limited, JO)
        assert await accounts.find(JO.user) == limited
        free = replace(limited, limits=Limits(), pause=None, version=2)
        assert await accounts.update(free, limited)
        assert await accounts.find(JO.user) == free

    run(test)


def test_an_account_is_paused_once(run: Run) -> None:
    async def test(accounts: Accounts) -> None:
        await accounts.create(JO)
        pause = BouncePause(NOW, 60, 200)
        assert await accounts.pause(JO.user.lower(), pause)
        assert not await accounts.pause(JO.user.lower(), BouncePause(NOW + 1, 61, 201))
        paused = replace(JO, pause=pause, version=1)
        assert await accounts.find(JO.user) == paused
        assert not await accounts.update(replace(JO, disabled=True, version=1), JO)  # of before the pause
        assert await accounts.update(replace(paused, disabled=True, version=2), paused)

    run(test)


def test_nobody_s_and_a_deleted_account_are_not_paused(run: Run) -> None:
    async def test(accounts: Accounts) -> None:
        pause = BouncePause(NOW, 60, 200)
        assert not await accounts.pause("nobody@example.com", pause)
        assert await accounts.find("nobody@example.com") is None
        await accounts.create(replace(JO, deleted=True))
        assert not await accounts.pause(JO.user, pause)

    run(test)


def test_a_taken_name_changes_nothing(run: Run) -> None:
    async def test(accounts: Accounts) -> None:
        assert await accounts.create(JO)
        assert not await accounts.create(replace(JO, user="jo@example.com", salt=b"other"))
        assert await accounts.list() == (JO,)

    run(test)


def test_a_creation_whose_answer_was_lost_is_ours(run: Run) -> None:
    async def test(accounts: Accounts) -> None:
        assert await accounts.create(JO)
        assert await accounts.create(JO)

    run(test)


def test_a_change_is_made_once(run: Run) -> None:
    first = replace(JO, disabled=True, version=1, previous=Secret(b"s", b"\xffh", NOW + 0.25))
    other, second = replace(JO, phone="+4680", version=1), replace(JO, version=2)

    async def test(accounts: Accounts) -> None:
        assert not await accounts.update(first, JO)  # there is none
        assert await accounts.find(JO.user) is None
        await accounts.create(JO)
        assert await accounts.update(first, JO)
        assert await accounts.find(JO.user) == first
        assert await accounts.update(first, JO)  # ours, whose answer was lost
        assert not await accounts.update(other, JO)
        assert await accounts.update(second, first)
        assert not await accounts.update(first, JO)
        assert await accounts.find(JO.user) == second

    run(test)


def test_a_deleted_account_is_found_and_not_listed(run: Run) -> None:
    nothing = Account(JO.user, b"", b"", "", JO.created, disabled=True, deleted=True, version=1)

    async def test(accounts: Accounts) -> None:
        await accounts.create(JO)
        assert await accounts.update(nothing, JO)
        assert await accounts.find(JO.user) == nothing
        assert await accounts.list() == ()
        assert not await accounts.create(JO)

    run(test)


def test_a_removed_account_is_gone(run: Run) -> None:
    async def test(accounts: Accounts) -> None:
        await accounts.create(JO)
        for _ in range(2):
            await accounts.remove("JO@example.com")
        assert await accounts.find(JO.user) is None

    run(test)


def test_all_accounts_come_in_order(run: Run) -> None:
    some = tuple(replace(JO, user=user) for user in ("a@example.com", "B@example.com", "c@example.com"))

    async def test(accounts: Accounts) -> None:
        assert await accounts.list() == ()
        for account in reversed(some):
            await accounts.create(account)
        assert await accounts.list() == some

    run(test)


@pytest.mark.parametrize("kind", ["fake", "sns"])
def test_an_sms_goes_to_the_phone(kind: str, request: pytest.FixtureRequest) -> None:
    text = "smtp.example.com: user jo+x@example.com & 100 % ü"
    if kind == "fake":
        fake = FakeSms()
        asyncio.run(fake.send("+46701234567", text))
        assert ("+46701234567", text) in fake.sent
        return
    endpoint = request.getfixturevalue("moto_endpoint")
    with_client(endpoint, lambda client: SnsSms(client, FakeClock()).send("+46701234567", text))
    with urllib.request.urlopen(f"{endpoint}/moto-api/data.json") as answer:
        assert [text, "+46701234567"] in [list(map(str, each)) for each in _sms(json.load(answer))]


def _sms(data: Any) -> list[tuple[str, str]]:
    found = data["sns"].get("SMS", [])
    return [
        (each[-1], each[-2]) if isinstance(each, list) else (each["message"], each["phone_number"]) for each in found
    ]
