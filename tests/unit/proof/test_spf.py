"""relay.proof.spf: does the record reach the relay's domain? Asked of a real server on loopback."""

import asyncio

import pytest

from relay.dns import DnspythonResolver
from relay.errors import TemporaryError
from relay.proof.lookup import Lookup
from relay.proof.spf import Reach, SpfReach, reaches, with_include
from tests.dnsserver import TestDnsServer

RELAY = "elastx.email"
OTHERS = """
    elastx.email.     TXT "v=spf1 ip4:192.0.2.0/24 -all"
    good.example.     TXT "v=spf1 include:elastx.email ~all"
    deep.example.     TXT "v=spf1 include:good.example -all"
    other.example.    TXT "v=spf1 ip4:198.51.100.0/24 -all"
    neutral.example.  TXT "v=spf1 ?include:elastx.email -all"
    anyone.example.   TXT "v=spf1 +all"
    two.example.      TXT "v=spf1 -all"
    two.example.      TXT "v=spf1 +all"
    bad.example.      TXT "v=spf1 inclde:elastx.email -all"
    text.example.     TXT "hello"
    back.example.     TXT "v=spf1 include:d.example -all"
    self.example.     TXT "v=spf1 redirect=self.example"
    a.example.        A   192.0.2.1
    mx.example.       MX  10 a.example.
"""
OTHERS += "".join(f"\n    mxs.example. MX {each} a.example." for each in range(11))


def reach(*records: str, domain: str = "d.example", zone: str = OTHERS) -> SpfReach:
    with TestDnsServer(zone + "".join(f"\n{domain}. TXT {strings(record)}" for record in records)) as server:
        return ask(server, domain)


def strings(record: str) -> str:
    return " ".join(f'"{record[start : start + 255]}"' for start in range(0, len(record), 255))


def ask(server: TestDnsServer, domain: str = "d.example") -> SpfReach:
    async def run() -> SpfReach:
        return await reaches(domain, RELAY, Lookup(DnspythonResolver((server.address,))))

    return asyncio.run(run())


REACHED = {
    "directly": "v=spf1 include:elastx.email -all",
    "any case, last dot": "V=SPF1 INCLUDE:Elastx.Email. -ALL",
    "softfail for the rest": "v=spf1 include:elastx.email ~all",
    "without all": "v=spf1 include:elastx.email",
    "through another": "v=spf1 include:good.example -all",
    "through two": "v=spf1 include:deep.example -all",
    "by redirect": "v=spf1 redirect=elastx.email",
    "by redirect to another": "v=spf1 ip4:203.0.113.1 redirect=good.example",
    "behind what doesn't match": "v=spf1 a:a.example mx:mx.example ip6:::1 include:other.example include:elastx.email",
    "behind one that says no": "v=spf1 include:neutral.example include:elastx.email -all",
    "behind a macro": "v=spf1 include:%{i}.example exists:%{s}.example include:elastx.email -all",
    "other qualifiers elsewhere": "v=spf1 -ip4:203.0.113.1 ?a:a.example include:elastx.email -all",
    "at the tenth lookup": "v=spf1 " + "a:a.example " * 9 + "include:elastx.email -all",
    "after two void lookups": "v=spf1 a:no1.example mx:no2.example include:elastx.email -all",
    "after names that can't be asked about": "v=spf1 " + "a:x..example mx:y..example " * 3 + "include:elastx.email",
}


@pytest.mark.parametrize("record", REACHED.values(), ids=REACHED.keys())
def test_reached(record: str) -> None:
    assert reach(record).reach is Reach.REACHED


NOT_REACHED = {
    "no include": ("v=spf1 ip4:192.0.2.1 -all", "does not include elastx.email"),
    "another include": ("v=spf1 include:other.example -all", "does not include"),
    "behind all": ("v=spf1 -all include:elastx.email", "does not include"),
    "redirect beside all": ("v=spf1 -all redirect=elastx.email", "does not include"),
    "+all": ("v=spf1 +all", "does not include"),
    "neutral include": ("v=spf1 ?include:elastx.email -all", 'has "?include:elastx.email", which does not pass'),
    "softfail include": ("v=spf1 ~include:elastx.email include:elastx.email", "~include:elastx.email"),
    "fail include": ("v=spf1 -include:good.example include:elastx.email", "-include:good.example"),
    "neutral further down": ("v=spf1 include:neutral.example -all", '"?include:elastx.email", which does not pass'),
    "per sender": ("v=spf1 include:%{s}.example -all", 'has "include:%{s}.example", which depends on the sender'),
    "subdomain of the relay's": (
        "v=spf1 include:other.example a:a.example redirect=anyone.example",
        "does not include",
    ),
}


