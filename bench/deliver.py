"""What a delivery costs: the deliver stage with a ledger and queues in memory, sending to smtp-sink over connections
that are kept; beside it aiosmtplib, which only sends. `make bench`.

The figures are our own process's CPU for 1,000 messages of 5 KB; smtp-sink's is its own. The two take turns, each on
as many connections as the other, and the median counts.
"""

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import uvloop
from aiosmtplib import SMTP
from rich.console import Console
from rich.table import Table

from relay import collector
from relay.clock import SystemClock
from relay.deliver import Deliver, Timing
from relay.outcome import Outcome
from relay.ports import AddressAnswer, Checked, Claim, Claimed, DnsStatus, LedgerEntry, MxAnswer, TxtAnswer
from relay.retry import RetryPolicy
from relay.smtp.https import Fetch
from relay.smtp.limits import Limits
from relay.smtp.mx import Routes
from relay.smtp.policies import Known, Policies
from relay.smtp.reach import Reach
from relay.smtp.tls import verified_tls
from relay.smtp.transport import SmtpTransport
from relay.submission import Delivery, DeliveryKey, Inline

GOALS: Final = ((7, 0.08, 0.4), (5, 0.10, 0.5))  # of the issues: CPU s a 1,000 messages, and share of aiosmtplib's
SENDER, RECIPIENT, DOMAIN = "news@bench.example", "you@in.example", "in.example"
CONNECTIONS: Final = 10
LIMITS: Final = Limits(connections_per_site=CONNECTIONS, per_connection=1 << 30)
SINK: Final = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin")


