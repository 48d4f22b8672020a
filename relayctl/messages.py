"""`mailrelay messages`: what became of the mail, newest message first."""

import argparse
import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from relay.outcome import State
from relay.ports import Messages, Row
from relayctl import render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError
from relayctl.trace import happened

MOST_ROWS: Final = 10_000  # of an account that one command looks through, newest first
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

EPILOG: Final = """\
examples:
  mailrelay messages --since 1h
  mailrelay messages --account app@mycorp.se --state bounced --json
  mailrelay messages --to example.com --since 2026-11-23

--json prints a list with one object a recipient: id, account, mail_from,
received, notice (true for the relay's own notices), recipient, and of the
newest attempt: stage, attempt, time, state, code, enhanced, text, remote, tls,
via (the back end: mx, smarthost or ses), failure (its class, or null), next_try
(null when final). Times are UTC, ISO 8601.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("messages", help="what became of the mail", epilog=EPILOG)
    parser.add_argument("--account", metavar="USER", help="of this user only")
    parser.add_argument("--to", metavar="ADDRESS|DOMAIN", help="to this recipient, or any of this domain")
    parser.add_argument("--state", type=state, metavar="STATE", help=f"in this state now: {', '.join(State)}")
    parser.add_argument("--since", type=moment, metavar="AGE|DATE", help="accepted since, such as 30m, 2d, 2026-11-23")
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="at most N recipients (default 50)")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def moment(text: str) -> tuple[str, float]:
    """`--since`: ("ago", seconds) for 30s, 5m, 1h, 2d, 1w; ("at", epoch seconds) for an ISO date or time (UTC)."""
    number, unit = text[:-1], text[-1:]
    if unit in UNITS and number.isascii() and number.isdecimal() and len(number) < 9:
        return "ago", float(int(number) * UNITS[unit])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an age (30m, 1h, 2d) nor a date (2026-11-23, 2026-11-23T10:00)"
        ) from None
    return "at", (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(State)}") from None


def count(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text[:9]) > 0 and len(text) < 9:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")


def run(arguments: argparse.Namespace, context: Context) -> int:
    since = at(arguments.since, context.now(), 0.0)
    found, complete = asyncio.run(_find(arguments, context, since))
    latest = [row for row in _latest(found) if _wanted(row, arguments.to, arguments.state)]
    shown = latest[: arguments.limit]
    if arguments.json:
        render.print_json(context.out, [_fields(row) for row in shown])
        return DONE
    render.show(context.out, *_blocks(shown))
    if not shown:
        context.out.write("No messages match. One just sent is here after its first try, in a moment.\n")
    if len(latest) > len(shown):
        context.out.write(f"{len(latest) - len(shown)} more recipients: see them with --limit {len(latest)}\n")
    if not complete:
        context.out.write(f"Only the newest {MOST_ROWS} rows were looked through: narrow it with --since\n")
    return DONE


def at(given: tuple[str, float] | None, now: float, otherwise: float) -> float:
    """given: of `moment`, None if it wasn't. Epoch seconds."""
    match given:
        case ("ago", seconds):
            return now - seconds
        case ("at", time):
            return time
    return otherwise


async def _find(arguments: argparse.Namespace, context: Context, since: float) -> tuple[list[Row], bool]:
    """The rows, and whether these are all."""
    async with context.connect(target.find(arguments, context)) as cloud:
        if arguments.account:
            users = [arguments.account.lower()]
        else:
            answer = await cloud.accounts({"action": "list"})
            if not answer.get("ok"):
                raise CommandError(f"cannot list the accounts: {answer.get('error')}; name one with --account USER")
            users = [account["user"].lower() for account in answer["accounts"]]
        rows: list[Row] = []
        complete = True
        for user in users:
            of_user = await _of_account(cloud.messages, user, since)
            complete = complete and len(of_user) < MOST_ROWS
            rows += of_user
    return rows, complete


async def _of_account(messages: Messages, user: str, since: float) -> tuple[Row, ...]:
    return await messages.of_account(user, since=since, limit=MOST_ROWS)


def _latest(rows: Iterable[Row]) -> list[Row]:
    """The newest row of each recipient, newest message first."""
    newest: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row.id, row.outcome.recipient
        if key not in newest or happened(newest[key]) < happened(row):
            newest[key] = row
    by_recipient = sorted(newest.values(), key=lambda row: row.outcome.recipient)
    return sorted(by_recipient, key=lambda row: (row.received, row.id), reverse=True)


def _wanted(row: Row, to: str | None, state: State | None) -> bool:
    if state and row.outcome.state is not state:
        return False
    if not to:
        return True
    recipient, to = row.outcome.recipient.lower(), to.lower().removeprefix("@")
    return recipient == to or recipient.rpartition("@")[2] == to


def _blocks(rows: list[Row]) -> Iterable[RenderableType]:
    """A message's own two lines, then its recipients', message by message."""
    for id, of_message in groupby(rows, key=lambda row: row.id):
        recipients = Table.grid(padding=(0, 2, 0, 0))
        recipients.add_column(overflow="fold", max_width=34)
        recipients.add_column(no_wrap=True)
        recipients.add_column(overflow="fold")
        for row in of_message:
            outcome, first = row.outcome, row
            recipients.add_row(
                render.safe(outcome.recipient), render.state_text(outcome.state), render.words(outcome, 200)
            )
        sender = "the relay's notice" if first.notice else f"from {render.safe(first.mail_from) or '<>'}"
        yield Text.assemble((id, "bold"), f"  {render.plain_time(first.received)}\n  {sender}")
        yield Padding(recipients, (0, 0, 0, 2))


def _fields(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "account": row.account,
        "mail_from": row.mail_from,
        "received": render.iso(row.received),
        "notice": row.notice,
        "recipient": row.outcome.recipient,
        **render.attempt_fields(row),
    }
