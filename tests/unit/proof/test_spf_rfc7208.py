"""relay.proof.spf.check_host: RFC 7208, section by section, asked of a real DNS server on loopback.

A case is the record of d.example (or a zone that has one), who connects, and the result. The client is 192.0.2.10,
or its IPv6 sister, unless the case says otherwise.
"""

import asyncio
from typing import NamedTuple

import pytest

from relay.dns import DnspythonResolver
from relay.proof.lookup import Lookup
from relay.proof.spf import SpfResult, check_host
from tests.dnsserver import TestDnsServer

IP4, IP6 = "192.0.2.10", "2001:db8::10"
REVERSE4 = "10.2.0.192.in-addr.arpa."
REVERSE6 = "0.1." + "0." * 22 + "8.b.d.0.1.0.0.2.ip6.arpa."

HOSTS = """
    host.example.       A     192.0.2.10
    host.example.       AAAA  2001:db8::10
    near.example.       A     192.0.2.99
    near.example.       AAAA  2001:db8::99
    four.example.       A     192.0.2.10
    six.example.        AAAA  2001:db8::10
    far.example.        A     198.51.100.1
    many.example.       A     198.51.100.1
    many.example.       A     192.0.2.10
    alias.example.      CNAME host.example.
    text.example.       TXT   "no policy"
    mail.example.       MX    10 far.example.
    mail.example.       MX    20 host.example.
    mailnear.example.   MX    10 near.example.
    nomail.example.     MX    0 .
    lost.example.       MX    10 nowhere.example.
    pass.example.       TXT   "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all"
    fail.example.       TXT   "v=spf1 -all"
    softfail.example.   TXT   "v=spf1 ~all"
    neutral.example.    TXT   "v=spf1 ?all"
    default.example.    TXT   "v=spf1"
    broken.example.     TXT   "v=spf1 all:"
    twice.example.      TXT   "v=spf1 -all"
    twice.example.      TXT   "v=spf1 +all"
    cname.example.      CNAME pass.example.
    loop.example.       TXT   "v=spf1 include:back.example"
    back.example.       TXT   "v=spf1 include:loop.example"
    down.example.       TXT   "v=spf1 +all"
    down.example.       A     192.0.2.10
"""


def quoted(record: bytes | str) -> str:
    """As a master file has it, in strings of at most 255 octets."""
    octets = record.encode("latin-1") if isinstance(record, str) else record
    parts = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(f"\\{each:03}" for each in part) + '"' for part in parts)


def check(
    record: bytes | str | None = None,
    ip: str = IP4,
    *,
    zone: str = "",
    domain: str = "d.example",
    sender: str | None = None,
    helo: str = "helo.example",
    down: str = "down.example",
    shared: bool = False,
) -> SpfResult:
    """down: whose lookups fail. shared: through a Lookup, as a verdict asks."""
    published = f"d.example. TXT {quoted(record)}\n" if record is not None else ""
    with TestDnsServer(HOSTS + published + zone) as server:
        server.servfail.add(down)

        async def run() -> SpfResult:
            resolver = DnspythonResolver((server.address,))
            address = f"user@{domain}" if sender is None else sender
            return await check_host(ip, domain, address, helo, Lookup(resolver) if shared else resolver)

        return asyncio.run(run())


class Case(NamedTuple):
    record: bytes | str
    result: str
    ip: str = IP4
    zone: str = ""


