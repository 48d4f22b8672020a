"""`mailrelay accounts limits`: how much an account may send."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import fields
from typing import Any, Final

from relay.accounts import check_limit
from relay.errors import PermanentError
from relay.quota import Limits
from relayctl import dns, render, target
from relayctl.context import Context
from relayctl.errors import DONE

EPILOG: Final = """\
examples:
  mailrelay accounts limits app@mycorp.se
  mailrelay accounts limits app@mycorp.se --per-second 5 --per-day 20000
  mailrelay accounts limits app@mycorp.se --per-day default

Without an option it shows them. A change counts within a minute, for open
sessions, too. The defaults are the template's parameters MessagesPerSecond,
MessagesPerDay and MaxRecipients. What is over a limit is refused with 4xx, and
a message that is too large with 552. --json prints an object: user, limits
(per_second, per_day, recipients, size), own_limits (which of them aren't the
defaults), changed.
"""
WHAT: Final = {
    "per_second": ("messages a second", "over all gateways together"),
    "per_day": ("messages a day", "from midnight UTC"),
    "recipients": ("recipients", "of a message, at most 1000"),
    "size": ("octets", "of a message, at least 65536"),
}
Ask = Callable[[argparse.Namespace, Context, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]


def add(actions: Any, ask: Ask) -> None:
    parser = actions.add_parser("limits", help="how much it may send", epilog=EPILOG)
    parser.add_argument("user", metavar="USER", help="the user name")
    for each in fields(Limits):
        what = ", ".join(WHAT[each.name])
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, type=_limit(each.name), metavar="N", help=f"{what}; or default")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=lambda arguments, context: run(arguments, context, ask))


def _limit(name: str) -> Callable[[str], int]:
    def limit(text: str) -> int:
        if text == "default":
            return 0
        if not (text.isascii() and text.isdecimal()) or int(text) == 0:
            raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number above 0 nor default")
        try:
            check_limit(name, int(text))
        except PermanentError as error:
            raise argparse.ArgumentTypeError(error.safe) from None
        return int(text)

    return limit


def run(arguments: argparse.Namespace, context: Context, ask: Ask) -> int:
    given = {each.name: getattr(arguments, each.name) for each in fields(Limits)}
    changes = {name: value for name, value in given.items() if value is not None}
    event = {"action": "limits", "limits": changes} if changes else {"action": "show"}
    answer = asyncio.run(ask(arguments, context, {**event, "user": dns.registrable(arguments.user)}))
    limits, own = answer["limits"], answer["own_limits"]
    if arguments.json:
        shown = {"user": answer["user"], "limits": limits, "own_limits": own, "changed": answer.get("changed", False)}
        render.print_json(context.out, shown)
        return DONE
    done = "Changed; limits" if answer.get("changed") else "Limits"
    context.out.write(f"{done} of {render.safe(answer['user'])}:\n")
    for name, (what, _) in WHAT.items():
        note = "" if name in own else "  (default)"
        context.out.write(f"  {what:17}  {limits[name]}{note}\n")
    return DONE