def content(size: int = 5_000) -> bytes:
    head = (
        f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: x\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        "Message-ID: <1@bench.example>\r\n\r\n"
    ).encode()
    line = b"A line of the body: sixty-four octets, with the CRLF counted in\r\n"
    return head + line * ((size - len(head)) // len(line))


class Dns:
    """One domain, one host."""

    async def mx(self, _name: str) -> MxAnswer:
        return MxAnswer(DnsStatus.OK, ((10, "mx.in.example"),), 300)

    async def a(self, _name: str) -> AddressAnswer:
        return AddressAnswer(DnsStatus.OK, ("127.0.0.1",), 300)

    async def aaaa(self, _name: str) -> AddressAnswer:
        return AddressAnswer(DnsStatus.NO_DATA, (), 300)

    async def txt(self, _name: str) -> TxtAnswer:
        return TxtAnswer(DnsStatus.NO_NAME, (), 300)

    async def ptr(self, _name: str) -> Any:
        raise NotImplementedError


class Nothing:
    """A ledger that grants every claim, queues that take everything, tables that have nothing."""

    def __init__(self) -> None:
        self.settled = self.sent = 0

    async def claim(self, delivery: Delivery, *, owner: str, now: float, until: float) -> Claim:
        return Claimed(LedgerEntry(delivery.key, delivery.attempt, owner=owner, claimed_until=until))

    async def settle(self, _key: DeliveryKey, *, outcomes: tuple[Outcome, ...], **_more: Any) -> None:
        self.settled += sum(outcome.state.value == "delivered" for outcome in outcomes)

    async def advance(self, *_key: Any, **_more: Any) -> None: ...

    async def send(self, _body: str, **_more: Any) -> None:
        self.sent += 1

    async def find(self, *_key: Any) -> Known | None:
        return None

    async def put(self, *_item: Any) -> None: ...

    async def check(self, *_asked: Any) -> Checked:
        return Checked()


def transport(port: int, limits: Limits, dns: Any = None) -> SmtpTransport:
    dns = dns or Dns()
    routes = Routes(dns, "relay.example", Reach(opened=("127.0.0.0/8",)))
    policies = Policies(dns, Nothing(), Fetch(routes.addresses, verified_tls), SystemClock())
    return SmtpTransport(
        routes=routes, policies=policies, host_name="relay.example", clock=SystemClock(), port=port, limits=limits
    )


def stage(sender: SmtpTransport, world: Any) -> Deliver:
    async def stopped(_account: str) -> str:
        return ""

    return Deliver(
        ledger=world,
        content=world,
        suppressions=world,
        stopped=stopped,
        transport=sender,
        queue=world,
        reports=world,
        clock=SystemClock(),
        retry=RetryPolicy(1.0),
        timing=Timing(330.0),
    )


async def ours(port: int, messages: int) -> float:
    """CPU seconds for 1,000 messages, connections open already."""
    sender = transport(port, LIMITS)
    world, data = Nothing(), content()
    deliver = stage(sender, world)

    now = time.time()
    queued = [
        Delivery(f"id-{number}", "app@bench.example", SENDER, DOMAIN, 0, (RECIPIENT,), now, Inline(data))
        for number in range(messages)
    ]

    async def one(number: int) -> None:
        await deliver(queued[number], deadline=now + 290)

    await asyncio.gather(*map(one, range(CONNECTIONS)))
    began = time.process_time()
    for first in range(0, messages, 100):  # a batch of the queue at a time
        await asyncio.gather(*map(one, range(first, min(messages, first + 100))))
    used = time.process_time() - began
    assert world.settled == messages + CONNECTIONS, "not all were delivered"
    sender.close()
    return used * 1000 / messages


async def transport_alone(port: int, messages: int) -> float:
    """Like `ours`, without the stage."""
    sender, data, now = transport(port, LIMITS), content(), time.time()
    delivery = Delivery("id", "app@bench.example", SENDER, DOMAIN, 0, (RECIPIENT,), now, Inline(data))

    async def one(_number: int) -> None:
        (reply,) = await sender.send(delivery, (RECIPIENT,), data, deadline=now + 290)
        assert reply.ok

    await asyncio.gather(*map(one, range(CONNECTIONS)))
    began = time.process_time()
    for first in range(0, messages, 100):
        await asyncio.gather(*map(one, range(first, min(messages, first + 100))))
    used = time.process_time() - began
    sender.close()
    return used * 1000 / messages


async def theirs(port: int, messages: int) -> float:
    """aiosmtplib's."""
    data = content()
    clients = [SMTP(hostname="127.0.0.1", port=port, use_tls=False, start_tls=False) for _ in range(CONNECTIONS)]
    for client in clients:
        await client.connect()
        await client.sendmail(SENDER, [RECIPIENT], data)

    async def some(client: SMTP) -> None:
        for _ in range(messages // CONNECTIONS):
            await client.sendmail(SENDER, [RECIPIENT], data)

    began = time.process_time()
    await asyncio.gather(*map(some, clients))
    used = time.process_time() - began
    for client in clients:
        await client.quit()
    return used * 1000 / (messages // CONNECTIONS * CONNECTIONS)


@contextmanager
def smtp_sink() -> Iterator[int]:
    """The port of a server that takes everything."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([SINK or "", "-u", "nobody", "-m", "2000", f"127.0.0.1:{port}", "1000"])  # noqa: S603
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def measure(messages: int, rounds: int) -> dict[str, Any]:
    figures: dict[str, list[float]] = {"ours": [], "transport": [], "aiosmtplib": []}
    collector.settle()  # as the function does; aiosmtplib gains as much by it
    with smtp_sink() as port:
        for _ in range(rounds):
            figures["ours"].append(uvloop.run(ours(port, messages)))
            figures["transport"].append(uvloop.run(transport_alone(port, messages)))
            figures["aiosmtplib"].append(asyncio.run(theirs(port, messages)))
    found = {name: round(statistics.median(each), 4) for name, each in figures.items()}
    share = statistics.median(a / b for a, b in zip(figures["ours"], figures["aiosmtplib"], strict=True))
    return {"messages": messages, "rounds": rounds, **found, "share": round(share, 3)}


def show(result: Mapping[str, Any]) -> None:
    table = Table("what", "CPU s a 1,000 messages", "goals", title="deliver to smtp-sink, 5 KB, connections kept")
    seconds = ", ".join(f"<= {seconds:.2f} (issue {issue})" for issue, seconds, _ in GOALS)
    shares = ", ".join(f"<= {share} (issue {issue})" for issue, _, share in GOALS)
    table.add_row("the deliver stage", f"{result['ours']:.3f}", seconds)
    table.add_row("of that, relay.smtp", f"{result['transport']:.3f}", "")
    table.add_row("aiosmtplib, sending alone", f"{result['aiosmtplib']:.3f}", "")
    table.add_row("ours / aiosmtplib", f"{result['share']:.2f}", shares)
    Console().print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    if SINK is None:
        print("bench/deliver.py: skipped, smtp-sink is not here (Debian: the postfix package)", file=sys.stderr)
        return 0
    result = measure(options.messages, options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
