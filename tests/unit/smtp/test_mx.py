import asyncio
import random

import pytest

from relay.errors import PermanentError, TemporaryError
from relay.ports import MxAnswer
from relay.smtp.mx import NoRouteError, Route, Routes
from relay.smtp.reach import Reach
from tests.unit.smtp.zone import Zone

AWAY = TemporaryError("no answer")


def routes_of(zone: Zone) -> Routes:
    return Routes(zone, "relay.example", Reach(own=("9.9.9.99",)))


def find(zone: Zone, domain: str = "b.example") -> Route:
    return asyncio.run(routes_of(zone).find(domain))


def addresses(zone: Zone, host: str = "mx.b.example") -> tuple[str, ...]:
    return asyncio.run(routes_of(zone).addresses(host))


def status(error: pytest.ExceptionInfo[NoRouteError]) -> tuple[int, str]:
    return error.value.reply.code, error.value.reply.enhanced


def test_by_preference() -> None:
    route = find(Zone({"b.example": ((20, "z"), (10, "y"), (30, "x"))}))
    assert route.hosts(random.Random(1)) == ("y", "z", "x")
    assert route.site == ("x", "y", "z")


def test_at_random_among_equals() -> None:
    route = find(Zone({"b.example": ((10, "x"), (10, "y"), (20, "z"))}))
    orders = {route.hosts(random.Random(seed)) for seed in range(50)}
    assert orders == {("x", "y", "z"), ("y", "x", "z")}


def test_a_host_listed_twice_is_one() -> None:
    assert find(Zone({"b.example": ((10, "x"), (20, "x"))})).hosts(random.Random(1)) == ("x",)


def test_no_mx_record_means_the_domain_itself() -> None:
    assert find(Zone(a_records={"b.example": ("9.9.9.1",)})).hosts(random.Random(1)) == ("b.example",)


def test_null_mx_beside_others_is_left_out() -> None:
    assert find(Zone({"b.example": ((0, ""), (10, "x"))})).hosts(random.Random(1)) == ("x",)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (Zone(), (550, "5.1.2")),
        (Zone({"b.example": ((0, ""),)}), (556, "5.1.10")),
        (Zone({"b.example": AWAY}), (451, "4.4.3")),
        (Zone({"b.example": PermanentError("cannot be looked up")}), (550, "5.1.2")),
    ],
    ids=["no such domain", "null MX", "DNS away", "no DNS name"],
)
def test_no_route(zone: Zone, expected: tuple[int, str]) -> None:
    with pytest.raises(NoRouteError) as error:
        find(zone)
    assert status(error) == expected


@pytest.mark.parametrize(
    ("a", "aaaa", "expected"),
    [
        (("9.9.9.1", "9.9.9.2"), ("2620:fe::1",), ("9.9.9.1", "9.9.9.2", "2620:fe::1")),
        ((), ("2620:fe::1",), ("2620:fe::1",)),
        (("9.9.9.1",), AWAY, ("9.9.9.1",)),
    ],
    ids=["both, IPv4 first", "IPv6 alone", "one of two away"],
)
def test_addresses(a: tuple[str, ...], aaaa: tuple[str, ...] | TemporaryError, expected: tuple[str, ...]) -> None:
    assert addresses(Zone(a_records={"mx.b.example": a}, aaaa_records={"mx.b.example": aaaa})) == expected


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (Zone(), (550, "5.4.4")),
        (Zone(a_records={"mx.b.example": AWAY}), (451, "4.4.3")),
        (Zone(a_records={"mx.b.example": PermanentError("no name")}), (550, "5.4.4")),
    ],
)
def test_no_address(zone: Zone, expected: tuple[int, str]) -> None:
    with pytest.raises(NoRouteError) as error:
        addresses(zone)
    assert status(error) == expected


def test_answers_are_remembered_for_their_ttl_and_asked_for_once_at_a_time() -> None:
    async def scenario(ttl: int) -> int:
        zone = Zone({"b.example": ((10, "x"),)}, ttl=ttl)
        routes = routes_of(zone)
        await asyncio.gather(*(routes.find("b.example") for _ in range(10)))
        await routes.find("b.example")
        return len(zone.asked)

    assert asyncio.run(scenario(60)) == 1
    assert asyncio.run(scenario(0)) == 2


def test_failures_are_not_remembered() -> None:
    async def scenario() -> None:
        zone = Zone({"b.example": AWAY})
        routes = routes_of(zone)
        with pytest.raises(NoRouteError):
            await routes.find("b.example")
        zone.mx_records["b.example"] = ((10, "x"),)
        assert (await routes.find("b.example")).site == ("x",)

    asyncio.run(scenario())


def test_who_gives_up_does_not_disturb_who_waits() -> None:
    class Slow(Zone):
        async def mx(self, name: str) -> MxAnswer:
            await asyncio.sleep(0)
            return await super().mx(name)

    async def scenario() -> None:
        routes = routes_of(Slow({"b.example": ((10, "x"),)}))
        first = asyncio.create_task(routes.find("b.example"))
        second = asyncio.create_task(routes.find("b.example"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).site == ("x",)

    asyncio.run(scenario())


def test_bugs_are_not_taken_for_missing_addresses() -> None:
    class Broken(Zone):
        async def aaaa(self, name: str) -> "object":  # type: ignore[override]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        addresses(Broken(a_records={"mx.b.example": ("9.9.9.1",)}))
