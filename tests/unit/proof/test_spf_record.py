"""relay.proof.spf_record: RFC 7208 §4.5, §4.6, §5, §6, §7.1, §12."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ports import DnsStatus, TxtAnswer
from relay.proof.spf_record import Directive, Mechanism, Qualifier, Record, SpfPermError, parse_record, select

ALL = Directive(Qualifier.PASS, Mechanism.ALL)


def one(term: str) -> Directive:
    (directive,) = parse_record(f"v=spf1 {term}".encode()).directives
    return directive


@pytest.mark.parametrize("text", ["v=spf1", "V=SPF1", "v=spf1 ", "v=spf1    "])
def test_empty_record(text: str) -> None:
    assert parse_record(text.encode()) == Record()


TERMS = {
    "all": ALL,
    "+all": ALL,
    "-all": Directive(Qualifier.FAIL, Mechanism.ALL),
    "~ALL": Directive(Qualifier.SOFTFAIL, Mechanism.ALL),
    "?all": Directive(Qualifier.NEUTRAL, Mechanism.ALL),
    "include:example.com": Directive(Qualifier.PASS, Mechanism.INCLUDE, "example.com"),
    "INCLUDE:Example.COM.": Directive(Qualifier.PASS, Mechanism.INCLUDE, "Example.COM."),
    "include:_spf.%{d}": Directive(Qualifier.PASS, Mechanism.INCLUDE, "_spf.%{d}"),
    "a": Directive(Qualifier.PASS, Mechanism.A),
    "a/24": Directive(Qualifier.PASS, Mechanism.A, cidr4=24),
    "a//64": Directive(Qualifier.PASS, Mechanism.A, cidr6=64),
    "a/0//0": Directive(Qualifier.PASS, Mechanism.A, cidr4=0, cidr6=0),
    "a:example.com": Directive(Qualifier.PASS, Mechanism.A, "example.com"),
    "a:example.com/24//64": Directive(Qualifier.PASS, Mechanism.A, "example.com", cidr4=24, cidr6=64),
    "a:foo:bar/baz.example.com": Directive(Qualifier.PASS, Mechanism.A, "foo:bar/baz.example.com"),
    "mx": Directive(Qualifier.PASS, Mechanism.MX),
    "-mx:example.com//128": Directive(Qualifier.FAIL, Mechanism.MX, "example.com"),
    "ptr": Directive(Qualifier.PASS, Mechanism.PTR),
    "ptr:example.com": Directive(Qualifier.PASS, Mechanism.PTR, "example.com"),
    "ip4:192.0.2.1": Directive(Qualifier.PASS, Mechanism.IP4, network=ip_network("192.0.2.1/32")),
    "ip4:192.0.2.1/24": Directive(Qualifier.PASS, Mechanism.IP4, network=ip_network("192.0.2.0/24")),
    "ip6:2001:db8::/32": Directive(Qualifier.PASS, Mechanism.IP6, network=ip_network("2001:db8::/32")),
    "ip6:::ffff:192.0.2.1": Directive(Qualifier.PASS, Mechanism.IP6, network=ip_network("::ffff:192.0.2.1/128")),
    "exists:%{ir}.%{v}._spf.%{d2}": Directive(Qualifier.PASS, Mechanism.EXISTS, "%{ir}.%{v}._spf.%{d2}"),
    "exists:%{L1R+-}%%%_%-.example.com": Directive(Qualifier.PASS, Mechanism.EXISTS, "%{L1R+-}%%%_%-.example.com"),
    "exists:%{d10}": Directive(Qualifier.PASS, Mechanism.EXISTS, "%{d10}"),
    "exists:%%{d0}.example.com": Directive(Qualifier.PASS, Mechanism.EXISTS, "%%{d0}.example.com"),
    "a:example.xn--p1ai": Directive(Qualifier.PASS, Mechanism.A, "example.xn--p1ai"),
}


@pytest.mark.parametrize(("term", "directive"), TERMS.items(), ids=TERMS.keys())
def test_directives(term: str, directive: Directive) -> None:
    assert one(term) == directive


BAD_TERMS = [
    "foo", "all:example.com", "all/8", "+-all", "include", "include:", "include:example", "include:1.2.3.4",
    "include:example.com/24", "include:%{d", "include:%{x}", "include:%d.example", "include:%{d}%", "include/24",
    "a:", "a:/24", "a:museum", "a:museum.", "a:example..", "a/33", "a//129", "a/024", "a/", "a//", "a:example.com/",
    "a/24/64", "a24", "mx:", "mx/-1", "ptr:", "ptr/24", "exists", "exists:", "exists:%{c}.example",
    "exists:%{t}.example", "exists:%{d0}.example", "exists:%{d00}", "ip4", "ip4:", "ip4:192.0.2", "ip4:192.0.2.256",
    "ip4:192.0.2.01", "ip4:192.0.2.0/33", "ip4:192.0.2.0/08", "ip4:192.0.2.0/255.255.255.0", "ip4:2001:db8::",
    "ip4/24", "ip6:192.0.2.1", "ip6:2001:db8::%1", "ip6:2001:db8::/129", "ip6::", "ip6:g::", "-", "+", ":", "=x",
    "1=x", "redirect=", "redirect=example", "redirect=a.b redirect=a.b", "exp=a.b EXP=a.b", "exp=%{d0}.a", "exp=a",
    "moo=%", "moo=%a", "moo=%{d0}", "all\tall", "all\x00", "a:ex ample.com", "include:example.com\n",
]  # fmt: skip


@pytest.mark.parametrize("term", BAD_TERMS)
def test_syntax_errors(term: str) -> None:
    with pytest.raises(SpfPermError):
        parse_record(f"v=spf1 {term}".encode())
    with pytest.raises(SpfPermError):  # anywhere in the record, even behind all (§4.6)
        parse_record(f"v=spf1 -all {term}".encode())


def test_not_ascii() -> None:
    with pytest.raises(SpfPermError, match="ASCII"):
        parse_record("v=spf1 include:bücher.example".encode())


def test_modifiers() -> None:
    record = parse_record(b"v=spf1 Redirect=_spf.example.com moo=%{c}%{r}/x:=y exp=x.%{d} a=b moo= all")
    assert record == Record((ALL,), redirect="_spf.example.com", exp="x.%{d}")


@pytest.mark.parametrize("text", ["", "v=spf10", "v=spf1\tall", " v=spf1", "v=spf2.0/pra"])
def test_other_records_are_not_spf(text: str) -> None:
    assert select(TxtAnswer(DnsStatus.OK, (text.encode(),))) is None
    with pytest.raises(SpfPermError):
        parse_record(text.encode())


def test_select() -> None:
    records = (b"foo", b"v=spf1 -all", b"v=spf10")
    assert select(TxtAnswer(DnsStatus.OK, records)) == b"v=spf1 -all"
    assert select(TxtAnswer(DnsStatus.NO_NAME)) is None
    with pytest.raises(SpfPermError, match="2 SPF records"):
        select(TxtAnswer(DnsStatus.OK, (*records, b"V=SPF1")))


@given(st.binary(max_size=200) | st.text("aip4x:/.%{}d-+=0 ", max_size=60).map(str.encode))
def test_any_bytes_parse_or_are_a_permerror(text: bytes) -> None:
    try:
        parse_record(b"v=spf1 " + text)
    except SpfPermError:
        pass


@pytest.mark.parametrize("piece", ["a.", "a-", "%{d}", "/", ".", "-", "a", "%%"])
def test_hostile_records_end(piece: str) -> None:
    for end in ("", "!", "%"):
        try:
            parse_record(f"v=spf1 a:{piece * (16_000 // len(piece))}{end}".encode())
        except SpfPermError:
            pass


def test_a_term_is_shown_as_written() -> None:
    for term in ("-include:x.example", "~all", "+ALL", "ip4:192.0.2.1/24", "A:X.example/24//64", "?ptr", "exists:%{d}"):
        assert str(one(term)) == term
