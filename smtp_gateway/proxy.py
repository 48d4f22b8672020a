"""The PROXY protocol's header, versions 1 and 2: what a balancer says of the client before the client's first octet.

The specification is HAProxy's "The PROXY protocol, Versions 1 & 2"; sections are cited from it. Octets in, a header
or an error out; no I/O.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"  # §2.2: what version 2 begins with
WORD: Final = b"PROXY "  # §2.1: and version 1
LONGEST_LINE: Final = 107  # octets with CRLF, §2.1
LONGEST: Final = 4096  # octets of a version 2 header; §2 has all of it in one segment, TLVs can take more

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FIXED: Final = 16  # octets of version 2 before the addresses
_V4: Final = re.compile(r"[0-9.]+")
_V6: Final = re.compile(r"[0-9A-Fa-f:.]+")  # no %: a scope means nothing here
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


class ProxyError(Exception):
    """There is no header, or not one that can be believed. The text is for the log; nothing of the octets is in it."""


@dataclass(frozen=True, slots=True)
class Header:
    """address, port: the client's; "" and 0 if the connection is the balancer's own (a health check) or it doesn't
    know: then the peer itself counts. size: octets that the header takes."""

    address: str
    port: int
    size: int


def parse(data: bytes) -> Header | None:
    """The header that `data`, all that has come so far, begins with; None if more is needed. ProxyError as soon as it
    can't become one: no more than LONGEST octets are ever asked for."""
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _binary(data) if len(data) >= _FIXED else None
    if data[: len(WORD)] == WORD[: len(data)]:
        return _line(data)
    raise ProxyError("no PROXY header")


def _line(data: bytes) -> Header | None:
    """§2.1"""
    line, end, _ = data[:LONGEST_LINE].partition(b"\r\n")
    if b"\n" in line or b"\r" in line[:-1] or (end and b"\r" in line):
        raise ProxyError("a line of version 1 ends in CRLF")
    if not end:
        if len(data) >= LONGEST_LINE:
            raise ProxyError("a line of version 1 is too long")
        return None
    size = len(line) + len(end)
    match line.decode("latin-1").split(" "):
        case ["PROXY", "UNKNOWN", *_]:  # what follows is ignored
            return Header("", 0, size)
        case ["PROXY", "TCP4" | "TCP6" as family, source, target, port, target_port]:
            address, _ = _address(family, source), _address(family, target)
            number, _ = _port(port), _port(target_port)
            return Header(plain(address), number, size)
    raise ProxyError("a malformed line of version 1")


def _address(family: str, text: str) -> Address:
    try:
        if family == "TCP4" and _V4.fullmatch(text):
            return ipaddress.IPv4Address(text)
        if family == "TCP6" and _V6.fullmatch(text):
            return ipaddress.IPv6Address(text)
    except ValueError:
        pass
    raise ProxyError("an address of version 1 is none")


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise ProxyError("a port of version 1 is none")
    return int(text)


def _binary(data: bytes) -> Header | None:
    """§2.2. What follows the addresses (TLVs) is skipped."""
    version, command = divmod(data[12], 16)
    family, transport = divmod(data[13], 16)
    length = int.from_bytes(data[14:_FIXED], "big")
    size = _FIXED + length
    if version != 2 or command > 1:
        raise ProxyError("not version 2, or a command that it hasn't")
    if size > LONGEST:
        raise ProxyError("a header of version 2 is too long")
    forwarded = command == 1  # else LOCAL: the balancer's own connection, whatever addresses it gives
    if forwarded and (family > 3 or transport > 2):
        raise ProxyError("an address family or transport that version 2 hasn't")
    octets = {0x11: 4, 0x21: 16}.get(data[13], 0) if forwarded else 0  # TCP; anything else has no address for us
    if length < 2 * octets + 4 and octets:
        raise ProxyError("a header of version 2 is too short for its addresses")
    if len(data) < size:
        return None
    if not octets:
        return Header("", 0, size)
    port = _FIXED + 2 * octets
    source = ipaddress.ip_address(data[_FIXED : _FIXED + octets])
    return Header(plain(source), int.from_bytes(data[port : port + 2], "big"), size)


def plain(address: Address) -> str:
    """In text; an IPv4 address as such, also where IPv6 carries it (RFC 4291 §2.5.5.2)."""
    return str(getattr(address, "ipv4_mapped", None) or address)
