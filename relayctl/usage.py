"""`mailrelay usage`: what accounts sent, by day."""

import argparse
import asyncio
from typing import Any, Final

from rich.table import Table

from relay.bounces import DayOfAccount
from relay.quota import DAY, day_of
from relayctl import dns, render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError

MOST_DAYS: Final = 90  # that are kept
EPILOG: Final = """\
examples:
  mailrelay usage
  mailrelay usage app@mycorp.se --days 30 --json

Messages that the gateways took, on each day (UTC); up to a lease of some that
were not sent yet may be among those of today. Answers are recipients whose
server took the mail or refused it for good; of these so many bounced.

--json prints a list of objects: user, day, messages, limit (of messages a day;
null if the account is no more), answers, bounced, paused.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("usage", help="what accounts sent, by day", epilog=EPILOG)
    parser.add_argument("user", nargs="?", metavar="USER", help="a user name (all)")
    parser.add_argument("--days", type=_days, default=1, metavar="N", help="today and the days before (default 1)")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def _days(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_DAYS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to {MOST_DAYS}")


def run(arguments: argparse.Namespace, context: Context) -> int:
    user = dns.registrable(arguments.user).lower() if arguments.user else None
    since = day_of(context.now() - (arguments.days - 1) * DAY)
    days, accounts = asyncio.run(_find(arguments, context, user, since))
    if user and user not in accounts and not days:
        raise CommandError(f"there is no account {arguments.user}")
    if arguments.json:
        render.print_json(context.out, [_fields(each, accounts.get(each.account)) for each in days])
    elif days:
        render.show(context.out, _table(days, accounts))
    else:
        context.out.write(f"Nothing was sent{f' by {arguments.user}' if user else ''} since {since} (UTC).\n")
    return DONE


async def _find(
    arguments: argparse.Namespace, context: Context, user: str | None, since: str
) -> tuple[tuple[DayOfAccount, ...], dict[str, dict[str, Any]]]:
    """The days; and the accounts, by user name in lower case."""
    async with context.connect(target.find(arguments, context)) as cloud:
        answer = await cloud.accounts({"action": "list"})
        if not answer.get("ok"):
            raise CommandError(f"accounts: {answer.get('error', 'the accounts function gave no reason')}")
        days = await cloud.usage.days(user, since)
    return days, {each["user"].lower(): each for each in answer["accounts"]}


def _table(days: tuple[DayOfAccount, ...], accounts: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("User", overflow="fold")
    table.add_column("Day", no_wrap=True)
    for title in ("Messages", "Limit", "Answers", "Bounced"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in days:
        told = _fields(each, accounts.get(each.account))
        numbers = (str(told[name]) for name in ("messages", "limit", "answers", "bounced"))
        limit = "deleted" if told["limit"] is None else "paused" if told["paused"] else ""
        table.add_row(render.safe(told["user"]), each.day, *("" if each == "None" else each for each in numbers), limit)
    return table


def _fields(day: DayOfAccount, account: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "user": account["user"] if account else day.account,
        "day": day.day,
        "messages": day.messages,
        "limit": account["limits"]["per_day"] if account else None,
        "answers": day.bounces.finished,
        "bounced": day.bounces.bounced,
        "paused": bool(account and account.get("paused")),
    }
