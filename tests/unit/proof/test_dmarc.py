"""relay.proof.dmarc: RFC 9989 §4.7 (records) and §4.10 (tree walk)."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dns import DnspythonResolver
from relay.errors import TemporaryError
from relay.proof.dmarc import Discovery, Disposition, DmarcError, Policy, discover, parse_record, tree
from relay.proof.lookup import Lookup
from tests.dnsserver import TestDnsServer

NONE, QUARANTINE, REJECT = Disposition

RECORDS = {
    "v=DMARC1; p=none": Policy(NONE, NONE, NONE),
    "v=DMARC1;p=reject;": Policy(REJECT, REJECT, REJECT),
    "v = DMARC1 ; P = Reject ; SP=none": Policy(REJECT, NONE, NONE),
    "v=DMARC1; p=none; sp=quarantine; np=reject": Policy(NONE, QUARANTINE, REJECT),
    "v=DMARC1; adkim=s; aspf=s; t=y; psd=n; p=reject": Policy(REJECT, REJECT, REJECT, True, True, "n", True),
    "v=DMARC1; p=none; pct=50; rf=afrf; ri=3600; x=y; fo=1:d": Policy(NONE, NONE, NONE),
    "v=DMARC1; p=none; adkim=q; psd=x; t=?": Policy(NONE, NONE, NONE),
    "v=DMARC1": Policy(NONE, NONE, NONE),
    "v=DMARC1; rua=mailto:a@example.com": Policy(NONE, NONE, NONE),
    "v=DMARC1; p=all; rua=mailto:a@example.com": Policy(NONE, NONE, NONE),
    "v=DMARC1; p=reject; sp=all; rua=mailto:a@example.com": Policy(NONE, NONE, NONE),
    "v=DMARC1; p=none; p=reject": Policy(NONE, NONE, NONE),
    "v=DMARC1; p=none; junk;; =x": Policy(NONE, NONE, NONE),
}


@pytest.mark.parametrize(("text", "policy"), RECORDS.items(), ids=RECORDS.keys())
def test_records(text: str, policy: Policy) -> None:
    assert parse_record(text.encode()) == policy


@pytest.mark.parametrize(
    "text",
    ["", "v=DMARC1 p=none", "v=dmarc1; p=none", "p=none; v=DMARC1", " v=DMARC1; p=none", "v=DMARC12; p=none"]
    + ["v=DMARC1; p=all", "v=DMARC1; p=", "v=DMARC1; p=none; sp=x", "v=DMARC1; p=reject; np=x; rua=nobody"],
)
def test_no_policy(text: str) -> None:
    with pytest.raises(DmarcError):
        parse_record(text.encode())


@given(st.binary(max_size=100))
def test_any_bytes_parse_or_are_no_policy(text: bytes) -> None:
    try:
        parse_record(b"v=DMARC1;" + text)
    except DmarcError:
        pass


def test_tree() -> None:
    assert tree("example.com") == ("example.com", "com")
    assert tree("a.b.c.d.e.f.example.com") == tuple("a.b.c.d.e.f.example.com".split(".", n)[-1] for n in range(8))
    long = tree("a.b.c.d.e.f.g.mail.example.com")
    assert long[:3] == ("a.b.c.d.e.f.g.mail.example.com", "d.e.f.g.mail.example.com", "e.f.g.mail.example.com")
    assert len(long) == 8
    assert long[-1] == "com"


def find(zone: str, domain: str = "mail.example.com") -> Discovery:
    async def run(server: TestDnsServer) -> Discovery:
        return await discover(domain, Lookup(DnspythonResolver((server.address,))))

    with TestDnsServer(zone) as server:
        return asyncio.run(run(server))


POLICY = Policy(NONE, NONE, NONE)
FOUND = {
    "at the domain": ('_dmarc.mail.example.com. TXT "v=DMARC1; p=none"', "_dmarc.mail.example.com", False),
    "at the parent": ('_dmarc.example.com. TXT "v=DMARC1; p=none"', "_dmarc.example.com", False),
    "beside other records": (
        '_dmarc.mail.example.com. TXT "x"\n_dmarc.mail.example.com. TXT "v=DMARC1; p=none"',
        "_dmarc.mail.example.com",
        False,
    ),
    "misplaced": ('mail.example.com. TXT "v=DMARC1; p=none"', "mail.example.com", True),
    "behind two records": (
        '_dmarc.mail.example.com. TXT "v=DMARC1; p=reject"\n_dmarc.mail.example.com. TXT "v=DMARC1"\n'
        '_dmarc.example.com. TXT "v=DMARC1; p=none"',
        "_dmarc.example.com",
        False,
    ),
    "by CNAME": (
        '_dmarc.mail.example.com. CNAME p.example.net.\np.example.net. TXT "v=DMARC1; p=none"',
        "_dmarc.mail.example.com",
        False,
    ),
}


@pytest.mark.parametrize(("zone", "name", "misplaced"), FOUND.values(), ids=FOUND.keys())
def test_found(zone: str, name: str, misplaced: bool) -> None:
    found = find(zone)
    assert (found.policy, found.name, found.misplaced) == (POLICY, name, misplaced)


MISSING = {
    "nothing": ("", None),
    "only a child's": ('_dmarc.a.mail.example.com. TXT "v=DMARC1; p=none"', None),
    "misplaced at the parent": ('example.com. TXT "v=DMARC1; p=none"', None),
    "a registry's": ('_dmarc.com. TXT "v=DMARC1; p=reject; psd=y"', None),
    "invalid": ('_dmarc.mail.example.com. TXT "v=DMARC1; p=nothing"', ("_dmarc.mail.example.com", "p= is none of")),
    "two": (
        '_dmarc.mail.example.com. TXT "v=DMARC1; p=none"\n_dmarc.mail.example.com. TXT "v=DMARC1; p=reject"',
        ("_dmarc.mail.example.com", "there are 2 DMARC records"),
    ),
    "misplaced and invalid": ('mail.example.com. TXT "v=DMARC1; p=x"', ("mail.example.com", "p= is none of")),
}


@pytest.mark.parametrize(("zone", "broken"), MISSING.values(), ids=MISSING.keys())
def test_missing(zone: str, broken: tuple[str, str] | None) -> None:
    found = find(zone)
    assert found.policy is None
    if broken is None:
        assert found.broken is None
    else:
        assert found.broken is not None
        assert found.broken[0] == broken[0]
        assert broken[1] in found.broken[1]


def test_a_registrys_own_record_counts_for_itself() -> None:
    assert find('_dmarc.co.example. TXT "v=DMARC1; p=reject; psd=y"', "co.example").policy is not None


def test_the_nearest_policy_wins_and_costs_one_query() -> None:
    with TestDnsServer('_dmarc.example.com. TXT "v=DMARC1; p=none"\n_dmarc.com. TXT "v=DMARC1; p=reject"') as server:
        lookup = Lookup(DnspythonResolver((server.address,)))
        assert asyncio.run(discover("example.com", lookup)).policy == POLICY
        assert server.asked == {("_dmarc.example.com", "TXT"): 1}


def test_dns_failure_is_temporary() -> None:
    with TestDnsServer() as server:
        server.servfail.add("_dmarc.example.com")
        with pytest.raises(TemporaryError):
            asyncio.run(discover("example.com", Lookup(DnspythonResolver((server.address,)))))
