import asyncio
import random

import pytest

from relay.dns import DnspythonResolver
from relay.errors import PermanentError, TemporaryError
from relay.ports import MxAnswer
from relay.smtp.mx import NoRouteError, Route, Routes
from relay.smtp.reach import Reach
from tests.dnsserver import TestDnsServer
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
    ("records", "hosts"),
    [
        (((10, "x"), (20, "relay.example"), (20, "y"), (30, "z")), ("x",)),
        (((10, "x"), (10, "relay.example")), None),
        (((10, "relay.example"), (20, "x")), None),
        (((10, "relay.example"),), None),
    ],
    ids=["a better one", "as good as another", "the best", "alone"],
)
def test_ourselves_and_who_is_liked_less_are_left_out(
    records: tuple[tuple[int, str], ...], hosts: tuple[str, ...] | None
) -> None:
    zone = Zone({"b.example": records})
    if hosts:
        assert find(zone).hosts(random.Random(1)) == hosts
        return
    with pytest.raises(NoRouteError) as error:
        find(zone)
    assert status(error) == (550, "5.4.6")


def test_some_of_the_hosts() -> None:
    route = find(Zone({"b.example": ((10, "x"), (10, "y"), (20, "z"))})).only(lambda host: host != "y")
    assert (route.hosts(random.Random(1)), route.site) == (("x", "z"), ("x", "z"))


@pytest.mark.parametrize(
    ("a", "aaaa", "expected"),
    [
        (("9.9.9.1", "9.9.9.2"), ("2620:fe::1",), ("9.9.9.1", "9.9.9.2", "2620:fe::1")),
        ((), ("2620:fe::1",), ("2620:fe::1",)),
        (("9.9.9.1",), AWAY, ("9.9.9.1",)),
        (("10.0.0.1", "9.9.9.1", "127.0.0.1"), ("::1", "2620:fe::1", "::ffff:10.0.0.1"), ("9.9.9.1", "2620:fe::1")),
        (("9.9.9.99", "9.9.9.1"), (), ("9.9.9.1",)),
    ],
    ids=["both, IPv4 first", "IPv6 alone", "one of two away", "inside ones are left out", "our own is left out"],
)
def test_addresses(a: tuple[str, ...], aaaa: tuple[str, ...] | TemporaryError, expected: tuple[str, ...]) -> None:
    assert addresses(Zone(a_records={"mx.b.example": a}, aaaa_records={"mx.b.example": aaaa})) == expected


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (Zone(), (550, "5.4.4")),
        (Zone(a_records={"mx.b.example": AWAY}), (451, "4.4.3")),
        (Zone(a_records={"mx.b.example": PermanentError("no name")}), (550, "5.4.4")),
        (Zone(a_records={"mx.b.example": ("169.254.169.254",)}), (550, "5.4.4")),
        (Zone(a_records={"mx.b.example": ("9.9.9.99",)}), (550, "5.4.4")),
        (Zone(a_records={"mx.b.example": ("10.0.0.1",)}, aaaa_records={"mx.b.example": AWAY}), (451, "4.4.3")),
    ],
    ids=["none", "DNS away", "no DNS name", "inside alone", "our own alone", "inside, and DNS away"],
)
def test_no_address(zone: Zone, expected: tuple[int, str]) -> None:
    with pytest.raises(NoRouteError) as error:
        addresses(zone)
    assert status(error) == expected


# Over the wire: names that are other names, and none.
ZONE = """
alias.example. CNAME b.example.
b.example. MX 10 mx.b.example.
b.example. MX 20 mx-alias.b.example.
mx.b.example. A 9.9.9.1
mx-alias.b.example. CNAME mx.b.example.
loop.example. CNAME pool.example.
pool.example. CNAME loop.example.
literal.example. MX 10 9.9.9.1.
null.example. MX 0 .
text.example. TXT "x"
host.example. AAAA 2620:fe::1
"""


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("b.example", ["9.9.9.1", "9.9.9.1"]),
        ("alias.example", ["9.9.9.1", "9.9.9.1"]),
        ("host.example", ["2620:fe::1"]),
        ("loop.example", (451, "4.4.3")),
        ("literal.example", (550, "5.4.4")),
        ("null.example", (556, "5.1.10")),
        ("text.example", (550, "5.4.4")),
        ("nowhere.example", (550, "5.1.2")),
        ("away.example", (451, "4.4.3")),
        ("a" * 64 + ".example", (550, "5.1.2")),
        ("ü.example", (550, "5.1.2")),
    ],
)
def test_over_the_wire(domain: str, expected: list[str] | tuple[int, str]) -> None:
    """An alias is followed for the domain and, as everybody does in spite of RFC 5321 §5.1, for an MX host; an
    address in place of an MX host's name is no host."""

    async def scenario(address: str) -> list[str] | tuple[int, str]:
        routes = Routes(DnspythonResolver((address,)), "relay.example", Reach())
        try:
            route = await routes.find(domain)
            return [each for host in route.hosts(random.Random(1)) for each in await routes.addresses(host)]
        except NoRouteError as error:
            return error.reply.code, error.reply.enhanced

    with TestDnsServer(ZONE) as server:
        server.servfail.add("away.example")
        assert asyncio.run(scenario(server.address)) == expected


def test_answers_are_remembered_for_their_ttl_and_asked_for_once_at_a_time() -> None:
    async def scenario(ttl: int) -> int:
        zone = Zone({"b.example": ((10, "x"),)}, ttl=ttl)
        routes = routes_of(zone)
        await asyncio.gather(*(routes.find("b.example") for _ in range(10)))
        await routes.find("b.example")
        return len(zone.asked)

    assert asyncio.run(scenario(60)) == 1
    assert asyncio.run(scenario(0)) == 2


ROOT = "a.root-servers.net"


@pytest.mark.parametrize("root", [("198.41.0.4",), (), AWAY], ids=["there", "not known", "away"])
def test_whose_dns_is_away(root: tuple[str, ...] | TemporaryError) -> None:
    zone = Zone({"b.example": AWAY}, a_records={ROOT: root, "mx.b.example": AWAY})
    for lookup in (find, addresses):
        with pytest.raises(NoRouteError) as error:
            lookup(zone)  # type: ignore[operator]
        assert status(error) == ((451, "4.3.0") if root is AWAY else (451, "4.4.3"))


def test_that_our_dns_works_is_remembered_that_it_does_not_is_not() -> None:
    async def scenario() -> None:
        zone = Zone({"b.example": AWAY}, a_records={ROOT: AWAY})
        routes = routes_of(zone)

        async def fails() -> str:
            with pytest.raises(NoRouteError) as error:
                await routes.find("b.example")
            return error.value.reply.enhanced

        assert await fails() == "4.3.0"
        zone.a_records[ROOT] = ("198.41.0.4",)
        assert await fails() == "4.4.3"
        assert await fails() == "4.4.3"
        assert zone.asked.count((ROOT, "A")) == 2

    asyncio.run(scenario())


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
