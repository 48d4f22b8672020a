"""relay.proof.dmarc: what is a policy record and what it says (RFC 9989 §4.7, §4.8, §4.10.1, appendix B.2)."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.proof.dmarc import Disposition, DmarcError, Policy, is_dmarc, parse_record

NONE, QUARANTINE, REJECT = Disposition
POLICY = Policy(NONE, NONE, NONE)
RUA = ("mailto:a@example.com",)

RECORDS = {
    # §4.8: white space, separators, case
    "v=DMARC1; p=none": POLICY,
    "v=DMARC1;p=reject;": Policy(REJECT, REJECT, REJECT),
    "v=DMARC1;p=reject ; ": Policy(REJECT, REJECT, REJECT),
    "v=DMARC1 ;p=reject": Policy(REJECT, REJECT, REJECT),
    "v\t=\tDMARC1\t;\tp\t=\treject": Policy(REJECT, REJECT, REJECT),
    "v = DMARC1 ; P = Reject ; SP=none": Policy(REJECT, NONE, NONE),
    "V=DMARC1; p=REJECT": Policy(REJECT, REJECT, REJECT),
    "v=DMARC1;;p=reject;;": Policy(REJECT, REJECT, REJECT),
    # §4.7 p, sp, np: in any order; what is absent comes from the next wider one
    "v=DMARC1": POLICY,
    "v=DMARC1;": POLICY,
    "v=DMARC1; adkim=s": replace(POLICY, strict_dkim=True),
    "v=DMARC1; sp=reject": Policy(NONE, REJECT, REJECT),
    "v=DMARC1; np=reject": Policy(NONE, NONE, REJECT),
    "v=DMARC1; p=none; sp=quarantine; np=reject": Policy(NONE, QUARANTINE, REJECT),
    "v=DMARC1; np=none; rua=mailto:a@example.com; sp=quarantine; p=reject": Policy(REJECT, QUARANTINE, NONE, rua=RUA),
    "v=DMARC1; p=quarantine; np=none": Policy(QUARANTINE, QUARANTINE, NONE),
    # §4.7 adkim, aspf, psd, t: bad values are the default
    "v=DMARC1; adkim=s; aspf=s; t=y; psd=n; p=reject": Policy(REJECT, REJECT, REJECT, True, True, "n", True),
    "v=DMARC1; p=none; adkim=S; aspf=R": replace(POLICY, strict_dkim=True),
    "v=DMARC1; p=none; aspf=s; adkim=r": replace(POLICY, strict_spf=True),
    "v=DMARC1; p=none; adkim=strict; aspf=ss; psd=x; t=?": POLICY,
    "v=DMARC1; p=none; psd=Y": replace(POLICY, psd="y"),
    "v=DMARC1; p=none; psd=u; t=n": POLICY,
    "v=DMARC1; p=none; psd=; t=; adkim=; aspf=": POLICY,
    # unknown tags, the older ones among them, whatever their values
    "v=DMARC1; p=none; pct=50; rf=afrf; ri=3600; x=y": POLICY,
    "v=DMARC1; p=reject; pct=0": Policy(REJECT, REJECT, REJECT),
    "v=DMARC1; pct=all; ri=never; rf=iodef; p=reject": Policy(REJECT, REJECT, REJECT),
    "v=DMARC1; pp=reject; p_=reject; p=none": POLICY,
    # what is no tag
    "v=DMARC1; p=none; junk;; =x": POLICY,
    "v=DMARC1; p": POLICY,
    "v=DMARC1; none; p=reject": Policy(REJECT, REJECT, REJECT),
    # a name twice: the first is the record's, the second a syntax error
    "v=DMARC1; p=none; p=reject": POLICY,
    "v=DMARC1; p=none; P=bad": POLICY,
    "v=DMARC1; p=none; v=DMARC2": POLICY,
    # §4.10.1: no valid p, sp or np, but somebody wants reports
    "v=DMARC1; rua=mailto:a@example.com": replace(POLICY, rua=RUA),
    "v=DMARC1; p=all; rua=mailto:a@example.com": replace(POLICY, rua=RUA),
    "v=DMARC1; p=; rua=mailto:a@example.com": replace(POLICY, rua=RUA),
    "v=DMARC1; p=reject; sp=all; rua=mailto:a@example.com": replace(POLICY, rua=RUA),
    "v=DMARC1; p=reject; sp=reject; np=; rua=mailto:a@example.com": replace(POLICY, rua=RUA),
    "v=DMARC1; p=x; adkim=s; psd=n; rua=mailto:a@example.com": replace(POLICY, strict_dkim=True, psd="n", rua=RUA),
    "v=DMARC1; p=x; rua=none, mailto:a@example.com!10m": replace(POLICY, rua=RUA),
    # §4.6 rua, ruf, fo
    "v=DMARC1; p=none; rua=mailto:a@example.com ,https://r.example/x?y=1,,b@example.com": replace(
        POLICY, rua=("mailto:a@example.com", "https://r.example/x?y=1")
    ),
    "v=DMARC1; p=none; rua=mailto:a@example.com!, mailto:a!b@example.com, mailto:a%zz@example.com": POLICY,
    "v=DMARC1; p=none; rua=mailto:A%21@Example.com!5": replace(POLICY, rua=("mailto:A%21@Example.com",)),
    "v=DMARC1; p=none; fo=1:d": POLICY,
    "v=DMARC1; p=none; fo=1:d:s; ruf=mailto:a@example.com": replace(POLICY, ruf=RUA, fo=("1", "d", "s")),
    "v=DMARC1; p=none; fo=S:0; ruf=mailto:a@example.com": replace(POLICY, ruf=RUA, fo=("s", "0")),
    "v=DMARC1; p=none; fo=0:1; ruf=mailto:a@example.com": replace(POLICY, ruf=RUA),
    "v=DMARC1; p=none; fo=d:d; ruf=mailto:a@example.com": replace(POLICY, ruf=RUA),
    "v=DMARC1; p=none; fo=x; ruf=mailto:a@example.com": replace(POLICY, ruf=RUA),
    "v=DMARC1; p=none; fo=; ruf=mailto:a@example.com": replace(POLICY, ruf=RUA),
    "v=DMARC1; p=none; fo=1; ruf=nobody": POLICY,
}


@pytest.mark.parametrize(("text", "policy"), RECORDS.items(), ids=RECORDS.keys())
def test_records(text: str, policy: Policy) -> None:
    assert is_dmarc(text.encode())
    assert parse_record(text.encode()) == policy


EXAMPLES = {  # each as its strings joined
    "B.2.1": ("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", POLICY),
    "B.2.2": (
        "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com",
        replace(POLICY, ruf=("mailto:auth-reports@example.com",)),
    ),
    "B.2.5, testing": (
        "v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net; t=y",
        Policy(QUARANTINE, QUARANTINE, QUARANTINE, testing=True),
    ),
    "B.2.5, in earnest": (
        "v=DMARC1; p=reject; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net",
        Policy(REJECT, REJECT, REJECT),
    ),
    "B.3.1": (
        "v=DMARC1; p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com",
        Policy(REJECT, REJECT, REJECT),
    ),
}


@pytest.mark.parametrize(("text", "policy"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_examples_of_the_rfc(text: str, policy: Policy) -> None:
    found = parse_record(text.encode())
    assert replace(found, rua=()) == policy
    assert found.rua[0] == "mailto:dmarc-feedback@example.com"
    assert len(found.rua) == 1 + ("thirdparty" in text)


NOT_DMARC = {
    "empty": b"",
    "no separator": b"v=DMARC1 p=none",
    "case of the version": b"v=dmarc1; p=none",
    "another version": b"v=DMARC2; p=none",
    "a longer one": b"v=DMARC12; p=none",
    "no version": b"p=none",
    "version not first": b"p=none; v=DMARC1",
    "separator first": b";v=DMARC1; p=none",
    "space first": b" v=DMARC1; p=none",
    "quoted": b'"v=DMARC1; p=none"',
    "space in the version": b"v=DMARC 1; p=none",
    "another tag": b"vv=DMARC1; p=none",
    "no equals sign": b"vDMARC1; p=none",
    "line end before the separator": b"v=DMARC1\n; p=none",
    "byte order mark": b"\xef\xbb\xbfv=DMARC1; p=none",
    "SPF": b"v=spf1 -all",
}


@pytest.mark.parametrize("text", NOT_DMARC.values(), ids=NOT_DMARC.keys())
def test_no_dmarc_record(text: bytes) -> None:
    assert not is_dmarc(text)
    with pytest.raises(DmarcError, match="does not start with v=DMARC1"):
        parse_record(text)


NO_POLICY = {
    "p of no kind": (b"v=DMARC1; p=all", "p="),
    "empty p": (b"v=DMARC1; p=", "p="),
    "p with more": (b"v=DMARC1; p=none none", "p="),
    "p without separator": (b"v=DMARC1; p=none rua=mailto:a@example.com", "p="),
    "typographic quotes": ("v=DMARC1; p=“none”".encode(), "p="),
    "no-break space": (b"v=DMARC1; p=\xc2\xa0none", "p="),
    "NUL": (b"v=DMARC1; p=none\0", "p="),
    "line end": (b"v=DMARC1; p=none\n", "p="),
    "not UTF-8": (b"v=DMARC1; p=none\xff", "p="),
    "sp": (b"v=DMARC1; p=none; sp=x", "sp="),
    "np": (b"v=DMARC1; p=reject; np=x", "np="),
    "sp without p": (b"v=DMARC1; sp=x", "sp="),
    "reports to no URI": (b"v=DMARC1; p=x; rua=a@example.com", "p="),
    "reports to an empty list": (b"v=DMARC1; p=x; rua=", "p="),
    "reports to a scheme": (b"v=DMARC1; p=x; rua=mailto:", "p="),
    "reports to spaces": (b"v=DMARC1; p=x; rua=mailto:a b@example.com", "p="),
    "failure reports alone": (b"v=DMARC1; p=x; ruf=mailto:a@example.com", "p="),
}


@pytest.mark.parametrize(("text", "tag"), NO_POLICY.values(), ids=NO_POLICY.keys())
def test_no_policy(text: bytes, tag: str) -> None:
    """It is a DMARC record all the same: a second one beside it would be one too many."""
    assert is_dmarc(text)
    with pytest.raises(DmarcError) as caught:
        parse_record(text)
    assert caught.value.safe == f"{tag} is none of none, quarantine, reject"


_PIECES = st.lists(
    st.sampled_from([b"p", b"sp", b"np", b"rua", b"=", b";", b" ", b"none", b"reject", b"mailto:a@b.c", b"\xff"]),
    max_size=20,
).map(b"".join)


@settings(deadline=None)
@given(st.binary(max_size=100) | _PIECES)
def test_any_bytes_are_a_policy_or_none(text: bytes) -> None:
    try:
        policy = parse_record(b"v=DMARC1;" + text)
    except DmarcError:
        return
    assert {policy.p, policy.sp, policy.np} <= set(Disposition)
    assert policy.psd in ("y", "n", "u")
    assert all(":" in each and "," not in each for each in policy.rua + policy.ruf)
