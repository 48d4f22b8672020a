"""Which policy holds, while records, fetches and the store come and go (RFC 8461 §3, §5.1)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from relay.errors import OutageError, PermanentError, TemporaryError
from relay.smtp import memory
from relay.smtp.https import FetchError
from relay.smtp.policies import Known, Policies
from relay.smtp.sts import Mode, Policy
from tests.fakes import FakeClock
from tests.unit.smtp.world import FakePolicies
from tests.unit.smtp.zone import Zone

DOMAIN, RECORD = "b.example", "_mta-sts.b.example"
DAY = 86_400


def body(mode: str = "enforce", max_age: int = 7 * DAY, mx: str = "mx.b.example") -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age}\n".encode()


@dataclass
class Place:
    """One process. answers: what the policy's host says. Time passes by `later`; then nothing is remembered that
    only an answer's TTL keeps."""

    zone: Zone = field(default_factory=lambda: Zone(txt_records={RECORD: (b"v=STSv1; id=1",)}))
    store: FakePolicies = field(default_factory=FakePolicies)
    clock: FakeClock = field(default_factory=FakeClock)
    answers: bytes | FetchError = field(default_factory=body)
    fetches: list[tuple[str, str]] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policies = Policies(self.zone, self.store, self._fetch, self.clock, lambda *what: self.seen.append(what))

    async def _fetch(self, host: str, path: str) -> bytes:
        self.fetches.append((host, path))
        if isinstance(self.answers, FetchError):
            raise self.answers
        return self.answers

    async def find(self) -> Policy | None:
        return await self.policies.find(DOMAIN)

    def announce(self, id: str | None) -> None:
        self.zone.txt_records[RECORD] = (f"v=STSv1; id={id}".encode(),) if id else ()

    def later(self, seconds: float) -> None:
        self.clock.time += seconds
        self.policies._memory = memory.Memory()

    def another_process(self) -> "Place":
        return Place(self.zone, self.store, self.clock, self.answers)


def run(scenario: Callable[[Place], Awaitable[None]]) -> None:
    asyncio.run(scenario(Place()))  # type: ignore[arg-type]


def test_found_fetched_and_kept() -> None:
    async def scenario(here: Place) -> None:
        assert await here.find() == Policy(Mode.ENFORCE, ("mx.b.example",), 7 * DAY)
        assert here.fetches == [("mta-sts.b.example", "/.well-known/mta-sts.txt")]
        here.later(300)
        assert await here.find()
        assert await here.another_process().find()
        assert len(here.fetches) == 1
        assert here.store.items[DOMAIN].id == "1"

    run(scenario)


def test_no_record_no_policy_and_nothing_is_fetched() -> None:
    async def scenario(here: Place) -> None:
        here.announce(None)
        assert await here.find() is None
        assert here.fetches == []

    run(scenario)


@pytest.mark.parametrize("error", [TemporaryError("away"), PermanentError("too long")])
def test_a_domain_seen_first_while_dns_is_away_has_none(error: TemporaryError | PermanentError) -> None:
    async def scenario(here: Place) -> None:
        here.zone.txt_records[RECORD] = error
        assert await here.find() is None

    run(scenario)


@pytest.mark.parametrize("record", [(), TemporaryError("away"), (b"v=STSv1",), (b"v=STSv1; id=1", b"v=STSv1; id=2")])
def test_without_its_record_a_known_policy_holds_until_it_expires(record: tuple[bytes, ...] | TemporaryError) -> None:
    async def scenario(here: Place) -> None:
        await here.find()
        here.zone.txt_records[RECORD] = record
        here.later(7 * DAY - 1)
        assert await here.find()
        assert await here.another_process().find()
        here.later(1)
        assert await here.find() is None
        assert await here.another_process().find() is None

    run(scenario)