def cases(table: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


def holds(case: Case) -> None:
    assert str(check(case.record, case.ip, zone=case.zone)) == case.result


# --- §4.3, initial processing --------------------------------------------------------------------------------------

L63 = "l" * 63
DOMAINS = {
    "label of 63": (f"{L63}.example", "fail"),
    "label of 64": (f"{L63}l.example", "none"),
    "empty label": ("a..example", "none"),
    "leading dot": (".d.example", "none"),
    "last dot": ("d.example.", "fail"),
    "two last dots": ("d.example..", "none"),
    "upper case": ("D.EXAMPLE", "fail"),
    "single label": ("example", "none"),
    "single label, last dot": ("example.", "none"),
    "nothing": ("", "none"),
    "a dot": (".", "none"),
    "address literal": ("[192.0.2.10]", "none"),
    "IPv6 literal": ("[IPv6:2001:db8::10]", "none"),
    "254 octets": (".".join([L63] * 3 + ["l" * 62]), "none"),
    "no such name": ("nowhere.example", "none"),
    "no TXT": ("host.example", "none"),
    "U-labels": ("bücher.example", "fail"),
    "no IDNA": ("☃☃ .example", "none"),
    "a space": ("d .example", "none"),
    "a million octets": ("a." * 500_000 + "example", "none"),
}


@pytest.mark.parametrize(("domain", "result"), DOMAINS.values(), ids=DOMAINS.keys())
def test_the_domain(domain: str, result: str) -> None:
    zone = f'{L63}.example. TXT "v=spf1 -all"\nxn--bcher-kva.example. TXT "v=spf1 -all"\nexample. TXT "v=spf1 -all"'
    assert str(check("v=spf1 -all", zone=zone, domain=domain)) == result


def test_a_domain_that_is_none_is_not_asked_about() -> None:
    with TestDnsServer() as server:
        for domain in ("[192.0.2.10]", "example", "a..example", f"{L63}l.example"):
            asyncio.run(check_host(IP4, domain, f"a@{domain}", "h.example", DnspythonResolver((server.address,))))
        assert not server.asked


SENDERS = {
    "whole": ("user@d.example", "user@d.example user d.example"),
    "no local part": ("@d.example", "postmaster@d.example postmaster d.example"),
    "no at": ("d.example", "postmaster@d.example postmaster d.example"),
    "null reverse-path": ("", "postmaster@helo.example postmaster helo.example"),
    "two ats": ('"a@b"@d.example', '"a@b"@d.example "a@b" d.example'),
    "spaces": ("Some One@d.example", "Some One@d.example Some One d.example"),
}


@pytest.mark.parametrize(("sender", "explanation"), SENDERS.values(), ids=SENDERS.keys())
def test_the_sender(sender: str, explanation: str) -> None:
    zone = 'why.example. TXT "%{s} %{l} %{o}"'
    assert check("v=spf1 -all exp=why.example", zone=zone, sender=sender).explanation == explanation


# --- §3 and §4.4, records and their lookup -------------------------------------------------------------------------


def test_strings_of_one_record_are_joined_without_a_space() -> None:
    zone = 'one.example. TXT "v=spf1 ip4:192.0." "2.10 -all"\ntwo.example. TXT "v=spf1" "-all"'
    assert str(check(zone=zone, domain="one.example")) == "pass"
    assert str(check(zone=zone, domain="two.example")) == "none"


def test_a_long_record() -> None:
    assert str(check("v=spf1 " + "ip4:198.51.100.1 " * 200 + "ip4:192.0.2.10 -all")) == "pass"


def test_type_spf_is_not_asked_for() -> None:
    with TestDnsServer("d.example. TYPE99 \\# 12 0b763d73706631202d616c6c") as server:
        found = asyncio.run(check_host(IP4, "d.example", "", "d.example", DnspythonResolver((server.address,))))
        assert str(found) == "none"
        assert list(server.asked) == [("d.example", "TXT")]


def test_records_that_are_not_ascii() -> None:
    for record in (b"v=spf1 a:\xef\xbb\xbfhost.example -all", b"v=spf1 \x80a -all", b"v=spf1 ip4:192.0.2.10 \x96all"):
        assert str(check(record)) == "permerror"
    assert str(check("v=spf1 -all", zone=f"d.example. TXT {quoted(bytes(range(128, 255)))}")) == "fail"


LOOKUPS = {
    "failure of DNS": ("down.example", "temperror"),
    "an alias": ("cname.example", "pass"),
    "no such name": ("nowhere.example", "none"),
}


@pytest.mark.parametrize(("domain", "result"), LOOKUPS.values(), ids=LOOKUPS.keys())
def test_the_lookup(domain: str, result: str) -> None:
    found = check(domain=domain)
    assert str(found) == result
    assert (result == "temperror") == ("down.example TXT" in found.why)


# --- §4.5, selecting records ---------------------------------------------------------------------------------------

SELECTING = {
    "none of them": ([b"something", b"v=spf10 -all"], "none"),
    "empty": ([b"v=spf1"], "neutral"),
    "any case": ([b"V=SpF1 ~ALL"], "softfail"),
    "version of another": ([b"v=spf10", b"v=spf1 -all"], "fail"),
    "no space": ([b"v=spf1-all"], "none"),
    "a tab": ([b"v=spf1\t-all"], "none"),
    "a leading space": ([b" v=spf1 -all"], "none"),
    "trailing spaces": ([b"v=spf1 -all   "], "fail"),
    "many spaces": ([b"v=spf1    ip4:192.0.2.10     -all"], "pass"),
    "two": ([b"v=spf1 -all", b"v=spf1 +all"], "permerror"),
    "two in other cases": ([b"v=spf1 -all", b"V=SPF1"], "permerror"),
    "among others": ([b"a", b"v=spf1 -all", b"\xff", b"", b"v=spf2"], "fail"),
    "Sender ID": ([b"spf2.0/mfrom -all", b"v=spf1 +all"], "pass"),
}


@pytest.mark.parametrize(("records", "result"), SELECTING.values(), ids=SELECTING.keys())
def test_selecting(records: list[bytes], result: str) -> None:
    assert str(check(zone="".join(f"d.example. TXT {quoted(each)}\n" for each in records))) == result


# --- §4.6 and §4.7, evaluation -------------------------------------------------------------------------------------

EVALUATION = {
    "an error behind the match": Case("v=spf1 ip4:192.0.2.10 -all what", "permerror"),
    "an error behind all": Case("v=spf1 +all a:x", "permerror"),
    "first match decides": Case("v=spf1 ?ip4:192.0.2.10 +all", "neutral"),
    "each qualifier, fail": Case("v=spf1 -ip4:192.0.2.10 +all", "fail"),
    "each qualifier, softfail": Case("v=spf1 ~ip4:192.0.2.10 +all", "softfail"),
    "each qualifier, pass": Case("v=spf1 +ip4:192.0.2.10 -all", "pass"),
    "no match": Case("v=spf1 ip4:198.51.100.1", "neutral"),
    "an unknown modifier": Case("v=spf1 far-off_land.x=a:b/c ip4:192.0.2.10 -all", "pass"),
    "an unknown modifier, empty": Case("v=spf1 ip4:192.0.2.10 moo=", "pass"),
    "an unknown modifier twice": Case("v=spf1 ip4:192.0.2.10 moo=1 moo=2", "pass"),
    "no modifier, a slash before =": Case("v=spf1 moo/x=y ip4:192.0.2.10 -all", "permerror"),
    "no modifier, a colon before =": Case("v=spf1 moo:x=y ip4:192.0.2.10 -all", "permerror"),
    "modifier that begins with a digit": Case("v=spf1 1up=x -all", "permerror"),
    "modifier without a name": Case("v=spf1 =all", "permerror"),
    "modifier with a qualifier": Case("v=spf1 -redirect=pass.example", "permerror"),
    "redirect as a mechanism": Case("v=spf1 ip4:192.0.2.10 redirect:pass.example", "permerror"),
    "redirect stands first, counts last": Case("v=spf1 redirect=pass.example ip4:192.0.2.10", "pass"),
    "redirect beside all": Case("v=spf1 redirect=d.example ~all", "softfail"),
    "redirect when nothing matches": Case("v=spf1 ip4:198.51.100.1 redirect=softfail.example", "softfail"),
    "unknown mechanism": Case("v=spf1 ipv4:192.0.2.10 -all", "permerror"),
    "a qualifier alone": Case("v=spf1 - all", "permerror"),
    "two qualifiers": Case("v=spf1 ~-all", "permerror"),
    "a tab between terms": Case("v=spf1 ip4:192.0.2.10\t-all", "permerror"),
    "a macro in an unknown modifier": Case("v=spf1 moo=%{c}%{r}%{t} ip4:192.0.2.10", "pass"),
    "a broken macro in an unknown modifier": Case("v=spf1 ip4:192.0.2.10 moo=%abc", "permerror"),
    "old default=": Case("v=spf1 default=pass", "neutral"),
    "any case": Case("v=spf1 IP4:192.0.2.10 REDIRECT=Fail.Example", "pass"),
}


@cases(EVALUATION)
def test_evaluation(case: Case) -> None:
    holds(case)


# --- §4.6.4, limits ------------------------------------------------------------------------------------------------

NINE = "a:far.example " * 9
TEN_MX = "".join(
    f"ten.example. MX {each} h{each}.example.\nh{each}.example. A 198.51.100.{each}\n" for each in range(9)
)
TEN_MX += "ten.example. MX 9 host.example.\n"
ELEVEN_MX = TEN_MX + "ten.example. MX 10 far.example.\n"
EVERY = "a:far.example mx:mailnear.example ptr:x.example exists:no.example include:fail.example"
FAR = f"{REVERSE4} PTR far.example.\n"
INNER = 'inner.example. TXT "v=spf1 {}"\n'
LIMITS = {
    "ten lookups": Case(f"v=spf1 {NINE} a:host.example", "pass"),
    "ten, and what needs none": Case(f"v=spf1 {NINE} a:far.example ip4:192.0.2.10", "pass"),
    "eleven lookups": Case(f"v=spf1 {NINE} a:far.example a:host.example", "permerror"),
    "match before the eleventh": Case(f"v=spf1 ip4:192.0.2.10 {NINE} a:far.example a:far.example", "pass"),
    "every kind counts, ten": Case(f"v=spf1 {EVERY} {'a:far.example ' * 4} redirect=pass.example", "pass", zone=FAR),
    "every kind counts, eleven": Case(
        f"v=spf1 {EVERY} {'a:far.example ' * 5} redirect=pass.example", "permerror", zone=FAR
    ),
    "in includes, ten": Case(
        "v=spf1 include:inner.example a:host.example", "pass", zone=INNER.format("a:far.example " * 8)
    ),
    "in includes, eleven": Case("v=spf1 include:inner.example a:host.example", "permerror", zone=INNER.format(NINE)),
    "by redirect, eleven": Case(f"v=spf1 {NINE} a:far.example redirect=pass.example", "permerror"),
    "ip4, ip6 and all cost nothing": Case("v=spf1 " + "ip4:198.51.100.1 ip6:2001:db8::1 " * 20 + "-all", "fail"),
    "exp costs nothing": Case(f"v=spf1 {NINE} a:far.example exp=text.example -all", "fail"),
    "a circle of includes": Case("v=spf1 include:loop.example", "permerror"),
    "a circle of one": Case("v=spf1 include:d.example", "permerror"),
    "a circle by redirect": Case("v=spf1 ip4:198.51.100.1 redirect=d.example", "permerror"),
    "ten mail hosts": Case("v=spf1 mx:ten.example -all", "pass", zone=TEN_MX),
    "eleven mail hosts": Case("v=spf1 mx:ten.example -all", "permerror", zone=ELEVEN_MX),
    "eleven, all one host": Case(
        "v=spf1 mx -all", "permerror", zone="".join(f"d.example. MX {each} host.example.\n" for each in range(11))
    ),
    "mail hosts cost no lookups": Case("v=spf1 " + "mx:mailnear.example " * 9 + "mx:mail.example -all", "pass"),
    "more than ten addresses": Case(
        "v=spf1 a -all", "pass", zone="".join(f"d.example. A 192.0.2.{each}\n" for each in range(30))
    ),
    "%{p} counts": Case(
        f"v=spf1 {NINE} exists:%{{p}}.p.example -all",
        "permerror",
        zone=f"{REVERSE4} PTR host.example.\nhost.example.p.example. A 127.0.0.2\n",
    ),
    "%{p} counts once": Case(
        "v=spf1 " + "a:far.example " * 7 + "exists:%{p}.q.example exists:%{p}.p.example -all",
        "pass",
        zone=f"{REVERSE4} PTR host.example.\nhost.example.p.example. A 127.0.0.2\n",
    ),
    "%{p} behind ptr is known": Case(
        "v=spf1 " + "a:far.example " * 8 + "ptr:x.example exists:%{p}.p.example -all",
        "pass",
        zone=f"{REVERSE4} PTR host.example.\nhost.example.p.example. A 127.0.0.2\n",
    ),
    "two void lookups": Case("v=spf1 a:no1.example exists:no2.example ?all", "neutral"),
    "three void lookups": Case("v=spf1 a:no1.example exists:no2.example mx:no3.example +all", "permerror"),
    "names without data are void": Case("v=spf1 a:text.example mx:text.example exists:six.example +all", "permerror"),
    "the same one thrice": Case("v=spf1 a:no.example a:no.example a:no.example +all", "permerror"),
    "the last term of all": Case("v=spf1 a:no1.example a:no2.example a:no3.example", "permerror"),
    "void in an include": Case(
        "v=spf1 a:no1.example include:inner.example +all", "permerror", zone=INNER.format("a:no2.example a:no3.example")
    ),
    "void, ptr": Case("v=spf1 a:no1.example a:no2.example ptr +all", "permerror"),
    "void, no IPv6 address": Case("v=spf1 a:four.example a:far.example a:four.example +all", "permerror", ip=IP6),
    "hosts of an mx are of one term": Case(
        "v=spf1 mx +all", "pass", zone="".join(f"d.example. MX {each} no{each}.example.\n" for each in range(5))
    ),
    "exp is not void": Case("v=spf1 a:no1.example a:no2.example exp=no3.example -all", "fail"),
    "names that can't be asked about aren't void": Case("v=spf1 a:x..example " * 5 + "-all", "fail"),
}  # fmt: skip


@cases(LIMITS)
def test_limits(case: Case) -> None:
    holds(case)


def test_only_ten_names_of_the_client_are_looked_at() -> None:
    names = "".join(f"{REVERSE4} PTR n{each}.d.example.\nn{each}.d.example. A 198.51.100.1\n" for each in range(11))
    with TestDnsServer(f'd.example. TXT "v=spf1 ptr -all"\n{names}') as server:
        found = asyncio.run(check_host(IP4, "d.example", "", "d.example", DnspythonResolver((server.address,))))
        assert str(found) == "fail"
        assert sum(number for (_, kind), number in server.asked.items() if kind == "A") == 10


# --- §4.8, names ---------------------------------------------------------------------------------------------------

NAMES = {
    "no top-level label of letters": Case("v=spf1 a:host.123 -all", "permerror"),
    "an address": Case("v=spf1 a:192.0.2.10 -all", "permerror"),
    "one label": Case("v=spf1 a:host -all", "permerror"),
    "one label, last dot": Case("v=spf1 a:host. -all", "permerror"),
    "a port": Case("v=spf1 a:host.example:25 -all", "permerror"),
    "top-level label that begins with a hyphen": Case("v=spf1 a:host.-example -all", "permerror"),
    "top-level label that ends in one": Case("v=spf1 a:host.example- -all", "permerror"),
    "top-level label with hyphens": Case(
        "v=spf1 a:x.xn--p1ai -all", "pass", zone="x.xn--p1ai. A 192.0.2.10\n"
    ),
    "top-level label with digits": Case("v=spf1 a:x.4u2 -all", "pass", zone="x.4u2. A 192.0.2.10\n"),
    "any visible characters": Case(
        "v=spf1 a:a!b:c/d=e.example -all", "pass", zone="a!b:c/d=e.example. A 192.0.2.10\n"
    ),
    "last dot": Case("v=spf1 a:host.example. -all", "pass"),
    "a NUL": Case("v=spf1 a:host.example\0 -all", "permerror"),
    "empty label": Case("v=spf1 a:host...example -all", "fail"),
    "long label": Case(f"v=spf1 a:{L63}l.example -all", "fail"),
    "long label by macro": Case("v=spf1 a:%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}.example -all", "fail"),
    "include of an empty label": Case("v=spf1 include:x..example -all", "permerror"),
    "include of a long label": Case(f"v=spf1 include:{L63}l.example -all", "permerror"),
    "include of a single label": Case("v=spf1 include:%{h1} -all", "permerror", zone='example. TXT "v=spf1 +all"\n'),
    "redirect to an empty label": Case("v=spf1 redirect=x..example", "permerror"),
    "exists of an empty label": Case("v=spf1 exists:x..example -all", "fail"),
    "mx of an empty label": Case("v=spf1 mx:x..example -all", "fail"),
    "ptr of an empty label": Case("v=spf1 ptr:x..example -all", "fail", zone=f"{REVERSE4} PTR host.example.\n"),
    "exp of an empty label": Case("v=spf1 exp=x..example -all", "fail"),
}  # fmt: skip


@cases(NAMES)
def test_names(case: Case) -> None:
    holds(case)


# --- §5.1, all -----------------------------------------------------------------------------------------------------

ALL = {
    "pass": Case("v=spf1 all", "pass"),
    "fail": Case("v=spf1 -all", "fail"),
    "softfail": Case("v=spf1 ~all", "softfail"),
    "neutral": Case("v=spf1 ?all", "neutral"),
    "the first": Case("v=spf1 ?all -all", "neutral"),
    "with a dot": Case("v=spf1 -all.", "permerror"),
    "with a domain": Case("v=spf1 -all:d.example", "permerror"),
    "with a length": Case("v=spf1 -all/8", "permerror"),
    "IPv6": Case("v=spf1 -all", "fail", ip=IP6),
}


@cases(ALL)
def test_all(case: Case) -> None:
    holds(case)


# --- §5.2, include -------------------------------------------------------------------------------------------------

INCLUDE = {
    "pass matches": Case("v=spf1 include:pass.example -all", "pass"),
    "pass matches with the qualifier": Case("v=spf1 ~include:pass.example -all", "softfail"),
    "pass matches, IPv6": Case("v=spf1 include:pass.example -all", "pass", ip=IP6),
    "fail doesn't": Case("v=spf1 include:fail.example ~all", "softfail"),
    "softfail doesn't": Case("v=spf1 include:softfail.example all", "pass"),
    "neutral doesn't": Case("v=spf1 include:neutral.example -all", "fail"),
    "nothing that matches doesn't": Case("v=spf1 include:default.example -all", "fail"),
    "failure of DNS": Case("v=spf1 include:down.example -all", "temperror"),
    "permanent error": Case("v=spf1 include:broken.example all", "permerror"),
    "two records": Case("v=spf1 include:twice.example all", "permerror"),
    "no record": Case("v=spf1 include:text.example all", "permerror"),
    "no such name": Case("v=spf1 include:nowhere.example all", "permerror"),
    "not reached": Case("v=spf1 ip4:192.0.2.10 include:nowhere.example", "pass"),
    "its redirect counts": Case(
        "v=spf1 include:r.example -all", "pass", zone='r.example. TXT "v=spf1 redirect=pass.example"\n'
    ),
    "an alias": Case("v=spf1 include:cname.example -all", "pass"),
    "a record and its alias": Case(
        "v=spf1 include:a.example include:b.example -all",
        "fail",
        zone='a.example. TXT "x"\na.example. TXT "v=spf1 ?all"\nb.example. CNAME a.example.\n',
    ),
    "no domain": Case("v=spf1 include -all", "permerror"),
    "an empty domain": Case("v=spf1 include: -all", "permerror"),
    "with a length": Case("v=spf1 include:pass.example/24 -all", "permerror"),
    "a macro": Case("v=spf1 include:%{l}.%{d1} -all", "pass", zone='user.example. TXT "v=spf1 +all"\n'),
    "%{d} is the included one": Case(
        "v=spf1 include:i.example -all",
        "pass",
        zone='i.example. TXT "v=spf1 exists:x.%{d}"\nx.i.example. A 127.0.0.2\n',
    ),
    "a is of the included one": Case(
        "v=spf1 include:i.example -all", "pass", zone='i.example. TXT "v=spf1 a"\ni.example. A 192.0.2.10\n'
    ),
}


@cases(INCLUDE)
def test_include(case: Case) -> None:
    holds(case)


# --- §5.3, a -------------------------------------------------------------------------------------------------------

OWN = "d.example. A 192.0.2.10\nd.example. AAAA 2001:db8::10\n"
OTHER = "d.example. A 192.0.2.99\nd.example. AAAA 2001:db8::99\n"
A = {
    "of the domain": Case("v=spf1 a -all", "pass", zone=OWN),
    "of the domain, IPv6": Case("v=spf1 a -all", "pass", ip=IP6, zone=OWN),
    "of another": Case("v=spf1 a:host.example -all", "pass"),
    "of another, IPv6": Case("v=spf1 a:host.example -all", "pass", ip=IP6),
    "any of several": Case("v=spf1 a:many.example -all", "pass"),
    "an alias": Case("v=spf1 a:alias.example -all", "pass"),
    "another address": Case("v=spf1 a:near.example -all", "fail"),
    "no A for IPv4": Case("v=spf1 a:six.example -all", "fail"),
    "no AAAA for IPv6": Case("v=spf1 a:four.example -all", "fail", ip=IP6),
    "no such name": Case("v=spf1 a:nowhere.example -all", "fail"),
    "failure of DNS": Case("v=spf1 a:down.example -all", "temperror"),
    "length": Case("v=spf1 a:near.example/24 -all", "pass"),
    "length too long": Case("v=spf1 a:near.example/26 -all", "fail"),
    "length, IPv6": Case("v=spf1 a:near.example//64 -all", "pass", ip=IP6),
    "both lengths": Case("v=spf1 a/24//64 -all", "pass", zone=OTHER),
    "both lengths, IPv6": Case("v=spf1 a/24//64 -all", "pass", ip=IP6, zone=OTHER),
    "the other's length": Case("v=spf1 a//64 -all", "fail", zone=OTHER),
    "the other's length, IPv6": Case("v=spf1 a/24 -all", "fail", ip=IP6, zone=OTHER),
    "/0 with an address": Case("v=spf1 a:far.example/0 -all", "pass"),
    "/0 without": Case("v=spf1 a:six.example/0 -all", "fail"),
    "/0, no such name": Case("v=spf1 a:nowhere.example/0 -all", "fail"),
    "/0 is not //0": Case("v=spf1 a:host.example/0 -all", "fail", ip="2001:db8:1::1"),
    "//0 with an address": Case("v=spf1 a:six.example//0 -all", "pass", ip="2001:db8:1::1"),
    "//0 without": Case("v=spf1 a:four.example//0 -all", "fail", ip="2001:db8:1::1"),
    "//0 for IPv4": Case("v=spf1 a:six.example//0 -all", "fail"),
    "/32//128": Case("v=spf1 a:host.example/32//128 -all", "pass"),
    "/33": Case("v=spf1 a/33 -all", "permerror"),
    "//129": Case("v=spf1 a//129 -all", "permerror"),
    "//33": Case("v=spf1 a:near.example//33 -all", "pass", ip=IP6),
    "one slash for both": Case("v=spf1 a/24/64 -all", "permerror"),
    "lengths swapped": Case("v=spf1 a//64/24 -all", "permerror"),
    "length with a zero before it": Case("v=spf1 a/024 -all", "permerror"),
    "no length": Case("v=spf1 a/ -all", "permerror"),
    "an empty domain": Case("v=spf1 a: -all", "permerror"),
    "an empty domain with a length": Case("v=spf1 a:/24 -all", "permerror"),
    "an IPv4-mapped client": Case("v=spf1 a:host.example -all", "pass", ip="::ffff:192.0.2.10"),
    "an IPv4-mapped client, //0": Case("v=spf1 a:six.example//0 -all", "fail", ip="::ffff:192.0.2.10"),
}


@cases(A)
def test_a(case: Case) -> None:
    holds(case)


# --- §5.4, mx ------------------------------------------------------------------------------------------------------

MX = {
    "of the domain": Case("v=spf1 mx -all", "pass", zone="d.example. MX 10 host.example.\n"),
    "of another, its second": Case("v=spf1 mx:mail.example -all", "pass"),
    "of another, IPv6": Case("v=spf1 mx:mail.example -all", "pass", ip=IP6),
    "any address of a host": Case("v=spf1 mx -all", "pass", zone="d.example. MX 10 many.example.\n"),
    "length": Case("v=spf1 mx:mailnear.example/24 -all", "pass"),
    "length, IPv6": Case("v=spf1 mx:mailnear.example/32//64 -all", "pass", ip=IP6),
    "another address": Case("v=spf1 mx:mailnear.example -all", "fail"),
    "no host of that name": Case("v=spf1 mx:lost.example/0 -all", "fail"),
    "one of the hosts doesn't exist": Case(
        "v=spf1 mx -all", "pass", zone="d.example. MX 1 nowhere.example.\nd.example. MX 2 host.example.\n"
    ),
    "null MX": Case("v=spf1 mx:nomail.example ?all", "neutral"),
    "null MX is not void": Case("v=spf1 mx:nomail.example mx:nomail.example mx:nomail.example -all", "fail"),
    "no MX: the domain's address is none": Case("v=spf1 mx:host.example ?all", "neutral"),
    "/0": Case("v=spf1 mx:mailnear.example/0 -all", "pass"),
    "/0 for IPv6": Case("v=spf1 mx -all", "fail", ip=IP6, zone="d.example. MX 10 four.example.\n"),
    "//0": Case("v=spf1 mx//0 -all", "pass", ip="2001:db8:1::1", zone="d.example. MX 10 six.example.\n"),
    "//0 without": Case("v=spf1 mx//0 -all", "fail", ip="2001:db8:1::1", zone="d.example. MX 10 four.example.\n"),
    "//0 for IPv4": Case("v=spf1 mx//0 -all", "fail", zone="d.example. MX 10 six.example.\n"),
    "failure of DNS": Case("v=spf1 mx:down.example -all", "temperror"),
    "failure of DNS at a host": Case("v=spf1 mx -all", "temperror", zone="d.example. MX 10 down.example.\n"),
    "a match before the failure": Case(
        "v=spf1 mx -all", "pass", zone="d.example. MX 1 host.example.\nd.example. MX 2 down.example.\n"
    ),
    "a host of any characters": Case(
        "v=spf1 mx:a:b/c.example -all", "pass", zone="a:b/c.example. MX 1 a:b/c.example.\na:b/c.example. A 192.0.2.10\n"
    ),
    "a host with a dot in a label": Case(
        "v=spf1 mx -all", "fail", zone="d.example. MX 1 ho\\.st.example.\nho.st.example. A 192.0.2.10\n"
    ),
    "a host with a space": Case(
        "v=spf1 mx -all", "pass", zone="d.example. MX 1 a\\032b.example.\na\\032b.example. A 192.0.2.10\n"
    ),
    "/33": Case("v=spf1 mx/33 -all", "permerror"),
    "//129": Case("v=spf1 mx//129 -all", "permerror"),
    "an empty domain": Case("v=spf1 mx: -all", "permerror"),
    "a port": Case("v=spf1 mx:mail.example:25 -all", "permerror"),
    "numbers at the top": Case("v=spf1 mx:mail.123 -all", "permerror"),
}


@cases(MX)
def test_mx(case: Case) -> None:
    holds(case)


# --- §5.5, ptr -----------------------------------------------------------------------------------------------------

OF_HOST = f"{REVERSE4} PTR host.example.\n{REVERSE6} PTR host.example.\n"
PTR = {
    "the target itself": Case("v=spf1 ptr:host.example -all", "pass", zone=OF_HOST),
    "no part of the target": Case("v=spf1 ptr:t.example -all", "fail", zone=OF_HOST),
    "not above the target": Case("v=spf1 ptr:x.host.example -all", "fail", zone=OF_HOST),
    "any case": Case("v=spf1 ptr:HOST.Example. -all", "pass", zone=f"{REVERSE4} PTR Host.EXAMPLE.\n"),
    "below the domain": Case(
        "v=spf1 ptr -all", "pass", zone=f"{REVERSE4} PTR m.d.example.\nm.d.example. A 192.0.2.10\n"
    ),
    "ends alike, not below": Case(
        "v=spf1 ptr -all", "fail", zone=f"{REVERSE4} PTR m-d.example.\nm-d.example. A 192.0.2.10\n"
    ),
    "IPv6": Case("v=spf1 ptr:host.example -all", "pass", ip=IP6, zone=OF_HOST),
    "IPv4-mapped": Case("v=spf1 ptr:host.example -all", "pass", ip="::ffff:192.0.2.10", zone=OF_HOST),
    "leads back elsewhere": Case("v=spf1 ptr:far.example -all", "fail", zone=f"{REVERSE4} PTR far.example.\n"),
    "leads nowhere": Case("v=spf1 ptr:nowhere.example -all", "fail", zone=f"{REVERSE4} PTR nowhere.example.\n"),
    "no name": Case("v=spf1 ptr:host.example -all", "fail"),
    "failure of DNS at the name": Case(
        "v=spf1 ptr:down.example -all", "fail", zone=f"{REVERSE4} PTR down.example.\n"
    ),
    "failure of DNS at another name": Case(
        "v=spf1 ptr:example.org -all",
        "pass",
        zone=f"{REVERSE4} PTR m.example.org.\n{REVERSE4} PTR down.example.\nm.example.org. A 192.0.2.10\n",
    ),
    "an alias of itself": Case(
        "v=spf1 ptr:x.example -all", "fail", zone=f"{REVERSE4} PTR x.example.\nx.example. CNAME x.example.\n"
    ),
    "a name of any characters": Case(
        "v=spf1 ptr:example.org -all",
        "pass",
        zone=f"{REVERSE4} PTR a:\\032.example.org.\na:\\032.example.org. A 192.0.2.10\n"
    ),
    "with a length": Case("v=spf1 ptr/0 -all", "permerror"),
    "an empty domain": Case("v=spf1 ptr: -all", "permerror"),
}  # fmt: skip


@cases(PTR)
def test_ptr(case: Case) -> None:
    holds(case)


def test_ptr_without_an_answer_does_not_match() -> None:
    assert str(check("v=spf1 ptr:host.example ~all", zone=OF_HOST, down=REVERSE4.removesuffix("."))) == "softfail"


# --- §5.6, ip4 and ip6 ---------------------------------------------------------------------------------------------

NETWORKS = {
    "address": Case("v=spf1 ip4:192.0.2.10 -all", "pass"),
    "network": Case("v=spf1 ip4:192.0.2.99/24 -all", "pass"),
    "another network": Case("v=spf1 ip4:192.0.2.99/26 -all", "fail"),
    "/32": Case("v=spf1 ip4:192.0.2.10/32 -all", "pass"),
    "/0": Case("v=spf1 ip4:198.51.100.1/0 -all", "pass"),
    "/33": Case("v=spf1 ip4:192.0.2.10/33 -all", "permerror"),
    "/032": Case("v=spf1 ip4:192.0.2.10/032 -all", "permerror"),
    "ip4 without an address": Case("v=spf1 ip4 -all", "permerror"),
    "ip4 with a port": Case("v=spf1 ip4:192.0.2.10:25 -all", "permerror"),
    "ip4 of three": Case("v=spf1 ip4:192.0.2 -all", "permerror"),
    "ip4 with zeros": Case("v=spf1 ip4:192.000.002.010 -all", "permerror"),
    "ip4 with two lengths": Case("v=spf1 ip4:192.0.2.10//32 -all", "permerror"),
    "ip4 for IPv6": Case("v=spf1 ip4:0.0.0.0/0 ?all", "neutral", ip=IP6),
    "ip4 for IPv4-mapped": Case("v=spf1 -ip4:192.0.2.10 ip6:::ffff:192.0.2.10", "fail", ip="::ffff:192.0.2.10"),
    "ip6 for IPv4-mapped": Case("v=spf1 ip6:::/0", "neutral", ip="::FFFF:192.0.2.10"),
    "ip6": Case("v=spf1 ip6:2001:DB8::10 -all", "pass", ip=IP6),
    "ip6 network": Case("v=spf1 ip6:2001:db8::/33 -all", "pass", ip=IP6),
    "ip6 /0": Case("v=spf1 ip6:::1.1.1.1/0 -all", "pass", ip=IP6),
    "ip6 /0 for IPv4": Case("v=spf1 ip6:::1.1.1.1/0", "neutral"),
    "ip6 another network": Case("v=spf1 ip6:2001:db8:8000::/33 -all", "fail", ip=IP6),
    "ip6 /129": Case("v=spf1 ip6:2001:db8::/129 -all", "permerror"),
    "ip6 with two slashes": Case("v=spf1 ip6:2001:db8:://33 -all", "permerror"),
    "ip6 without an address": Case("v=spf1 -all ip6", "permerror"),
    "ip6 with two ::": Case("v=spf1 ip6::2001::db8 -all", "permerror"),
    "ip6 of IPv4": Case("v=spf1 ip6:192.0.2.10 -all", "permerror"),
}


@cases(NETWORKS)
def test_networks(case: Case) -> None:
    holds(case)


# --- §5.7, exists --------------------------------------------------------------------------------------------------

EXISTS = {
    "any address": Case("v=spf1 exists:far.example -all", "pass"),
    "type A for IPv6, too": Case("v=spf1 exists:far.example -all", "pass", ip=IP6),
    "AAAA alone": Case("v=spf1 exists:six.example -all", "fail", ip=IP6),
    "no such name": Case("v=spf1 exists:nowhere.example -all", "fail"),
    "failure of DNS": Case("v=spf1 exists:down.example -all", "temperror"),
    "no domain": Case("v=spf1 exists -all", "permerror"),
    "an empty domain": Case("v=spf1 exists: -all", "permerror"),
    "with a length": Case("v=spf1 exists:far.example/24 -all", "permerror"),
    "by address": Case("v=spf1 exists:%{ir}.list.example -all", "pass", zone="10.2.0.192.list.example. A 127.0.0.2\n"),
}


@cases(EXISTS)
def test_exists(case: Case) -> None:
    holds(case)


# --- §6.1, redirect ------------------------------------------------------------------------------------------------

REDIRECT = {
    "pass": Case("v=spf1 redirect=pass.example", "pass"),
    "fail": Case("v=spf1 redirect=fail.example", "fail"),
    "softfail": Case("v=spf1 redirect=softfail.example", "softfail"),
    "neutral": Case("v=spf1 redirect=neutral.example", "neutral"),
    "nothing that matches": Case("v=spf1 redirect=default.example", "neutral"),
    "failure of DNS": Case("v=spf1 redirect=down.example", "temperror"),
    "a broken record": Case("v=spf1 redirect=broken.example", "permerror"),
    "no record": Case("v=spf1 redirect=text.example", "permerror"),
    "no such name": Case("v=spf1 redirect=nowhere.example", "permerror"),
    "twice": Case("v=spf1 redirect=pass.example redirect=pass.example", "permerror"),
    "an empty domain": Case("v=spf1 redirect=", "permerror"),
    "no domain-spec": Case("v=spf1 redirect=-all ?all", "permerror"),
    "a macro": Case("v=spf1 redirect=%{d}.r.example.", "pass", zone='d.example.r.example. TXT "v=spf1 +all"\n'),
    "%{d} and a are of its target": Case(
        "v=spf1 redirect=r.example",
        "pass",
        zone='r.example. TXT "v=spf1 -exists:x.d.example a"\nr.example. A 192.0.2.10\n',
    ),
}


@cases(REDIRECT)
def test_redirect(case: Case) -> None:
    holds(case)


# --- §6.2, exp -----------------------------------------------------------------------------------------------------

WHY = """
    why.example.    TXT "Ask %{o}."
    other.example.  TXT "Other."
    two.example.    TXT "One."
    two.example.    TXT "Two."
    parts.example.  TXT "In two " "strings."
    bytes.example.  TXT "\\239\\187\\191Explanation"
    unknown.example. TXT "The %{x} files"
    open.example.   TXT "100% no"
    tab.example.    TXT "a\\009b"
    inc.example.    TXT "v=spf1 -all exp=other.example"
    red.example.    TXT "v=spf1 -all exp=other.example"
    bare.example.   TXT "v=spf1 -all"
"""
EXPLANATIONS = {
    "of a fail": ("v=spf1 -all exp=why.example", "Ask d.example."),
    "stands anywhere": ("v=spf1 exp=why.example -all", "Ask d.example."),
    "strings are joined": ("v=spf1 -all exp=parts.example", "In two strings."),
    "last dots": ("v=spf1 -all exp=why.example.", "Ask d.example."),
    "not of a pass": ("v=spf1 +all exp=why.example", ""),
    "not of a softfail": ("v=spf1 ~all exp=why.example", ""),
    "of another mechanism": ("v=spf1 -ip4:192.0.2.10 exp=why.example", "Ask d.example."),
    "none": ("v=spf1 -all", ""),
    "no such name": ("v=spf1 -all exp=nowhere.example", ""),
    "no TXT": ("v=spf1 -all exp=host.example", ""),
    "two records": ("v=spf1 -all exp=two.example", ""),
    "failure of DNS": ("v=spf1 -all exp=down.example", ""),
    "not ASCII": ("v=spf1 -all exp=bytes.example", ""),
    "an unknown macro": ("v=spf1 -all exp=unknown.example", ""),
    "a lone %": ("v=spf1 -all exp=open.example", ""),
    "a control character": ("v=spf1 -all exp=tab.example", ""),
    "of an include never": ("v=spf1 include:inc.example -all", ""),
    "of an include that fails the mail never": ("v=spf1 include:inc.example -all exp=why.example", "Ask d.example."),
    "of a redirect's target": ("v=spf1 redirect=red.example exp=why.example", "Other."),
    "of a redirect never": ("v=spf1 redirect=bare.example exp=why.example", ""),
    "a macro in its name": ("v=spf1 -all exp=%{l}.why.example", "Hi."),
}


@pytest.mark.parametrize(("record", "explanation"), EXPLANATIONS.values(), ids=EXPLANATIONS.keys())
def test_explanations(record: str, explanation: str) -> None:
    found = check(record, zone=WHY + 'user.why.example. TXT "Hi."')
    assert found.explanation == explanation
    assert str(found) == {"+all": "pass", "~all": "softfail"}.get(record.split()[1], "fail")


BAD_EXP = [
    "exp= -all",
    "exp=-all",
    "exp=why.example exp=why.example -all",
    "-all exp=%{r}.example",
    "-all exp=%{x}.example",
]


@pytest.mark.parametrize("terms", BAD_EXP)
def test_a_broken_exp_is_a_permanent_error(terms: str) -> None:
    assert str(check(f"v=spf1 {terms}", zone=WHY)) == "permerror"


# --- §7, macros ----------------------------------------------------------------------------------------------------

EXPANSIONS = {
    "%{s} %{l} %{o}": "strong-bad@email.example.com strong-bad email.example.com",
    "%{o} %{d} %{d4} %{d3} %{d2} %{d1}": (
        "email.example.com email.example.com email.example.com email.example.com example.com com"
    ),
    "%{dr} %{d2r}": "com.example.email example.email",
    "%{l} %{l-} %{lr} %{lr-} %{l1r-}": "strong-bad strong.bad strong-bad bad.strong strong",
    "%{i} %{ir} %{v} %{c}": "192.0.2.10 10.2.0.192 in-addr 192.0.2.10",
    "%{ir}.%{v}._spf.%{d2}": "10.2.0.192.in-addr._spf.example.com",
    "%{lr-}.lp._spf.%{d2}": "bad.strong.lp._spf.example.com",
    "%{h} %{H}": "he lo.example he%20lo.example",
    "%{S}": "strong-bad%40email.example.com",
    "%%|%_|%-": "%| |%20",
    "%{r} %{t}": "mx.example 1700000000",
    "%{p}": "unknown",
    "%{D10R}": "com.example.email",
    "plain": "plain",
    "ends.": "ends.",
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("text", "explanation"), EXPANSIONS.items(), ids=EXPANSIONS.keys())
def test_expansions(text: str, explanation: str, shared: bool) -> None:
    zone = f'email.example.com. TXT "v=spf1 -all exp=why.example"\nwhy.example. TXT "{text}"'
    with TestDnsServer(zone) as server:

        async def run() -> SpfResult:
            resolver = DnspythonResolver((server.address,))
            return await check_host(
                IP4,
                "email.example.com",
                "strong-bad@email.example.com",
                "he lo.example",
                Lookup(resolver) if shared else resolver,
                receiver="mx.example",
                now=1_700_000_000.9,
            )

        assert asyncio.run(run()).explanation == explanation


def test_expansions_of_ipv6() -> None:
    nibbles = ".".join("20010DB8" + "0" * 22 + "10")
    zone = f'why.example. TXT "%{{c}} %{{i}} %{{v}}"\n{nibbles}.ip6.l.example. A 127.0.0.2'
    assert check("v=spf1 -all exp=why.example", IP6, zone=zone).explanation == f"2001:db8::10 {nibbles} ip6"
    assert str(check("v=spf1 exists:%{i}.%{v}.l.example -all", IP6, zone=zone)) == "pass"
    assert check("v=spf1 -all exp=why.example", "::ffff:192.0.2.10", zone=zone).explanation == f"{IP4} {IP4} in-addr"


VALIDATED = {
    "the domain itself": (("far.example.", "m.d.example.", "d.example."), "d.example"),
    "below the domain": (("host.example.", "m.d.example."), "m.d.example"),
    "any": (("host.example.", "far.example."), "host.example"),
    "none that leads back": (("far.example.", "nowhere.example."), "unknown"),
    "none": ((), "unknown"),
    "failure of DNS at one": (("down.example.", "host.example."), "host.example"),
}


@pytest.mark.parametrize(("pointers", "name"), VALIDATED.values(), ids=VALIDATED.keys())
@pytest.mark.parametrize("ip", [IP4, IP6])
def test_the_validated_name(ip: str, pointers: tuple[str, ...], name: str) -> None:
    zone = "m.d.example. A 192.0.2.10\nm.d.example. AAAA 2001:db8::10\n" + OWN + 'why.example. TXT "%{p}"\n'
    zone += "".join(f"{REVERSE4} PTR {each}\n{REVERSE6} PTR {each}\n" for each in pointers)
    assert check("v=spf1 -all exp=why.example", ip, zone=zone).explanation == name
    zone += f"{name}.p.example. A 127.0.0.2\n"
    assert str(check("v=spf1 exists:%{p}.p.example -all", ip, zone=zone)) == "pass"


def test_the_validated_name_without_an_answer() -> None:
    down = REVERSE4.removesuffix(".")
    zone = "unknown.p.example. A 127.0.0.2"
    assert str(check("v=spf1 exists:%{p}.p.example -all", zone=zone, down=down)) == "pass"


MACROS = {
    "spaces and percents in a name": Case(
        "v=spf1 a:a%%b%_%_c%-d.example -all", "pass", zone="a%b\\032\\032c%20d.example. A 192.0.2.10\n"
    ),
    "delimiters": Case("v=spf1 exists:%{l2r+-}.u.%{d} -all", "pass", zone="b.a.u.d.example. A 127.0.0.2\n"),
    "HELO": Case("v=spf1 a:%{H} -all", "pass", zone="helo.example. A 192.0.2.10\n"),
    "only in explanations, c": Case("v=spf1 exists:%{c}.example -all", "permerror"),
    "only in explanations, r": Case("v=spf1 exists:%{r}.example -all", "permerror"),
    "only in explanations, t": Case("v=spf1 exists:%{t}.example -all", "permerror"),
    "unknown letter": Case("v=spf1 a:%{a}.example -all", "permerror"),
    "round brackets": Case("v=spf1 -exists:%(ir).example ?all", "permerror"),
    "in the middle": Case("v=spf1 exists:foo%(ir).example ?all", "permerror"),
    "before a dot": Case("v=spf1 exists:foo%.example ?all", "permerror"),
    "at the end": Case("v=spf1 exists:foo.example% ?all", "permerror"),
    "no letter": Case("v=spf1 exists:%{}.example ?all", "permerror"),
    "zero parts": Case("v=spf1 exists:%{d0}.example ?all", "permerror"),
    "a delimiter that is none": Case("v=spf1 exists:%{d;}.example ?all", "permerror"),
    "more parts than there are": Case(
        f"v=spf1 exists:%{{d{'9' * 200}}}.x.example -all", "pass", zone="d.example.x.example. A 127.0.0.2\n"
    ),
    "the end of a name": Case("v=spf1 exists:x.%{d} -all", "pass", zone="x.d.example. A 127.0.0.2\n"),
}


@pytest.mark.parametrize("case", MACROS.values(), ids=MACROS.keys())
def test_macros(case: Case) -> None:
    sender = "a-b+c+d@d.example" if "l2r" in str(case.record) else None
    assert str(check(case.record, zone=case.zone, sender=sender)) == case.result


@pytest.mark.parametrize(
    "helo", ["JUMPIN' JUPITER", "[192.0.2.10]", "LAPTOP", "", ".", "b\u00fccher.example", "\0\r\n"]
)
def test_a_helo_name_that_is_none(helo: str) -> None:
    zone = 'h.example. TXT "v=spf1 -a:%{h} +all"\nd.example. TXT "v=spf1 -include:h.example -all"\n'
    assert str(check("v=spf1 a:%{H} a:%{h} -all", helo=helo)) == "fail"
    assert str(check(zone=zone, helo=helo)) == "fail"


def test_a_name_is_cut_from_the_left() -> None:
    label = "abcdefghi"
    domain = f"{label}.example"  # 17 octets, 18 with the dot
    spec = ".".join(["%{d}"] * 14) + ".d.example"  # 14 * 18 + 9 = 261
    name = ".".join([domain] * 14).removeprefix(f"{label}.") + ".d.example"
    assert len(name) == 251
    zone = f'{domain}. TXT "v=spf1 exists:{spec} -all"\n{name}. A 127.0.0.2\n'
    assert str(check(zone=zone, domain=domain)) == "pass"


def test_a_name_of_253_octets_is_not_cut() -> None:
    domain = "a" * 21 + ".exa"  # 25 octets, 26 with the dot
    spec = ".".join(["%{d}"] * 9) + "." + "b" * 15 + ".exa"  # 9 * 26 + 19 = 253
    name = ".".join([domain] * 9) + "." + "b" * 15 + ".exa"
    assert len(name) == 253
    zone = f'{domain}. TXT "v=spf1 exists:{spec} -all"\n{name}. A 127.0.0.2\n'
    assert str(check(zone=zone, domain=domain)) == "pass"
