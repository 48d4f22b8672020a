"""`mailrelay dns`: the records that make a domain a sender domain."""

import argparse
import asyncio
from typing import Any, Final

from relay.accounts import user_name
from relay.address import AddressError, parse_domain
from relay.errors import PermanentError
from relay.proof.token import DnsRecord, records_to_publish
from relayctl import render, target
from relayctl.context import Context, Service
from relayctl.errors import DONE, UsageError
from relayctl.service import template_service

EPILOG: Final = """\
examples:
  mailrelay dns app@mycorp.se
  mailrelay dns app@mycorp.se --domain shop.mycorp.se --domain mycorp.com
  mailrelay dns app@mycorp.se --zone >> my.zone

Without --domain the records are for the user name's own domain. What they say
comes from the relay that the options name; without one, from template.yaml.
The token is the hash of the name as it is typed: in the case in which it was
registered, or in lower case (another case is put right where the relay is
known). --json prints a list of objects: domain, name, type, value.

A domain has one SPF record: if there is one, put the include into it (mailrelay
check prints it whole).
"""

NOTES: Final = """
A domain that has an SPF record keeps it, with this put in at its start:
  {include}
All there? mailrelay check {user} --domain {domain}
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("dns", help="the DNS records to publish", epilog=EPILOG)
    parser.add_argument("user", metavar="USER", help="the user name")
    parser.add_argument("--domain", action="append", metavar="DOMAIN", help="a sender domain (repeatable)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--zone", action="store_true", help="as lines of a zone file (RFC 1035)")
    form.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    user, service = asyncio.run(_who(registrable(arguments.user), arguments, context))
    domains = dict.fromkeys(map(domain_name, arguments.domain or [user.rpartition("@")[2]]))
    records = {domain: records_to_publish(domain, user, service.token_name, service.spf_domain) for domain in domains}
    if arguments.json:
        render.print_json(
            context.out,
            [
                {"domain": domain, "name": each.name, "type": each.type, "value": each.value}
                for domain, of_domain in records.items()
                for each in of_domain
            ],
        )
        return DONE
    if arguments.zone:
        context.out.writelines(f"{each}\n" for of_domain in records.values() for each in of_domain)
        return DONE
    context.out.write("Publish these records; that is the whole sign-up.\n")
    for domain, of_domain in records.items():
        context.out.write(f"\n{lines(domain, of_domain)}")
    context.out.write(NOTES.format(include=f"include:{service.spf_domain}", user=user, domain=next(iter(domains))))
    return DONE


def lines(domain: str, records: tuple[DnsRecord, ...]) -> str:
    """The records as a person copies them into a DNS console: name, type, value."""
    shown = "".join(f"  {each.name}  {each.type}\n    {each.value}\n" for each in records)
    return f"So that {domain} may send:\n\n{shown}"


def registrable(text: str) -> str:
    """A user name, in the case given (the token is its hash); UsageError if it can't be one."""
    try:
        return user_name(text)
    except PermanentError as error:
        raise UsageError(f"USER {text!r}: {error.safe}") from None


def domain_name(text: str, what: str = "--domain") -> str:
    """A-labels, also of a name with the dot at its end that DNS writes; UsageError if it is no domain. what: its name
    among the arguments."""
    try:
        return parse_domain(text.removesuffix("."))
    except AddressError as error:
        alone = _domain_in(text)
        why = f"give the domain alone, such as {alone}" if alone else error.safe
        raise UsageError(f"{what} {text!r}: {why}") from None


def _domain_in(text: str) -> str:
    """Of a URL or an address; "" if it has none."""
    bare = text.rpartition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
    try:
        return parse_domain(bare.removesuffix("."))
    except AddressError:
        return ""


async def _who(user: str, arguments: argparse.Namespace, context: Context) -> tuple[str, Service]:
    """The name as given; as registered, if the relay that is named has it in a case in which this hash won't count."""
    if not target.is_named(arguments, context):
        return user, template_service()
    async with context.connect(target.find(arguments, context)) as cloud:
        registered = await cloud.users.find(user)
    if registered and user not in (registered.user, registered.user.lower()):
        user = registered.user
    return user, cloud.service
