"""relay.proof.remembered: TXT answers are kept by their TTLs, failures and absence aren't."""

import asyncio

import pytest

from relay.dns import DnspythonResolver
from relay.errors import TemporaryError
from relay.ports import DnsStatus
from relay.proof.remembered import Remembered
from tests.dnsserver import TestDnsServer
from tests.fakes import FakeClock

ZONE = 'k.example. 100 TXT "key"\nlong.example. 86400 TXT "key"\n'


class World:
    def __init__(self, server: TestDnsServer) -> None:
        self.server = server
        self.clock = FakeClock()
        self.resolver = Remembered(DnspythonResolver((server.address,)), self.clock)

    def ask(self, name: str, count: int = 1) -> list[tuple[bytes, ...]]:
        async def run() -> list[tuple[bytes, ...]]:
            return [each.records for each in await asyncio.gather(*(self.resolver.txt(name) for _ in range(count)))]

        return asyncio.run(run())


@pytest.mark.parametrize(("name", "seconds"), [("k.example", 100), ("long.example", 300)])
def test_kept_by_its_ttl(name: str, seconds: float) -> None:
    with TestDnsServer(ZONE) as server:
        world = World(server)
        assert world.ask(name, 50) == [(b"key",)] * 50
        world.clock.advance(seconds - 1)
        world.ask(name)
        assert server.queries == 1
        world.clock.advance(2)
        world.ask(name)
        assert server.queries == 2


def test_what_does_not_exist_is_asked_again() -> None:
    with TestDnsServer(ZONE) as server:
        world = World(server)
        assert world.ask("new.example") == [()]
        server.add('new.example. TXT "now"')
        assert world.ask("new.example") == [(b"now",)]


def test_a_failure_is_asked_again() -> None:
    with TestDnsServer(ZONE) as server:
        world = World(server)
        server.servfail.add("k.example")
        with pytest.raises(TemporaryError):
            world.ask("k.example", 3)
        server.servfail.clear()
        assert world.ask("k.example") == [(b"key",)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.proof.remembered.MAX_ANSWERS", 2)
    with TestDnsServer("".join(f'd{number}.example. TXT "x"\n' for number in range(5))) as server:
        world = World(server)
        for number in range(5):
            world.ask(f"d{number}.example")
        assert list(world.resolver._kept) == ["d3.example", "d4.example"]


def test_other_types_go_through() -> None:
    with TestDnsServer(
        "m.example. MX 5 mx.m.example.\nm.example. A 192.0.2.1\nm.example. AAAA 2001:db8::1\n"
    ) as server:
        resolver = World(server).resolver

        async def run() -> list[DnsStatus]:
            asked = (resolver.mx, resolver.a, resolver.aaaa, resolver.ptr)
            return [(await each("m.example")).status for each in asked]

        assert asyncio.run(run()) == [DnsStatus.OK, DnsStatus.OK, DnsStatus.OK, DnsStatus.NO_DATA]
