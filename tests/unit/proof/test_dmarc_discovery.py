"""relay.proof.dmarc: which policy covers a domain, what organisation it belongs to, and alignment
(RFC 9989 §4.4, §4.10, appendix B.1 and B.4), over a real DNS server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from relay.dns import DnspythonResolver
from relay.errors import TemporaryError
from relay.ports import Resolver
from relay.proof.dmarc import Discovery, Disposition, Policy, aligned, discover, organizational_domain, tree
from relay.proof.lookup import Lookup
from tests.dnsserver import TestDnsServer

NONE, QUARANTINE, REJECT = Disposition
T = TypeVar("T")


def zone(**records: str) -> str:
    """`a_b_example="p=none"` is that record at _dmarc.a.b.example."""
    return "".join(f'_dmarc.{name.replace("_", ".")}. TXT "v=DMARC1; {tags}"\n' for name, tags in records.items())


def walk(server: TestDnsServer, ask: Callable[[Resolver], Awaitable[T]], *, plain: bool = False) -> T:
    async def run() -> T:
        resolver = DnspythonResolver((server.address,))
        return await ask(resolver if plain else Lookup(resolver))

    return asyncio.run(run())


def find(records: str, domain: str = "mail.example.com") -> Discovery:
    with TestDnsServer(records) as server:
        return walk(server, lambda resolver: discover(domain, resolver))


def organisation(records: str, domain: str) -> tuple[str, list[str]]:
    """The answer, and the names it took, in order."""
    with TestDnsServer(records) as server:
        answer = walk(server, lambda resolver: organizational_domain(domain, resolver))
        return answer, [name for name, _ in server.asked]


# --- §4.10: the names of a walk --------------------------------------------------------------------

DEEP = "a.b.c.d.e.f.g.h.i.j.mail.example.com"
DEEP_WALK = [
    f"_dmarc.{name}"
    for name in (
        DEEP,
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    )
]


def test_the_walk_of_the_rfc() -> None:
    assert organisation("", DEEP) == (DEEP, DEEP_WALK)


@pytest.mark.parametrize("labels", range(1, 20))
def test_tree(labels: int) -> None:
    name = ".".join("abcdefghijklmnopqrst"[:labels])
    names = tree(name)
    assert names[0] == name
    assert len(names) == min(labels, 8)
    assert [each.count(".") + 1 for each in names[1:]] == list(range(min(labels - 1, 7), 0, -1))
    assert all(name.endswith(f".{each}") for each in names[1:])


# --- §4.10.1: which record applies -----------------------------------------------------------------

ORG = "_dmarc.example.com"
OWN = "_dmarc.mail.example.com"
APPLIES = {
    "its own": (zone(mail_example_com="p=quarantine"), OWN, QUARANTINE),
    "its own before the organisation's": (
        zone(mail_example_com="p=quarantine", example_com="p=reject"),
        OWN,
        QUARANTINE,
    ),
    "its own, not its sp": (zone(mail_example_com="p=quarantine; sp=reject; np=reject"), OWN, QUARANTINE),
    "the organisation's": (zone(example_com="p=reject"), ORG, REJECT),
    "the organisation's sp": (zone(example_com="p=reject; sp=quarantine"), ORG, QUARANTINE),
    "beside other records": (
        zone(mail_example_com="p=quarantine") + '_dmarc.mail.example.com. TXT "v=spf1 -all"',
        OWN,
        QUARANTINE,
    ),
    "in several strings": ('_dmarc.mail.example.com. TXT "v=DM" "ARC1; p=quar" "antine"', OWN, QUARANTINE),
    "by CNAME": (
        '_dmarc.mail.example.com. CNAME p.example.net.\np.example.net. TXT "v=DMARC1; p=quarantine"',
        OWN,
        QUARANTINE,
    ),
    "own psd=n": (zone(mail_example_com="p=quarantine; psd=n", example_com="p=reject"), OWN, QUARANTINE),
    "two own are none": (
        '_dmarc.mail.example.com. TXT "v=DMARC1; p=none"\n_dmarc.mail.example.com. TXT "v=DMARC1; p=x"\n'
        + zone(example_com="p=reject"),
        ORG,
        REJECT,
    ),
    "other records are none": (
        '_dmarc.mail.example.com. TXT "v=dmarc1; p=none"\n' + zone(example_com="p=reject"),
        ORG,
        REJECT,
    ),
    "no p, but reports": (zone(mail_example_com="rua=mailto:a@example.com", example_com="p=reject"), OWN, NONE),
    "the top-level domain's without psd=y": (zone(com="p=reject"), "_dmarc.com", REJECT),
}


@pytest.mark.parametrize(("records", "name", "effective"), APPLIES.values(), ids=APPLIES.keys())
def test_applies(records: str, name: str, effective: Disposition) -> None:
    found = find(records + '\nmail.example.com. TXT "it exists"\n')
    assert found.policy is not None
    assert (found.name, found.effective, found.misplaced) == (name, effective, False)


INTERMEDIATE = {
    "not one between": (zone(b_example_com="p=none", example_com="p=reject"), ORG, REJECT),
    "one between if nothing is above": (zone(b_example_com="p=quarantine"), "_dmarc.b.example.com", QUARANTINE),
    "one between with psd=n": (
        zone(b_example_com="p=quarantine; psd=n", example_com="p=reject"),
        "_dmarc.b.example.com",
        QUARANTINE,
    ),
    "one between that is below psd=y": (zone(example_com="p=none", com="p=reject; psd=y"), ORG, NONE),
    "not one far below psd=y": (zone(b_example_com="p=none", com="p=reject; psd=y"), "", NONE),
    "two between are none, whatever their psd": (
        '_dmarc.b.example.com. TXT "v=DMARC1; p=none; psd=n"\n_dmarc.b.example.com. TXT "v=DMARC1; p=none; psd=n; x"\n'
        + zone(example_com="p=reject"),
        ORG,
        REJECT,
    ),
}


@pytest.mark.parametrize(("records", "name", "effective"), INTERMEDIATE.values(), ids=INTERMEDIATE.keys())
def test_intermediate_records(records: str, name: str, effective: Disposition) -> None:
    found = find(records + 'a.b.example.com. TXT "it exists"\n', "a.b.example.com")
    assert (found.name, found.effective) == (name, effective)
    assert (found.policy is not None) is bool(name)


def test_a_broken_record_hides_those_above_it() -> None:
    """§4.10.1: no valid p and no rua is no DMARC at all, not another record's turn."""
    found = find(zone(mail_example_com="p=x", example_com="p=reject"))
    assert found.policy is None
    assert found.effective is NONE
    assert found.broken == (OWN, "p= is none of none, quarantine, reject")
    assert found.organizational_domain == "example.com"


