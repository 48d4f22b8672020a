"""`mailrelay check`: what a sender domain's DNS has, and whether the relay takes mail from it."""

import argparse
import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from relay.dns import DnspythonResolver
from relay.errors import TemporaryError
from relay.proof import dmarc, token
from relay.proof.lookup import Lookup
from relay.proof.token import DnsRecord, records_to_publish
from relay.proof.verdict import Problem, Proof, Verdict, judge
from relay.settings import SettingsError
from relayctl import dns, render, target
from relayctl.context import Context, Service
from relayctl.errors import DONE, FAILED, UsageError

MOST_SHOWN: Final = 5  # records of one kind
TITLES: Final = {Proof.TOKEN: "Ownership token", Proof.SPF: "SPF", Proof.DMARC: "DMARC"}
SPF: Final = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
PUBLISH: Final = re.compile(r"(\S+)\. ([A-Z]+) (.*)", re.DOTALL)  # a Problem's, as a master file has it
STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')

EPILOG: Final = """\
examples:
  mailrelay check app@mycorp.se --domain mycorp.se
  mailrelay check app@mycorp.se --domain mycorp.se --dns 192.0.2.53:53 --json

Asks the DNS server of the local system where the options name one, or one is
running here; else this machine's. Exit code 0 only if mail would be accepted;
1 if not, also when DNS does not answer (mail is then put off, not refused).

--json prints an object: user, domain, accepted, account (true, false, null:
not known here), error (null, or why DNS could not tell), warnings (a list),
records: a list of proof (token, spf, dmarc), ok, name, type, found (a list),
wanted (the usual text, or yours mended), problem (null if ok), publish (null if
ok, else an object: name, type, value).
"""


@dataclass(frozen=True, slots=True)
class Report:
    """account: whether the relay has it and it is enabled, None if there is no relay to ask.
    found: (name, records) by proof. wanted: the usual record. error: why DNS could not tell."""

    user: str
    domain: str
    account: bool | None
    found: dict[Proof, tuple[str, tuple[str, ...]]]
    verdict: Verdict | None
    wanted: dict[Proof, DnsRecord]
    error: str = ""

    @property
    def accepted(self) -> bool:
        return self.account is not False and self.verdict is not None and self.verdict.passed


def add(commands: Any) -> None:
    parser = commands.add_parser("check", help="is a sender domain's DNS right?", epilog=EPILOG)
    parser.add_argument("user", metavar="USER", help="the user name")
    parser.add_argument("--domain", metavar="DOMAIN", help="the sender domain (default: the user name's own)")
    parser.add_argument("--dns", metavar="HOST:PORT", help="ask this DNS server (an IP address and port)")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    user = dns.registrable(arguments.user)
    domain = dns.domain_name(arguments.domain or user.rpartition("@")[2])
    report = asyncio.run(_report(user, domain, arguments, context))
    if arguments.json:
        render.print_json(context.out, _fields(report))
    else:
        render.show(context.out, *_blocks(report))
    return DONE if report.accepted else FAILED


async def _report(user: str, domain: str, arguments: argparse.Namespace, context: Context) -> Report:
    account, server = None, arguments.dns
    if target.is_named(arguments, context):
        relay = target.find(arguments, context)
        server = server or relay.state.get("dns")
        async with context.connect(relay) as cloud:
            known = await cloud.users.find(user)
            account = known is not None and not known.disabled
            user = known.user if known else user  # as registered: the token may be the hash of that
            there = cloud.service
    else:
        there = dns.template_service()
    records = records_to_publish(domain, user, there.token_name, there.spf_domain)
    wanted = dict(zip(Proof, records, strict=True))
    try:
        resolver = Lookup(DnspythonResolver((server,) if server else ()))
    except SettingsError as error:
        raise UsageError(f"--dns: {error}") from None
    try:
        verdict = await judge(domain, user, resolver=resolver, token_name=there.token_name, spf_domain=there.spf_domain)
    except TemporaryError as error:
        return Report(user, domain, account, {}, None, wanted, error.safe)
    return Report(user, domain, account, await _found(domain, resolver, there), verdict, wanted)


