import asyncio
import time

import pytest

from relay.account import Account
from relay.errors import TemporaryError
from relay.password import hash_password
from smtp_gateway.accounts import DISTRUST, TRUST, Authenticator
from smtp_gateway.auth import Credentials
from tests.fakes import FakeAccounts, FakeClock


def account(user: str, password: str, *, disabled: bool = False) -> Account:
    return Account(user, b"s", hash_password(password, b"s"), "+4670", 0.0, disabled)


class Counting(FakeAccounts):
    def __init__(self, *accounts: Account) -> None:
        super().__init__(*accounts)
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None

    async def find(self, user: str) -> Account | None:
        self.asked.append(user)
        if self.gate:
            await self.gate.wait()
        return await super().find(user)


class World:
    def __init__(self, size: int = 100) -> None:
        self.accounts = Counting(account("Jo@Example.com", "right"), account("no@example.com", "right", disabled=True))
        self.clock = FakeClock()
        self.check = Authenticator(self.accounts, self.clock, size=size, patience=0.05, step=0.0)

    async def __call__(self, user: str, password: str) -> str | None:
        """The name of the account that it is."""
        account = await self.check(Credentials(user, password))
        return account.user.lower() if account else None


VERDICTS = [
    ("jo@example.com", "right", "jo@example.com"),
    ("JO@EXAMPLE.COM", "right", "jo@example.com"),
    ("jo@example.com", "wrong", None),
    ("jo@example.com", "", None),
    ("jo@example.com", "\ud800", None),
    ("nobody@example.com", "right", None),
    ("no@example.com", "right", None),
    ("", "", None),
    ("jö@example.com", "right", None),
    ("x" * 300 + "@example.com", "right", None),
]


@pytest.mark.parametrize(("user", "password", "verdict"), VERDICTS, ids=[ascii(each[:2])[:40] for each in VERDICTS])
def test_verdict(user: str, password: str, verdict: str | None) -> None:
    assert asyncio.run(World()(user, password)) == verdict


def test_a_yes_is_remembered_for_a_while() -> None:
    async def main() -> None:
        world = World()
        for _ in range(3):
            assert await world("jo@example.com", "right")
            world.clock.advance(TRUST / 3 - 1)
        assert len(world.accounts.asked) == 1
        world.clock.advance(TRUST)
        await world("jo@example.com", "right")
        assert len(world.accounts.asked) == 2

    asyncio.run(main())


@pytest.mark.parametrize("user", ["jo@example.com", "nobody@example.com"])
def test_a_no_is_asked_for_as_often_whether_or_not_the_user_exists(user: str) -> None:
    async def main() -> None:
        world = World()
        await world("jo@example.com", "right")
        world.clock.advance(DISTRUST + 1)
        asked = []
        for _ in range(4):
            assert await world(user, "wrong") is None
            asked.append(len(world.accounts.asked))
            world.clock.advance(DISTRUST - 1)
        assert asked == [2, 2, 3, 3]

    asyncio.run(main())


def test_a_new_password_works_soon() -> None:
    async def main() -> None:
        world = World()
        await world("jo@example.com", "right")
        world.accounts.items["jo@example.com"] = account("jo@example.com", "new")
        world.clock.advance(DISTRUST + 1)
        assert await world("jo@example.com", "new")

    asyncio.run(main())


def test_one_question_in_flight() -> None:
    async def main() -> None:
        world = World()
        world.accounts.gate = asyncio.Event()
        first = asyncio.create_task(world("jo@example.com", "right"))
        others = [asyncio.create_task(world("jo@example.com", word)) for word in ("right", "wrong")]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        world.accounts.gate.set()
        assert await asyncio.gather(*others) == ["jo@example.com", None]
        assert len(world.accounts.asked) == 1

    asyncio.run(main())


def test_away_is_temporary_and_not_remembered() -> None:
    async def main() -> None:
        world = World()
        world.accounts.fail_next(TemporaryError("away"))
        with pytest.raises(TemporaryError):
            await world("jo@example.com", "right")
        assert await world("jo@example.com", "right")

    asyncio.run(main())


def test_no_answer_is_temporary() -> None:
    async def main() -> None:
        world = World()
        world.accounts.gate = asyncio.Event()
        with pytest.raises(TemporaryError):
            await world("jo@example.com", "right")

    asyncio.run(main())


def test_it_remembers_so_many() -> None:
    async def main() -> None:
        world = World(size=2)
        for user in ("a@b.example", "b@b.example", "c@b.example", "a@b.example", "c@b.example"):
            await world(user, "x")
        assert world.accounts.asked == ["a@b.example", "b@b.example", "c@b.example", "a@b.example"]

    asyncio.run(main())


@pytest.mark.parametrize(("user", "password", "verdict"), VERDICTS, ids=[ascii(each[:2])[:40] for each in VERDICTS])
def test_a_no_waits_for_the_step_whoever_it_is(
    user: str, password: str, verdict: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, step, waited = World(), 3600.0, []
    check = Authenticator(world.accounts, world.clock, step=step)

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def scenario() -> Account | None:
        started = time.monotonic()
        monkeypatch.setattr("smtp_gateway.accounts.asyncio.sleep", sleep)
        found = await check(Credentials(user, password))
        monkeypatch.undo()
        for seconds in waited:  # what it took and what it waits are one step, and a fifth at most
            assert step - (time.monotonic() - started) <= seconds <= 1.2 * step
        return found

    assert (asyncio.run(scenario()) is not None) == (verdict is not None)
    assert len(waited) == (verdict is None)