def test_a_broken_record_of_the_organisation_is_no_policy() -> None:
    found = find(zone(mail_example_com="p=none", example_com="p=x"), "a.mail.example.com")
    assert found.policy is None
    assert found.broken == (ORG, "p= is none of none, quarantine, reject")


def test_what_is_discarded_is_told_beside_the_policy() -> None:
    two = '_dmarc.mail.example.com. TXT "v=DMARC1; p=none"\n_dmarc.mail.example.com. TXT "v=DMARC1; p=reject"\n'
    found = find(two + zone(example_com="p=none"))
    assert found.name == ORG
    assert found.broken == (OWN, "there are 2 DMARC records where one is allowed")


# --- §4.7 np, §3.2.13, appendix A.4: domains that don't exist --------------------------------------

NP = zone(example_com="p=reject; sp=none; np=quarantine")
EXISTENCE = {
    "NXDOMAIN": ("", QUARANTINE),
    "TXT": ('mail.example.com. TXT "x"', NONE),
    "another type": ("mail.example.com. MX 0 .", NONE),
    "only a name below": ("a.mail.example.com. A 192.0.2.1", NONE),
    "only a name beside": ("mail2.example.com. A 192.0.2.1", QUARANTINE),
}


@pytest.mark.parametrize(("records", "effective"), EXISTENCE.values(), ids=EXISTENCE.keys())
def test_np(records: str, effective: Disposition) -> None:
    assert find(NP + records).effective is effective


def test_np_is_not_for_the_domain_of_the_record() -> None:
    assert find(NP, "example.com").effective is REJECT


def test_existence_is_asked_only_if_it_matters() -> None:
    with TestDnsServer(zone(example_com="p=reject; sp=none")) as server:
        assert walk(server, lambda resolver: discover("mail.example.com", resolver)).effective is NONE
        assert [name for name, _ in server.asked] == [OWN, ORG, "_dmarc.com"]


# --- §4.10.2: the Organizational Domain ------------------------------------------------------------

