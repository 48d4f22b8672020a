"""`mailrelay accounts`: create and list, through the accounts function."""

import argparse
import asyncio
from typing import Any, Final

from rich.table import Table

from relay.accounts import phone_number
from relay.errors import PermanentError
from relayctl import dns, render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError, UsageError

EPILOG: Final = """\
examples:
  mailrelay accounts create app@mycorp.se --phone +46701234567
  mailrelay accounts list --json
"""
CREATE_EPILOG: Final = """\
example:
  mailrelay accounts create app@mycorp.se --phone +46701234567

The password goes to the phone by SMS; it is shown nowhere else. --json prints
an object: user, records (a list of name, type, value: what to publish in DNS).
"""
LIST_EPILOG: Final = """\
example:
  mailrelay accounts list

--json prints a list of objects: user, phone, created (UTC, ISO 8601), disabled.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("accounts", help="who may send", epilog=EPILOG)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="a new account; its password goes out by SMS", epilog=CREATE_EPILOG)
    create.add_argument("user", metavar="USER", help="the user name: an e-mail address that can receive mail")
    create.add_argument("--phone", required=True, metavar="NUMBER", help="mobile number such as +46701234567")
    create.add_argument("--json", action="store_true", help="for programs")
    target.add_options(create)
    create.set_defaults(run=run_create)
    list_ = actions.add_parser("list", help="all accounts", epilog=LIST_EPILOG)
    list_.add_argument("--json", action="store_true", help="for programs")
    target.add_options(list_)
    list_.set_defaults(run=run_list)


def run_create(arguments: argparse.Namespace, context: Context) -> int:
    user = dns.registrable(arguments.user)
    try:
        phone = phone_number(arguments.phone)
    except PermanentError as error:
        raise UsageError(f"--phone {arguments.phone!r}: {error.safe}") from None
    answer = asyncio.run(_ask(arguments, context, {"action": "create", "user": user, "phone": phone}))
    if arguments.json:
        render.print_json(context.out, {name: value for name, value in answer.items() if name != "ok"})
        return DONE
    context.out.write(f"Account {answer['user']} is made; its password is on its way to {phone} by SMS.\n")
    if text := _local_sms(arguments, context, phone):
        context.out.write(f"No phone rings on this machine; the SMS says:\n  {render.safe(text)}\n")
    context.out.write(f"The DNS records that let a domain send with it: mailrelay dns {answer['user']}\n")
    return DONE


def _local_sms(arguments: argparse.Namespace, context: Context, phone: str) -> str:
    """What the local system would have sent; "" for a deployed one."""
    state = target.find(arguments, context).state
    if not state:
        return ""
    from local import sms

    return sms.latest(state["aws_endpoint"], phone)


def run_list(arguments: argparse.Namespace, context: Context) -> int:
    answer = asyncio.run(_ask(arguments, context, {"action": "list"}))
    accounts = [
        {**account, "created": render.iso(account["created"]) if "created" in account else None}
        for account in answer["accounts"]
    ]
    if arguments.json:
        render.print_json(context.out, accounts)
        return DONE
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("User", overflow="fold")
    table.add_column("Phone", no_wrap=True)
    table.add_column("Since", no_wrap=True)
    table.add_column("", no_wrap=True)
    for account in accounts:
        note = "disabled" if account.get("disabled") else ""
        since = (account["created"] or "")[:10]
        table.add_row(render.safe(account["user"]), render.safe(account.get("phone", "")), since, note)
    if accounts:
        render.show(context.out, table)
    else:
        context.out.write("No accounts yet: make one with mailrelay accounts create USER --phone NUMBER\n")
    return DONE


async def _ask(arguments: argparse.Namespace, context: Context, event: dict[str, Any]) -> dict[str, Any]:
    async with context.connect(target.find(arguments, context)) as cloud:
        answer = await cloud.accounts(event)
    if not answer.get("ok"):
        raise CommandError(
            f"{event.get('user', 'accounts')}: {answer.get('error', 'the accounts function gave no reason')}"
        )
    return answer