@pytest.mark.parametrize(("record", "why"), NOT_REACHED.values(), ids=NOT_REACHED.keys())
def test_not_reached(record: str, why: str) -> None:
    found = reach(record)
    assert found.reach is Reach.NOT_REACHED
    assert why in found.why
    assert found.record == record.encode()


BROKEN = {
    "syntax": ("v=spf1 include:elastx.email -al", '"-al" is no mechanism of SPF'),
    "eleven lookups": ("v=spf1 " + "ptr " * 10 + "include:elastx.email -all", "more than 10 DNS lookups"),
    "eleven by redirect": ("v=spf1 " + "ptr " * 10 + "redirect=elastx.email", "more than 10 DNS lookups"),
    "three void lookups": ("v=spf1 a:x.example mx:y.example a:z.example include:elastx.email", "more than 2"),
    "loop": ("v=spf1 include:back.example include:elastx.email", "leads back"),
    "loop to itself": ("v=spf1 redirect=d.example", "leads back"),
    "loop elsewhere": ("v=spf1 include:self.example -all", "leads back"),
    "include of nothing": ("v=spf1 include:nowhere.example include:elastx.email", "there is no SPF record"),
    "include of no SPF": ("v=spf1 include:text.example include:elastx.email", "there is no SPF record"),
    "include of two": ("v=spf1 include:two.example include:elastx.email", "2 SPF records"),
    "include of a bad one": ("v=spf1 include:bad.example include:elastx.email", 'at "include:bad.example"'),
    "include of a long name": ("v=spf1 include:" + "abcdefg." * 32 + "example -all", "there is no SPF record"),
    "include of an empty label": ("v=spf1 include:x..example include:elastx.email", "there is no SPF record"),
    "eleven mail hosts": ("v=spf1 mx:mxs.example include:elastx.email", "more than 10 hosts"),
    "redirect to nothing": ("v=spf1 redirect=nowhere.example", "there is no SPF record"),
}


@pytest.mark.parametrize(("record", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(record: str, why: str) -> None:
    found = reach(record)
    assert found.reach is Reach.BROKEN
    assert why in found.why


def test_two_records() -> None:
    found = reach("v=spf1 include:elastx.email -all", "v=spf1 -all")
    assert found.reach is Reach.BROKEN
    assert "2 SPF records" in found.why


def test_no_record() -> None:
    assert reach("something else").reach is Reach.NO_RECORD
    assert reach(zone="").reach is Reach.NO_RECORD


def test_the_relays_own_domain() -> None:
    assert reach(domain=RELAY).reach is Reach.REACHED


@pytest.mark.parametrize("name", ["d.example", "deep.example", "good.example", "a.example"])
def test_dns_failure_is_temporary(name: str) -> None:
    with TestDnsServer(OTHERS + '\nd.example. TXT "v=spf1 a:a.example include:deep.example -all"') as server:
        server.servfail.add(name)
        with pytest.raises(TemporaryError):
            ask(server)


def test_a_plain_resolver_will_do() -> None:
    with TestDnsServer(OTHERS) as server:
        found = asyncio.run(reaches("deep.example", RELAY, DnspythonResolver((server.address,))))
        assert found == SpfReach(Reach.REACHED, record=b"v=spf1 include:good.example -all")


def test_each_name_is_asked_once() -> None:
    record = "v=spf1 include:other.example include:other.example include:deep.example -all"
    with TestDnsServer(f'{OTHERS}\nd.example. TXT "{record}"') as server:
        assert ask(server).reach is Reach.REACHED
        assert server.asked == {(f"{name}.example", "TXT"): 1 for name in ("d", "other", "deep", "good")}


@pytest.mark.parametrize(
    ("record", "mended"),
    [
        (b"v=spf1 -all", "v=spf1 include:elastx.email -all"),
        (b"V=SPF1  a mx  ~all ", "v=spf1 include:elastx.email a mx ~all"),
        (b"v=spf1 ?include:Elastx.Email -all", "v=spf1 include:elastx.email -all"),
        (b"v=spf1 redirect=x.example", "v=spf1 include:elastx.email redirect=x.example"),
    ],
)
def test_with_include(record: bytes, mended: str) -> None:
    assert with_include(record, RELAY) == mended
    assert reach(mended, zone=OTHERS + '\nx.example. TXT "v=spf1"').reach is Reach.REACHED
