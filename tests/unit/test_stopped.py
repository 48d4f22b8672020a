"""relay.stopped: whose mail waits, and why; asked once a minute."""

import asyncio
from dataclasses import replace

import pytest

from relay.account import Account, BouncePause
from relay.errors import OutageError
from relay.stopped import DISABLED, SECONDS, Stopped
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
    [
        ((ACCOUNT,), ""),
        ((replace(ACCOUNT, disabled=True),), DISABLED),
        ((), DISABLED),
        (
            (replace(ACCOUNT, pause=BouncePause(1.0, 60, 200)),),
            "the account is paused, as 60 of 200 recipients bounced; its mail goes out if it is resumed before the"
            " message expires",
        ),
        ((replace(ACCOUNT, disabled=True, pause=BouncePause(1.0, 60, 200)),), DISABLED),
    ],
    ids=["neither", "disabled", "not there", "paused", "both"],
)
def test_why_mail_waits(accounts: tuple[Account, ...], expected: str) -> None:
    assert asyncio.run(Stopped(FakeAccounts(*accounts), FakeClock())(NAME)) == expected  # type: ignore[arg-type]


def test_asked_once_a_minute_by_all_together() -> None:
    clock, accounts = FakeClock(), Counting(ACCOUNT)
    stopped = Stopped(accounts, clock)  # type: ignore[arg-type]

    async def test() -> None:
        assert await asyncio.gather(*(stopped(NAME) for _ in range(50))) == [""] * 50
        accounts.items[NAME] = replace(ACCOUNT, disabled=True)
        clock.advance(SECONDS - 1)
        assert not await stopped(NAME)
        clock.advance(1)
        assert await stopped(NAME) == DISABLED
        assert accounts.asked == [NAME, NAME]

    asyncio.run(test())


def test_a_failure_is_not_remembered() -> None:
    accounts = Counting(ACCOUNT)
    accounts.fail_next(OutageError("away"))
    stopped = Stopped(accounts, FakeClock())  # type: ignore[arg-type]

    async def test() -> None:
        with pytest.raises(OutageError):
            await stopped(NAME)
        assert not await stopped(NAME)

    asyncio.run(test())


def test_who_stops_waiting_takes_the_answer_from_nobody() -> None:
    stopped = Stopped(Counting(ACCOUNT), FakeClock())  # type: ignore[arg-type]

    async def test() -> None:
        first, second = (asyncio.ensure_future(stopped(NAME)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert not await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(test())
