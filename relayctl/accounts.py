"""`mailrelay accounts`: who may send, through the accounts function."""

import argparse
import asyncio
from typing import Any, Final

from rich.table import Table

from relay.errors import PermanentError
from relay.phone import phone_number
from relay.proof.token import DnsRecord
from relayctl import dns, exports, limits, render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError, UsageError

EPILOG: Final = """\
examples:
  mailrelay accounts create app@mycorp.se --phone +46701234567
  mailrelay accounts rotate app@mycorp.se
  mailrelay accounts disable app@mycorp.se
  mailrelay accounts list --json
"""
CREATE_EPILOG: Final = """\
example:
  mailrelay accounts create app@mycorp.se --phone +46701234567

The password goes to the phone by SMS; it is shown nowhere else. --json prints
an object: user, server, records (a list of name, type, value: what to publish
in DNS).
"""
LIST_EPILOG: Final = """\
example:
  mailrelay accounts list

--json prints a list of objects: user, phone, created (UTC, ISO 8601), disabled,
paused, limits, own_limits (as of mailrelay accounts show and limits).
"""
SHOW_EPILOG: Final = """\
example:
  mailrelay accounts show app@mycorp.se

What its user needs, but for the password, which nobody can see: if it is lost,
mailrelay accounts rotate. --json prints an object: user, phone, created,
disabled, paused (null, or since, bounced, finished), limits, own_limits,
old_password_until (null or UTC, ISO 8601), server, records.
"""
ROTATE_EPILOG: Final = """\
examples:
  mailrelay accounts rotate app@mycorp.se
  mailrelay accounts rotate app@mycorp.se --now

A new password goes to the account's phone by SMS. The old one holds for another
day (the parameter PasswordOverlapHours), so that the app can be changed in
between; with --now it ends at once, as do sessions that used it (within a
minute). If the SMS can't be sent, the old password stays. --json prints an
object: user, phone, created, disabled, changed, old_password_until.
"""
DISABLE_EPILOG: Final = """\
example:
  mailrelay accounts disable app@mycorp.se

Within a minute nobody can log in with it, its open sessions end, and its queued
mail stops: it waits, and goes out if the account is enabled before it expires.
Done twice it changes nothing. --json prints an object: user, phone, created,
disabled, changed.
"""
ENABLE_EPILOG: Final = """\
example:
  mailrelay accounts enable app@mycorp.se

The password is the one that it had. --json prints an object: user, phone,
created, disabled, changed.
"""
DELETE_EPILOG: Final = """\
example:
  mailrelay accounts delete app@mycorp.se

There is no way back. Only the name is kept: nobody else gets it, for its tokens
may still be in DNS. Queued mail stops, and expires. To stop an account for a
while: mailrelay accounts disable. --json prints an object: user, changed.
"""
RESUME_EPILOG: Final = """\
example:
  mailrelay accounts resume app@mycorp.se

For an account that the relay has paused, since too much of its mail bounced
(BouncePausePercent, BouncePauseLeast): its queued mail goes out, new mail is
taken again within a minute, and what bounced today is forgiven. Look first at
what it sent: mailrelay messages --account USER --state bounced. --json prints
an object: user, phone, created, disabled, paused, changed.
"""
OLD_HOLDS: Final = "The old password holds until {}; to end it:\n  mailrelay accounts rotate {} --now\n"
PAUSED: Final = """\
Paused since {since}: {bounced} of {finished} recipients bounced. Its mail waits until
  mailrelay accounts resume {user}
"""
DID: Final = {  # by action: when it made a difference, and when it didn't
    "disable": ("is disabled: no login, and its queued mail stops, within a minute", "is disabled already"),
    "enable": ("is enabled, with the password that it had", "is not disabled: nothing to do"),
    "resume": ("is resumed: its mail goes on", "is not paused: nothing to do"),
    "delete": ("is deleted; its name stays reserved", "is deleted already"),
}
CHANGES: Final = {  # what the help has of them
    "disable": ("stop it, queued mail included", DISABLE_EPILOG),
    "enable": ("let it go on", ENABLE_EPILOG),
    "resume": ("after the relay has paused it", RESUME_EPILOG),
    "delete": ("for ever", DELETE_EPILOG),
}


def add(commands: Any) -> None:
    parser = commands.add_parser("accounts", help="who may send", epilog=EPILOG)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="a new account; its password goes out by SMS", epilog=CREATE_EPILOG)
    create.add_argument("user", metavar="USER", help="the user name: an e-mail address that can receive mail")
    create.add_argument("--phone", required=True, metavar="NUMBER", help="mobile number such as +46701234567")
    create.add_argument("--json", action="store_true", help="for programs")
    target.add_options(create)
    create.set_defaults(run=run_create)
    show = _one(actions, "show", "what its user needs to send, and its state", SHOW_EPILOG)
    show.set_defaults(run=run_show)
    rotate = _one(actions, "rotate", "a new password, by SMS; the old one holds for a while", ROTATE_EPILOG)
    rotate.add_argument("--now", action="store_true", help="the old password ends at once")
    rotate.set_defaults(run=run_rotate)
    limits.add(actions, _ask)
    exports.add_accounts(actions, _ask)
    for action, (text, epilog) in CHANGES.items():
        _one(actions, action, text, epilog).set_defaults(run=run_change, action=action)
    list_ = actions.add_parser("list", help="all accounts", epilog=LIST_EPILOG)
    list_.add_argument("--json", action="store_true", help="for programs")
    target.add_options(list_)
    list_.set_defaults(run=run_list)


