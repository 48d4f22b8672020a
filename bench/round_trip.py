"""How fast mail goes to a server that is far away, over one connection: our transport, and aiosmtplib. `make bench`.

Messages a second at a round trip of 100 ms, to smtp-sink behind bench.delay, with the connection open already. Ours
gets many messages at once, as an invocation does, and one connection for them; aiosmtplib sends one after the other,
which is all that it can. What counts is waiting, not CPU, so a busy machine matters little.
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any, Final

from aiosmtplib import SMTP
from rich.console import Console
from rich.table import Table

from bench.delay import Far, far
from bench.deliver import DOMAIN, RECIPIENT, SENDER, SINK, Dns, content, smtp_sink, transport
from relay.ports import AddressAnswer, DnsStatus
from relay.smtp.limits import Limits
from relay.submission import Delivery, Inline

ENVELOPE, ACROSS = 1.9, 3.5  # goals: times aiosmtplib's
ONE: Final = Limits(connections_per_site=1, per_connection=1 << 30)


class FarDns(Dns):
    async def a(self, _name: str) -> AddressAnswer:
        return AddressAnswer(DnsStatus.OK, (Far.host(1),), 300)


async def ours(port: int, messages: int, at_once: int) -> float:
    """Messages a second. at_once: sends that are under way together, which take turns at the one connection."""
    sender, data, now = transport(port, ONE, FarDns()), content(), time.time()
    delivery = Delivery("id", "app@bench.example", SENDER, DOMAIN, 0, (RECIPIENT,), now, Inline(data))
    places = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with places:
            (reply,) = await sender.send(delivery, (RECIPIENT,), data, deadline=now + 290)
        assert reply.ok, reply

    await one()
    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(messages)))
    took = time.perf_counter() - began
    sender.close()
    return messages / took


async def theirs(port: int, messages: int) -> float:
    data = content()
    client = SMTP(hostname=Far.host(1), port=port, use_tls=False, start_tls=False)
    await client.connect()
    await client.sendmail(SENDER, [RECIPIENT], data)
    began = time.perf_counter()
    for _ in range(messages):
        await client.sendmail(SENDER, [RECIPIENT], data)
    took = time.perf_counter() - began
    await client.quit()
    return messages / took


def measure(messages: int, round_trip: float) -> dict[str, Any]:
    with smtp_sink() as sink, far(sink, round_trip) as place:
        envelope = asyncio.run(ours(place.port, messages, 1))
        across = asyncio.run(ours(place.port, messages, messages))
        other = asyncio.run(theirs(place.port, messages))
    assert place.seen["most"] == 1, f"{place.seen['most']} connections at once"
    return {
        "messages": messages,
        "round_trip": round_trip,
        "one_at_a_time": round(envelope, 2),
        "many_at_once": round(across, 2),
        "aiosmtplib": round(other, 2),
        "envelope_ratio": round(envelope / other, 2),
        "across_ratio": round(across / other, 2),
    }


def show(result: dict[str, Any]) -> None:
    title = f"one connection, {1000 * result['round_trip']:.0f} ms round trip, 5 KB, {result['messages']} messages each"
    table = Table("what", "messages/s", "x aiosmtplib", "goal", title=title)
    table.add_row(
        "ours, one message at a time (envelope only)",
        f"{result['one_at_a_time']:.2f}",
        f"{result['envelope_ratio']:.2f}",
        f">= {ENVELOPE}",
    )
    table.add_row(
        "ours, all handed over at once (across messages)",
        f"{result['many_at_once']:.2f}",
        f"{result['across_ratio']:.2f}",
        f">= {ACROSS}",
    )
    table.add_row("aiosmtplib", f"{result['aiosmtplib']:.2f}", "1", "")
    Console().print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=25)
    parser.add_argument("--round-trip", type=float, default=0.1, help="seconds")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    if SINK is None:
        print("bench/round_trip.py: skipped, smtp-sink is not here (Debian: the postfix package)", file=sys.stderr)
        return 0
    result = measure(options.messages, options.round_trip)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
