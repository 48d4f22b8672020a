"""What the gateway costs, beside its peers: CPU of all its processes for 1,000 messages, memory, latency.

The gateway is `python -m smtp_gateway` as it is, with AWS canned in another process (bench/canned.py); the peers
discard what they accept, but for Postfix, which queues it durably first. STARTTLS, AUTH PLAIN, an ECDSA P-256
certificate. The servers take turns, and the median counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.load import percentile
from bench.servers import LOGIN, SERVERS, Place, Server, StartError, cpu, free_port, memory, running
from local.certificates import Authority

MANY, ONE = ["--connections", "20", "--per-connection", "100"], ["--connections", "20", "--per-connection", "1"]
# name: what it is, options of the load, messages
SCENARIOS: Final[Mapping[str, tuple[str, list[str], int]]] = {
    "a": ("20 connections x 100 messages, 5 KB", MANY, 4000),
    "ap": ("the same, pipelined", [*MANY, "--pipelining"], 4000),
    "b": ("one message per connection", ONE, 1500),
    "c": ("20 x 100 messages, 100 KB", [*MANY, "--size", "100000"], 1000),
}
# seconds of CPU for 1,000 messages, and the share of aiosmtpd's
GOALS: Final[Mapping[str, tuple[float, float]]] = {"a": (0.25, 0.4), "b": (1.0, 0.45), "c": (1.2, 0.35)}
MODULES: Final = Path(__file__).parent.parent / ".bench" / "node_modules"
OURS, PEER = "gateway", "aiosmtpd"
IDLE: Final = 1000  # connections
IDLE_GOAL: Final = 40.0  # KB for each
LONG: Final = 10_000  # messages of one session
RATE: Final = 1000  # messages a second
DELAY: Final = 0.01  # seconds before the canned SQS answers, where latency is measured
LATENCY_GOAL: Final = 10.0  # ms


class Bench:
    def __init__(self, folder: Path, load: Path | None, node_modules: Path | None) -> None:
        self._folder = folder
        self._load = [str(load)] if load else [sys.executable, "-m", "bench.load"]
        self._modules = node_modules
        self._certificate = Authority(folder).issue("bench", ("localhost",))

    def throughput(self, server: Server, scenario: str, scale: float) -> dict[str, Any]:
        """One run. cpu: seconds for 1,000 messages."""
        _, options, messages = SCENARIOS[scenario]
        count = max(20, int(messages * scale))
        with self._canned() as aws, self._started(server, aws) as (port, pid):
            self._run(port, [*options, "--messages", str(min(count, 200))])
            before = settled(pid)
            found = self._run(port, [*options, "--messages", str(count)])
            used = settled(pid) - before
        if found["accepted"] != count:
            raise StartError(f"{server.name}: {found['accepted']} of {count} accepted: {found['last_error']}")
        client = found["cpu_user"] + found["cpu_sys"]
        return {
            "cpu": used * 1000 / count,
            "client": client * 1000 / count,
            "rate": found["rate"],
            "p99": found["p99"],
        }

    def idle(self, server: Server) -> float:
        """KB for each connection that has logged in and says nothing."""
        with self._canned() as aws, self._started(server, aws) as (port, pid):
            self._run(port, ["--connections", "5", "--messages", "50"])
            before = memory(pid)
            arguments = [*self._command(port), "--idle", str(IDLE), "--hold", "3"]
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as held:  # noqa: S603
                assert held.stdout
                held.stdout.readline()
                time.sleep(0.5)
                after = memory(pid)
                found = json.loads(held.stdout.read())
        if found["idle_up"] != IDLE or found["idle_dead"]:
            raise StartError(f"{server.name}: {found['idle_up']} of {IDLE} connections: {found['last_error']}")
        return (after - before) / 1024 / IDLE

    def session(self, server: Server, messages: int) -> dict[str, float]:
        """CPU seconds of the first and of the last 1,000 messages of one session."""
        with self._canned() as aws, self._started(server, aws) as (port, pid):
            self._run(port, ["--connections", "5", "--messages", "200"])
            arguments = self._own(port, ["--connections", "1", "--per-connection", str(messages)])
            arguments += ["--messages", str(messages), "--mark", "1000"]
            marks: list[float] = []
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as load:  # noqa: S603
                assert load.stdout
                for line in load.stdout:
                    marks.append(cpu(pid))
                    if not line.startswith("MARK") and json.loads(line)["accepted"] != messages:
                        raise StartError(f"{server.name}: {line}")
        steps = [after - before for before, after in pairwise(marks)]
        return {"first": steps[0], "last": steps[-1]}

    def latency(self, server: Server, seconds: float) -> dict[str, float]:
        """ms from the final dot to 250, at RATE messages a second; endpoint: what SQS takes of them."""
        with self._canned(DELAY) as aws, self._started(server, aws) as (port, _):
            self._run(port, ["--connections", "50", "--messages", "500"])
            _stats(aws)
            options = ["--connections", "50", "--per-connection", "1000", "--rate", str(RATE)]
            count = int(RATE * seconds)
            load = self._own(port, [*options, "--messages", str(count)])
            found = json.loads(subprocess.run(load, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603
            times = _stats(aws)
        endpoint = percentile(times, 0.5)
        return {
            "p50": found["dot_p50"],
            "p99": found["dot_p99"],
            "rate": found["rate"],
            "endpoint": endpoint,
            "beyond": found["dot_p99"] - endpoint,
        }

    def _run(self, port: int, options: Sequence[str]) -> dict[str, Any]:
        arguments = [*self._command(port), *options]
        said = subprocess.run(arguments, stdout=subprocess.PIPE, check=False).stdout  # noqa: S603
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def _command(self, port: int) -> list[str]:
        login = ["--auth", LOGIN, "--from", "news@bench.example"]
        return [*self._load, "--port", str(port), *login, "--starttls", "--json"]

    def _own(self, port: int, options: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "bench.load", "--port", str(port), "--auth", LOGIN, *options]

    @contextmanager
    def _canned(self, delay: float = 0.0) -> Iterator[int]:
        """The port of AWS."""
        port = free_port()
        command = [sys.executable, "-m", "bench.canned", "--port", str(port), "--delay", str(delay)]
        with running("canned AWS", (command, None), port, self._folder / "canned.log"):
            yield port

    @contextmanager
    def _started(self, server: Server, aws: int) -> Iterator[tuple[int, int]]:
        """The port and the process id of the server, in a folder of its own."""
        port = free_port()
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            folder.chmod(0o755)  # Postfix changes its user
            place = Place(folder, port, self._certificate, aws, self._modules)
            with running(server.name, server.command(place), port, folder / "log") as pid:
                yield port, pid


def settled(pid: int) -> float:
    """As `cpu`, once the server has nothing more to do: Postfix is still busy with its queue."""
    used = cpu(pid)
    for _ in range(100):
        time.sleep(0.3)
        before, used = used, cpu(pid)
        if used - before < 0.01:
            break
    return used


def _stats(aws: int) -> list[float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{aws}/stats") as answer:
        times: list[float] = json.load(answer)["times"]
    return times


def measure(bench: Bench, servers: Sequence[Server], options: argparse.Namespace) -> dict[str, Any]:
    """The servers take turns; the figures are medians. share: of aiosmtpd's CPU, by turns."""
    result: dict[str, Any] = {"scenarios": {}}
    wanted = options.scenarios.split(",")
    for scenario in (each for each in SCENARIOS if each in wanted):
        runs: dict[str, list[dict[str, float]]] = {}
        for _ in range(options.rounds):
            for server in servers:
                runs.setdefault(server.name, []).append(bench.throughput(server, scenario, options.scale))
        result["scenarios"][scenario] = {name: _medians(each) for name, each in runs.items()}
        for name, each in runs.items():
            shares = [one["cpu"] / peer["cpu"] for one, peer in zip(each, runs.get(PEER, ()), strict=False)]
            if shares:
                result["scenarios"][scenario][name]["share"] = statistics.median(shares)
    ours = servers[0]
    if "d" in wanted:
        result["idle"] = {server.name: bench.idle(server) for server in servers}
    if "long" in wanted:
        result["session"] = bench.session(ours, int(LONG * options.scale))
    if "latency" in wanted:
        result["latency"] = bench.latency(ours, 10 * options.scale)
    return result


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def show(result: Mapping[str, Any], absent: Mapping[str, str], console: Console) -> None:
    """In 80 columns."""
    for scenario, found in result["scenarios"].items():
        goal = GOALS.get(scenario)
        title = f"({scenario}) {SCENARIOS[scenario][0]}: CPU s for 1,000 messages"
        if goal:
            title += f"; goal <= {goal[0]}, <= {goal[1]} x aiosmtpd"
        table = Table("server", title=title, width=80)
        for name in ("CPU", "/ aiosmtpd", "/ load's", "messages/s", "p99 ms"):
            table.add_column(name, justify="right")
        for name, each in found.items():
            share = f"{each['share']:.2f}" if "share" in each else ""
            load = f"{each['cpu'] / each['client']:.1f}"
            table.add_row(name, f"{each['cpu']:.3f}", share, load, f"{each['rate']:.0f}", f"{each['p99']:.1f}")
        console.print(table)
    rest = Table("what", "found", "goal", width=80)
    for name, size in result.get("idle", {}).items():
        limit = f"<= {IDLE_GOAL:.0f}" if name == OURS else ""
        rest.add_row(f"(d) KB for an idle TLS connection: {name}", f"{size:.1f}", limit)
    if "session" in result:
        first, last = result["session"]["first"], result["session"]["last"]
        rest.add_row("CPU s, first and last 1,000 of one session", f"{first:.2f} {last:.2f}", "the same")
    if "latency" in result:
        found = result["latency"]
        said = f"ms p99 from the final dot to 250 at {found['rate']:.0f}/s"
        rest.add_row(said, f"{found['p99']:.1f}", "")
        rest.add_row(
            f"beyond the endpoint's {found['endpoint']:.1f}", f"{found['beyond']:.1f}", f"<= {LATENCY_GOAL:.0f}"
        )
    if rest.rows:
        console.print(rest)
    for name, why in absent.items():
        console.print(f"not here: {name} ({why})")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenarios", default="a,ap,b,c,d,long,latency")
    parser.add_argument("--servers", help="names, comma between; default: all that are here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of messages")
    parser.add_argument("--load", type=Path, help="another load generator with bench/load.py's options")
    parser.add_argument("--node-modules", type=Path, default=MODULES, help="where smtp-server and Haraka are")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    wanted = options.servers.split(",") if options.servers else [server.name for server in SERVERS]
    modules = options.node_modules.absolute() if options.node_modules.is_dir() else None
    chosen = [server for server in SERVERS if server.name in wanted]
    absent = {server.name: why for server in chosen if (why := server.missing(modules))}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        bench = Bench(folder, options.load, modules)
        try:
            result = measure(bench, [server for server in chosen if server.name not in absent], options)
        except StartError as error:
            print(f"bench/gateway.py: {error}", file=sys.stderr)
            return 1
    if options.json:
        print(json.dumps({**result, "absent": absent}))
    else:
        show(result, absent, Console(width=80))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