async def _found(domain: str, lookup: Lookup, service: Service) -> dict[Proof, tuple[str, tuple[str, ...]]]:
    """What is there of each kind, right or wrong, and at which name."""
    here = (await lookup.txt(domain)).records
    policy = await dmarc.discover(domain, lookup)
    name = policy.name or (policy.broken[0] if policy.broken else f"_dmarc.{domain}")
    policies = (await lookup.txt(name)).records
    return {
        Proof.TOKEN: (domain, _texts(each for each in here if token.is_token(each, service.token_name))),
        Proof.SPF: (domain, _texts(each for each in here if SPF.match(each))),
        Proof.DMARC: (name, _texts(each for each in policies if dmarc.is_dmarc(each))),
    }


def _texts(records: Iterator[bytes]) -> tuple[str, ...]:
    return tuple(record.decode("utf-8", "replace") for record in records)


def record_of(publish: str) -> DnsRecord:
    """The record that a Problem says to publish, out of its master-file form."""
    found = PUBLISH.fullmatch(publish)
    if not found:
        raise ValueError(f"{publish!r} is no record")
    value = "".join(re.sub(r"\\(.)", r"\1", each) for each in STRING.findall(found[3]))
    return DnsRecord(found[1], found[2], value)


def _problems(verdict: Verdict) -> dict[Proof, Problem]:
    return {problem.proof: problem for problem in verdict.problems}


def _fields(report: Report) -> dict[str, Any]:
    records = []
    if report.verdict:
        problems = _problems(report.verdict)
        for proof, (name, found) in report.found.items():
            problem = problems.get(proof)
            record = record_of(problem.publish) if problem else None
            records.append(
                {
                    "proof": proof.value,
                    "ok": problem is None,
                    "name": name,
                    "type": "TXT",
                    "found": list(found),
                    "wanted": record.value if record else report.wanted[proof].value,
                    "problem": problem.what if problem else None,
                    "publish": {"name": record.name, "type": record.type, "value": record.value} if record else None,
                }
            )
    return {
        "user": report.user,
        "domain": report.domain,
        "accepted": report.accepted,
        "account": report.account,
        "error": report.error or None,
        "warnings": list(report.verdict.warnings) if report.verdict else [],
        "records": records,
    }


def _blocks(report: Report) -> Iterator[RenderableType]:
    yield Text(f"May {report.user} send mail from {report.domain}?\n", overflow="fold")
    if report.verdict is None:
        yield Text.assemble(("DNS does not answer", "yellow"), f": {render.safe(report.error)}.", overflow="fold")
        yield Text("Not known: mail is put off and tried again, not refused. Ask again later.")
        return
    problems = _problems(report.verdict)
    for proof, (name, found) in report.found.items():
        yield from _record(TITLES[proof], name, found, problems.get(proof))
    for warning in report.verdict.warnings:
        yield Text.assemble(("Note", "yellow"), f": {render.safe(warning)}.", overflow="fold")
    if report.account is False:
        yield Text.assemble(("Account: wrong", "red"), f": {report.user} is not there, or is disabled.")
        yield Text("  see mailrelay accounts list")
    if report.accepted:
        yield Text.assemble(("Yes", "green"), ": all is right.")
    else:
        yield Text.assemble(("No", "red"), ": mail is refused until this is put right.")


def _record(title: str, name: str, found: tuple[str, ...], problem: Problem | None) -> Iterator[RenderableType]:
    yield Text.assemble(title, ": ", ("wrong", "red") if problem else ("right", "green"))
    lines = [f"found at {name}, TXT:" if found else f"found at {name}: nothing"]
    lines += [f"  {render.safe(each)}" for each in found[:MOST_SHOWN]]
    lines += [f"  and {len(found) - MOST_SHOWN} more"] * (len(found) > MOST_SHOWN)
    if problem:
        wanted = record_of(problem.publish)
        instead = " instead" if title == "SPF" and found else ""
        lines += [f"{render.safe(problem.what)}", f"publish{instead} at {wanted.name}, {wanted.type}:"]
        lines += [f"  {render.safe(wanted.value)}"]
    for line in [*lines, ""]:
        # a value hangs two columns further in, wherever it is folded
        yield Padding(Text(line.strip(), overflow="fold"), (0, 0, 0, 4 if line.startswith("  ") else 2))