@pytest.mark.parametrize("answer", [FetchError("HTTP status 500"), b"<html>"], ids=["no answer", "no policy"])
def test_a_fetch_that_fails_leaves_what_is_known(answer: bytes | FetchError) -> None:
    async def scenario(here: Place) -> None:
        await here.find()
        here.announce("2")
        here.answers = answer
        here.later(300)
        assert await here.find() == Policy(Mode.ENFORCE, ("mx.b.example",), 7 * DAY)
        assert len(here.fetches) == 2
        assert [domain for domain, _ in here.seen] == [DOMAIN]
        here.later(7 * DAY)
        assert await here.find() is None

    run(scenario)


def test_a_fetch_that_fails_first_is_as_if_there_were_no_policy_and_is_not_repeated_at_once() -> None:
    async def scenario(here: Place) -> None:
        here.zone.ttl = 0
        here.answers = FetchError("certificate: self-signed certificate")
        for _ in range(3):
            assert await here.find() is None
        assert len(here.fetches) == 1
        assert here.seen == [(DOMAIN, "certificate: self-signed certificate")]
        here.answers = body()
        here.later(300)
        assert await here.find()

    run(scenario)


def test_a_new_id_is_fetched_at_the_next_look_and_reaches_other_processes() -> None:
    async def scenario(here: Place) -> None:
        there = here.another_process()
        await here.find()
        await there.find()
        here.announce("2")
        here.answers = body("none", mx="mx.b.example")
        here.later(300)
        there.later(0)
        found = await here.find()
        assert found
        assert found.mode is Mode.NONE
        assert await there.find() == found
        assert (len(here.fetches), there.fetches) == (2, [])

    run(scenario)


@pytest.mark.parametrize(("max_age", "renewed"), [(7 * DAY, DAY), (1000, 500)])
def test_renewed_before_it_expires(max_age: int, renewed: int) -> None:
    async def scenario(here: Place) -> None:
        here.answers = body(max_age=max_age)
        await here.find()
        here.later(renewed - 1)
        await here.find()
        assert len(here.fetches) == 1
        here.later(1)
        await here.find()
        assert len(here.fetches) == 2
        assert here.store.items[DOMAIN].fetched == here.clock.now()

    run(scenario)


def test_a_policy_of_no_age_holds_for_one_look() -> None:
    async def scenario(here: Place) -> None:
        here.answers = body(max_age=0)
        for count in (1, 2):
            assert await here.find()
            assert len(here.fetches) == count

    run(scenario)


def test_looks_at_the_same_time_are_one() -> None:
    async def scenario(here: Place) -> None:
        found = await asyncio.gather(*(here.find() for _ in range(20)))
        assert all(found)
        assert len(here.fetches) == len(here.zone.asked) == 1

    run(scenario)


def test_the_store_away_a_fetched_policy_holds() -> None:
    async def scenario(here: Place) -> None:
        here.store.fail = OutageError("away")
        assert await here.find()
        assert here.seen == [(DOMAIN, "not kept: away")]
        here.later(300)
        here.announce(None)
        assert await here.find()  # as far as this process knows

    run(scenario)


@pytest.mark.parametrize("id", [None, "1"])
def test_the_store_away_and_nothing_else_known_nobody_says_that_there_is_none(id: str | None) -> None:
    async def scenario(here: Place) -> None:
        here.store.items[DOMAIN] = Known("1", Policy(Mode.ENFORCE, ("mx.b.example",), DAY), here.clock.now())
        here.store.fail = OutageError("away")
        here.announce(id)
        here.answers = FetchError("no answer in time")
        with pytest.raises(TemporaryError):
            await here.find()
        here.store.fail = None
        assert await here.find()

    run(scenario)


def test_what_processes_keep_is_bounded() -> None:
    async def scenario(here: Place) -> None:
        here.zone.txt_records = {f"_mta-sts.{n}.example": (b"v=STSv1; id=1",) for n in range(5000)}
        for n in range(5000):
            await here.policies.find(f"{n}.example")
        assert len(here.policies._known) <= memory.MOST_REMEMBERED

    run(scenario)
