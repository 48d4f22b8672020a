"""`mailrelay trace`: one message's life, recipient by recipient, attempt by attempt."""

import argparse
import asyncio
import uuid
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from relay.outcome import State
from relay.ports import Row
from relayctl import render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError, UsageError

EPILOG: Final = """\
example:
  mailrelay trace 01931e3c-8f6e-7c1a-9b6e-6f0c3f0d9a10

The id is in the relay's answer to the message: 250 2.0.0 queued as <id>.

--json prints an object: id, account, mail_from, received, notice, recipients: a
list of recipient, state, attempts: a list, oldest first, of stage, attempt,
time, state, code, enhanced, text, remote, tls, next_try (null when final).
Times are UTC, ISO 8601.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("trace", help="one message's life", epilog=EPILOG)
    parser.add_argument("id", metavar="ID", help="the message's id")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    try:
        id = str(uuid.UUID(arguments.id))
    except ValueError:
        raise UsageError(f"{arguments.id!r} is not a message id; it looks like {EPILOG.split()[3]}") from None
    rows = asyncio.run(_rows(id, arguments, context))
    if not rows:
        raise CommandError(f"nothing is recorded about {id}: check the id, or ask again when it has been tried")
    if arguments.json:
        render.print_json(context.out, _fields(rows))
    else:
        render.show(context.out, *_blocks(rows))
    return DONE


async def _rows(id: str, arguments: argparse.Namespace, context: Context) -> tuple[Row, ...]:
    async with context.connect(target.find(arguments, context)) as cloud:
        return await cloud.messages.of_id(id)


def happened(row: Row) -> tuple[bool, int, bool, float]:
    """Sorts one recipient's rows in the order they happened: validate before deliver, a final state last."""
    return row.stage != "validate", row.outcome.attempt, row.outcome.state.final, row.outcome.time


def by_recipient(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """(recipient, its rows in the order they happened), by recipient."""

    def recipient(row: Row) -> str:
        return row.outcome.recipient

    return [(each, sorted(of, key=happened)) for each, of in groupby(sorted(rows, key=recipient), key=recipient)]


def _fields(rows: tuple[Row, ...]) -> dict[str, Any]:
    first = rows[0]
    return {
        "id": first.id,
        "account": first.account,
        "mail_from": first.mail_from,
        "received": render.iso(first.received),
        "notice": first.notice,
        "recipients": [
            {
                "recipient": recipient,
                "state": attempts[-1].outcome.state.value,
                "attempts": [render.attempt_fields(each) for each in attempts],
            }
            for recipient, attempts in by_recipient(rows)
        ],
    }


def _blocks(rows: tuple[Row, ...]) -> Iterator[RenderableType]:
    first = rows[0]
    sender = "the relay itself, as a notice" if first.notice else render.safe(first.mail_from) or "<>"
    yield Text(first.id, style="bold")
    yield Text(f"  from     {sender}", overflow="fold")
    yield Text(f"  account  {render.safe(first.account)}", overflow="fold")
    yield Text(f"  accepted {render.plain_time(first.received)} UTC")
    for recipient, attempts in by_recipient(rows):
        state = attempts[-1].outcome.state
        yield Text.assemble("\n", (render.safe(recipient), "bold"), ": ", render.state_text(state), overflow="fold")
        for each in attempts:
            yield from _attempt(each)


def _attempt(row: Row) -> Iterator[RenderableType]:
    outcome = row.outcome
    doing = "check" if row.stage == "validate" else "try"
    yield Text.assemble(
        f"  {render.plain_time(outcome.time)}  {doing} {outcome.attempt}  ", render.state_text(outcome.state)
    )
    lines = [render.words(outcome)]
    if outcome.remote:
        lines.insert(0, render.safe(f"{outcome.remote}, {outcome.tls or 'no TLS'}"))
    if outcome.state is State.DEFERRED and outcome.next_due:
        lines.append(f"next try at {render.plain_time(outcome.next_due)}")
    for line in lines:
        yield Padding(Text(line, overflow="fold"), (0, 0, 0, 4))
