"""`mailrelay resend`: sends again what failed."""

import argparse
import asyncio
from typing import Any, Final

from relay.address import AddressError, parse_address
from relay.errors import PermanentError
from relay.resend import Resend, Resent, UnclearError
from relayctl import ids, render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError, UsageError

EPILOG: Final = f"""\
examples:
  mailrelay resend {ids.EXAMPLE}
  mailrelay resend {ids.EXAMPLE} --to jo@example.com

A new message with a new id and the same content goes to the recipients that
bounced, expired, were rejected or suppressed, to nobody else; --to picks from
them, and may name cancelled ones. Each run sends anew: run it twice and they
get it twice. The sender domain's DNS is checked, too; an address that is still
suppressed gets it as little as before (mailrelay suppressions remove). NOTIFY,
ORCPT, RET and ENVID are not kept. Content is kept for 21 days.

--json prints an object: id (the new one), resent (the old one), recipients.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("resend", help="send again what failed", epilog=EPILOG)
    parser.add_argument("id", metavar="ID", help="the message's id")
    parser.add_argument(
        "--to", action="append", default=[], metavar="ADDRESS", help="to this recipient only (repeatable)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    id = ids.message_id(arguments.id)
    only = frozenset(_address(each) for each in arguments.to)
    try:
        resent = asyncio.run(_resend(id, only, arguments, context))
    except PermanentError as error:
        raise CommandError(error.safe) from None
    if arguments.json:
        render.print_json(context.out, {"id": resent.id, "resent": id, "recipients": list(resent.recipients)})
        return DONE
    for recipient in resent.recipients:
        context.out.write(f"sent again: {render.safe(recipient)}\n")
    context.out.write(f"The new message's id: {resent.id}\n")
    context.out.write(f"What becomes of it: mailrelay trace {resent.id}\n")
    return DONE


async def _resend(id: str, only: frozenset[str], arguments: argparse.Namespace, context: Context) -> Resent:
    async with context.connect(target.find(arguments, context)) as cloud:
        queue = cloud.stages["validate"].queue
        resend = Resend(messages=cloud.messages, content=cloud.content, queue=queue, clock=context)
        try:
            return await resend(id, only)
        except UnclearError as error:
            raise CommandError(error.safe) from None


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except AddressError as error:
        raise UsageError(f"--to {text!r}: {error.safe}") from None
