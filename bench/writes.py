"""What a delivered message of one recipient writes to DynamoDB, in units with size and index factors. `make bench`.

The stages deliver and record with the real adapters, against moto, on the tables as the template has them; every call
goes through a proxy that counts (bench.aws_calls). The server is a transport that says 250 as Gmail does. Validate
writes a receipt for each verdict, so one a domain and account in five minutes, which is not in the figure.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import boto3
from rich.console import Console
from rich.table import Table as Shown

from bench.aws_calls import Books, Table, counting, table_of
from local.stack import CREDENTIALS, REGION, TEMPLATE, parse
from relay.account import Account
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.ledger import DynamoLedger
from relay.aws.messages import DynamoMessages
from relay.aws.notices import DynamoNotices
from relay.aws.signing import Credentials
from relay.aws.suppressions import DynamoSuppressions
from relay.clock import SystemClock
from relay.deliver import Deliver, Timing
from relay.encoding import decode_report
from relay.ids import new_id
from relay.password import hash_password
from relay.ports import RecipientReply
from relay.record import Record
from relay.retry import RetryPolicy
from relay.stopped import Stopped
from relay.submission import Delivery, Inline
from relay.suppression import Suppress

GOAL: Final = 3.0
USER, SENDER, RECIPIENT = "app@login.example", "newsletter@marketing.example", "a.long.first.name@customer.example"
REPLY: Final = RecipientReply(
    RECIPIENT,
    True,
    False,
    250,
    "2.0.0",
    "OK 1764150000 ffacd0b85a97d-42e1cb8f2a5si1234567f8f.1065 - gsmtp",
    remote="gmail-smtp-in.l.google.example[192.0.2.27]",
    tls="TLSv1.3 verified",
    via="mx",
)


class Says:
    """A transport: every recipient's answer."""

    async def send(self, *_asked: Any, **_more: Any) -> tuple[RecipientReply, ...]:
        return (REPLY,)


class Kept:
    """A queue that keeps what it gets."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    async def send(self, body: str, **_more: Any) -> None:
        self.bodies.append(body)


@contextmanager
def moto() -> Iterator[tuple[str, int]]:
    """URL and process id of the local system's moto."""
    command = [sys.executable, "-m", "local.moto_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:  # noqa: S603
        assert server.stdout
        try:
            yield f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}", server.pid
        finally:
            server.terminate()


def make_tables(endpoint: str) -> dict[str, Table]:
    """Every table of the template, under its logical name."""
    client = boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes")
    tables = {}
    for name, resource in parse(TEMPLATE.read_text("utf-8"))["Resources"].items():
        if resource["Type"] == "AWS::DynamoDB::Table":
            facts = resource["Properties"]
            client.create_table(TableName=name, **{each: facts[each] for each in wanted if each in facts})
            tables[name] = table_of(name, facts)
    return tables


async def deliver_and_record(endpoint: str, messages: int) -> None:
    keys = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    client, clock, retry = AwsClient(REGION, endpoint, credentials=keys), SystemClock(), RetryPolicy(1.0)
    content, accounts, suppressions = (
        S3Content(client, "bucket"),
        DynamoAccounts(client, "AccountsTable"),
        DynamoSuppressions(client, "SuppressionsTable"),
    )
    reports = Kept()
    deliver = Deliver(
        ledger=DynamoLedger(client, "LedgerTable"),
        content=content,
        suppressions=suppressions,
        stopped=Stopped(accounts, clock, 1.0),
        transport=Says(),
        queue=Kept(),
        reports=reports,
        clock=clock,
        retry=retry,
        timing=Timing(330.0),
    )
    record = Record(
        messages=DynamoMessages(client, "MessagesTable"),
        notices=DynamoNotices(client, "NoticesTable"),
        deliver_queue=Kept(),
        content=content,
        accounts=accounts,
        suppress=Suppress(suppressions, 30, 1.0),
        clock=clock,
        retry=retry,
        host_name="relay.example",
    )
    domain = RECIPIENT.rpartition("@")[2]
    try:
        for _ in range(messages):
            now = time.time()
            mail = Delivery(
                new_id(now, USER), USER, SENDER, domain, 0, (RECIPIENT,), now, Inline(b"Subject: x\r\n\r\n")
            )
            await deliver(mail, deadline=now + 290)
        for body in reports.bodies:
            await record(decode_report(body))
    finally:
        await client.close()


async def _account(endpoint: str) -> None:
    keys = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    client = AwsClient(REGION, endpoint, credentials=keys)
    salt = b"sixteen octets.."
    await DynamoAccounts(client, "AccountsTable").create(
        Account(USER, salt, hash_password("a-pass-phrase-for-the-bench", salt), "+46700000000", time.time())
    )
    await client.close()


async def measure(endpoint: str, messages: int) -> dict[str, Any]:
    """endpoint: of an AWS without tables."""
    books = Books(make_tables(endpoint))
    await _account(endpoint)
    async with counting(endpoint, books) as proxy:
        await deliver_and_record(proxy, messages)
    by_table = {name: total / messages for name, total in sorted(books.writes.items())}
    return {
        "messages": messages,
        "units": sum(by_table.values()),
        "by_table": by_table,
        "calls": {name: count / messages for name, count in sorted(books.calls.items())},
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with moto() as (endpoint, _):
        result = asyncio.run(measure(endpoint, options.messages))
    if options.json:
        print(json.dumps(result))
        return 0
    table = Shown("table", "write units a message", "goal", title="a delivered message of one recipient")
    for name, total in result["by_table"].items():
        table.add_row(name, f"{total:.2f}", "")
    table.add_row("all", f"{result['units']:.2f}", f"<= {GOAL:.0f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
