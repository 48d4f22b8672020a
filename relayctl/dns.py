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
--json prints a list of objects: domain, name, type, value.
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
    user = registrable(arguments.user)
    domains = [domain_name(each) for each in arguments.domain or [user.rpartition("@")[2]]]
    service = _service(arguments, context)
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


def domain_name(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise UsageError(f"--domain {text!r}: {error.safe}") from None


def _service(arguments: argparse.Namespace, context: Context) -> Service:
    if target.is_named(arguments, context):
        return asyncio.run(_deployed_service(arguments, context))
    return template_service()


async def _deployed_service(arguments: argparse.Namespace, context: Context) -> Service:
    async with context.connect(target.find(arguments, context)) as cloud:
        return cloud.service
