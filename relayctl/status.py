"""`mailrelay status`: the relay at a glance."""

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from relay.account import Account
from relay.outcome import State
from relay.ports import Depth
from relay.retry import LIFETIME
from relayctl import render, target
from relayctl.context import STAGES, Cloud, Context, StageQueue, Target
from relayctl.errors import DONE, FAILED
from relayctl.letters import browse

HOUR: Final = 3600.0
MOST_ACCOUNTS: Final = 200  # whose outcomes are counted
MOST_ROWS: Final = 5_000  # of each, newest message first
AT_ONCE: Final = 8  # accounts asked about
LOOKED_AT: Final = 50  # dead letters, for the age of the oldest
PATIENCE: Final = 5.0  # seconds for the gateway's greeting

EPILOG: Final = """\
examples:
  mailrelay status
  mailrelay status --stack mailrelay --region eu-north-1 --json

Counts are SQS's own, which are approximate. Outcomes are attempts at a
recipient in the last hour. Exit code 1 if the local system's gateway does not
answer.

--json prints an object: time (UTC), gateway (null for a deployed one; else
address, answers, greeting), queues: a list of queue, waiting, in_flight,
delayed, dead, oldest, oldest_dead (seconds, null if not known); accounts,
disabled, paused (counts); last_hour: an object of state: count; complete: false
if that is not all. How long the oldest waits is known where there is
CloudWatch.
"""


@dataclass(slots=True)
class Stage:
    """oldest: seconds that the oldest has waited, oldest_dead: the oldest dead letter; None if not known."""

    depth: Depth
    oldest: float | None
    dead: int
    oldest_dead: float | None


@dataclass(slots=True)
class Status:
    """gateway: (address, greeting), the greeting "" if it doesn't answer; None where nobody knows the address."""

    gateway: tuple[str, str] | None
    stages: dict[str, Stage]
    accounts: tuple[Account, ...]
    outcomes: Counter[State] = field(default_factory=Counter)
    complete: bool = True


def add(commands: Any) -> None:
    parser = commands.add_parser("status", help="the relay at a glance", epilog=EPILOG)
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    relay = target.find(arguments, context)
    now = context.now()
    status = asyncio.run(_status(relay, context, now))
    if arguments.json:
        render.print_json(context.out, _fields(status, now))
    else:
        render.show(context.out, *_blocks(relay.name, status, now))
    return FAILED if status.gateway and not status.gateway[1] else DONE


async def _status(relay: Target, context: Context, now: float) -> Status:
    async with context.connect(relay) as cloud:
        gateway, accounts = await asyncio.gather(_gateway(relay), cloud.users.list())
        stages = await asyncio.gather(*(_stage(name, cloud.stages[name], now) for name in STAGES))
        status = Status(gateway, dict(zip(STAGES, stages, strict=True)), accounts)
        await _count(cloud, status, now)
    return status


async def _stage(name: str, queues: StageQueue, now: float) -> Stage:
    depth, age, dead = await asyncio.gather(queues.live.depth(), queues.live.oldest(now), queues.dead.depth())
    number = dead.waiting + dead.in_flight + dead.delayed
    letters = await browse(name, queues.dead, LOOKED_AT) if number else []
    oldest = now - letters[0].letter.sent if letters else None
    return Stage(depth, age, max(number, len(letters)), oldest)


async def _gateway(relay: Target) -> tuple[str, str] | None:
    """The local system's; a deployed one may be anywhere behind its load balancer."""
    if not relay.state:
        return None
    host, port = relay.state["host"], relay.state["port"]
    greeting = b""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            greeting = await reader.readline()
            writer.close()
    except (OSError, ValueError):  # ValueError: a line without end
        pass
    return f"{host}:{port}", render.safe(greeting.decode("ascii", "replace").strip())


async def _count(cloud: Cloud, status: Status, now: float) -> None:
    """A message's outcomes may come for as long as it is retried."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def of(account: Account) -> None:
        async with gate:
            since = now - HOUR - LIFETIME
            rows = await cloud.messages.of_account(account.user.lower(), since=since, limit=MOST_ROWS)
        status.outcomes.update(row.outcome.state for row in rows if now - HOUR <= row.outcome.time)
        status.complete = status.complete and len(rows) < MOST_ROWS

    await asyncio.gather(*(of(account) for account in status.accounts[:MOST_ACCOUNTS]))
    status.complete = status.complete and len(status.accounts) <= MOST_ACCOUNTS


def _blocks(name: str, status: Status, now: float) -> Iterator[RenderableType]:
    yield Text(f"{name[0].upper()}{name[1:]}, {render.plain_time(now)} UTC\n", style="bold")
    if status.gateway:
        address, greeting = status.gateway
        said = (f"answers: {greeting}", "green") if greeting else ("does not answer", "red")
        yield Text.assemble(f"gateway    {address} ", said)
    disabled = sum(account.disabled for account in status.accounts)
    paused = sum(account.pause is not None for account in status.accounts)
    notes = [f"{number} of them {state}" for number, state in ((disabled, "disabled"), (paused, "paused")) if number]
    yield Text(", ".join([f"accounts   {len(status.accounts)}", *notes]))
    counts = ", ".join(f"{status.outcomes[state]} {state}" for state in State if status.outcomes[state])
    yield Text(f"last hour  {'' if status.complete else 'at least '}{counts or 'no outcomes'}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Queue", no_wrap=True)
    for title in ("Waiting", "In flight", "Delayed", "Oldest", "Dead", "Oldest dead"):
        table.add_column(title, justify="right", no_wrap=True)
    for stage, each in status.stages.items():
        table.add_row(
            stage,
            str(each.depth.waiting),
            str(each.depth.in_flight),
            str(each.depth.delayed),
            render.age(each.oldest) if each.oldest is not None else "",
            Text(str(each.dead), style="red" if each.dead else ""),
            render.age(each.oldest_dead) if each.oldest_dead is not None else "",
        )
    yield table
    if any(each.dead for each in status.stages.values()):
        yield Text("\nWhat could not be processed: mailrelay dlq list")


def _fields(status: Status, now: float) -> dict[str, Any]:
    gateway = None
    if status.gateway:
        address, greeting = status.gateway
        gateway = {"address": address, "answers": bool(greeting), "greeting": greeting}
    return {
        "time": render.iso(now),
        "gateway": gateway,
        "queues": [
            {
                "queue": stage,
                "waiting": each.depth.waiting,
                "in_flight": each.depth.in_flight,
                "delayed": each.depth.delayed,
                "dead": each.dead,
                "oldest": int(each.oldest) if each.oldest is not None else None,
                "oldest_dead": int(each.oldest_dead) if each.oldest_dead is not None else None,
            }
            for stage, each in status.stages.items()
        ],
        "accounts": len(status.accounts),
        "disabled": sum(account.disabled for account in status.accounts),
        "paused": sum(account.pause is not None for account in status.accounts),
        "last_hour": {state.value: status.outcomes[state] for state in State},
        "complete": status.complete,
    }
