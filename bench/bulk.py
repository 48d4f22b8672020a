"""A bulk run through the whole local system, and its books. `make bench` has a small one.

One account sends one message each to so many recipients; another sends one message every few seconds as long as any of
the first's is left, and how long each takes is told apart. Then the books: each recipient has one final row in the
Messages table, "delivered", and got one message at the sink; all queues are empty. AWS's calls are those that passed
a proxy between the start of the load and the last row: the idle pollers' are among them, none of this program's own.
The load is made by the supervisor's process, so its CPU is in the supervisor's.

The AWS is the local system's moto, or what answers at --aws-endpoint. Neither plays fair queues, so the second
account's times are those of one queue in order: see bench.fairness for what the real ones make of it.
"""

import argparse
import json
import smtplib
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
from rich.console import Console
from rich.table import Table

from bench.aws_calls import Apart, apart
from bench.whole_way import PASSWORD, RECIPIENT, USER, cpu, named, submit
from bench.writes import moto
from local.stack import TEMPLATE, parameters_of, parse
from local.supervisor import Options, System
from relay.proof.token import records_to_publish

OTHER, OTHER_SENDER = "reset@probe.example", "reset@probe.example"
PROBE: Final = "one-{}@in.example"
FINE: Final = ("delivered", "deferred")
EVERY: Final = 3.0  # seconds between the other account's messages
QUEUES: Final = [f"{stage}{kind}Queue" for stage in ("Validate", "Deliver", "Record") for kind in ("", "DeadLetter")]
DEPTHS: Final = [f"ApproximateNumberOfMessages{which}" for which in ("", "NotVisible", "Delayed")]


class Aws:
    """The endpoint itself, past the proxy: what is asked here isn't counted."""

    def __init__(self, endpoint: str, state: dict[str, Any]) -> None:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        self._state = state
        self._sqs, self._dynamo = (
            boto3.client(service, region_name=state["region"], endpoint_url=endpoint, **keys)
            for service in ("sqs", "dynamodb")
        )

    def waiting(self) -> dict[str, int]:
        """Messages by queue, those in flight and delayed included."""
        found = {}
        for name in QUEUES:
            url = self._state["queues"][name]
            answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=DEPTHS)["Attributes"]
            found[name] = sum(int(answer[each]) for each in DEPTHS)
        return found

    def rows(self) -> list[tuple[str, str]]:
        """(recipient, state) of every row of the Messages table."""
        pages = self._dynamo.get_paginator("scan").paginate(TableName=self._state["tables"]["MessagesTable"])
        return [(item["recipient"]["S"], item["state"]["S"]) for page in pages for item in page["Items"]]


class Sink:
    """What came to the mail directory: (recipient, time) of each message and recipient."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[str] = set()
        self.got: list[tuple[str, float]] = []

    def look(self) -> list[tuple[str, float]]:
        for path in self._folder.glob("*.json"):
            if path.name not in self._read:
                facts = json.loads(path.read_text())
                self._read.add(path.name)
                self.got += [(recipient, facts["time"]) for recipient in facts["rcpt_to"]]
        return self.got


def balance(
    expected: set[str], rows: list[tuple[str, str]], got: list[tuple[str, float]], waiting: dict[str, int]
) -> list[str]:
    """What doesn't balance; [] if nobody is missing and nobody has it twice."""
    mine = Counter(recipient for recipient, state in rows if state != "deferred")
    states = Counter(state for _, state in rows)
    taken = Counter(recipient for recipient, _ in got)
    problems = {
        "without a final row": expected - mine.keys(),
        "with several final rows": {each for each, count in mine.items() if count > 1},
        "not at the sink": expected - taken.keys(),
        "several times at the sink": {each for each, count in taken.items() if count > 1},
        "at the sink and not expected": taken.keys() - expected,
    }
    said = [f"{len(found)} recipients {what}, such as {min(found)}" for what, found in problems.items() if found]
    said += [
        f"{count} rows {state}" for state, count in sorted(states.items()) if state not in ("delivered", "deferred")
    ]
    return said + [f"{count} messages in {name}" for name, count in waiting.items() if count]


def probe(state: dict[str, Any], ended: threading.Event) -> dict[str, float]:
    """The other account's messages, until `ended`: when each was accepted, by recipient."""
    accepted: dict[str, float] = {}
    while not ended.wait(EVERY):
        recipient = PROBE.format(len(accepted))
        with smtplib.SMTP(state["host"], state["port"], timeout=60) as client:
            client.starttls(context=ssl.create_default_context(cafile=state["ca_file"]))
            client.login(OTHER, PASSWORD)
            text = f"From: {OTHER_SENDER}\r\nTo: {recipient}\r\nSubject: reset\r\n\r\nHello.\r\n"
            client.sendmail(OTHER_SENDER, [recipient], text)
        accepted[recipient] = time.time()
    return accepted


