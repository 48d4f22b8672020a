"""Waits that share a timer end as asyncio.timeout's do."""

import asyncio
import contextlib

import pytest

from smtp_gateway.patience import Patience

SHORT = 0.02


def test_who_waits_for_too_long_times_out_and_goes_on() -> None:
    async def wait() -> str:
        patience = Patience(SHORT)
        with pytest.raises(TimeoutError):  # noqa: SIM117
            with patience:
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        with patience:
            await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(wait()) == "went on"


def test_each_has_its_own_time() -> None:
    """The second begins when half of the first one's time is over: its end comes later, by a timer set anew."""

    async def wait(patience: Patience, began: asyncio.Event) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        with contextlib.suppress(TimeoutError), patience:
            began.set()
            await asyncio.Event().wait()
        return loop.time() - start

    async def both() -> list[float]:
        patience, first, second = Patience(SHORT), asyncio.Event(), asyncio.Event()
        one = asyncio.create_task(wait(patience, first))
        await first.wait()
        await asyncio.sleep(SHORT / 2)
        other = asyncio.create_task(wait(patience, second))
        return await asyncio.gather(one, other)

    assert min(asyncio.run(both())) >= SHORT * 0.99


def test_what_ends_in_time_leaves_nothing_behind() -> None:
    async def many() -> Patience:
        patience = Patience(SHORT)

        async def one() -> None:
            with patience:
                await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(100)))
        await asyncio.sleep(2 * SHORT)
        return patience

    patience = asyncio.run(many())
    assert not patience._waits
    assert not patience._over
    assert patience._timer is None


def test_an_error_passes() -> None:
    async def wait() -> None:
        with Patience(SHORT):
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        asyncio.run(wait())


def who_waits(also: bool) -> bool:
    """Whether a task that is cancelled in its wait ends as cancelled. also: its time is over in the same turn."""

    async def cancelled() -> bool:
        patience, began = Patience(SHORT), asyncio.Event()

        async def wait() -> None:
            with patience:
                began.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await began.wait()
        if also:
            patience._waits[task] = (0.0, 0)
            patience._tick(asyncio.get_running_loop())
        task.cancel()
        await asyncio.wait((task,))
        return task.cancelled()

    return asyncio.run(cancelled())


@pytest.mark.parametrize("also", [False, True], ids=["by another", "by both"])
def test_who_is_cancelled_is_not_timed_out(also: bool) -> None:
    assert who_waits(also)