ORGANISATIONS = {
    "RFC: fewest labels": (zone(mail_example_com="", example_com=""), "a.mail.example.com", "example.com"),
    "RFC: psd=n": (zone(mail_example_com="psd=n", example_com=""), "a.mail.example.com", "mail.example.com"),
    "RFC: only psd=y": (zone(com="psd=y"), "a.mail.example.com", "example.com"),
    "RFC: below psd=y": (zone(mail_example_com="", example_com="psd=y"), "mail.example.com", "mail.example.com"),
    "nothing": ("", "a.mail.example.com", "a.mail.example.com"),
    "only its own": (zone(a_mail_example_com=""), "a.mail.example.com", "a.mail.example.com"),
    "own psd=n": (zone(a_mail_example_com="psd=n", example_com=""), "a.mail.example.com", "a.mail.example.com"),
    "own psd=y": (zone(co_example="psd=y", example=""), "co.example", "co.example"),
    "psd=u is nothing special": (
        zone(mail_example_com="psd=u", example_com="psd=u"),
        "mail.example.com",
        "example.com",
    ),
    "psd=y hides what is above": (zone(co_example="psd=y", example="psd=n"), "a.b.co.example", "b.co.example"),
    "psd=y twice": (zone(co_example="psd=y", example="psd=y"), "a.b.co.example", "b.co.example"),
    "psd=n below psd=y": (zone(b_co_example="psd=n", co_example="psd=y"), "a.b.co.example", "b.co.example"),
    "psd=y counts with a bad p": (zone(com="p=x; psd=y"), "a.mail.example.com", "example.com"),
    "a bad p still marks a name": (zone(example_com="p=x"), "a.mail.example.com", "example.com"),
    "two are none": (
        '_dmarc.example.com. TXT "v=DMARC1"\n_dmarc.example.com. TXT "v=DMARC1; p=none"\n' + zone(mail_example_com=""),
        "a.mail.example.com",
        "mail.example.com",
    ),
    "misplaced records are none": ('example.com. TXT "v=DMARC1"', "a.mail.example.com", "a.mail.example.com"),
    "the name below psd=y was skipped": (
        zone(g_h_i_j_mail_example_com="psd=y"),
        DEEP,
        "f.g.h.i.j.mail.example.com",
    ),
    "a skipped record": (zone(f_g_h_i_j_mail_example_com=""), DEEP, DEEP),
    "one label": ("", "com", "com"),
    "case and last dot": (zone(example_com=""), "Mail.EXAMPLE.com.", "example.com"),
}


@pytest.mark.parametrize(("records", "domain", "expected"), ORGANISATIONS.values(), ids=ORGANISATIONS.keys())
def test_organizational_domain(records: str, domain: str, expected: str) -> None:
    assert organisation(records, domain)[0] == expected
    assert find(records, domain).organizational_domain == expected


def test_the_walk_stops_at_a_psd_tag() -> None:
    assert organisation(zone(b_example_com="psd=n"), "a.b.example.com")[1] == [
        "_dmarc.a.b.example.com",
        "_dmarc.b.example.com",
    ]
    assert organisation(zone(b_example_com="psd=y"), "b.example.com")[1] == ["_dmarc.b.example.com"]
    assert organisation(zone(example_com="psd=y"), "b.example.com")[1] == ["_dmarc.b.example.com", "_dmarc.example.com"]


# --- appendix B.4: examples ------------------------------------------------------------------------


def test_simple_example() -> None:
    """B.4.1."""
    with TestDnsServer(zone(example_com="p=none", signing_example_com="p=none")) as server:

        async def ask(resolver: Resolver) -> tuple[Discovery, str, bool]:
            found = await discover("example.com", resolver)
            signing = await organizational_domain("signing.example.com", resolver)
            return found, signing, await aligned("signing.example.com", "example.com", strict=False, resolver=resolver)

        found, signing, is_aligned = walk(server, ask)
        assert (found.name, found.organizational_domain, signing, is_aligned) == (
            ORG,
            "example.com",
            "example.com",
            True,
        )
        assert [name for name, _ in server.asked] == [ORG, "_dmarc.com", "_dmarc.signing.example.com"]
        assert server.queries == 3


def test_deep_example() -> None:
    """B.4.2."""
    author = "a.b.c.d.e.f.g.h.i.j.k.example.com"
    with TestDnsServer(zone(example_com="p=none; sp=reject", signing_example_com="p=none")) as server:
        found = walk(server, lambda resolver: discover(author, resolver))
        assert (found.name, found.effective, found.organizational_domain) == (ORG, REJECT, "example.com")
        assert [name for name, _ in server.asked] == [
            f"_dmarc.{name}"
            for name in (author, *("g.h.i.j.k.example.com".split(".", n)[-1] for n in range(5)), "example.com", "com")
        ]


