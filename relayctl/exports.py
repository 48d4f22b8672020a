"""`mailrelay accounts export` and `mailrelay suppressions import`: what moves from one relay to another."""

import argparse
import asyncio
import csv
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from relay.address import AddressError, parse_address
from relay.ports import Suppression
from relay.suppression import MAX_REASON
from relayctl import render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError, UsageError

FORMULA: Final = ("=", "+", "-", "@", "\t")  # what a spreadsheet would run
ACCOUNT: Final = ("user", "phone", "created", "disabled", "paused", "per_second", "per_day", "recipients", "size")
AT_ONCE: Final = 16  # writes
Ask = Callable[[argparse.Namespace, Context, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]

EXPORT_EPILOG: Final = """\
examples:
  mailrelay accounts export > accounts.jsonl
  mailrelay accounts export --format csv > accounts.csv

One line each: user, phone, created (UTC, ISO 8601), disabled, paused, and of
per_second, per_day, recipients, size what the account has of its own (null: the
default). No password, nor what one is checked by: accounts that are made anew
from this get new ones. In CSV a value that a spreadsheet could take for a
formula has an apostrophe before it.
"""
IMPORT_EPILOG: Final = """\
examples:
  mailrelay suppressions export > here.jsonl
  mailrelay suppressions import here.jsonl --stack mailrelay --region eu-west-1

FILE has JSON lines as mailrelay suppressions export writes them; "-" is
standard input. Lines that have ended are left out, and where an address is
suppressed for longer already, that stands: an import can be repeated. A wrong
line is told, and nothing of the file is imported.
"""


def write_csv(out: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180 §2
    writer.writerow(columns)
    writer.writerows([_harmless(row[name]) for name in columns] for row in rows)


def _harmless(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="JSON lines (default) or CSV")


def add_accounts(actions: Any, ask: Ask) -> None:
    parser = actions.add_parser("export", help="all accounts, for programs", epilog=EXPORT_EPILOG)
    add_format(parser)
    target.add_options(parser)
    parser.set_defaults(run=lambda arguments, context: run_accounts(arguments, context, ask))


def run_accounts(arguments: argparse.Namespace, context: Context, ask: Ask) -> int:
    answer = asyncio.run(ask(arguments, context, {"action": "list"}))
    rows = [_account(each) for each in answer["accounts"]]
    if arguments.format == "csv":
        write_csv(context.out, ACCOUNT, rows)
    else:
        context.out.writelines(json.dumps(row) + "\n" for row in rows)
    return DONE


def _account(account: Mapping[str, Any]) -> dict[str, Any]:
    limits = {name: value if name in account["own_limits"] else None for name, value in account["limits"].items()}
    facts = {"created": render.iso(account["created"]), "paused": account["paused"] is not None}
    return {**{name: account[name] for name in ("user", "phone", "disabled")}, **facts, **limits}


def add_suppressions(actions: Any) -> None:
    parser = actions.add_parser("import", help="what another relay has exported", epilog=IMPORT_EPILOG)
    parser.add_argument("file", metavar="FILE", help="JSON lines")
    target.add_options(parser)
    parser.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace, context: Context) -> int:
    found = [each for each in _read(arguments.file) if each.until > context.now()]
    written = asyncio.run(_import(arguments, context, found))
    context.out.write(f"{written} of {render.counted(len(found), 'suppression')} in force imported")
    context.out.write("; the others are there already.\n" if written < len(found) else ".\n")
    return DONE


async def _import(arguments: argparse.Namespace, context: Context, found: list[Suppression]) -> int:
    """How many were written."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with context.connect(target.find(arguments, context)) as cloud:
        known = {(each.account, each.address): each.until for each in await cloud.suppressions.all()}
        wanted = [each for each in found if known.get((each.account, each.address), 0.0) < each.until]

        async def write(each: Suppression) -> None:
            async with gate:
                await cloud.suppressions.set(each)

        await asyncio.gather(*map(write, wanted))
    return len(wanted)


def _read(name: str) -> list[Suppression]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [_suppression(f"{name}, line {number}", line) for number, line in lines]


def _suppression(where: str, line: str) -> Suppression:
    try:
        fields = json.loads(line)
        account, address = (str(fields[each]).lower() for each in ("account", "address"))
        parse_address(address)
        since, until = (datetime.fromisoformat(fields[each]).timestamp() for each in ("since", "until"))
        id = str(fields["id"] or "")
        return Suppression(account, address, since, until, str(fields["reason"])[:MAX_REASON], id)
    except (ValueError, KeyError, TypeError, AddressError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else "not as mailrelay suppressions export writes it"
        raise CommandError(f"{where}: {why}; nothing was imported") from None
