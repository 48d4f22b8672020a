"""Messages through the whole local system: time, and CPU by process; beside it Postfix. `make bench`.

The load is Python's smtplib on a few connections, in this process, so its CPU is not the figure. The figures are the
wall time until every message is recorded as delivered, which moto bounds, and the CPU of our own processes: gateway and
functions, without those that stand for AWS. Postfix then takes the same messages from the same load, queues them on
disk and relays them to the same sink, by TLS as we do: as it comes, with a new connection for each message, and with
smtp_tls_connection_reuse. CPU is counted alike: user and system time of processes, and of their children that ended.
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
from typing import Any, Final

import boto3
from rich.console import Console
from rich.table import Table

from bench.servers import TICK, free_port, postfix_missing, running, stat, tree
from bench.servers import cpu as tree_cpu
from local.certificates import Authority
from local.stack import TEMPLATE, parameters_of, parse
from local.supervisor import Options, System
from relay.proof.token import records_to_publish

USER, PASSWORD = "app@bench.example", "a-pass-phrase-for-the-bench"
SENDER, RECIPIENT = "news@bench.example", "you{}@in.example"
PATIENCE = 300.0  # seconds
OURS: Final = ("gateway", "ValidateFunction", "DeliverFunction", "RecordFunction")


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
            used[key] = used.get(key, 0.0) + sum(map(int, fields[11:15])) / TICK
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
            load(state, range(messages), size, connections)
            submitted = time.monotonic() - began
            while (count := delivered(state)) < messages and time.monotonic() - began < PATIENCE:
                time.sleep(1)
            took = time.monotonic() - began
            used = {name: seconds - before.get(name, 0.0) for name, seconds in cpu(system.state["pids"]).items()}
            there = not postfix_missing(None)
            others = {
                what: postfix(state, Path(folder) / f"postfix-{reuse}", range(messages), size, connections, reuse)
                for what, reuse in ((("Postfix", "no"), ("Postfix, TLS connections kept", "yes")) if there else ())
            }
    return {
        "messages": messages,
        "size": size,
        "delivered": count,
        "submitted_seconds": round(submitted, 1),
        "delivered_seconds": round(took, 1),
        "cpu_ms_per_message": {name: round(1000 * seconds / messages, 2) for name, seconds in used.items()},
        "ours_ms_per_message": round(1000 * sum(used.get(name, 0.0) for name in OURS) / messages, 2),
        "postfix_ms_per_message": {what: round(1000 * seconds / messages, 2) for what, seconds in others.items()},
    }


def postfix(state: dict[str, Any], folder: Path, numbers: range, size: int, connections: int, reuse: str) -> float:
    """Seconds of CPU of all its processes, for messages that are queued and then relayed to the sink. reuse: "yes" or
    "no"."""
    folder.mkdir()
    authority, port, mail = Authority(folder / "tls"), free_port(), Path(state["mail_dir"])
    certificate = authority.issue("postfix", ("localhost", "127.0.0.1"))
    host, _, sink = state["sink"].rpartition(":")
    script = str(Path(__file__).parent / "peers" / "postfix.sh")
    files = (str(certificate.cert_file), str(certificate.key_file))
    command = [script, str(folder / "postfix"), str(port), *files, USER, PASSWORD, f"[{host}]:{sink}", reuse]
    folder.parent.chmod(0o755)  # its processes run as another user
    folder.chmod(0o755)
    there = {**state, "port": port, "ca_file": str(authority.ca_file)}
    with running("postfix", (command, None), port, folder / "log") as pid:
        before, arrived, began = tree_cpu(pid), count_mail(mail), time.monotonic()
        load(there, numbers, size, connections)
        while count_mail(mail) < arrived + len(numbers) and time.monotonic() - began < PATIENCE:
            time.sleep(0.2)
        found = count_mail(mail) - arrived
        if found != len(numbers):
            raise RuntimeError(f"Postfix relayed {found} of {len(numbers)} messages: see its log in {folder}")
        return tree_cpu(pid) - before


def load(state: dict[str, Any], numbers: range, size: int, connections: int) -> None:
    with ThreadPoolExecutor(connections) as pool:
        shares = [numbers[start::connections] for start in range(connections)]
        list(pool.map(lambda share: submit(state, share, size), shares))


def count_mail(folder: Path) -> int:
    return sum(path.suffix == ".json" for path in folder.iterdir())


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
        table.add_row("ours: gateway and functions", f"{result['ours_ms_per_message']:.2f}")
        for what, milliseconds in result["postfix_ms_per_message"].items():
            table.add_row(what, f"{milliseconds:.2f}")
        Console().print(table)
    return 0 if result["delivered"] == result["messages"] else 1


if __name__ == "__main__":
    sys.exit(main())
