"""relay.dns_message: what a response says, and that no response costs more than its size. dnspython is the judge."""

import struct
import time
from collections.abc import Iterable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.dns_message import MessageError, Reply, Type, answers, is_truncated, query, read, wire_name

ID = b"\x12\x34"


def question(name: str = "a.example", type: Type = Type.TXT) -> bytes:
    return query(ID, wire_name(name), type)


def response(*records: str, asked: bytes | None = None, flags: int = 0x8180) -> dns.message.Message:
    """records: owner, TTL, class, type, data, in the answer section."""
    message = dns.message.from_wire(asked or question())
    message.flags = dns.flags.Flag(flags)
    message.answer.extend(dns.rrset.from_text(*each.split(maxsplit=4)) for each in records)  # type: ignore[arg-type]
    return message


# --- the query -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["example.com", "Example.COM.", "x" * 63 + ".a", "a b.\0.example"], ids=ascii)
def test_query(name: str) -> None:
    message = dns.message.from_wire(query(ID, wire_name(name), Type.MX))
    assert (message.id, message.flags, message.payload) == (0x1234, dns.flags.RD, 1232)
    (asked,) = message.question
    assert asked.name.labels == (*(each.encode() for each in name.removesuffix(".").split(".")), b"")
    assert (asked.rdtype, asked.rdclass) == (dns.rdatatype.MX, dns.rdataclass.IN)


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, ".".join(["abcdefg"] * 32), "ü"], ids=ascii)
def test_names_that_dns_cannot_hold(name: str) -> None:
    with pytest.raises(ValueError, match=r"label|name|ascii"):
        wire_name(name)


def test_whose_response_it_is() -> None:
    wire = response().to_wire()
    assert answers(wire, question())
    assert answers(wire, question("A.EXAMPLE"))
    assert not answers(wire, question("b.example"))
    assert not answers(wire, question(type=Type.A))
    assert not answers(wire, b"\x12\x35" + question()[2:])
    assert not answers(question(), question())


def test_truncation() -> None:
    assert is_truncated(response(flags=0x8380).to_wire())
    assert not is_truncated(response().to_wire())


# --- data ------------------------------------------------------------------------------------------

