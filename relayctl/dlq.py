"""`mailrelay dlq`: what could not be processed, and putting it back."""

import argparse
import asyncio
from collections.abc import Iterator
from math import inf
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from relayctl import render, target
from relayctl.context import STAGES, Cloud, Context
from relayctl.errors import DONE, FAILED, CommandError
from relayctl.letters import ALL, Letter, Redrive, Selection, browse
from relayctl.messages import at, count, moment

MOST: Final = 10_000  # letters of a queue that `show` looks through

EPILOG: Final = """\
examples:
  mailrelay dlq list
  mailrelay dlq show 5f0c2c1e-5f0e-4c55-9a0e-2f1f5c6b7d88
  mailrelay dlq redrive validate

A message that a function failed on five times is in its queue's dead-letter
queue for 14 days. Mend the cause first, then redrive. Looking at dead letters
hides them from others for the moment.
"""
LIST_EPILOG: Final = """\
examples:
  mailrelay dlq list --json
  mailrelay dlq list --to example.com --until 2026-11-23T10:00

--json prints a list of objects, one a queue: queue, count, messages: a list of
message_id, id (of the mail, null if unreadable), account, sent (UTC), receives,
why.
"""
SHOW_EPILOG: Final = """\
example:
  mailrelay dlq show 5f0c2c1e-5f0e-4c55-9a0e-2f1f5c6b7d88

Shows the envelope, never the content. --json prints a list of objects: queue,
message_id, group, sent (UTC), receives, size (octets), why, content (where it
is), and of the envelope what is readable: id, account, mail_from, domain,
chunk, rcpt_to, received, attempt, due, notice.
"""
REDRIVE_EPILOG: Final = """\
examples:
  mailrelay dlq redrive
  mailrelay dlq redrive deliver --id 5f0c2c1e-5f0e-4c55-9a0e-2f1f5c6b7d88
  mailrelay dlq redrive --to example.com --since 2h
  mailrelay dlq redrive validate --reason KeyError --account app@mycorp.se

Only what fits all options; mailrelay dlq list takes the same ones and shows it.
Each goes back onto the queue that it came from and leaves the dead-letter queue
only then: interrupted, nothing is lost. What fails again comes back.

--json prints a list of objects, one a queue: queue, moved.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("dlq", help="what could not be processed", epilog=EPILOG)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    list_ = actions.add_parser("list", help="the dead letters of each queue", epilog=LIST_EPILOG)
    list_.add_argument("--limit", type=count, default=50, metavar="N", help="of each queue about N (default 50)")
    show = actions.add_parser("show", help="one dead letter", epilog=SHOW_EPILOG)
    show.add_argument("id", metavar="MESSAGE-ID", help="the queue's message id, or the mail's id")
    redrive = actions.add_parser("redrive", help="put dead letters back", epilog=REDRIVE_EPILOG)
    redrive.add_argument("queue", nargs="?", choices=STAGES, metavar="QUEUE", help=f"{', '.join(STAGES)} (default all)")
    redrive.add_argument("--id", default="", metavar="MESSAGE-ID", help="only this one")
    for each in (list_, redrive):
        _add_selection(each)
    for each, run in ((list_, run_list), (show, run_show), (redrive, run_redrive)):
        each.add_argument("--json", action="store_true", help="for programs")
        target.add_options(each)
        each.set_defaults(run=run)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", default="", metavar="USER", help="of this user only")
    parser.add_argument("--to", default="", metavar="ADDRESS|DOMAIN", help="to this recipient, or any of this domain")
    parser.add_argument("--reason", default="", metavar="TEXT", help="whose reason, as dlq list tells it, has this")
    parser.add_argument("--since", type=moment, metavar="AGE|DATE", help="queued since, such as 30m, 2d, 2026-11-23")
    parser.add_argument("--until", type=moment, metavar="AGE|DATE", help="queued until then")


def _selection(arguments: argparse.Namespace, context: Context) -> Selection:
    now = context.now()
    return Selection(
        id=getattr(arguments, "id", ""),
        account=arguments.account.strip(),
        to=arguments.to.strip(),
        reason=arguments.reason,
        since=at(arguments.since, now, 0.0),
        until=at(arguments.until, now, inf),
    )


def run_list(arguments: argparse.Namespace, context: Context) -> int:
    found = asyncio.run(_list(arguments, context))
    if arguments.json:
        queues = [
            {"queue": stage, "count": number, "messages": [_summary(each) for each in letters]}
            for stage, (number, letters) in found.items()
        ]
        render.print_json(context.out, queues)
    else:
        render.show(context.out, *_list_blocks(found, context.now()))
    return DONE


def run_show(arguments: argparse.Namespace, context: Context) -> int:
    found = asyncio.run(_show(arguments, context))
    if not found:
        raise CommandError(f"no dead letter has the id {arguments.id}: see mailrelay dlq list")
    if arguments.json:
        render.print_json(context.out, [_fields(each) for each in found])
    else:
        for letter in found:
            render.show(context.out, *_show_blocks(letter, context.now()))
    return DONE


def run_redrive(arguments: argparse.Namespace, context: Context) -> int:
    done = asyncio.run(_redrive(arguments, context))
    if arguments.json:
        render.print_json(context.out, [{"queue": each.stage, "moved": each.moved} for each in done])
    else:
        for each in done:
            if each.moved:
                context.out.write(f"{each.stage}: {render.counted(each.moved, 'message')} put back\n")
    failed = next((each for each in done if each.failed), None)
    if failed:
        raise CommandError(f"{failed.stage}: not all were put back: {failed.failed}; run it again")
    moved = any(each.moved for each in done)
    if arguments.id and not moved:
        raise CommandError(f"no dead letter has the id {arguments.id}: see mailrelay dlq list")
    if not moved and not arguments.json:
        some = _selection(arguments, context) != ALL
        context.out.write(
            "No dead letter fits that: see mailrelay dlq list\n" if some else "There is nothing to put back.\n"
        )
    return DONE if moved or not arguments.id else FAILED


async def _list(arguments: argparse.Namespace, context: Context) -> dict[str, tuple[int, list[Letter]]]:
    async with context.connect(target.find(arguments, context)) as cloud:
        depths = await asyncio.gather(*(cloud.stages[stage].dead.depth() for stage in STAGES))
        wanted = _selection(arguments, context)
        letters = await _browse(cloud, arguments.limit if wanted == ALL else MOST)
        letters = [[each for each in of_stage if wanted.has(each)] for of_stage in letters]
    return {
        stage: (max(depth.waiting + depth.in_flight + depth.delayed, len(each)), each)
        for stage, depth, each in zip(STAGES, depths, letters, strict=True)
    }


async def _show(arguments: argparse.Namespace, context: Context) -> list[Letter]:
    async with context.connect(target.find(arguments, context)) as cloud:
        letters = await _browse(cloud, MOST)
    return [letter for of_stage in letters for letter in of_stage if letter.is_(arguments.id)]


async def _browse(cloud: Cloud, most: int) -> list[list[Letter]]:
    return await asyncio.gather(*(browse(stage, cloud.stages[stage].dead, most) for stage in STAGES))


async def _redrive(arguments: argparse.Namespace, context: Context) -> list[Redrive]:
    async with context.connect(target.find(arguments, context)) as cloud:
        wanted = _selection(arguments, context)
        stages = [arguments.queue] if arguments.queue else STAGES
        runs = [Redrive(stage, cloud.stages[stage], context.now(), wanted) for stage in stages]
        await asyncio.gather(*(each.run() for each in runs))
    return runs


def _list_blocks(found: dict[str, tuple[int, list[Letter]]], now: float) -> Iterator[RenderableType]:
    for stage, (number, letters) in found.items():
        shown = "" if len(letters) >= number else f", {len(letters)} of them here"
        yield Text.assemble(
            (stage, "bold"), ": ", (f"{render.counted(number, 'dead letter')}{shown}", "red" if number else "green")
        )
        for each in letters:
            age = render.age(now - each.letter.sent)
            yield Text(f"  {each.letter.message_id}  {age} old")
            about = f"{render.safe(each.id) or 'no id'}  {render.safe(each.account)}"
            yield Padding(Text(f"{about}\n{render.safe(each.why)}", overflow="fold"), (0, 0, 0, 4))
    if any(number for number, _ in found.values()):
        yield Text("\nOne of them: mailrelay dlq show MESSAGE-ID. Back to work: mailrelay dlq redrive")


def _show_blocks(letter: Letter, now: float) -> Iterator[RenderableType]:
    facts = letter.facts
    recipients = letter.recipients
    more = f" and {len(recipients) - 10} more" if len(recipients) > 10 else ""
    yield Text(letter.letter.message_id, style="bold")
    rows = [
        ("queue", letter.stage),
        ("why", letter.why),
        ("queued", f"{render.plain_time(letter.letter.sent)} UTC, {render.age(now - letter.letter.sent)} ago"),
        ("receives", letter.letter.receives),
        ("size", f"{letter.size} octets"),
        ("id", letter.id),
        ("account", letter.account),
        ("from", facts.get("mail_from", "")),
        ("to", ", ".join(recipients[:10]) + more),
        ("attempt", facts.get("attempt", "")),
        ("content", letter.content),
    ]
    for name, value in rows:
        if str(value):
            yield render.hanging(f"  {name:<8}", render.safe(str(value)))


def _summary(letter: Letter) -> dict[str, Any]:
    return {
        "message_id": letter.letter.message_id,
        "id": letter.id or None,
        "account": letter.account,
        "sent": render.iso(letter.letter.sent),
        "receives": letter.letter.receives,
        "why": letter.why,
    }


def _fields(letter: Letter) -> dict[str, Any]:
    return {
        "queue": letter.stage,
        "message_id": letter.letter.message_id,
        "group": letter.letter.group,
        "sent": render.iso(letter.letter.sent),
        "receives": letter.letter.receives,
        "size": letter.size,
        "why": letter.why,
        "content": letter.content,
        **letter.facts,
    }
