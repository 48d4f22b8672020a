"""`mailrelay sites`: the destinations that are left alone for a while."""

import argparse
import asyncio
from typing import Any

from rich.table import Table

from relay.sites import Pause
from relayctl import render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError

EPILOG = """\
examples:
  mailrelay sites list
  mailrelay sites resume provider:google

A destination that says 421 or the like, or none of whose servers can be talked
to, is left alone for a minute, then longer. Its mail waits without being tried
(docs/shaping.md).
"""
LIST_EPILOG = """\
example:
  mailrelay sites list --json

--json prints a list of objects: site ("provider:NAME" as in shaping.toml, or
the MX hosts with commas between), until, since (UTC, ISO 8601: when the first
of the pauses in a row began), step (its number in a row), trying (true: one
message is being tried), why ("slow" or "away"), reply.
"""
RESUME_EPILOG = """\
example:
  mailrelay sites resume mx1.example.com,mx2.example.com

The next message is tried as soon as it comes back onto the queue, which may
take as long as the pause would have.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("sites", help="destinations that are left alone", epilog=EPILOG)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    list_ = actions.add_parser("list", help="all that are", epilog=LIST_EPILOG)
    list_.add_argument("--json", action="store_true", help="for programs")
    list_.set_defaults(run=run_list)
    resume = actions.add_parser("resume", help="try one again", epilog=RESUME_EPILOG)
    resume.add_argument("site", metavar="SITE", help="as list has it")
    resume.set_defaults(run=run_resume)
    for each in (list_, resume):
        target.add_options(each)


def run_list(arguments: argparse.Namespace, context: Context) -> int:
    async def all_() -> tuple[Pause, ...]:
        async with context.connect(target.find(arguments, context)) as cloud:
            return await cloud.pauses.all()

    now = context.now()
    found = [pause for pause in asyncio.run(all_()) if pause.until > now]
    if arguments.json:
        render.print_json(context.out, [_fields(each) for each in found])
        return DONE
    if not found:
        context.out.write("No destination is left alone.\n")
        return DONE
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Site", "Until", "Since", "Why"):
        table.add_column(name, overflow="fold")
    for each in found:
        until = "being tried" if each.trial else render.plain_time(each.until)[:16]
        table.add_row(render.safe(each.site), until, render.plain_time(each.since)[:16], render.safe(each.reason))
    render.show(context.out, table)
    return DONE


def run_resume(arguments: argparse.Namespace, context: Context) -> int:
    async def resume() -> bool:
        async with context.connect(target.find(arguments, context)) as cloud:
            pause = await cloud.pauses.find(arguments.site)
            if pause is not None:
                await cloud.pauses.end(pause)
            return pause is not None

    if not asyncio.run(resume()):
        raise CommandError(f"{arguments.site} is not left alone; see mailrelay sites list")
    context.out.write(f"{render.safe(arguments.site)} is tried again\n")
    return DONE


def _fields(pause: Pause) -> dict[str, Any]:
    return {
        "site": pause.site,
        "until": render.iso(pause.until),
        "since": render.iso(pause.since),
        "step": pause.step,
        "trying": pause.trial,
        "why": pause.heard.value,
        "reply": pause.reason,
    }