VALUES = {
    "A": (Type.A, "A 192.0.2.1", "192.0.2.1"),
    "AAAA": (Type.AAAA, "AAAA 2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
    "AAAA of IPv4": (Type.AAAA, "AAAA ::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    "MX": (Type.MX, "MX 65535 Mail.Example.com.", (65_535, "mail.example.com")),
    "null MX": (Type.MX, "MX 0 .", (0, "")),
    "PTR": (Type.PTR, "PTR Host.example.", "host.example"),
    "PTR with odd labels": (
        Type.PTR,
        r"PTR _a-\*.b\.c.\032d.\255.\000.e\\f.g\"\(\;\@\$.example.",
        r'_a-*.b\046c.\032d.\255.\000.e\092f.g"(;@$.example',
    ),
    "TXT": (Type.TXT, 'TXT "a" "" "b c"', b"ab c"),
    "empty TXT": (Type.TXT, 'TXT ""', b""),
}


@pytest.mark.parametrize(("type", "record", "value"), VALUES.values(), ids=VALUES.keys())
def test_values(type: Type, record: str, value: Any) -> None:
    asked = question(type=type)
    assert read(response(f"a.example. 60 IN {record}", asked=asked).to_wire(), asked) == Reply(True, (value,), b"", 60)


def raw(type: Type, *data: bytes) -> tuple[bytes, bytes]:
    """A response with such records, and what it answers."""
    asked = question(type=type)
    records = (b"\xc0\x0c" + struct.pack("!HHIH", type, 1, 60, len(each)) + each for each in data)
    wire = ID + struct.pack("!HHHHH", 0x8180, 1, len(data), 0, 0) + asked[12:-11] + b"".join(records)
    return wire, asked


def test_a_record_twice_is_one() -> None:
    assert read(*raw(Type.TXT, b"\1a", b"\1b", b"\1a")).records == (b"a", b"b")


BROKEN = {
    "A of three octets": (Type.A, b"\0" * 3),
    "A of five": (Type.A, b"\0" * 5),
    "empty A": (Type.A, b""),
    "AAAA of four": (Type.AAAA, b"\0" * 4),
    "TXT without a string": (Type.TXT, b""),
    "TXT that is too short": (Type.TXT, b"\2a"),
    "TXT that ends in a length": (Type.TXT, b"\1a\1"),
    "MX without a host": (Type.MX, b"\0\1"),
    "MX with more": (Type.MX, b"\0\1\xc0\x0cx"),
    "MX with a cut host": (Type.MX, b"\0\1\1"),
    "empty PTR": (Type.PTR, b""),
    "a pointer forwards": (Type.PTR, b"\xc0\xff"),
    "a pointer to itself": (Type.PTR, b"\xc0\x27"),
    "a label before a pointer to itself": (Type.PTR, b"\1a\xc0\x27"),
    "half a pointer": (Type.PTR, b"\xc0"),
    "a label of another kind": (Type.PTR, b"\x41a\0"),
    "a name of 256 octets": (Type.PTR, b"\x3f" + b"x" * 63 + (b"\x3f" + b"x" * 63) * 2 + b"\x3e" + b"x" * 62 + b"\0"),
    "a name of 256 octets by a pointer": (Type.PTR, (b"\x3d" + b"x" * 61) * 4 + b"\xc0\x0e"),
}


@pytest.mark.parametrize(("type", "data"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_data(type: Type, data: bytes) -> None:
    with pytest.raises(MessageError):
        read(*raw(type, data))
    with pytest.raises(MessageError):
        read(*raw(type, data + b"x" * 8)[:1], question(type=type))  # and cut elsewhere


def test_the_longest_name() -> None:
    (name,) = read(*raw(Type.PTR, (b"\x3f" + b"x" * 63) * 3 + b"\x3d" + b"x" * 61 + b"\0")).records
    assert len(name) == 253


# --- against dnspython -----------------------------------------------------------------------------

NAMES = ["a.example.", "b.example.", "c.A.example.", "example.", "d.example.net."]
TARGETS = st.sampled_from(NAMES)
OWNERS = st.sampled_from(["a.example.", "A.example."]) | TARGETS
TTLS = st.integers(0, 600_000)
DATA = st.one_of(
    st.tuples(st.just("TXT"), st.sampled_from(['"x"', '"y" "z"', '""'])),
    st.tuples(st.just("A"), st.sampled_from(["192.0.2.1", "192.0.2.2"])),
    st.tuples(st.just("CNAME"), TARGETS),
    st.tuples(st.just("MX"), TARGETS.map("5 {}".format)),
    st.tuples(st.just("PTR"), TARGETS),
)
RECORDS = st.lists(st.tuples(OWNERS, TTLS, DATA), max_size=8)


@st.composite
def responses(draw: st.DrawFn) -> tuple[dns.message.Message, bytes]:
    """A well-formed response to a question, and the question."""
    asked = question("a.example", draw(st.sampled_from([Type.TXT, Type.A, Type.MX, Type.PTR])))
    message = response(asked=asked, flags=0x8180 | draw(st.sampled_from([0, 0, 3])))
    for owner, ttl, (kind, data) in draw(RECORDS):
        rdata = dns.rdata.from_text("IN", kind, data)
        found = message.find_rrset(message.answer, dns.name.from_text(owner), rdata.rdclass, rdata.rdtype, create=True)
        found.add(rdata, ttl)
    for zone in draw(st.lists(TARGETS, max_size=2, unique=True)):
        soa = f"ns.example. h.example. 1 2 3 4 {draw(TTLS)}"
        message.authority.append(dns.rrset.from_text(zone, draw(TTLS), "IN", "SOA", soa))
    return message, asked


def judged(wire: bytes) -> Reply | None:
    """What dnspython reads; None if it can't be right."""
    try:
        message = dns.message.from_wire(wire)
        if not isinstance(message, dns.message.QueryMessage) or message.rcode() not in (0, 3):
            return None
        chain = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError):
        return None
    alias = chain.canonical_name.to_wire() if chain.cnames and chain.answer is None else b""
    records = tuple(map(_plain, chain.answer or ()))
    return Reply(message.rcode() == 0, records, (alias or b"").lower(), min(int(chain.minimum_ttl), 604_800))


def _plain(record: dns.rdata.Rdata) -> Any:
    match record.rdtype:
        case dns.rdatatype.TXT:
            return b"".join(record.strings)  # type: ignore[attr-defined]
        case dns.rdatatype.MX:
            return record.preference, _host(record.exchange)  # type: ignore[attr-defined]
        case dns.rdatatype.PTR:
            return _host(record.target)  # type: ignore[attr-defined]
    return record.to_text()


def _host(name: dns.name.Name) -> str:
    """Not its to_text, which has other escapes."""
    return ".".join("".join(map(_character, label.lower())) for label in name.labels[:-1])


def _character(octet: int) -> str:
    return chr(octet) if " " < chr(octet) <= "~" and chr(octet) not in "\\." else rf"\{octet:03}"


def reading(wire: bytes, asked: bytes) -> Reply | None:
    try:
        return read(wire, asked) if answers(wire, asked) else None
    except MessageError:
        return None


@settings(deadline=None)
@given(responses())
def test_reads_as_dnspython_does(made: tuple[dns.message.Message, bytes]) -> None:
    wire, asked = made[0].to_wire(), made[1]
    found, expected = reading(wire, asked), judged(wire)
    if found is None:  # it also wants a "no" to come with the right SOA
        assert expected is None or not expected.records
        return
    assert expected is not None
    owners = {each.name for each in dns.message.from_wire(wire).authority}
    if found.records or not owners:
        assert found == expected
    else:  # the SOA of the question's own zone is enough for "no" about an alias
        assert found._replace(ttl=0) == expected._replace(ttl=0)


@settings(deadline=None)
@given(responses(), st.data())
def test_what_is_changed_on_the_way_is_refused_or_read_as_dnspython_does(
    made: tuple[dns.message.Message, bytes], data: st.DataObject
) -> None:
    wire, asked = bytearray(made[0].to_wire()), made[1]
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(0, len(wire)))]) if data.draw(st.booleans()) else bytes(wire)
    found, expected = reading(cut, asked), judged(cut)
    if found is not None and expected is not None:
        assert found.records == expected.records
        assert (found.exists, found.alias) == (expected.exists, expected.alias)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(rest: bytes) -> None:
    asked = question()
    for wire in (rest, ID + rest, response().to_wire()[:29] + rest, response().to_wire()[:12] + rest):
        reading(wire, asked)


