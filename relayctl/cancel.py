"""`mailrelay cancel`: stops what has not been delivered yet."""

import argparse
import asyncio
import math
from collections.abc import Iterator
from typing import Any, Final

from relay.cancel import Cancel, Cancellation
from relay.ports import Messages, Row
from relayctl import ids, render, target
from relayctl.context import Context
from relayctl.errors import DONE, FAILED, CommandError
from relayctl.trace import happened

MOST_ROWS: Final = 10_000  # of an account that one run looks through, newest first

EPILOG: Final = f"""\
examples:
  mailrelay cancel {ids.EXAMPLE}
  mailrelay cancel --account app@mycorp.se

No attempt is begun any more; what is delivered or has failed stays as it is.
What still waits on a queue ends when its turn comes, in a moment: see mailrelay
trace. What a worker is sending right now can't be stopped; what it does not
deliver ends then. Exit code 1 if that is so, if nothing was left to cancel, and
if nothing is recorded about the message yet (what waits of it ends all the
same).

--json prints an object: id, cancelled (a list of recipients), ended (a list of
recipient, state), sending (a list of domain, until: by when it is known, UTC),
coming (domains whose recipients end when their turn comes), recorded (false if
nothing is recorded about the message, so that the id may be wrong).

--account cancels each message of this user that waits for another attempt, as
all mail of a disabled account does once its turn has come; with --json it
prints a list of such objects.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("cancel", help="stop what is not yet delivered", epilog=EPILOG)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", help="the message's id")
    which.add_argument("--account", metavar="USER", help="all that waits of this user")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    id = ids.message_id(arguments.id) if arguments.id else ""
    results = asyncio.run(_cancel(id, arguments, context))
    if id and not results[id].known and not arguments.json:
        raise CommandError(
            f"nothing is recorded about {id} yet: check the id; if it was sent just now, it ends when its turn comes, "
            f"unless a worker has it in hand: mailrelay trace {id}"
        )
    if arguments.json:
        objects = [_fields(each, result) for each, result in results.items()]
        render.print_json(context.out, objects[0] if id else objects)
    for each, result in () if arguments.json else results.items():
        if not id:
            context.out.write(f"{each}\n")
        context.out.writelines(f"{line}\n" for line in _lines(result, context.now()))
    if not (results or arguments.json):
        context.out.write("Nothing was left to cancel.\n")
    return DONE if results and all(map(_is_done, results.values())) else FAILED


async def _cancel(id: str, arguments: argparse.Namespace, context: Context) -> dict[str, Cancellation]:
    """By id."""
    async with context.connect(target.find(arguments, context)) as cloud:
        cancel = Cancel(
            ledger=cloud.ledger,
            messages=cloud.messages,
            suppressions=cloud.suppressions,
            reports=cloud.stages["record"].queue,
            clock=context,
        )
        which = [id] if id else await _waiting(cloud.messages, arguments.account.lower())
        return {each: await cancel(each) for each in which}


async def _waiting(messages: Messages, account: str) -> list[str]:
    """The ids of this account's messages that wait for another attempt."""
    newest: dict[tuple[str, str], Row] = {}
    for row in await messages.of_account(account, limit=MOST_ROWS):
        key = row.id, row.outcome.recipient
        if key not in newest or happened(newest[key]) < happened(row):
            newest[key] = row
    waits = (row.id for row in newest.values() if not row.outcome.state.final and not row.notice)
    return list(dict.fromkeys(waits))


def _is_done(result: Cancellation) -> bool:
    return not result.held and bool(result.cancelled or result.coming)


def _lines(result: Cancellation, now: float) -> Iterator[str]:
    for recipient in result.cancelled:
        yield f"cancelled: {render.safe(recipient)}"
    for recipient, state in result.ended:
        yield f"left as it is: {render.safe(recipient)}, {state}"
    for domain, until in result.held:
        seconds = max(1, math.ceil(until - now))
        yield f"not stopped: mail to {render.safe(domain)} is being sent right now; known in {seconds} s at the latest"
    for domain in result.coming:
        yield f"ends when its turn comes: mail to {render.safe(domain)}"
    if not (result.cancelled or result.held or result.coming):
        yield "Nothing was left to cancel."


def _fields(id: str, result: Cancellation) -> dict[str, Any]:
    return {
        "id": id,
        "cancelled": result.cancelled,
        "ended": [{"recipient": recipient, "state": state.value} for recipient, state in result.ended],
        "sending": [{"domain": domain, "until": render.iso(until)} for domain, until in result.held],
        "coming": result.coming,
        "recorded": result.known,
    }
