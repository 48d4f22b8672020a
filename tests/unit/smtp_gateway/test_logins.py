"""Whose session ends when accounts change; test_over_quota.py has it over sockets."""

import asyncio
from dataclasses import replace

import pytest

from relay.account import Account, Secret
from relay.errors import TemporaryError
from smtp_gateway.accounts import TRUST
from smtp_gateway.log import Log
from smtp_gateway.logins import AT_ONCE, EVERY, Logins
from tests.fakes import FakeClock
from tests.gateway import account

JO, AL = account("Jo@example.com"), account("al@example.com")


class Session:
    def __init__(self) -> None:
        self.ended = 0

    def log_out(self) -> None:
        self.ended += 1


NOW = 1000.0


class World:
    def __init__(self) -> None:
        self.accounts: dict[str, Account | Exception | None] = {"jo@example.com": JO, "al@example.com": AL}
        self.read: list[str] = []
        self.reading = self.most = 0
        self.lines: list[str] = []
        self.logins = Logins(self.find, Log(FakeClock(), self.lines.append), FakeClock(NOW).now)

    async def find(self, name: str) -> Account | None:
        self.read.append(name)
        self.reading += 1
        self.most = max(self.most, self.reading)
        await asyncio.sleep(0)
        self.reading -= 1
        found = self.accounts.get(name)
        if isinstance(found, Exception):
            raise found
        return found

    def enter(self, account: Account) -> Session:
        session = Session()
        self.logins.enter(account, session)
        return session


CHANGES: dict[str, tuple[Account | Exception | None, bool]] = {
    "none": (JO, False),
    "phone": (replace(JO, phone="+4680"), False),
    "disabled": (replace(JO, disabled=True), True),
    "password replaced, still good": (replace(JO, salt=b"n", previous=Secret(JO.salt, JO.hash, NOW + 1)), False),
    "password replaced, good no more": (replace(JO, salt=b"n", previous=Secret(JO.salt, JO.hash, NOW)), True),
    "gone": (None, True),
    "another password": (account("Jo@example.com", "new"), True),
    "unreadable": (TemporaryError("away"), False),
    "bug": (RuntimeError(), False),
}


@pytest.mark.parametrize(("now", "ends"), CHANGES.values(), ids=CHANGES)
def test_which_change_ends_all_sessions_of_the_account_and_no_other(
    now: Account | Exception | None, ends: bool
) -> None:
    world = World()
    first, second, other = world.enter(JO), world.enter(JO), world.enter(AL)
    if now:
        world.accounts["jo@example.com"] = now
    else:
        del world.accounts["jo@example.com"]
    asyncio.run(world.logins.look())
    assert (first.ended, second.ended, other.ended) == (ends, ends, 0)
    assert sorted(world.read) == ["al@example.com", "jo@example.com"]
    assert [("accounts_unread" in line, "bug" in line) for line in world.lines] == (
        [(isinstance(now, TemporaryError), isinstance(now, RuntimeError))] if isinstance(now, Exception) else []
    )


def test_a_login_with_the_new_password_goes_on() -> None:
    world = World()
    new = account("Jo@example.com", "new")
    world.accounts["jo@example.com"] = new
    old, fresh = world.enter(JO), world.enter(new)
    asyncio.run(world.logins.look())
    assert (old.ended, fresh.ended) == (1, 0)


def test_who_has_left_is_not_looked_at() -> None:
    world = World()
    first, second = world.enter(JO), world.enter(JO)
    assert world.logins.count("jo@example.com") == 2
    world.logins.leave("jo@example.com", first)
    assert world.logins.count("jo@example.com") == 1
    world.logins.leave("jo@example.com", second)
    assert world.logins.count("jo@example.com") == 0
    asyncio.run(world.logins.look())
    assert not world.read


def test_who_leaves_meanwhile() -> None:
    world = World()
    sessions = {name: world.enter(account(name)) for name in (f"u{number}@example.com" for number in range(20))}

    async def main() -> None:
        looking = asyncio.create_task(world.logins.look())
        while not world.read:
            await asyncio.sleep(0)
        for name, session in sessions.items():
            world.logins.leave(name, session)
        await looking

    asyncio.run(main())
    assert len(world.read) == AT_ONCE
    assert not any(session.ended for session in sessions.values())


def test_each_account_is_read_once_and_few_at_once() -> None:
    world = World()
    for number in range(100):
        world.enter(account(f"u{number % 50}@example.com"))
    asyncio.run(world.logins.look())
    assert sorted(world.read) == sorted(f"u{number}@example.com" for number in range(50))
    assert world.most == AT_ONCE


def test_a_session_that_does_not_end_keeps_no_other_open() -> None:
    world = World()
    world.accounts["jo@example.com"] = None
    stuck, other = world.enter(JO), world.enter(JO)
    stuck.log_out = lambda: 1 / 0  # type: ignore[assignment,method-assign,return-value]
    asyncio.run(world.logins.look())
    assert other.ended == 1
    assert ["bug" in line for line in world.lines] == [True]


def test_a_disabled_account_has_a_minute() -> None:
    """It logs in by what was read TRUST ago, just after a look."""
    assert TRUST + EVERY < 60


def test_an_outage_is_one_line() -> None:
    world = World()
    for number in range(50):
        world.accounts[f"u{number}@example.com"] = TemporaryError("away")
        world.enter(account(f"u{number}@example.com"))
    asyncio.run(world.logins.look())
    (line,) = world.lines
    assert '"accounts":50' in line


def test_it_looks_again_and_again() -> None:
    world = World()
    world.enter(JO)

    async def main() -> None:
        watching = asyncio.create_task(world.logins.watch(0.0))
        async with asyncio.timeout(10):
            while len(world.read) < 3:
                await asyncio.sleep(0)
        watching.cancel()

    asyncio.run(main())
