"""smtp_gateway.leases: one process's part of what an account may send."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.account import BouncePause
from relay.errors import TemporaryError
from relay.quota import DAY, LEASE, Limits, Usage, day_of
from smtp_gateway import replies
from smtp_gateway.leases import IDLE, TRUST, Leases
from smtp_gateway.log import Log
from tests.fakes import FakeClock, FakeUsage
from tests.gateway import USER, account

JO = account()
LIMITS = Limits(per_second=1000, per_day=1000, recipients=10, size=1000)


class World:
    def __init__(self, **limits: int) -> None:
        self.clock = FakeClock()
        self.table = FakeUsage()
        self.lines: list[str] = []
        self.limits = replace(LIMITS, **limits)
        self.slept: list[float] = []
        self.leases = self.another()

    def another(self, patience: float = 10.0) -> Leases:
        log = Log(self.clock, self.lines.append)
        return Leases(self.table, self.clock, log, self.limits, patience=patience, sleep=self._sleep)  # type: ignore[arg-type]

    @property
    def used(self) -> int:
        return self.table.items.get((USER, day_of(self.clock.now())), Usage()).messages

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def send(self, times: int, leases: Leases | None = None) -> int:
        """How many are taken."""
        taken = await asyncio.gather(*((leases or self.leases).take(JO) for _ in range(times)))
        return taken.count(None)


def test_many_messages_are_few_writes() -> None:
    async def main() -> None:
        world = World()
        for _ in range(200):
            assert await world.leases.take(JO) is None
        assert world.table.writes <= 12
        assert 200 <= world.used <= 300

    asyncio.run(main())


def test_a_message_now_and_then_is_a_write_each_and_nothing_left() -> None:
    async def main() -> None:
        world = World()
        for _ in range(5):
            assert await world.leases.take(JO) is None
            world.clock.advance(2 * LEASE)
            await world.leases.settle()
        assert (world.used, world.table.writes) == (5, 5)

    asyncio.run(main())


def test_what_is_left_is_given_back() -> None:
    async def main() -> None:
        world = World()
        for _ in range(20):
            await world.leases.take(JO)
        assert world.used > 20
        await world.leases.settle()
        assert world.used > 20
        world.clock.advance(LEASE)
        await world.leases.settle()
        assert world.used == 20

    asyncio.run(main())


def test_at_the_end_all_is_given_back_at_once() -> None:
    async def main() -> None:
        world = World()
        await world.send(20)
        await world.leases.take(JO)
        await world.leases.settle(all=True)
        assert world.used == 21

    asyncio.run(main())


@pytest.mark.parametrize("processes", [1, 2, 8])
@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
def test_the_day_is_exact_over_all_processes(processes: int, limit: int) -> None:
    """Whoever comes first; after what is left of leases has been given back, the last one is taken."""

    async def main() -> None:
        world = World(per_second=1_000_000, per_day=limit)
        every = [world.another() for _ in range(processes)]
        taken = 0
        for _ in range(40):
            taken += sum(await asyncio.gather(*(world.send(60, leases) for leases in every)))
            world.clock.advance(TRUST)
            await asyncio.gather(*(leases.settle() for leases in every))
        assert taken == world.used == limit

    asyncio.run(main())


def test_over_the_day_is_told_without_asking_again() -> None:
    async def main() -> None:
        world = World(per_day=3)
        assert await world.send(5) == 3
        left = DAY - world.clock.now() % DAY
        asked = world.table.writes
        world.table.fail = TemporaryError("away")  # it isn't asked
        assert world.leases.may_send(JO) == replies.too_many_today(3, int(left))
        world.clock.advance(10.0)
        assert await world.leases.take(JO) == replies.too_many_today(3, int(left) - 10)
        assert world.table.writes == asked

    asyncio.run(main())


def test_a_higher_limit_counts_at_once() -> None:
    async def main() -> None:
        world = World(per_day=3)
        assert await world.send(5) == 3
        raised = replace(JO, limits=Limits(per_day=5))
        assert world.leases.may_send(JO)
        assert world.leases.may_send(raised) is None
        assert await world.leases.take(raised) is None

    asyncio.run(main())


def test_a_new_day() -> None:
    async def main() -> None:
        world = World(per_day=3)
        assert await world.send(5) == 3
        world.clock.advance(DAY - world.clock.now() % DAY)
        assert world.leases.may_send(JO) is None
        assert await world.send(5) == 3
        assert len(world.table.items) == 2

    asyncio.run(main())


def test_faster_than_the_rate_is_held_back_then_refused() -> None:
    async def main() -> None:
        world = World(per_second=10)
        taken = [await world.leases.take(JO) for _ in range(65)]
        assert taken.count(None) == 60
        assert taken[-1] == replies.too_many_a_second(10, 6)
        assert len(world.slept) == 50
        assert max(world.slept) == pytest.approx(5.0, abs=0.01)
        assert world.leases.may_send(JO) == replies.too_many_a_second(10, 6)
        world.clock.advance(1.1)
        assert world.leases.may_send(JO) is not None  # told: six seconds
        world.clock.advance(4.0)
        assert await world.leases.take(JO) is None

    asyncio.run(main())


def test_paused() -> None:
    async def main() -> None:
        world = World()
        paused = replace(JO, pause=BouncePause(1.0, 60, 200))
        assert world.leases.may_send(paused) == await world.leases.take(paused) == replies.paused(60, 200)
        assert not world.used

    asyncio.run(main())


def test_what_was_not_sent_is_the_next_one_s() -> None:
    async def main() -> None:
        world = World(per_day=1)
        for _ in range(3):
            assert await world.leases.take(JO) is None
            world.leases.give_back(JO)
        assert await world.send(2) == 1
        assert world.used == 1

    asyncio.run(main())


def _refusing(world: World) -> None:
    world.table.fail = TemporaryError("away")


def _silent(world: World) -> None:
    async def wait(*_: object) -> Any:
        await asyncio.Event().wait()

    world.table.replace = world.table.find = wait  # type: ignore[method-assign]


@pytest.mark.parametrize("away", [_refusing, _silent])
def test_without_the_table_mail_goes_on_and_is_owed(away: Callable[[World], None]) -> None:
    async def main() -> None:
        world = World(per_second=2)
        leases = world.another(patience=0.01)
        replace_, find = world.table.replace, world.table.find
        away(world)
        assert await world.send(5, leases) == 5
        assert len(world.lines) == 1
        assert '"usage_away"' in world.lines[0]
        world.clock.advance(LEASE)
        await leases.settle()  # in vain
        world.table.fail = None
        world.table.replace, world.table.find = replace_, find  # type: ignore[method-assign]
        await leases.settle()
        assert world.used == 5

    asyncio.run(main())


def test_no_faster_without_the_table_than_with_it() -> None:
    async def main() -> None:
        world = World(per_second=2)
        world.table.fail = TemporaryError("away")
        assert await world.send(20) == 20
        assert len(world.lines) == 1
        await world.leases.take(JO)  # more than the rate allows in a lease's time: the table is asked again
        assert len(world.lines) == 2

    asyncio.run(main())


def test_who_sends_no_more_is_forgotten() -> None:
    async def main() -> None:
        world = World()
        await world.send(3)
        world.clock.advance(LEASE + IDLE + 1)
        await world.leases.settle()
        assert not world.leases._held

    asyncio.run(main())


def test_many_processes_that_meet_at_one_item_get_their_leases() -> None:
    async def main() -> None:
        world = World(per_second=1_000_000)
        every = [world.another() for _ in range(16)]
        taken = await asyncio.gather(*(world.send(10, leases) for leases in every))
        assert sum(taken) == 160

    asyncio.run(main())
