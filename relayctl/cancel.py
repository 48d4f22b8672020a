"""`mailrelay cancel`: stops what has not been delivered yet."""

import argparse
import asyncio
import math
from collections.abc import Iterator
from typing import Any, Final

from relay.cancel import Cancel, Cancellation
from relayctl import ids, render, target
from relayctl.context import Context
from relayctl.errors import DONE, FAILED, CommandError

EPILOG: Final = f"""\
example:
  mailrelay cancel {ids.EXAMPLE}

Recipients that wait for another attempt get none; what is delivered or has
failed stays as it is. What a worker is sending right now can't be stopped: its
outcome is known soon. Exit code 1 unless all that was left is stopped.

--json prints an object: id, cancelled (a list of recipients), ended (a list of
recipient, state), sending (a list of domain, until: when to try again, UTC),
not_tried (domains whose recipients are known only after the first attempt).
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("cancel", help="stop what is not yet delivered", epilog=EPILOG)
    parser.add_argument("id", metavar="ID", help="the message's id")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    id = ids.message_id(arguments.id)
    result = asyncio.run(_cancel(id, arguments, context))
    if not result.known:
        raise CommandError(
            f"nothing is recorded about {id} yet: check the id; if it was sent just now, "
            "its first attempt is under way: try again in some seconds"
        )
    done = bool(result.cancelled) and not (result.held or result.untried or result.crowded)
    if arguments.json:
        render.print_json(context.out, _fields(id, result))
    else:
        context.out.writelines(f"{line}\n" for line in _lines(result, context.now()))
    return DONE if done else FAILED


async def _cancel(id: str, arguments: argparse.Namespace, context: Context) -> Cancellation:
    async with context.connect(target.find(arguments, context)) as cloud:
        reports = cloud.stages["record"].queue
        return await Cancel(ledger=cloud.ledger, messages=cloud.messages, reports=reports, clock=context)(id)


def _lines(result: Cancellation, now: float) -> Iterator[str]:
    for recipient in result.cancelled:
        yield f"cancelled: {render.safe(recipient)}"
    for recipient, state in result.ended:
        yield f"left as it is: {render.safe(recipient)}, {state}"
    for domain, until in result.held:
        seconds = max(1, math.ceil(until - now))
        yield f"not stopped: mail to {render.safe(domain)} is being sent right now; try again in {seconds} s"
    for domain in result.untried:
        yield f"not stopped: mail to {render.safe(domain)} had no whole attempt yet; try again in some minutes"
    for domain in result.crowded:
        yield f"not stopped: more than 100 recipients at {render.safe(domain)}; try again after their first attempt"
    if not (result.cancelled or result.held or result.untried or result.crowded):
        yield "Nothing was left to cancel."


def _fields(id: str, result: Cancellation) -> dict[str, Any]:
    return {
        "id": id,
        "cancelled": result.cancelled,
        "ended": [{"recipient": recipient, "state": state.value} for recipient, state in result.ended],
        "sending": [{"domain": domain, "until": render.iso(until)} for domain, until in result.held],
        "not_tried": [*result.untried, *result.crowded],
    }
