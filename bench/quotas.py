"""A computation: how much of each AWS quota a steady stream of messages takes. Nothing in it is measured by itself.

What a message costs was measured by other benchmarks, each named beside its figure; the limits are AWS's, with the
page; the rest is multiplication. docs/scale.md has the table and says what happens at each limit.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

RATES: Final = (1_000, 10_000)  # messages a second, of one recipient each


@dataclass(frozen=True, slots=True)
class Message:
    """What one message costs. gateway_cpu: seconds (bench.gateway, c). ledger, rows: DynamoDB write units
    (bench.writes). accounts: that send at once. seconds: that an invocation of deliver lasts, which is as long as its
    slowest message takes; others: the same of validate and record. reuse: messages on one connection."""

    octets: int = 20_000
    gateway_cpu: float = 0.001
    ledger: float = 2.0
    rows: float = 1.0
    accounts: int = 20
    seconds: float = 10.0
    others: float = 1.0
    reuse: float = 10.0


class Quota(NamedTuple):
    """used: by the stream, in the quota's unit. limit: 0 where AWS names none. raised: whether AWS raises it on
    request."""

    name: str
    used: float
    limit: float
    raised: bool

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit else 0.0


def quotas(rate: float, of: Message, *, batch: int = 100) -> Iterator[Quota]:
    """Each quota that a stream of `rate` messages a second meets, on the message's way."""
    at_once = rate * of.seconds  # Little's law: in deliver's hands at any time
    invocations = at_once / batch
    yield Quota("gateway: tasks of 1 vCPU at 60 % (Fargate vCPUs)", rate * of.gateway_cpu / 0.6, 6, raised=True)
    yield Quota("SQS: SendMessageBatch, one queue, a second", rate / 10, 0, raised=False)
    yield Quota("SQS: in flight, DeliverQueue", at_once, 120_000, raised=False)
    yield Quota("SQS: in flight, ValidateQueue", rate * of.others, 120_000, raised=False)
    yield Quota("Lambda: invocations of deliver at once (a mapping's most)", invocations, 1_000, raised=False)
    yield Quota(
        "Lambda: invocations at once, all functions", invocations + 2 * rate * of.others / batch, 1_000, raised=True
    )
    yield Quota(
        "Lambda: minutes until a mapping has scaled so far (300 a minute)", max(invocations - 5, 0) / 300, 0, False
    )
    yield Quota("DynamoDB: write units of LedgerTable", rate * of.ledger, 40_000, raised=True)
    yield Quota("DynamoDB: the same while the table is new", rate * of.ledger, 4_000, raised=True)
    yield Quota("DynamoDB: write units of MessagesTable", rate * of.rows, 40_000, raised=True)
    yield Quota("DynamoDB: the same of one account: one partition", rate * of.rows / of.accounts, 1_000, raised=False)
    yield Quota("NAT: connections at once to one host and port", at_once / of.reuse, 55_000, raised=False)
    yield Quota("NAT: Gbit/s out", rate * of.octets * 8 / 1e9, 100, raised=False)
    yield Quota("NLB: new connections a second, TCP, one LCU is 800", rate / of.reuse, 0, raised=False)
    yield Quota("SNS: SMS a second (new passwords; none for mail)", 0, 20, raised=True)


def show(results: dict[int, list[Quota]]) -> None:
    table = Table("quota", "limit", *(f"at {rate:,}/s" for rate in results), title="COMPUTED, not measured")
    for same in zip(*results.values(), strict=True):
        limit = f"{same[0].limit:,.0f}{'*' if same[0].raised else ''}" if same[0].limit else "none"
        cells = (f"{each.used:,.0f} ({each.share:.0%})" if each.limit else f"{each.used:,.1f}" for each in same)
        table.add_row(same[0].name, limit, *cells)
    Console().print(table)
    print("* raised on request")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=Message().seconds, help="that an invocation of deliver lasts")
    parser.add_argument("--accounts", type=int, default=Message().accounts, help="that send at once")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    message = Message(seconds=options.seconds, accounts=options.accounts)
    results = {rate: list(quotas(rate, message)) for rate in RATES}
    if options.json:
        print(json.dumps({rate: [each._asdict() for each in found] for rate, found in results.items()}))
    else:
        show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
