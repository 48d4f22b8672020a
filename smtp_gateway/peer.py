"""Who is at the other end of a connection."""

import asyncio
import ipaddress
from dataclasses import dataclass

from smtp_gateway.proxy import plain


@dataclass(frozen=True, slots=True)
class Peer:
    """ip: in text. tls: the cipher suite, as IANA names it."""

    ip: str
    tls: str


def address_of(transport: asyncio.BaseTransport) -> str:
    """The peer's IP address; an IPv4 one as such, also on an IPv6 socket."""
    peer = transport.get_extra_info("peername")
    if not peer:
        return "0.0.0.0"  # noqa: S104 - gone already; it is only for the trace
    return plain(ipaddress.ip_address(peer[0].partition("%")[0]))
