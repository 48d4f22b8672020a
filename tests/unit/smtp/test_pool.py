"""Slots of a site: first come, first served, in time or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from relay.smtp.pool import BusyError, Pool
from tests.unit.smtp.world import LIMITS

ONE = replace(LIMITS, connections_per_site=1)
LONG = 60.0


def run(scenario: Callable[[Pool, Callable[[float], float]], Awaitable[None]]) -> None:
    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            await scenario(Pool(ONE), lambda seconds: loop.time() + seconds)

    asyncio.run(bounded())


async def use(pool: Pool, until: float, done: list[int], number: int) -> None:
    async with pool.slot("site", until=until):
        done.append(number)
        await asyncio.sleep(0)


def test_in_order() -> None:
    async def scenario(pool: Pool, later: Callable[[float], float]) -> None:
        done: list[int] = []
        await asyncio.gather(*(use(pool, later(LONG), done, number) for number in range(20)))
        assert done == list(range(20))

    run(scenario)


def test_each_waits_for_its_own_time_only() -> None:
    async def scenario(pool: Pool, later: Callable[[float], float]) -> None:
        async with pool.slot("site", until=later(LONG)):
            done: list[int] = []
            patient = asyncio.create_task(use(pool, later(LONG), done, 1))
            hasty = [asyncio.create_task(use(pool, later(0.01 * n), done, 2)) for n in (3, 1, 2)]
            for task in hasty:
                with pytest.raises(BusyError):
                    await task
            assert not patient.done()
        await patient
        assert done == [1]

    run(scenario)


@pytest.mark.parametrize("given", [False, True], ids=["while it waits", "once it was given the slot"])
def test_who_is_cancelled_keeps_nobody_waiting(given: bool) -> None:
    async def scenario(pool: Pool, later: Callable[[float], float]) -> None:
        done: list[int] = []
        slot = pool.slot("site", until=later(LONG))
        await slot.__aenter__()
        first, second = (asyncio.create_task(use(pool, later(LONG), done, number)) for number in (1, 2))
        await asyncio.sleep(0)
        if given:
            await slot.__aexit__()
        first.cancel()
        if not given:
            await slot.__aexit__()
        await second
        assert done == [2]
        assert first.cancelled()
        async with pool.slot("site", until=later(LONG)):  # and the slot is there again
            pass

    run(scenario)


def test_a_site_that_nobody_uses_is_forgotten() -> None:
    async def scenario(pool: Pool, later: Callable[[float], float]) -> None:
        async with pool.slot("site", until=later(LONG)):
            with pytest.raises(BusyError):
                await use(pool, later(0.0), [], 1)
            assert len(pool._sites) == 1
        assert pool._sites == {}

    run(scenario)
