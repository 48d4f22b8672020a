"""Messages through the whole local system: time, and CPU by process. `make bench`.

The load is Python's smtplib on a few connections, so its CPU is not the figure; the figures are the wall time
until every message is recorded as delivered, and what each of the system's processes used for it. moto is the bound.
"""

import argparse
import json
import smtplib
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from bench.servers import TICK, stat, tree
from local.stack import TEMPLATE, parameters_of, parse
from local.supervisor import Options, System
from relay.proof.token import records_to_publish

USER, PASSWORD = "app@bench.example", "a-pass-phrase-for-the-bench"
SENDER, RECIPIENT = "news@bench.example", "you{}@in.example"
PATIENCE = 300.0  # seconds


def content(number: int, size: int) -> bytes:
    head = (
        f"From: {SENDER}\r\nTo: {RECIPIENT.format(number)}\r\nSubject: {number}\r\n"
        f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@bench.example>\r\n\r\n"
    ).encode()
    return head + b"A line of the body: sixty-four octets, with the CRLF counted in\r\n" * (size // 64)


def submit(state: dict[str, Any], numbers: range, size: int) -> None:
    with smtplib.SMTP(state["host"], state["port"], timeout=60) as client:
        client.starttls(context=ssl.create_default_context(cafile=state["ca_file"]))
        client.login(USER, PASSWORD)
        for number in numbers:
            client.sendmail(SENDER, [RECIPIENT.format(number)], content(number, size))


def cpu(pids: dict[str, int]) -> dict[str, float]:
    """Seconds of CPU by process name; workers of a function together."""
    used: dict[str, float] = {}
    for key, pid in named(pids):
        if fields := stat(pid):
            used[key] = used.get(key, 0.0) + (int(fields[11]) + int(fields[12])) / TICK
    return used


def named(pids: dict[str, int]) -> Iterator[tuple[str, int]]:
    """(name, process id): workers by their function; the gateway's, too, which the state file doesn't name."""
    for name, pid in pids.items():
        key = name.partition("/")[0]
        yield from ((key, each) for each in (tree(pid) if key == "gateway" else [pid]))


def delivered(state: dict[str, Any]) -> int:
    client = boto3.client(
        "dynamodb",
        region_name=state["region"],
        endpoint_url=state["aws_endpoint"],
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - moto takes any
    )
    pages = client.get_paginator("scan").paginate(
        TableName=state["tables"]["MessagesTable"], ProjectionExpression="#s", ExpressionAttributeNames={"#s": "state"}
    )
    return sum(item["state"]["S"] == "delivered" for page in pages for item in page["Items"])


def run(messages: int, size: int, connections: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        zone = Path(folder) / "zone"
        parameters = parameters_of(parse(TEMPLATE.read_text()), {})
        records = records_to_publish("bench.example", USER, parameters["TokenName"], parameters["SpfDomain"])
        zone.write_text("".join(f"{record}\n" for record in records))
        state_file = Path(folder) / "state.json"
        options = Options(port=0, tls_port=0, zone=zone, state=state_file, accounts=((USER, PASSWORD),))
        with System(options) as system:
            state = system.state
            before, began = cpu(state["pids"]), time.monotonic()
            with ThreadPoolExecutor(connections) as pool:
                shares = [range(start, messages, connections) for start in range(connections)]
                list(pool.map(lambda share: submit(state, share, size), shares))
            submitted = time.monotonic() - began
            while (count := delivered(state)) < messages and time.monotonic() - began < PATIENCE:
                time.sleep(1)
            took = time.monotonic() - began
            used = {name: seconds - before.get(name, 0.0) for name, seconds in cpu(system.state["pids"]).items()}
    return {
        "messages": messages,
        "size": size,
        "delivered": count,
        "submitted_seconds": round(submitted, 1),
        "delivered_seconds": round(took, 1),
        "cpu_ms_per_message": {name: round(1000 * seconds / messages, 2) for name, seconds in used.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--size", type=int, default=5000, help="octets of the body")
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run(options.messages, options.size, options.connections)
    if options.json:
        print(json.dumps(result))
    else:
        title = (
            f"{result['messages']} messages of {result['size']} octets: accepted in {result['submitted_seconds']} s, "
            f"{result['delivered']} delivered in {result['delivered_seconds']} s"
        )
        print(title)
        table = Table()
        table.add_column("process")
        table.add_column("CPU ms a message", justify="right")
        for name, milliseconds in result["cpu_ms_per_message"].items():
            table.add_row(name, f"{milliseconds:.2f}")
        Console().print(table)
    return 0 if result["delivered"] == result["messages"] else 1


if __name__ == "__main__":
    sys.exit(main())
