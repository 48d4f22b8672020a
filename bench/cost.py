"""What a million messages cost: so many go through the whole local system, each unit that AWS would bill is counted,
and bench/prices.toml has what it asks for each.

Counted are the calls that passed a proxy between the first message and the last row (idle polls among them), at their
billed size; the invocations and their milliseconds as the local Lambda service saw them, at the memory that
template.yaml gives them; the octets of the logs. The recipients' servers are as far away as --round-trip says, every
answer and every step of the connection's making: that is what deliver waits for, and is billed for. What Lambda adds to
a log by itself is computed (PLATFORM octets an invocation). Not counted: cold starts.
"""

import argparse
import json
import random
import re
import smtplib
import ssl
import sys
import tempfile
import textwrap
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from subprocess import PIPE, Popen
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.aws_calls import Apart, apart
from bench.bulk import Aws, _tables
from bench.delay import far
from bench.whole_way import PASSWORD, SENDER, USER, count_mail
from bench.writes import moto
from local.certificates import Authority
from local.lambdas import Billed
from local.stack import TEMPLATE, parameters_of, parse
from local.supervisor import Options, System
from relay.proof.token import records_to_publish

PRICES: Final = Path(__file__).with_name("prices.toml")
MILLION: Final = 1_000_000
GB: Final = 10**9
GOAL, STRETCH = 4.0, 2.5  # USD
PLATFORM: Final = 310  # octets of START, END and REPORT
SITES: Final = 50  # that the recipients are spread over
WORDS: Final = ["".join(random.Random(number).choices(ascii_lowercase, k=2 + number % 11)) for number in range(2000)]  # noqa: S311
SERVICES: Final = {  # by the unit's name in the price list
    "lambda_request": "Lambda, requests",
    "lambda_gb_second": "Lambda, time",
    "sqs_request": "SQS",
    "sqs_fair": "SQS, fair queues",
    "dynamodb_write": "DynamoDB, writes",
    "dynamodb_read": "DynamoDB, reads",
    "s3_put": "S3, puts",
    "s3_get": "S3, gets",
    "kms_request": "KMS",
    "log_gb": "CloudWatch Logs",
    "sns_publish": "SNS",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Of the bill. units: of one message. usd: of a million messages."""

    what: str
    units: float
    usd: float


def bill(units: Mapping[str, float], messages: int, prices: Mapping[str, Any]) -> list[Line]:
    """units: by their names in the price list, of all messages together. ValueError for one that has no price."""
    if unknown := sorted(units.keys() - prices["each"].keys()):
        raise ValueError(f"no price for {', '.join(unknown)}")
    lines = []
    for name, (price, per) in prices["each"].items():
        of_one = units.get(name, 0.0) / messages
        lines.append(Line(SERVICES[name], of_one, of_one * MILLION * price / per))
    return lines


def units_of(
    calls: Mapping[str, int],
    writes: Mapping[str, int],
    billed: Mapping[str, float],
    functions: Mapping[str, Billed],
    memory: Mapping[str, int],
    log_octets: int,
) -> dict[str, float]:
    """calls, writes, billed: as of aws_calls.Books. functions: what was billed of each; memory: MB."""
    invocations = sum(each.invocations for each in functions.values())
    return {
        "lambda_request": invocations,
        "lambda_gb_second": sum(each.milliseconds / 1000 * memory[name] / 1024 for name, each in functions.items()),
        "sqs_request": billed.get("sqs", 0.0),
        "sqs_fair": billed.get("sqs", 0.0),  # each of the three queues is one
        "dynamodb_write": sum(writes.values()),
        "dynamodb_read": billed.get("dynamodb", 0.0),
        "s3_put": calls.get("http.PUT", 0),
        "s3_get": calls.get("http.GET", 0),
        "kms_request": sum(count for name, count in calls.items() if name.startswith("trentservice.")),
        "log_gb": (log_octets + PLATFORM * invocations) / GB,
    }


def memory() -> dict[str, int]:
    """MB by function, as template.yaml has it."""
    resources = parse(TEMPLATE.read_text("utf-8"))["Resources"]
    return {
        name: int(each["Properties"]["MemorySize"])
        for name, each in resources.items()
        if each["Type"] == "AWS::Serverless::Function"
    }


def zone() -> str:
    """The sender's records, and SITES domains each with a server of its own."""
    parameters = parameters_of(parse(TEMPLATE.read_text("utf-8")), {})
    lines = [
        str(each)
        for each in records_to_publish(
            SENDER.rpartition("@")[2], USER, parameters["TokenName"], parameters["SpfDomain"]
        )
    ]
    for number in range(1, SITES + 1):
        lines += [
            f"site{number}.example. MX 10 mx.site{number}.example.",
            f"mx.site{number}.example. A 127.0.1.{number}",
        ]
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def sink(folder: Path) -> Iterator[int]:
    """The port of a mail sink with TLS."""
    names = ("localhost", *(f"mx.site{number}.example" for number in range(1, SITES + 1)))
    certificate = Authority(folder / "tls").issue("sink", names)
    command = [sys.executable, "-m", "local.sink", "--mail-dir", str(folder / "mail")]
    command += ["--cert", str(certificate.cert_file), "--key", str(certificate.key_file)]
    with Popen(command, stdout=PIPE, text=True) as process:  # noqa: S603
        assert process.stdout
        try:
            yield int(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()


def submit(state: Mapping[str, Any], numbers: range, size: int) -> None:
    """On one connection."""
    with smtplib.SMTP(state["host"], state["port"], timeout=60) as client:
        client.starttls(context=ssl.create_default_context(cafile=state["ca_file"]))
        client.login(USER, PASSWORD)
        for number in numbers:
            to = f"you{number}@site{number % SITES + 1}.example"
            client.sendmail(SENDER, [to], content(number, to, size))


def content(number: int, to: str, size: int) -> bytes:
    """Words: zlib makes half of them, as of most mail."""
    chance = random.Random(number)  # noqa: S311 - words
    words = " ".join(chance.choices(WORDS, k=size // 8))
    head = f"From: {SENDER}\r\nTo: {to}\r\nSubject: {number}\r\nMessage-ID: <{number}@bench.example>\r\n\r\n"
    return (head + "\r\n".join(textwrap.wrap(words, 76))).encode()[:size].rstrip() + b"\r\n"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The units of all messages, and how long it took."""
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        endpoint, _ = exits.enter_context(moto())
        proxy = exits.enter_context(apart(endpoint))
        place = exits.enter_context(far(exits.enter_context(sink(folder)), options.round_trip, SITES))
        (folder / "zone").write_text(zone())
        accounts = ((USER, PASSWORD),)
        parameters = {"SmtpPort": str(place.port)}
        made = Options(
            0, 0, folder / "zone", None, folder / "state.json", accounts, aws_endpoint=proxy.url, parameters=parameters
        )
        system = exits.enter_context(System(made))
        proxy.know(_tables(system.state["tables"]))
        return _measure(options, system, proxy, Aws(endpoint, system.state), folder / "mail")


def _measure(options: argparse.Namespace, system: System, proxy: Apart, aws: Aws, mail: Path) -> dict[str, Any]:
    """mail: where the sink keeps it."""
    before, logs, functions = proxy.figures(), _log_octets(system), system.billed()
    began = time.monotonic()
    with ThreadPoolExecutor(options.connections) as pool:
        shares = [range(lane, options.messages, options.connections) for lane in range(options.connections)]
        list(pool.map(lambda share: submit(system.state, share, options.size), shares))
    submitted = time.monotonic() - began
    while count_mail(mail) < options.messages or any(aws.waiting().values()):
        if time.monotonic() - began > options.patience:
            raise TimeoutError(f"{count_mail(mail)} of {options.messages} at the sink after {options.patience:g} s")
        time.sleep(2.0)
    took = time.monotonic() - began
    if (count := sum(state == "delivered" for _, state in aws.rows())) != options.messages:
        raise RuntimeError(f"{count} of {options.messages} are recorded as delivered")
    calls, writes, billed = (after - start for after, start in zip(proxy.figures(), before, strict=True))
    invoked = {
        name: Billed(*(now - then for now, then in zip(each, functions.get(name, Billed()), strict=True)))
        for name, each in system.billed().items()
    }
    units = units_of(calls, writes, billed, invoked, memory(), _log_octets(system) - logs)
    return {
        "messages": options.messages,
        "size": options.size,
        "submitted_seconds": round(submitted, 1),
        "delivered_seconds": round(took, 1),
        "units": units,
        "calls_per_message": {name: round(made / options.messages, 4) for name, made in sorted(calls.items())},
        "functions": {name: each._asdict() for name, each in invoked.items() if each.invocations},
    }


def _log_octets(system: System) -> int:
    """Of the gateway and the functions."""
    wanted = re.compile(r"gateway|\w+Function")
    return sum(each.stat().st_size for each in system.logs.glob("*.log") if wanted.match(each.stem))


def show(result: dict[str, Any], prices: dict[str, Any]) -> float:
    """Prints the bill; its sum."""
    console, messages = Console(), result["messages"]
    lines = bill(result["units"], messages, prices)
    total = sum(each.usd for each in lines)
    table = Table("what is billed", title=f"USD a million messages of {result['size'] / 1000:g} KB, {prices['date']}")
    for name in ("a message", "USD"):
        table.add_column(name, justify="right")
    for each in lines:
        table.add_row(each.what, f"{each.units:.4g}", f"{each.usd:.2f}")
    table.add_section()
    table.add_row("all", "", f"{total:.2f}")
    console.print(table)
    console.print(
        f"goal {GOAL:.2f}: {'met' if total <= GOAL else 'NOT met'}; stretch {STRETCH:.2f}: "
        f"{'met' if total <= STRETCH else 'not met'}",
        highlight=False,
    )
    for name, each in result["functions"].items():
        mean = each["milliseconds"] / each["invocations"]
        console.print(f"{name}: {messages / each['invocations']:.1f} messages and {mean:.0f} ms an invocation")
    _show_apart(console, result, prices)
    return total


def _show_apart(console: Console, result: dict[str, Any], prices: dict[str, Any]) -> None:
    """What doesn't come with each message, and what others ask."""
    table = Table("apart from these", title="USD")
    table.add_column("", justify="right")
    gigabytes = MILLION * result["size"] / GB
    for name, what in (("out", "to the internet"), ("nat", "through NAT gateways")):
        price, per = prices["transfer"][name]
        table.add_row(f"{gigabytes:g} GB {what}", f"{gigabytes * price / per:.2f}")
    fixed = {name: count * price for name, (count, price) in prices["month"].items()}
    table.add_section()
    for name, usd in fixed.items():
        table.add_row(f"a month: {name}", f"{usd:.2f}")
    table.add_row("a month, all", f"{sum(fixed.values()):.2f}")
    table.add_section()
    for name, usd in prices["ses"].items():
        table.add_row(f"Amazon SES, a million messages: {name}", f"{usd:.2f}")
    console.print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=20_000, help="octets of the body")
    parser.add_argument("--round-trip", type=float, default=0.3, help="seconds to the recipients' servers")
    parser.add_argument("--connections", type=int, default=50, help="of the app to the gateway")
    parser.add_argument("--patience", type=float, default=3600.0, help="seconds")
    parser.add_argument("--json", action="store_true", help="print the units as JSON")
    options = parser.parse_args(arguments)
    result = measure(options)
    if options.json:
        print(json.dumps(result))
        return 0
    print(
        f"{result['messages']} messages accepted in {result['submitted_seconds']} s, delivered and recorded in "
        f"{result['delivered_seconds']} s"
    )
    return 0 if show(result, tomllib.loads(PRICES.read_text("utf-8"))) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