def test_registry_example() -> None:
    """B.4.3."""
    records = zone(bank_example="p=reject; psd=y", giant_bank_example="p=quarantine")

    async def ask(resolver: Resolver) -> tuple[bool, bool]:
        return (
            await aligned("mail.giant.bank.example", "giant.bank.example", strict=False, resolver=resolver),
            await aligned("mail.mega.bank.example", "giant.bank.example", strict=False, resolver=resolver),
        )

    found = find(records, "giant.bank.example")
    assert (found.name, found.effective) == ("_dmarc.giant.bank.example", QUARANTINE)
    assert found.organizational_domain == "giant.bank.example"
    assert organisation(records, "mail.giant.bank.example")[0] == "giant.bank.example"
    assert organisation(records, "mail.mega.bank.example")[0] == "mega.bank.example"
    with TestDnsServer(records) as server:
        assert walk(server, ask) == (True, False)
        assert ("_dmarc.example", "TXT") not in server.asked


# --- §4.4, appendix B.1: alignment -----------------------------------------------------------------

ALIGNMENT = {  # identifier, author, relaxed, strict
    "B.1.1, B.1.2: 1, the same": ("example.com", "example.com", True, True),
    "B.1.1: 2, below the author": ("child.example.com", "example.com", True, False),
    "B.1.2: 2, above the author": ("example.com", "child.example.com", True, False),
    "B.1.1, B.1.2: 3, another": ("example.net", "child.example.com", False, False),
    "§4.4.1: beside the author": ("example.com", "alerts.news.example.com", True, False),
    "§4.4.2": ("cbg.bounces.example.com", "example.com", True, False),
    "§4.4.1: a domain without a policy": ("com", "example.com", False, False),
    "siblings": ("a.example.com", "b.example.com", True, False),
    "a name that only ends alike": ("badexample.com", "example.com", False, False),
    "case and last dot": ("EXAMPLE.com.", "example.com", True, True),
    "a part with a boundary of its own": ("apart.example.com", "example.com", False, False),
    "below that": ("a.apart.example.com", "apart.example.com", True, False),
    "two customers of a registry": ("a.co.example", "b.co.example", False, False),
    "one customer of a registry": ("x.a.co.example", "y.a.co.example", True, False),
    "the registry itself": ("co.example", "a.co.example", False, False),
    "no records at all, the same": ("a.example.org", "a.example.org", True, True),
    "no records at all, a parent": ("example.org", "a.example.org", False, False),
}


@pytest.mark.parametrize(("identifier", "author", "relaxed", "strict"), ALIGNMENT.values(), ids=ALIGNMENT.keys())
def test_alignment(identifier: str, author: str, relaxed: bool, strict: bool) -> None:
    records = zone(example_com="p=none", apart_example_com="psd=n", co_example="psd=y", example_net="p=none")
    with TestDnsServer(records) as server:
        assert walk(server, lambda r: aligned(identifier, author, strict=False, resolver=r)) is relaxed
    with TestDnsServer(records) as server:
        assert walk(server, lambda r: aligned(identifier, author, strict=True, resolver=r)) is strict
        assert server.queries == 0


def test_an_identifier_of_elsewhere_costs_no_walk() -> None:
    with TestDnsServer(zone(example_com="p=none")) as server:
        assert not walk(server, lambda r: aligned("a.b.c.example.net", "example.com", strict=False, resolver=r))
        assert {name for name, _ in server.asked} == {ORG, "_dmarc.com"}


# --- this relay's own rules ------------------------------------------------------------------------


def test_a_registrys_record_is_not_the_senders() -> None:
    found = find(zone(co_example="p=reject; psd=y"), "mail.example.co.example")
    assert found == Discovery(organizational_domain="example.co.example")


def test_a_registrys_own_record_counts_for_itself() -> None:
    found = find(zone(co_example="p=quarantine; sp=reject; psd=y"), "co.example")
    assert (found.name, found.effective) == ("_dmarc.co.example", QUARANTINE)


MISPLACED = 'mail.example.com. TXT "v=DMARC1; p=quarantine; sp=reject"\n'


