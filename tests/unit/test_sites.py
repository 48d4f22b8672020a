"""Pauses as several workers see them, with one table and one clock."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from relay.errors import TemporaryError
from relay.shaping import Heard
from relay.sites import AGAIN, FIRST, JITTER, KEPT, LONGEST, MOST, REFRESH, TRIAL, Pause, Sites
from tests.fakes import FakeClock, FakePauses

SITE = "mx.b.example"
SAID = "421 4.7.0 too much from you"


class World:
    def __init__(self, chance: float = 0.0) -> None:
        self.clock = FakeClock()
        self.table = FakePauses()
        self.told: list[tuple[str, dict[str, object]]] = []
        self.chance = chance

    def worker(self, speed: float = 1.0, chance: float | None = None) -> Sites:
        return Sites(
            self.table,
            self.clock,
            speed=speed,
            chance=lambda: self.chance if chance is None else chance,
            observe=lambda *told: self.told.append(told),
        )

    @property
    def now(self) -> float:
        return self.clock.now()

    @property
    def what(self) -> list[str]:
        return [what for what, _ in self.told]


@pytest.fixture
def world() -> World:
    return World()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


async def hear(sites: Sites, delivery: str, heard: Heard = Heard.SLOW, site: str = SITE) -> None:
    sites.heard(site, delivery, heard, SAID)
    await sites.written()


async def left_alone(sites: Sites, delivery: str = "any") -> bool:
    return await sites.enter(SITE, delivery) is not None


def test_nothing_is_written_while_all_is_well_and_little_is_read(world: World) -> None:
    async def scenario() -> None:
        sites = world.worker()
        for number in range(100):
            assert not await left_alone(sites, f"d{number}")
            await hear(sites, f"d{number}", Heard.WELL)
        assert (world.table.reads, world.table.writes) == (1, 0)
        world.clock.advance(REFRESH)
        await asyncio.gather(*(left_alone(sites, f"e{number}") for number in range(100)))
        assert (world.table.reads, world.table.writes) == (2, 0)
        assert world.told == []

    run(scenario)


def test_a_421_stops_all_workers_and_is_written_once(world: World) -> None:
    async def scenario() -> None:
        one, other = world.worker(), world.worker()
        assert not await left_alone(one)
        assert not await left_alone(other)
        for number in range(10):  # all that were on their way
            await hear(one, f"d{number}")
        assert await left_alone(one)
        assert world.table.writes == 1
        assert not await left_alone(other)  # it believes what it read
        world.clock.advance(REFRESH)
        assert await left_alone(other)
        assert world.table.items[SITE] == Pause(
            SITE, world.now - REFRESH + FIRST, 1, world.now - REFRESH, Heard.SLOW, SAID
        )
        assert await other.enter("mx.c.example", "d") is None
        assert world.what == ["site paused"]

    run(scenario)


def test_two_workers_that_hear_it_at_once_make_one_pause(world: World) -> None:
    async def scenario() -> None:
        one, other = world.worker(), world.worker()
        one.heard(SITE, "a", Heard.SLOW, SAID)
        world.clock.advance(1.0)
        other.heard(SITE, "b", Heard.SLOW, SAID)
        await asyncio.gather(one.written(), other.written())
        assert world.table.items[SITE].until == world.now - 1.0 + FIRST
        pauses = [await each.enter(SITE, "c") for each in (one, other)]
        assert pauses == [world.table.items[SITE]] * 2

    run(scenario)


def test_when_it_is_over_one_delivery_of_all_workers_tries(world: World) -> None:
    async def scenario() -> None:
        one, other = world.worker(chance=0.0), world.worker(chance=0.01)
        await hear(one, "a")
        world.clock.advance(FIRST)
        tried = await asyncio.gather(*(left_alone(each, f"{each}{n}") for n in range(50) for each in (one, other)))
        assert tried.count(False) == 1
        first = tried.index(False)
        assert first == 0
        assert not await left_alone(one, f"{one}0")  # asked again, after its claim
        assert world.table.writes == 3  # the other worker's was refused
        world.clock.advance(TRIAL - 1)
        assert await left_alone(world.worker())
        world.clock.advance(1)  # its worker died: the next one
        assert not await left_alone(other, "next")
        assert await left_alone(one, "too late")

    run(scenario)


def test_success_of_the_trial_ends_it_for_all(world: World) -> None:
    async def scenario() -> None:
        one, other = world.worker(), world.worker()
        await hear(one, "a")
        world.clock.advance(FIRST)
        assert not await left_alone(other, "b")
        await hear(other, "b", Heard.WELL)
        assert world.table.items == {}
        assert not await left_alone(other, "c")
        world.clock.advance(REFRESH)
        assert not await left_alone(one, "d")
        await hear(other, "e", Heard.WELL)
        assert world.table.writes == 3
        assert world.what == ["site paused", "site resumed"]

    run(scenario)


def test_pauses_grow_up_to_the_longest(world: World) -> None:
    async def scenario() -> None:
        sites, lengths = world.worker(), []
        for number in range(8):
            assert not await left_alone(sites, f"d{number}")
            await hear(sites, f"d{number}")
            lengths.append(world.table.items[SITE].until - world.now)
            world.clock.time = world.table.items[SITE].until
        assert lengths == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST, *[LONGEST] * 3]
        assert world.table.items[SITE].since == FakeClock().now()

    run(scenario)


def test_after_an_hour_the_next_one_is_a_first_one(world: World) -> None:
    async def scenario() -> None:
        sites = world.worker()
        for number in range(3):
            await hear(sites, f"d{number}")
            world.clock.time = world.table.items[SITE].until
        world.clock.advance(KEPT)
        assert not await left_alone(sites)
        assert not await left_alone(sites, "another")  # no trial any more
        await hear(sites, "d")
        assert world.table.items[SITE].step == 1

    run(scenario)


@pytest.mark.parametrize("heard", Heard)
def test_who_was_on_the_way_when_it_began_changes_nothing(world: World, heard: Heard) -> None:
    async def scenario() -> None:
        sites = world.worker()
        await hear(sites, "a")
        before = dict(world.table.items)
        await hear(sites, "b", heard)
        assert world.table.items == before
        assert await left_alone(sites)

    run(scenario)


def test_jitter() -> None:
    async def scenario() -> None:
        world = World(chance=0.5)
        sites = world.worker()
        await hear(sites, "a")
        (pause,) = world.table.items.values()
        assert pause.until == world.now + FIRST * (1 + JITTER / 2)
        assert sites.back(pause) == pause.until + FIRST * JITTER / 2
        world.clock.time = pause.until
        assert not await left_alone(sites, "b")
        trial = await sites.enter(SITE, "c")
        assert trial is not None
        assert trial.trial
        assert sites.back(trial) == world.now + AGAIN * 1.5

    run(scenario)


def test_the_clock_speed_divides(world: World) -> None:
    async def scenario() -> None:
        sites = world.worker(speed=100.0)
        await hear(sites, "a")
        assert world.table.items[SITE].until == world.now + FIRST / 100

    run(scenario)


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "silent"])
def test_without_the_table_each_worker_goes_by_what_it_sees(
    world: World, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        if hangs:
            monkeypatch.setattr("relay.sites.PATIENCE", 0.001)
            for name in ("find", "put", "end"):
                monkeypatch.setattr(world.table, name, never)
        world.table.fail = TemporaryError("away")
        one, other = world.worker(), world.worker()
        assert not await left_alone(one)
        await hear(one, "a")
        world.clock.advance(REFRESH)
        assert await left_alone(one)
        assert not await left_alone(other)
        world.clock.advance(FIRST - REFRESH)
        tried = await asyncio.gather(*(left_alone(one, f"d{n}") for n in range(10)))
        assert tried.count(False) == 1
        await hear(one, "d0", Heard.WELL)
        assert not await left_alone(one)
        assert world.what == ["sites table away", "site paused", "sites table away", "site resumed"]  # once a worker

    run(scenario)


def test_what_could_not_be_written_is_not_lost_to_what_is_read(world: World) -> None:
    async def scenario() -> None:
        sites = world.worker()
        world.table.fail_next(TemporaryError("throttled"))
        await hear(sites, "a")
        world.clock.advance(REFRESH)
        assert await left_alone(sites)  # though the table knows of none
        assert world.table.reads == 1

    run(scenario)


def test_a_bug_in_the_table_s_reader_is_told_and_asked_again(world: World) -> None:
    async def scenario() -> None:
        sites = world.worker()
        world.table.fail_next(KeyError("until"))  # type: ignore[arg-type]
        with pytest.raises(KeyError):
            await left_alone(sites)
        assert not await left_alone(sites)

    run(scenario)


def test_an_old_pause_that_was_not_read_is_followed_by_a_longer_one(world: World) -> None:
    async def scenario() -> None:
        old = Pause(SITE, world.now - 1, 3, world.now - 500, Heard.SLOW, SAID)
        sites = world.worker()
        assert not await left_alone(sites)
        world.table.items[SITE] = old
        await hear(sites, "a")
        assert world.table.items[SITE].step == 3
        assert world.table.items[SITE].until > world.now

    run(scenario)


def test_sites_that_are_well_are_forgotten_when_there_are_many(world: World) -> None:
    async def scenario() -> None:
        sites = world.worker()
        await hear(sites, "a")
        for number in range(MOST + 10):
            await sites.enter(f"mx{number}.example", "d")
        assert await left_alone(sites)
        assert len(sites._sites) <= MOST

    run(scenario)


def test_of_a_reply_only_the_codes_are_for_everybody() -> None:
    assert Pause(SITE, 0.0, 1, 0.0, Heard.SLOW, SAID).codes == "421 4.7.0"