# --- what it costs ---------------------------------------------------------------------------------

DEEP = b"\1x" * 126 + b"\0"  # 127 labels, the most a name can have


def filled(records: Iterable[bytes], section: int) -> tuple[bytes, bytes]:
    """16 KB of records in the answer (0), authority (1) or additional (2) section, after a question for DEEP."""
    asked = query(ID, DEEP, Type.MX)
    body = asked[12:-11]
    counts = [0, 0, 0]
    for each in records:
        if len(body) + len(each) > 16_384 - 12:
            break
        body += each
        counts[section] += 1
    return ID + struct.pack("!HHHHH", 0x8180, 1, *counts) + body, asked


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


POINTER = b"\xc0\x0c"
HOSTILE = {
    "MX": ([record(POINTER, 15, struct.pack("!H", n) + POINTER) for n in range(2000)], 0),
    "CNAMEs of others": ([record(b"\2" + struct.pack("!H", n) + b"\xc0\x10", 5, POINTER) for n in range(2000)], 0),
    "SOA": ([record(POINTER, 6, POINTER * 2 + bytes(20)) for n in range(2000)], 1),
    "two names": ([record(POINTER, 17, POINTER * 2) for n in range(2000)], 2),
    "empty records": ([record(b"\0", 1000, b"") for n in range(2000)], 2),
    "pointers to pointers": (  # the data of the first record is at 280
        [record(b"\0", 1000, b"".join(struct.pack("!H", 0xC000 | at) for at in range(278, 14_998, 2)))]
        + [record(struct.pack("!H", 0xC000 | at), 1000, b"") for at in range(14_998, 14_000, -2)],
        0,
    ),
    "names in names": ([record(b"\1y" + struct.pack("!H", 0xC000 | 12 + n % 64), 1000, b"") for n in range(2000)], 2),
}


@pytest.mark.parametrize(("records", "section"), HOSTILE.values(), ids=HOSTILE.keys())
def test_no_answer_costs_more_than_its_size(records: Iterable[bytes], section: int) -> None:
    """Each takes a general reader 0.2 to 7 s; here it's some 10 ms."""
    wire, asked = filled(records, section)
    assert len(wire) > 15_000
    assert answers(wire, asked)
    begun = time.process_time()
    reading(wire, asked)
    assert time.process_time() - begun < 0.2