@pytest.mark.parametrize("records", ["", zone(com="p=reject; psd=y"), zone(mail_example_com="p=x")])
def test_misplaced(records: str) -> None:
    found = find(records + MISPLACED)
    assert found.policy == Policy(QUARANTINE, REJECT, REJECT)
    assert (found.name, found.effective, found.misplaced) == ("mail.example.com", QUARANTINE, True)
    assert (found.broken is not None) is ("p=x" in records)


@pytest.mark.parametrize("records", [zone(example_com="p=none"), zone(mail_example_com="p=none")])
def test_misplaced_is_second_to_what_receivers_see(records: str) -> None:
    found = find(records + MISPLACED)
    assert (found.effective, found.misplaced) == (NONE, False)


MISSING = {
    "nothing": ("", None),
    "only a child's": (zone(a_mail_example_com="p=none"), None),
    "misplaced at the parent": ('example.com. TXT "v=DMARC1; p=none"', None),
    "invalid": (zone(mail_example_com="p=nothing"), (OWN, "p= is none of none, quarantine, reject")),
    "two": (
        '_dmarc.mail.example.com. TXT "v=DMARC1; p=none"\n_dmarc.mail.example.com. TXT "v=DMARC1; p=reject"',
        (OWN, "there are 2 DMARC records where one is allowed"),
    ),
    "misplaced and invalid": (
        'mail.example.com. TXT "v=DMARC1; p=x"',
        ("mail.example.com", "p= is none of none, quarantine, reject"),
    ),
    "misplaced and two": (
        'mail.example.com. TXT "v=DMARC1; p=none"\nmail.example.com. TXT "v=DMARC1; p=reject"',
        ("mail.example.com", "there are 2 DMARC records where one is allowed"),
    ),
    "the first of two mistakes": (
        zone(mail_example_com="p=nothing") + 'mail.example.com. TXT "v=DMARC1; p=x"',
        (OWN, "p= is none of none, quarantine, reject"),
    ),
}


@pytest.mark.parametrize(("records", "broken"), MISSING.values(), ids=MISSING.keys())
def test_missing(records: str, broken: tuple[str, str] | None) -> None:
    found = find(records)
    assert (found.policy, found.name, found.misplaced, found.effective) == (None, "", False, NONE)
    assert found.broken == broken


# --- DNS that doesn't answer, names that can't be --------------------------------------------------


@pytest.mark.parametrize("name", [OWN, ORG, "_dmarc.com", "mail.example.com"])
def test_dns_failure_is_temporary(name: str) -> None:
    with TestDnsServer() as server:
        server.servfail.add(name)
        with pytest.raises(TemporaryError):
            walk(server, lambda resolver: discover("mail.example.com", resolver))


def test_dns_failure_while_a_domain_may_not_exist() -> None:
    with TestDnsServer(NP) as server:
        server.servfail.add("mail.example.com")
        with pytest.raises(TemporaryError):
            walk(server, lambda resolver: discover("mail.example.com", resolver))


def test_the_domains_own_policy_stands_whatever_is_above() -> None:
    with TestDnsServer(zone(mail_example_com="p=reject")) as server:
        server.servfail.add("_dmarc.com")
        found = walk(server, lambda resolver: discover("mail.example.com", resolver))
        assert found == Discovery(Policy(REJECT, REJECT, REJECT), OWN, "", REJECT)
        with pytest.raises(TemporaryError):
            walk(server, lambda resolver: organizational_domain("mail.example.com", resolver))
        with pytest.raises(TemporaryError):
            walk(server, lambda r: aligned("example.com", "mail.example.com", strict=False, resolver=r))


LONG = ".".join(["x" * 59] * 4) + ".example.com"  # 251 octets: _dmarc. doesn't fit before it


@pytest.mark.parametrize("plain", [True, False], ids=["resolver", "lookup"])
def test_a_name_too_long_has_no_record(plain: bool) -> None:
    """It is skipped; the rest is looked at."""
    with TestDnsServer(NP) as server:
        found = walk(server, lambda resolver: discover(LONG, resolver), plain=plain)
        assert (found.name, found.effective) == (ORG, QUARANTINE)
        assert f"_dmarc.{LONG}" not in {name for name, _ in server.asked}


@pytest.mark.parametrize("plain", [True, False], ids=["resolver", "lookup"])
def test_a_label_too_long_is_a_domain_that_does_not_exist(plain: bool) -> None:
    with TestDnsServer(NP) as server:
        found = walk(server, lambda resolver: discover("x" * 64 + ".example.com", resolver), plain=plain)
        assert (found.name, found.effective) == (ORG, QUARANTINE)
