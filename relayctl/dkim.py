"""`mailrelay dkim`: whose mail the relay signs, through the dkim function."""

import argparse
import asyncio
from typing import Any, Final, TextIO

from relay.proof.token import DnsRecord
from relayctl import dns, render, target
from relayctl.context import Context
from relayctl.errors import DONE, CommandError

EPILOG: Final = """\
examples:
  mailrelay dkim enable mycorp.se
  mailrelay dkim show mycorp.se
  mailrelay dkim rotate mycorp.se
  mailrelay dkim disable mycorp.se

The relay makes a key, keeps the private part to itself and prints the public
part as a DNS record. It signs mail whose From is at the domain as soon as DNS
has the record; until then mail leaves unsigned. Mail that comes with a valid
signature of the domain's own is left as it is.
"""
FORM_EPILOG: Final = """\
{what}

{forms}The same command again changes nothing.
"""
FORMS: Final = """\
--zone prints the record as a line of a zone file, --json an object: domain,
enabled, changed, kept_days, and keys, newest first, each with selector, state
(waiting, signing or ended), name, value, dns (right, missing, other or no
answer), created, seen and ended (UTC, ISO 8601, or null).
"""
ENABLE: Final = "example:\n  mailrelay dkim enable mycorp.se --zone >> my.zone"
ROTATE: Final = """\
example:
  mailrelay dkim rotate mycorp.se

Makes a new key. The one before goes on signing until DNS has the new one, and
has to stay published for a while after that."""
DISABLE: Final = """\
example:
  mailrelay dkim disable mycorp.se

Within a minute nothing more is signed; the private keys are forgotten.
Enabling again makes a new key, to be published anew."""
SHOW: Final = "example:\n  mailrelay dkim show mycorp.se"
HELP: Final = {
    "enable": ("have the relay sign a domain's mail; prints the record to publish", ENABLE),
    "rotate": ("replace the key; prints the record to publish", ROTATE),
    "disable": ("stop signing", DISABLE),
    "show": ("the keys, and whether DNS has them", SHOW),
}
LONGEST_STRING: Final = 255  # octets of one of a TXT record's strings (RFC 1035 §3.3)
SEEN: Final = {
    "right": "DNS has it",
    "missing": "DNS does not have it yet",
    "other": "DNS has another record at this name: it has to be this one alone",
    "no answer": "DNS does not answer",
}


def add(commands: Any) -> None:
    parser = commands.add_parser("dkim", help="whose mail the relay signs", epilog=EPILOG)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, (help_, what) in HELP.items():
        action = actions.add_parser(name, help=help_, epilog=FORM_EPILOG.format(what=what, forms=FORMS))
        action.add_argument("domain", metavar="DOMAIN", help="as it stands in From")
        form = action.add_mutually_exclusive_group()
        if name != "disable":
            form.add_argument("--zone", action="store_true", help="as a line of a zone file (RFC 1035)")
        form.add_argument("--json", action="store_true", help="for programs")
        target.add_options(action)
        action.set_defaults(run=run, action=name)


def run(arguments: argparse.Namespace, context: Context) -> int:
    domain = dns.domain_name(arguments.domain, "DOMAIN")
    answer = asyncio.run(_ask(arguments, context, {"action": arguments.action, "domain": domain}))
    if arguments.json:
        keys = [{**each, **_times(each)} for each in answer["keys"]]
        fields = {name: value for name, value in answer.items() if name != "ok"}
        render.print_json(context.out, {**fields, "keys": keys})
    elif getattr(arguments, "zone", False):
        context.out.writelines(f"{_record(each)}\n" for each in answer["keys"] if each["state"] != "ended")
    elif arguments.action == "disable":
        _print_disabled(answer, context.out)
    elif arguments.action == "show":
        _print_all(answer, context.out)
    else:
        _print_new(answer, context.out)
    return DONE


def _print_new(answer: dict[str, Any], out: TextIO) -> None:
    domain, key = answer["domain"], answer["keys"][0]
    if not answer["changed"]:
        out.write(f"Nothing is changed: {domain} has a key that {_is(key)}.\n")
    out.write("\nPublish this record" if key["dns"] != "right" else "\nThe record, which DNS has")
    out.write(f" (in a form that takes strings, these):\n\n{_lines(key)}")
    out.write(f"\nAs a line of a zone file:\n\n{_record(key)}\n\n")
    before = next((each for each in answer["keys"][1:] if each["state"] == "signing"), None)
    if key["state"] == "signing":
        out.write(f"The relay signs mail from {domain} with it.\n")
    elif before:
        out.write(f"{before['selector']} goes on signing until DNS has it. Leave\n{before['name']}\n")
        out.write(f"in DNS for {answer['kept_days']} days after that: mail that it signed may be on its way so long.\n")
    else:
        out.write(f"The relay signs mail from {domain} as soon as DNS has it; until then mail leaves unsigned.\n")
    out.write(f"How far is it? mailrelay dkim show {domain}\n")


def _print_disabled(answer: dict[str, Any], out: TextIO) -> None:
    out.write("Nothing is changed: " if not answer["changed"] else "")
    out.write(f"the relay does not sign mail from {answer['domain']}.\n")
    if names := [each["name"] for each in answer["keys"]]:
        days = answer["kept_days"]
        out.write(f"Mail that is signed may be on its way for {days} days; leave these in DNS so long:\n")
        out.writelines(f"  {each}\n" for each in names)


def _print_all(answer: dict[str, Any], out: TextIO) -> None:
    keys = answer["keys"]
    out.write(f"{answer['domain']}: the relay {_does(answer)}.\n")
    for each in keys:
        out.write(f"\n{each['selector']}: {_is(each)}\n{_lines(each)}")
        if each["state"] == "ended":
            last = render.plain_time(each["ended"] + answer["kept_days"] * 86_400)[:10]
            out.write(f"  Not needed in DNS after {last}.\n")
        else:
            out.write(f"  {SEEN[each['dns']]}.\n")


def _does(answer: dict[str, Any]) -> str:
    if not answer["enabled"]:
        return "does not sign its mail"
    signs = any(each["state"] == "signing" for each in answer["keys"])
    return "signs its mail" if signs else "will sign its mail once it has seen the key in DNS"


def _is(key: dict[str, Any]) -> str:
    match key["state"]:
        case "waiting":
            return f"waits for DNS since {render.plain_time(key['created'])[:16]}"
        case "signing":
            return f"signs since {render.plain_time(key['seen'])[:16]}"
    return f"ended {render.plain_time(key['ended'])[:16]}"


def _record(key: dict[str, Any]) -> DnsRecord:
    return DnsRecord(key["name"], "TXT", key["value"])


def _lines(key: dict[str, Any]) -> str:
    """Name, type and the strings, as a person copies them."""
    value = key["value"]
    strings = (value[at : at + LONGEST_STRING] for at in range(0, len(value), LONGEST_STRING))
    return f"  {key['name']}  TXT\n" + "".join(f'    "{each}"\n' for each in strings)


def _times(key: dict[str, Any]) -> dict[str, str | None]:
    return {name: render.iso(key[name]) if key[name] else None for name in ("created", "seen", "ended")}


async def _ask(arguments: argparse.Namespace, context: Context, event: dict[str, Any]) -> dict[str, Any]:
    async with context.connect(target.find(arguments, context)) as cloud:
        answer = await cloud.dkim(event)
    if not answer.get("ok"):
        raise CommandError(f"{event['domain']}: {answer.get('error', 'the dkim function gave no reason')}")
    return answer