def _one(actions: Any, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, epilog=epilog)
    parser.add_argument("user", metavar="USER", help="the user name")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    return parser


def run_create(arguments: argparse.Namespace, context: Context) -> int:
    user = dns.registrable(arguments.user)
    try:
        phone = phone_number(arguments.phone)
    except PermanentError as error:
        raise UsageError(f"--phone {arguments.phone!r}: {error.safe}") from None
    answer = asyncio.run(_ask(arguments, context, {"action": "create", "user": user, "phone": phone}))
    if arguments.json:
        return _json(context, answer)
    context.out.write(f"Account {answer['user']} is made; its password is on its way to {phone} by SMS.\n")
    _write_local_sms(arguments, context, phone)
    _write_to_use(arguments, context, answer)
    return DONE


def run_show(arguments: argparse.Namespace, context: Context) -> int:
    answer = _ask_of_one(arguments, context, "show")
    if arguments.json:
        return _json(context, answer)
    state = "disabled" if answer.get("disabled") else "paused" if answer.get("paused") else "enabled"
    since = (render.iso(answer["created"]) or "")[:10] if "created" in answer else "?"
    context.out.write(
        f"Account {answer['user']}: {state}, since {since}, phone {render.safe(answer.get('phone', ''))}\n"
    )
    if pause := answer.get("paused"):
        context.out.write(PAUSED.format(**{**pause, "since": render.iso(pause["since"])}, user=answer["user"]))
    if until := answer.get("old_password_until"):
        context.out.write(OLD_HOLDS.format(render.iso(until), answer["user"]))
    _write_to_use(arguments, context, answer)
    return DONE


def run_rotate(arguments: argparse.Namespace, context: Context) -> int:
    answer = _ask_of_one(arguments, context, "rotate", now=arguments.now)
    if arguments.json:
        return _json(context, answer)
    phone = answer.get("phone", "")
    context.out.write(f"A new password of {answer['user']} is on its way to {render.safe(phone)} by SMS.\n")
    _write_local_sms(arguments, context, phone)
    if until := answer.get("old_password_until"):
        context.out.write(OLD_HOLDS.format(render.iso(until), answer["user"]))
    else:
        context.out.write("The old one opens nothing any more: at once, and within a minute for open sessions.\n")
    return DONE


def run_change(arguments: argparse.Namespace, context: Context) -> int:
    answer = _ask_of_one(arguments, context, arguments.action)
    if arguments.json:
        return _json(context, answer)
    changed, not_changed = DID[arguments.action]
    context.out.write(f"Account {answer['user']} {changed if answer.get('changed') else not_changed}.\n")
    return DONE


def _ask_of_one(arguments: argparse.Namespace, context: Context, action: str, **more: Any) -> dict[str, Any]:
    event = {"action": action, "user": dns.registrable(arguments.user), **more}
    return asyncio.run(_ask(arguments, context, event))


def _json(context: Context, answer: dict[str, Any]) -> int:
    shown = {name: value for name, value in answer.items() if name != "ok"}
    for name in ("created", "old_password_until"):
        if shown.get(name):
            shown[name] = render.iso(shown[name])
    shown |= _paused(shown)
    render.print_json(context.out, shown)
    return DONE


def _paused(account: dict[str, Any]) -> dict[str, Any]:
    """The field as JSON has it."""
    if "paused" not in account:
        return {}
    pause = account["paused"]
    return {"paused": {**pause, "since": render.iso(pause["since"])} if pause else None}


def _write_to_use(arguments: argparse.Namespace, context: Context, answer: dict[str, Any]) -> None:
    """Server, ports, records."""
    user, state = answer["user"], target.find(arguments, context).state
    server = state.get("host") or answer.get("server", "")
    ports = (state.get("port", 587), state.get("tls_port", 465))
    context.out.write(f"\n  server  {render.safe(server)}\n")
    context.out.write(f"  port    {ports[0]} with STARTTLS, or {ports[1]} with TLS\n  user    {user}\n\n")
    records = tuple(DnsRecord(**each) for each in answer.get("records", ()))
    if records:
        context.out.write(dns.lines(user.rpartition("@")[2], records) + "\n")
    context.out.write(f"For another domain: mailrelay dns {user} --domain DOMAIN\n")


def _write_local_sms(arguments: argparse.Namespace, context: Context, phone: str) -> None:
    if text := _local_sms(arguments, context, phone):
        context.out.write(f"No phone rings on this machine; the SMS says:\n  {render.safe(text)}\n")


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
        {**account, **_paused(account), "created": render.iso(account["created"]) if "created" in account else None}
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
        note = "disabled" if account.get("disabled") else "paused" if account.get("paused") else ""
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
