"""One invocation of the deliver stage to servers far away: time, CPU and memory. `make bench`.

1,000 deliveries of 5 KB to 100 sites at a round trip of 100 ms, at most 10 connections a site, no connection open
before; ledger and queues in memory. In plaintext to smtp-sink, over TLS to aiosmtpd, both behind bench.delay. Then the
same with five sites that never answer (three accept a connection and say nothing, to two no SYN comes through), beside
the other 95 alone. Each run is a process of its own, whose peak is VmHWM: ru_maxrss may be that of who started it.

The servers and the proxy run on this machine, too: with TLS their CPU, not the round trips, decides how long it takes.
"""

import argparse
import asyncio
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.delay import far
from bench.deliver import RECIPIENT, SENDER, SINK, Dns, Nothing, content, smtp_sink, stage, transport
from local.certificates import Authority
from relay.ports import AddressAnswer, DnsStatus, MxAnswer
from relay.smtp.limits import Limits
from relay.submission import Delivery, Inline

WALL, MEMORY, SILENT = 5.0, 256, 1.2  # goals: seconds; MB; times the others' alone
SITES: Final = 100
ACCEPTS, VOID = 3, 2  # sites that never answer
HERE: Final = Path(__file__).parent


class Sites(Dns):
    """site-7.example has one host of its own, at 127.0.1.7; silent-7.example one at 127.0.2.7."""

    async def mx(self, name: str) -> MxAnswer:
        return MxAnswer(DnsStatus.OK, ((10, f"mx.{name}"),), 300)

    async def a(self, name: str) -> AddressAnswer:
        kind, number = name.split(".")[1].split("-")
        return AddressAnswer(DnsStatus.OK, (f"127.0.{1 if kind == 'site' else 2}.{number}",), 300)


async def invoke(port: int, each: int, answering: int, silent: int) -> dict[str, Any]:
    """each: deliveries a site."""
    sender = transport(port, Limits(), Sites())
    world, data = Nothing(), content()
    deliver, now = stage(sender, world), time.time()
    domains = [f"site-{number + 1}.example" for number in range(answering)]
    domains += [f"silent-{number + 1}.example" for number in range(silent)]
    done = 0.0

    async def one(number: int) -> None:
        nonlocal done
        domain = domains[number % len(domains)]
        recipient = f"{RECIPIENT.partition('@')[0]}@{domain}"
        mail = Delivery(f"id-{number}", "app@bench.example", SENDER, domain, 0, (recipient,), now, Inline(data))
        await deliver(mail, deadline=now + 290)
        if domain.startswith("site"):
            done = time.perf_counter()

    before, cpu, began = memory("VmRSS"), time.process_time(), time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(each * len(domains))))
    whole = time.perf_counter() - began
    sender.close()
    return {
        "answering": round(done - began, 2),
        "whole": round(whole, 2),
        "cpu": round(time.process_time() - cpu, 2),
        "delivered": world.settled,
        "memory_before": before,
        "memory": memory("VmHWM"),
    }


def memory(name: str) -> int:
    """MB, of /proc/self/status (proc(5))."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) // 1000


@contextmanager
def smtp_tls() -> Iterator[int]:
    """The port of a server that takes everything, with STARTTLS."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = Authority(Path(folder)).issue("mx", ("mx.bench.example",))
        script = str(HERE / "peers" / "aiosmtpd_mx.py")
        command = [sys.executable, "-W", "ignore", script, str(certificate.cert_file), str(certificate.key_file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stdout
            try:
                yield int(process.stdout.readline())
            finally:
                process.terminate()


@contextmanager
def never_answering(port: int) -> Iterator[None]:
    """At 127.0.2.1 and on: `ACCEPTS` that the kernel accepts for, and `VOID` whose queue is full, so that it drops
    every SYN."""
    with ExitStack() as exits:
        for number in range(1, ACCEPTS + VOID + 1):
            listener = exits.enter_context(socket.socket())
            listener.bind((f"127.0.2.{number}", port))
            listener.listen(1024 if number <= ACCEPTS else 0)
            while number > ACCEPTS:
                filler = exits.enter_context(socket.socket())
                filler.settimeout(0.2)
                try:
                    filler.connect(listener.getsockname())
                except TimeoutError:
                    break
        yield


def run(port: int, deliveries: int, answering: int, silent: int = 0) -> dict[str, Any]:
    """In a process of its own."""
    numbers = map(str, (port, deliveries // SITES, answering, silent))
    command = [sys.executable, "-m", "bench.invocation", "--child", *numbers]
    result: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603
    expected = deliveries // SITES * answering
    assert result["delivered"] == expected, f"{result['delivered']} of {expected} were delivered"
    return result


def measure(deliveries: int, *, tls: bool, round_trip: float) -> dict[str, Any]:
    silent = ACCEPTS + VOID
    with smtp_tls() if tls else smtp_sink() as server, far(server, round_trip, SITES) as place:
        found = {"all": run(place.port, deliveries, SITES), "others": run(place.port, deliveries, SITES - silent)}
        with never_answering(place.port):
            found["silent"] = run(place.port, deliveries, SITES - silent, silent)
    ratio = found["silent"]["answering"] / found["others"]["answering"]
    return {**found, **place.seen, "ratio": round(ratio, 2)}


def show(results: dict[str, dict[str, Any]], deliveries: int) -> None:
    table = Table("what", *results, "goal", title=f"one invocation, {deliveries} deliveries, {SITES} sites")

    def row(what: str, run: str, figure: str, unit: str, goal: str = "") -> None:
        table.add_row(what, *(f"{each[run][figure]} {unit}" for each in results.values()), goal)

    row("wall", "all", "whole", "s", f"<= {WALL:.0f} s")
    row("CPU", "all", "cpu", "s")
    row("peak memory", "all", "memory", "MB", f"{MEMORY} MB")
    row("of that, before it began", "all", "memory_before", "MB")
    row("95 sites alone: wall", "others", "whole", "s")
    row("95 sites beside 5 silent ones: until the last of the 95", "silent", "answering", "s")
    table.add_row("times the 95 alone", *(f"{each['ratio']}" for each in results.values()), f"<= {SILENT}")
    row("until the invocation has given up the 5, too", "silent", "whole", "s")
    table.add_row("connections at once to a site, at most", *(f"{each['most']}" for each in results.values()), "10")
    Console().print(table)


def child(numbers: list[int]) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    port, each, answering, silent = numbers
    print(json.dumps(asyncio.run(invoke(port, each, answering, silent))))
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--deliveries", type=int, default=1000)
    parser.add_argument("--round-trip", type=float, default=0.1, help="seconds")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--child", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return child(options.child)
    if SINK is None:
        print("bench/invocation.py: skipped, smtp-sink is not here (Debian: the postfix package)", file=sys.stderr)
        return 0
    results = {
        name: measure(options.deliveries, tls=name == "TLS", round_trip=options.round_trip)
        for name in ("plaintext", "TLS")
    }
    if options.json:
        print(json.dumps({"deliveries": options.deliveries, "sites": SITES, **results}))
    else:
        show(results, options.deliveries)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
