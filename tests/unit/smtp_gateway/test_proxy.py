import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.proxy import LONGEST, SIGNATURE, Header, ProxyError, parse

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

FOUR = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (56_324).to_bytes(2, "big") + (587).to_bytes(2, "big")
SIX = ipaddress.IPv6Address("2001:db8::7").packed + ipaddress.IPv6Address("2001:db8::1").packed + FOUR[8:]
MAPPED = ipaddress.IPv6Address("::ffff:192.0.2.7").packed * 2 + FOUR[8:]

ONES = ":".join(["ffff"] * 8)


def binary(command: int, family: int, body: bytes, *, length: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, family]) + (len(body) if length is None else length).to_bytes(2, "big") + body


GOOD = {
    "TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 587\r\n", "192.0.2.7", 56_324),
    "TCP4, the longest": (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65_535),
    "TCP4, port 0": (b"PROXY TCP4 192.0.2.7 198.51.100.1 0 0\r\n", "192.0.2.7", 0),
    "TCP6": (b"PROXY TCP6 2001:DB8::7 2001:db8::1 1 2\r\n", "2001:db8::7", 1),
    "TCP6, the longest": (f"PROXY TCP6 {ONES} {ONES} 65535 65535\r\n".encode(), ONES, 65_535),
    "TCP6, IPv4 in it": (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7", 1),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", "", 0),
    "UNKNOWN, the longest": (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", "", 0),
    "version 2, TCP over IPv4": (binary(0x21, 0x11, FOUR), "192.0.2.7", 56_324),
    "version 2, TCP over IPv6": (binary(0x21, 0x21, SIX), "2001:db8::7", 56_324),
    "version 2, IPv4 in IPv6": (binary(0x21, 0x21, MAPPED), "192.0.2.7", 56_324),
    "version 2, TLVs": (binary(0x21, 0x11, FOUR + b"\xea\0\x05\x01vpce" + b"\x04\0\0"), "192.0.2.7", 56_324),
    "version 2, broken TLVs": (binary(0x21, 0x11, FOUR + b"\x04\xff"), "192.0.2.7", 56_324),
    "version 2, the longest": (binary(0x21, 0x11, FOUR + b"\0" * (LONGEST - 28)), "192.0.2.7", 56_324),
    "version 2, LOCAL": (binary(0x20, 0x00, b""), "", 0),
    "version 2, LOCAL with addresses": (binary(0x20, 0x11, FOUR), "", 0),
    "version 2, LOCAL with a family that isn't": (binary(0x20, 0xFF, b"abc"), "", 0),
    "version 2, UNSPEC": (binary(0x21, 0x00, b"abc"), "", 0),
    "version 2, UDP": (binary(0x21, 0x12, FOUR), "", 0),
    "version 2, AF_UNIX": (binary(0x21, 0x31, b"/" * 216), "", 0),
}


@pytest.mark.parametrize(("octets", "address", "port"), GOOD.values(), ids=GOOD)
def test_good(octets: bytes, address: str, port: int) -> None:
    for taken in range(len(octets)):
        assert parse(octets[:taken]) is None, "octet by octet"
    assert parse(octets) == Header(address, port, len(octets))
    assert parse(octets + b"EHLO a.example\r\n") == Header(address, port, len(octets)), "with what follows"


LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 587\r\n"
BAD = {
    "a command": b"EHLO a.example\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    "an empty line": b"\r\n\r\n\r\n",
    "small letters": LINE.lower(),
    "no space": b"PROXY\tTCP4",
    "nothing known": b"PROXY\r\n",
    "another protocol": LINE.replace(b"TCP4", b"UDP4"),
    "UNKNOWN and more": b"PROXY UNKNOWNS\r\n",
    "two spaces": LINE.replace(b"TCP4 ", b"TCP4  "),
    "a space at the end": LINE.replace(b"\r", b" \r"),
    "no ports": b"PROXY TCP4 192.0.2.7 198.51.100.1\r\n",
    "a word more": LINE.replace(b"587", b"587 1"),
    "leading zero in an address": LINE.replace(b"192.0.2.7", b"192.0.02.7"),
    "256": LINE.replace(b"192.0.2.7", b"192.0.2.256"),
    "three numbers": LINE.replace(b"192.0.2.7", b"192.0.2"),
    "a name": LINE.replace(b"192.0.2.7", b"localhost"),
    "IPv6 in TCP4": LINE.replace(b"192.0.2.7", b"2001:db8::7"),
    "IPv4 in TCP6": LINE.replace(b"TCP4", b"TCP6"),
    "another family as target": LINE.replace(b"198.51.100.1", b"::1"),
    "a scope": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "two double colons": b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    "five digits": b"PROXY TCP6 12345::1 ::1 1 2\r\n",
    "leading zero in a port": LINE.replace(b"587", b"0587"),
    "port 65536": LINE.replace(b"587", b"65536"),
    "a negative port": LINE.replace(b"587", b"-1"),
    "digits of another script": LINE.replace(b"587", "٥٨٧".encode()),
    "LF alone": LINE.replace(b"\r\n", b"\n"),
    "CR alone": LINE.replace(b"\r\n", b"\r") + b"x",
    "CR in it": LINE.replace(b" 587", b"\r587"),
    "LF in UNKNOWN": b"PROXY UNKNOWN a\nb\r\n",
    "CR before CRLF": LINE.replace(b"\r\n", b"\r\r\n"),
    "too long": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * 93,
    "version 1 in binary": binary(0x11, 0x11, FOUR),
    "version 3": binary(0x31, 0x11, FOUR),
    "no such command": binary(0x22, 0x11, FOUR),
    "no such family": binary(0x21, 0x41, FOUR),
    "no such transport": binary(0x21, 0x13, FOUR),
    "a port short": binary(0x21, 0x11, FOUR[:-2]),
    "IPv6 in the room of IPv4": binary(0x21, 0x21, FOUR),
    "a signature that ends otherwise": SIGNATURE[:-1] + b"\r" + b"\x21\x11\0\0",
    "too long in binary": binary(0x21, 0x11, FOUR, length=LONGEST - 15),
    "65535 in binary": binary(0x20, 0x00, b"", length=65_535),
}


@pytest.mark.parametrize("octets", BAD.values(), ids=BAD)
def test_bad(octets: bytes) -> None:
    with pytest.raises(ProxyError):
        parse(octets)


@given(st.one_of(st.binary(), st.sampled_from(sorted(each[0] for each in GOOD.values()))), st.data())
def test_whole_or_octet_by_octet_is_the_same(octets: bytes, data: st.DataObject) -> None:
    """And so are what is almost a header, and what follows one."""
    if octets:
        at = data.draw(st.integers(0, len(octets) - 1))
        octets = octets[:at] + data.draw(st.binary(max_size=3)) + octets[at + data.draw(st.integers(0, 3)) :]
    octets += data.draw(st.binary(max_size=20))
    found = [_result(octets[:taken]) for taken in range(len(octets) + 1)]
    known = [each for each in found if each is not None]
    assert found == [None] * (len(found) - len(known)) + known, "once it is known, it stays"
    assert len(set(known)) <= 1
    if known and isinstance(known[0], Header):
        assert known[0].size == len(found) - len(known), "and it is known with its last octet"


def _result(octets: bytes) -> Header | str | None:
    try:
        return parse(octets)
    except ProxyError:
        return "error"


FOURS, SIXES = st.ip_addresses(v=4), st.ip_addresses(v=6)
ENDS = st.one_of(st.tuples(FOURS, FOURS), st.tuples(SIXES, SIXES))


@given(ENDS, st.integers(0, 65_535), st.integers(0, 65_535))
def test_what_a_balancer_writes_is_read(ends: tuple[Address, Address], port: int, target_port: int) -> None:
    source, target = ends
    line = f"PROXY TCP{source.version} {source} {target} {port} {target_port}\r\n".encode()
    body = source.packed + target.packed + port.to_bytes(2, "big") + target_port.to_bytes(2, "big")
    both = parse(line), parse(binary(0x21, 0x11 if source.version == 4 else 0x21, body))
    expected = str(getattr(source, "ipv4_mapped", None) or source)
    for header in both:
        assert header
        assert (header.address, header.port) == (expected, port)


def test_no_more_is_asked_for_than_a_header_may_have() -> None:
    for start in (b"PROXY UNKNOWN ", SIGNATURE + b"\x20\x00" + (LONGEST - 16).to_bytes(2, "big")):
        assert _result(start + b"x" * LONGEST) is not None
