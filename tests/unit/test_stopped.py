"""relay.enabled: who may send, asked once a minute."""

import asyncio
from dataclasses import replace

import pytest

from relay.account import Account
from relay.enabled import SECONDS, Enabled
from relay.errors import OutageError
from tests.fakes import FakeAccounts, FakeClock

ACCOUNT = Account("Jo@login.example", b"", b"", "", 0.0)
NAME = "jo@login.example"


class Counting(FakeAccounts):
    def __init__(self, *accounts: Account) -> None:
        super().__init__(*accounts)
        self.asked: list[str] = []

    async def find(self, user: str) -> Account | None:
        self.asked.append(user)
        await asyncio.sleep(0)
        return await super().find(user)


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [((ACCOUNT,), True), ((replace(ACCOUNT, disabled=True),), False), ((), False)],
    ids=["enabled", "disabled", "deleted"],
)
def test_who_may_send(accounts: tuple[Account, ...], expected: bool) -> None:
    assert asyncio.run(Enabled(FakeAccounts(*accounts), FakeClock())(NAME)) is expected  # type: ignore[arg-type]


def test_asked_once_a_minute_by_all_together() -> None:
    clock, accounts = FakeClock(), Counting(ACCOUNT)
    enabled = Enabled(accounts, clock)  # type: ignore[arg-type]

    async def test() -> None:
        assert await asyncio.gather(*(enabled(NAME) for _ in range(50))) == [True] * 50
        accounts.items[NAME] = replace(ACCOUNT, disabled=True)
        clock.advance(SECONDS - 1)
        assert await enabled(NAME)
        clock.advance(1)
        assert not await enabled(NAME)
        assert accounts.asked == [NAME, NAME]

    asyncio.run(test())


def test_a_failure_is_not_remembered() -> None:
    accounts = Counting(ACCOUNT)
    accounts.fail_next(OutageError("away"))
    enabled = Enabled(accounts, FakeClock())  # type: ignore[arg-type]

    async def test() -> None:
        with pytest.raises(OutageError):
            await enabled(NAME)
        assert await enabled(NAME)

    asyncio.run(test())


def test_who_stops_waiting_takes_the_answer_from_nobody() -> None:
    enabled = Enabled(Counting(ACCOUNT), FakeClock())  # type: ignore[arg-type]

    async def test() -> None:
        first, second = (asyncio.ensure_future(enabled(NAME)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(test())
