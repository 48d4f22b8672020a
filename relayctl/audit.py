"""`mailrelay audit`: who did what to which account, or to a domain's keys."""

import argparse
import asyncio
from typing import Any, Final

from rich.table import Table

from relay.audit import Entry
from relayctl import render, target
from relayctl.context import Context
from relayctl.errors import DONE

EPILOG: Final = """\
examples:
  mailrelay audit
  mailrelay audit app@mycorp.se --json

Kept for a year: what mailrelay accounts and mailrelay dkim changed, or were
refused. Who: the ARN of the credentials, as the command that asked said; AWS's
own word is in CloudTrail (data events of the functions) under the same request.
"begun" has no end: the function died, or its note of it was lost.

--json prints a list of objects, oldest first: time (UTC, ISO 8601), subject,
action, actor, result, request.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("audit", help="who did what to which account", epilog=EPILOG)
    parser.add_argument("subject", nargs="?", default="", metavar="SUBJECT", help="a user name or a domain (all)")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    async def find() -> tuple[Entry, ...]:
        async with context.connect(target.find(arguments, context)) as cloud:
            return await cloud.audit.find(arguments.subject.strip().lower())

    found = asyncio.run(find())
    if arguments.json:
        render.print_json(context.out, [_fields(each) for each in found])
        return DONE
    if not found:
        context.out.write(f"Nothing was done{' to ' + arguments.subject if arguments.subject else ''} in a year.\n")
        return DONE
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Time", no_wrap=True)
    for name in ("To", "What", "By", "Result"):
        table.add_column(name, overflow="fold")
    for each in found:
        told = (each.subject, each.action, each.actor, each.result)
        table.add_row(render.plain_time(each.time)[:16], *map(render.safe, told))
    render.show(context.out, table)
    return DONE


def _fields(entry: Entry) -> dict[str, str | None]:
    return {
        "time": render.iso(entry.time),
        "subject": entry.subject,
        "action": entry.action,
        "actor": entry.actor,
        "result": entry.result,
        "request": entry.request,
    }
