"""`mailrelay check`: what a sender domain's DNS has, and whether the relay takes mail from it."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TextIO

from relay.address import AddressError, parse_address
from relay.dns import DnspythonResolver
from relay.settings import SettingsError
from relayctl import check_view, dns, receipts, render, target
from relayctl.context import Cloud, Context
from relayctl.errors import DONE, FAILED, UsageError
from relayctl.inquiry import Asked, Report, inquire
from relayctl.service import template_service

SHORTEST_PAUSE: Final = 5.0  # seconds between two questions of --watch; DNS can't say anything new before a TTL is over
LONGEST_PAUSE: Final = 30.0

EPILOG: Final = f"""\
examples:
  mailrelay check app@mycorp.se --domain mycorp.se
  mailrelay check app@mycorp.se --domain mycorp.se --watch
  mailrelay check app@mycorp.se --domain mycorp.se --dns 192.0.2.53:53 --json

Asks the DNS server of the local system where the options name one, or one is
running here; else this machine's. By the rules of the relay that the options
name (its addresses, whether DMARC is a must); without one, of template.yaml.
Exit code 0 only if mail would be accepted; 1 if not, also when DNS does not
answer (mail is then put off, not refused), unless the relay has a good verdict
that serves meanwhile. A relay remembers a no for some seconds, and so does its
gateway, for 30 s at most: mail may be refused for so long after all is right.

--watch asks again every {SHORTEST_PAUSE:.0f} to {LONGEST_PAUSE:.0f} s until it passes, and prints what changes.

--json prints an object: user, domain, accepted, accepted_from (if all is right
now, when the relay's last no is over, else null), accepted_until (while DNS
does not answer: how long the last good verdict serves, else null), account
(true, false, null: not known here), error (null, or why DNS could not tell),
warnings (a list), records: a list of proof (token, spf, dmarc), ok, name, type,
found (a list), wanted (the usual text, or yours mended), problem (null if there
is none), unknown (null, or why DNS could not tell), hints (a list: what it may
come from), publish (null if there is no problem, else an object: name, type,
value);
relay: what the relay itself decided last (null: nothing), a receipt without its
answers, and standing (passed, held, refused), confirmed, until (served without
asking DNS), failing_since, held_until (null if they don't apply). With --watch
an object a line, one for each change. With --receipt also receipt, of what is
decided here, and the answers of both.
{receipts.FIELDS}
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("check", help="is a sender domain's DNS right?", epilog=EPILOG)
    parser.add_argument("user", metavar="USER", help="the user name")
    parser.add_argument("--domain", metavar="DOMAIN", help="the sender domain (default: the user name's own)")
    parser.add_argument("--sender", metavar="ADDRESS", help="the sender's address (for SPF records with macros)")
    parser.add_argument("--dns", metavar="HOST:PORT", help="ask this DNS server (an IP address and port)")
    parser.add_argument("--watch", action="store_true", help="ask again until it passes")
    parser.add_argument("--receipt", action="store_true", help="with all questions, answers and TTLs")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    try:
        report = asyncio.run(_run(arguments, context))
    except KeyboardInterrupt:
        if not arguments.watch:
            raise
        return FAILED  # somebody has seen enough, and it has not passed
    return DONE if report.accepted else FAILED


async def _run(arguments: argparse.Namespace, context: Context) -> Report:
    user = dns.registrable(arguments.user)
    sender, domain = _sender(arguments, user)
    async with _relay(arguments, context) as (cloud, server):
        resolver = _resolver(server)
        asked = Asked(user, domain, sender, cloud.service if cloud else template_service())
        report = await inquire(asked, resolver, cloud, context.now())
        _show(report, arguments, context.out)
        before = report
        while arguments.watch and not report.accepted:
            await context.pause(_pause(report))
            report = await inquire(asked, resolver, cloud, context.now())
            _show_changes(before, report, arguments, context.out)
            before = replace(report, found=report.found or before.found)  # what was known while DNS didn't answer
    return report


def _pause(report: Report) -> float:
    """Seconds: until DNS or the relay may say something else."""
    if report.right and report.no_until:
        return min(max(report.no_until - report.now, 1.0), LONGEST_PAUSE)
    return min(max(report.ttl, SHORTEST_PAUSE), LONGEST_PAUSE)


def _sender(arguments: argparse.Namespace, user: str) -> tuple[str, str]:
    """The sender, "" if none is given, and the domain in question."""
    domain = dns.domain_name(arguments.domain) if arguments.domain else ""
    if not arguments.sender:
        return "", domain or dns.domain_name(user.rpartition("@")[2])
    try:
        sender = parse_address(arguments.sender)
    except AddressError as error:
        raise UsageError(f"--sender {arguments.sender!r}: {error.safe}") from None
    if domain and sender.domain != domain:
        raise UsageError(f"--sender {arguments.sender!r} is not of the domain {domain}: leave --domain out")
    return str(sender), sender.domain


@asynccontextmanager
async def _relay(arguments: argparse.Namespace, context: Context) -> AsyncIterator[tuple[Cloud | None, str]]:
    """The relay that is named, None if there is none; and the DNS server to ask, "" for this machine's."""
    server = arguments.dns or ""
    if not target.is_named(arguments, context):
        yield None, server
        return
    relay = target.find(arguments, context)
    async with context.connect(relay) as cloud:
        yield cloud, server or relay.state.get("dns", "")


def _resolver(server: str) -> DnspythonResolver:
    try:
        return DnspythonResolver((server,) if server else ())
    except SettingsError as error:
        raise UsageError(f"--dns: {error}") from None


def _show(report: Report, arguments: argparse.Namespace, out: TextIO) -> None:
    if arguments.json:
        _print_json(report, arguments, out)
        return
    render.show(out, *check_view.blocks(report, receipt=arguments.receipt))
    if arguments.watch and not report.accepted:
        out.write("Asking again until it passes; Ctrl-C ends it.\n")
    out.flush()


def _show_changes(before: Report, report: Report, arguments: argparse.Namespace, out: TextIO) -> None:
    lines = list(check_view.changes(before, report))
    if not lines and not report.accepted:
        return
    if arguments.json:
        _print_json(report, arguments, out)
        return
    shown = [render.hanging(render.plain_time(report.now), each) for each in lines]
    ends = report.accepted or (report.right and not before.right)
    render.show(out, *shown, *([check_view.answer(report)] if ends else []))
    out.flush()


def _print_json(report: Report, arguments: argparse.Namespace, out: TextIO) -> None:
    fields = check_view.fields(report, receipt=arguments.receipt)
    if arguments.watch:
        out.write(json.dumps(fields) + "\n")
        out.flush()
    else:
        render.print_json(out, fields)
