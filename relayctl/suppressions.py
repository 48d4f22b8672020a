"""`mailrelay suppressions`: the addresses that get no mail of an account."""

import argparse
import asyncio
import json
from collections.abc import Iterable
from typing import Any, Final

from rich.table import Table

from relay.address import AddressError, parse_address
from relay.ports import Suppression
from relay.suppression import by_hand
from relayctl import exports, render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError, UsageError

DAYS: Final = 30
MOST_DAYS: Final = 3650
LONGEST_REASON: Final = 300
COLUMNS: Final = ("account", "address", "since", "until", "by", "reason", "id")

EPILOG: Final = """\
examples:
  mailrelay suppressions list --domain example.com
  mailrelay suppressions remove jo@example.com --account app@mycorp.se
  mailrelay suppressions export --format csv > suppressions.csv

An address is suppressed by itself when its server calls it unknown: for a day,
and for 30 (the parameter SuppressionDays) if it does so again afterwards. Mail
to it is not sent then, and its sender is told.
"""
LIST_EPILOG: Final = """\
examples:
  mailrelay suppressions list
  mailrelay suppressions list --account app@mycorp.se --json

--json prints a list of objects: account, address, since, until (UTC, ISO 8601),
by ("server" or "operator"), reason, id (of the message that found it dead, or
null).
"""
ADD_EPILOG: Final = """\
example:
  mailrelay suppressions add jo@example.com --account app@mycorp.se --days 365

What is there of the address is replaced. Mail of other accounts goes on.
"""
REMOVE_EPILOG: Final = """\
examples:
  mailrelay suppressions remove jo@example.com --account app@mycorp.se
  mailrelay suppressions remove --domain example.com --account app@mycorp.se

--domain is for a server that called all its users unknown: it removes what was
found dead there, and leaves what an operator has added.
"""
EXPORT_EPILOG: Final = """\
examples:
  mailrelay suppressions export --format csv > suppressions.csv
  mailrelay suppressions export --account app@mycorp.se

One line each, with the fields of list --json; by default as JSON lines. In CSV
the first line names them, and a value that a spreadsheet could take for a
formula has an apostrophe before it.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("suppressions", help="addresses that get no mail", epilog=EPILOG)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    list_ = actions.add_parser("list", help="all that are in force", epilog=LIST_EPILOG)
    _add_filter(list_)
    list_.add_argument("--json", action="store_true", help="for programs")
    list_.set_defaults(run=run_list)
    adding = actions.add_parser("add", help="bar an address", epilog=ADD_EPILOG)
    adding.add_argument("address", metavar="ADDRESS", help="whom not to send to")
    adding.add_argument("--account", required=True, metavar="USER", help="whose mail")
    adding.add_argument("--days", type=_days, default=DAYS, metavar="N", help=f"for so long (default {DAYS})")
    adding.add_argument("--reason", default="", metavar="TEXT", help="what its senders are told")
    adding.set_defaults(run=run_add)
    remove = actions.add_parser("remove", help="let mail through again", epilog=REMOVE_EPILOG)
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument("address", nargs="?", metavar="ADDRESS", help="whom to send to again")
    which.add_argument("--domain", metavar="DOMAIN", help="all of this domain that were found dead")
    remove.add_argument("--account", required=True, metavar="USER", help="whose mail")
    remove.set_defaults(run=run_remove)
    export = actions.add_parser("export", help="all that are in force, for programs", epilog=EXPORT_EPILOG)
    _add_filter(export)
    exports.add_format(export)
    exports.add_suppressions(actions)
    export.set_defaults(run=run_export)
    for each in (list_, adding, remove, export):
        target.add_options(each)


def run_list(arguments: argparse.Namespace, context: Context) -> int:
    found = asyncio.run(_found(arguments, context))
    if arguments.json:
        render.print_json(context.out, [_fields(each) for each in found])
        return DONE
    if not found:
        context.out.write("No address is suppressed.\n")
        return DONE
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Address", "Account", "Until", "Why"):
        table.add_column(name, overflow="fold")
    for each in found:
        why = f"by the operator: {each.reason}" if each.by_hand else each.reason
        until = render.plain_time(each.until)[:16]
        table.add_row(render.safe(each.address), render.safe(each.account), until, render.safe(why.rstrip(": ")))
    render.show(context.out, table)
    return DONE


def run_add(arguments: argparse.Namespace, context: Context) -> int:
    address, account = _address(arguments.address), _account(arguments.account)
    reason = " ".join(render.safe(arguments.reason).split())
    if len(reason) > LONGEST_REASON:
        raise UsageError(f"--reason has {len(reason)} characters; at most {LONGEST_REASON} are kept")

    async def add() -> Suppression:
        async with context.connect(target.find(arguments, context)) as cloud:
            if await cloud.users.find(account) is None:
                raise CommandError(f"there is no account {account}; see mailrelay accounts list")
            made = by_hand(account, address, now=context.now(), days=arguments.days, reason=reason)
            await cloud.suppressions.set(made)
            return made

    made = asyncio.run(add())
    until = render.plain_time(made.until)[:16]
    context.out.write(f"{render.safe(made.address)} gets no mail of {render.safe(account)} until {until} UTC\n")
    return DONE


def run_remove(arguments: argparse.Namespace, context: Context) -> int:
    address = _address(arguments.address) if arguments.address else ""
    domain = _domain(arguments.domain) if arguments.domain else ""
    account = _account(arguments.account)

    async def remove() -> list[str]:
        async with context.connect(target.find(arguments, context)) as cloud:
            if address:
                which = [address.lower()]
            else:
                known = await cloud.suppressions.all(account)
                which = [each.address for each in known if not each.by_hand and _is_at(each, domain)]
            return [each for each in which if await cloud.suppressions.remove(account, each)]

    removed = asyncio.run(remove())
    if not removed:
        raise CommandError(f"{address or domain} is not suppressed for {account}; see mailrelay suppressions list")
    for each in removed:
        context.out.write(f"{render.safe(each)} gets mail of {render.safe(account)} again\n")
    return DONE


def run_export(arguments: argparse.Namespace, context: Context) -> int:
    fields = [_fields(each) for each in asyncio.run(_found(arguments, context))]
    if arguments.format == "jsonl":
        context.out.writelines(json.dumps(each) + "\n" for each in fields)
        return DONE
    exports.write_csv(context.out, COLUMNS, fields)
    return DONE


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="USER", help="of this user only")
    parser.add_argument("--domain", metavar="DOMAIN", help="at this domain only")


async def _found(arguments: argparse.Namespace, context: Context) -> list[Suppression]:
    """What is in force and wanted."""
    account = _account(arguments.account) if arguments.account else None
    domain = _domain(arguments.domain) if arguments.domain else ""
    async with context.connect(target.find(arguments, context)) as cloud:
        found: Iterable[Suppression] = await cloud.suppressions.all(account)
    now = context.now()
    return [each for each in found if each.until > now and (not domain or _is_at(each, domain))]


def _is_at(suppression: Suppression, domain: str) -> bool:
    return suppression.address.rpartition("@")[2] == domain


def _fields(suppression: Suppression) -> dict[str, Any]:
    return {
        "account": suppression.account,
        "address": suppression.address,
        "since": render.iso(suppression.since),
        "until": render.iso(suppression.until),
        "by": "operator" if suppression.by_hand else "server",
        "reason": suppression.reason,
        "id": suppression.id or None,
    }


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except AddressError as error:
        raise UsageError(f"{text!r}: {error.safe}") from None


def _domain(text: str) -> str:
    """In the form that addresses have it: A-labels, lower case."""
    try:
        return parse_address(f"postmaster@{text.removeprefix('@')}").domain
    except AddressError as error:
        raise UsageError(f"--domain {text!r}: {error.safe}") from None


def _account(text: str) -> str:
    name = text.strip().lower()
    if not name:
        raise UsageError("--account is empty: name a user")
    return name


def _days(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) <= MOST_DAYS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to {MOST_DAYS}")