def peaks(pids: dict[str, int]) -> dict[str, int]:
    """Peak resident memory in MB (VmHWM) by process name; of the gateway's processes, or a function's, the largest."""
    found: dict[str, int] = {}
    for key, pid in named(pids):
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue  # that process has ended
        (line,) = (each for each in text.splitlines() if each.startswith("VmHWM:"))
        found[key] = max(found.get(key, 0), int(line.split()[1]) // 1000)
    return found


@contextmanager
def system(endpoint: str, folder: Path) -> Iterator[System]:
    parameters = parameters_of(parse(TEMPLATE.read_text()), {})
    zone = folder / "zone"
    records = [
        record
        for domain, user in (("bench.example", USER), ("probe.example", OTHER))
        for record in records_to_publish(domain, user, parameters["TokenName"], parameters["SpfDomain"])
    ]
    zone.write_text("".join(f"{record}\n" for record in records))
    accounts = ((USER, PASSWORD), (OTHER, PASSWORD))
    options = Options(0, 0, zone, folder / "mail", folder / "state.json", accounts, aws_endpoint=endpoint)
    with System(options) as running:
        yield running


def run(options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        emulator = {}
        if not (endpoint := options.aws_endpoint):
            endpoint, emulator["moto"] = exits.enter_context(moto())
        proxy = exits.enter_context(apart(endpoint))
        running = exits.enter_context(system(proxy.url, folder))
        proxy.know(_tables(running.state["tables"]))
        aws, sink = Aws(endpoint, running.state), Sink(folder / "mail")
        return load(options, running, (proxy, {**emulator, "counting proxy": proxy.pid}), (aws, sink))


def load(
    options: argparse.Namespace, running: System, emulator: tuple[Apart, dict[str, int]], outside: tuple[Aws, Sink]
) -> dict[str, Any]:
    """emulator: the proxy, and the processes that stand for AWS. outside: what is asked past the proxy."""
    (proxy, others), (aws, sink) = emulator, outside
    state, count, lanes = running.state, options.recipients, options.connections
    bulk = {RECIPIENT.format(number) for number in range(count)}
    ended = threading.Event()
    used, (calls, writes, _), began = cpu(state["pids"] | others), proxy.figures(), time.monotonic()
    with ThreadPoolExecutor(lanes + 1) as pool:
        probing = pool.submit(probe, state, ended)
        try:
            sending = [pool.submit(submit, state, range(lane, count, lanes), options.size) for lane in range(lanes)]
            for each in sending:
                each.result()
            submitted = time.monotonic() - began
            until = began + options.patience
            while len({recipient for recipient, _ in sink.look()} & bulk) < count and time.monotonic() < until:
                time.sleep(0.5)
            delivered = time.monotonic() - began
        finally:
            ended.set()
        accepted = probing.result()  # what went wrong there goes wrong here
    while any(aws.waiting().values()) and time.monotonic() < until:
        time.sleep(0.5)
    recorded = time.monotonic() - began
    after, units, _ = proxy.figures()
    spent = {name: seconds - used.get(name, 0.0) for name, seconds in cpu(running.state["pids"] | others).items()}
    got, waiting = sink.look(), aws.waiting()
    taken = dict(got)
    late = sorted(taken[each] - when for each, when in accepted.items() if each in taken)
    every = count + len(accepted)
    return {
        "recipients": count,
        "others": len(accepted),
        "problems": balance(bulk | accepted.keys(), aws.rows(), got, waiting),
        "submitted_seconds": round(submitted, 1),
        "delivered_seconds": round(delivered, 1),
        "recorded_seconds": round(recorded, 1),
        "other_median_seconds": round(late[len(late) // 2], 1) if late else None,
        "other_longest_seconds": round(late[-1], 1) if late else None,
        "cpu_ms_per_message": {name: round(1000 * seconds / every, 2) for name, seconds in spent.items()},
        "peak_mb": peaks(running.state["pids"] | others),
        "calls_per_message": {name: round(made / every, 3) for name, made in sorted((after - calls).items())},
        "write_units_per_message": {name: round(made / every, 3) for name, made in sorted((units - writes).items())},
    }


def _tables(names: dict[str, str]) -> dict[str, dict[str, Any]]:
    resources = parse(TEMPLATE.read_text("utf-8"))["Resources"]
    kinds = ("KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes")
    return {
        table: {
            "name": name,
            "described": {kind: value for kind, value in resources[name]["Properties"].items() if kind in kinds},
        }
        for name, table in names.items()
    }


def show(result: dict[str, Any]) -> None:
    print(
        f"{result['recipients']} recipients: accepted in {result['submitted_seconds']} s, delivered in "
        f"{result['delivered_seconds']} s, recorded in {result['recorded_seconds']} s"
    )
    print("the books: " + ("; ".join(result["problems"]) or "nobody lost, nobody twice"))
    print(
        f"another account's {result['others']} messages meanwhile, from 250 to the sink: median "
        f"{result['other_median_seconds']} s, longest {result['other_longest_seconds']} s"
    )
    table = Table("process", "CPU ms a message", "peak MB")
    for name, peak in result["peak_mb"].items():
        spent = result["cpu_ms_per_message"].get(name)
        table.add_row(name, f"{spent:.2f}" if spent is not None else "", str(peak))
    Console().print(table)
    table = Table("call to AWS", "a message")
    for name, made in result["calls_per_message"].items():
        table.add_row(name, f"{made:.3f}")
    table.add_row("all", f"{sum(result['calls_per_message'].values()):.2f}")
    for name, made in result["write_units_per_message"].items():
        table.add_row(f"write units, {name}", f"{made:.3f}")
    Console().print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipients", type=int, default=2000)
    parser.add_argument("--size", type=int, default=5000, help="octets of the body")
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds until what is missing counts as lost")
    parser.add_argument("--aws-endpoint", metavar="URL", help="use this, which has to be fresh, instead of moto")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    result = run(options)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
