"""SmtpTransport, a zone and scripted servers on loopback."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from relay.ports import RecipientReply
from relay.shaping import Table
from relay.sites import Sites
from relay.smtp.https import Fetch
from relay.smtp.limits import Limits
from relay.smtp.mx import Routes
from relay.smtp.policies import Known, Policies
from relay.smtp.reach import Reach
from relay.smtp.shaping import Shaping
from relay.smtp.tls import verified_tls
from relay.smtp.transport import SmtpTransport
from relay.submission import Delivery, Inline
from tests.fakes import Failing, FakeClock, FakePauses
from tests.unit.smtp.scripted import Script, Sink
from tests.unit.smtp.zone import Zone

CONTENT = b"Subject: x\r\n\r\nhello\r\n.dot\r\n"
A, B = "a@b.example", "b@b.example"
SOON = 0.4  # seconds, for what has to time out; plenty for what has not
LIMITS = Limits(least=0.0)
SHORT = replace(LIMITS, greeting=SOON, hello=SOON, mail=SOON, rcpt=SOON, data=SOON, reset=SOON)


class FakePolicies(Failing):
    """policies.PolicyStore; `items` by domain."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Known] = {}

    async def find(self, domain: str) -> Known | None:
        self._maybe_fail()
        return self.items.get(domain)

    async def put(self, domain: str, known: Known) -> None:
        self._maybe_fail()
        there = self.items.get(domain)
        if there is None or there.fetched <= known.fetched:
            self.items[domain] = known


@dataclass
class World:
    """Hosts mx1, mx2 (same port, addresses 127.0.0.1 and 127.0.0.2) that b.example's MX records name."""

    sinks: list[Sink]
    zone: Zone
    transport: SmtpTransport
    clock: FakeClock = field(default_factory=FakeClock)
    policies: FakePolicies = field(default_factory=FakePolicies)
    shaping: Shaping | None = None
    pauses: FakePauses = field(default_factory=FakePauses)

    async def send(
        self,
        *recipients: str,
        content: bytes = CONTENT,
        domain: str = "b.example",
        left: float = 30.0,
        id: str = "id",
        **more: Any,
    ) -> list[RecipientReply]:
        to = recipients or (A,)
        delivery = Delivery(id, "account", "s@a.example", domain, 0, to, self.clock.now(), Inline(content), **more)
        deadline = self.clock.now() + left
        return list(await self.transport.send(delivery, to, content, deadline=deadline))

    @property
    def received(self) -> list[int]:
        return [len(sink.received) for sink in self.sinks]


@asynccontextmanager
async def world(
    *scripts: Script,
    limits: Limits = LIMITS,
    ca_file: str | None = None,
    policy_port: int = 1,
    table: str = "",
    workers: int = 1,
) -> AsyncIterator[World]:
    """ca_file: whom policies trust. policy_port: where their hosts listen, instead of 443. table: of shaping, "" for
    none; its sleeps take no time, they advance the clock. workers: who share it."""
    zone = Zone({"b.example": tuple((10 * n, f"mx{n}.b.example") for n, _ in enumerate(scripts, 1))})
    sinks: list[Sink] = []
    for n, script in enumerate(scripts, 1):
        zone.a_records[f"mx{n}.b.example"] = (f"127.0.0.{n}",)
        sink = Sink(script, port=sinks[0].port if sinks else 0, address=f"127.0.0.{n}")
        sinks.append(await sink.__aenter__())
    clock, store = FakeClock(), FakePolicies()
    routes = Routes(zone, "relay.example", Reach(opened=("127.0.0.0/8",)))
    fetch = Fetch(routes.addresses, lambda: verified_tls(ca_file), port=policy_port, seconds=SOON)
    pauses, shaping = FakePauses(), None

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    if table:
        sites = Sites(pauses, clock, chance=lambda: 0.0)
        shaping = Shaping(Table.parse(table), sites, limits, clock, workers=workers, sleep=sleep)
    transport = SmtpTransport(
        routes=routes,
        policies=Policies(zone, store, fetch, clock),
        host_name="relay.example",
        clock=clock,
        port=sinks[0].port,
        limits=limits,
        verified=lambda: verified_tls(ca_file),
        chance=random.Random(1),
        shaping=shaping,
    )
    try:
        yield World(sinks, zone, transport, clock, store, shaping, pauses)
    finally:
        transport.close()
        for sink in sinks:
            await sink.__aexit__()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


def one(
    script: Script, *recipients: str, limits: Limits = LIMITS, content: bytes = CONTENT, **more: object
) -> tuple[list[RecipientReply], Sink]:
    """Send once to one scripted server."""

    async def scenario() -> tuple[list[RecipientReply], Sink]:
        async with asyncio.timeout(30), world(script, limits=limits) as here:
            return await here.send(*recipients, content=content, **more), here.sinks[0]  # type: ignore[arg-type]

    return asyncio.run(scenario())
