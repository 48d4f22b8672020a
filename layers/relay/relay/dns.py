"""The resolver: `ports.Resolver` over UDP and TCP, with everything bounded.

It asks a recursive resolver (RFC 1034 §5.3.1) and trusts its answers as far as they make sense. Nothing
is cached here: what may be remembered, and how long, is for the caller to decide by the answers' TTLs.
dnspython only finds the system's servers. It is imported then: it costs a cold start 100 ms.
"""

import asyncio
import random
import socket
from typing import Any, Final, NamedTuple

from relay.dns_exchange import MAX_ANSWER, Server, TooLargeError, UnusableError, exchange
from relay.dns_message import LONGEST_TTL, Type, wire_name
from relay.errors import PermanentError, TemporaryError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from relay.settings import SettingsError

TOTAL_SECONDS: Final = 10.0  # all tries at one name and at what it is an alias of, waiting for a socket included
MAX_CNAMES: Final = 8  # that a server leaves to us
IN_FLIGHT: Final = 256  # sockets at once; a Lambda has 1,024 file descriptors


class _Answer(NamedTuple):
    status: DnsStatus
    records: tuple[Any, ...]
    ttl: int


class DnspythonResolver:
    """servers: "ip:port", "[ip6]:port" or "ip" each; none means the system's. SettingsError for another form."""

    def __init__(self, servers: tuple[str, ...] = ()) -> None:
        self._servers = tuple(_server(each) for each in servers)
        self._rotate = False
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    async def txt(self, name: str) -> TxtAnswer:
        return TxtAnswer(*await self._ask(name, "TXT"))

    async def mx(self, name: str) -> MxAnswer:
        return MxAnswer(*await self._ask(name, "MX"))  # a host of "" is the null MX (RFC 7505)

    async def a(self, name: str) -> AddressAnswer:
        return AddressAnswer(*await self._ask(name, "A"))

    async def aaaa(self, name: str) -> AddressAnswer:
        return AddressAnswer(*await self._ask(name, "AAAA"))

    async def ptr(self, name: str) -> PtrAnswer:
        return PtrAnswer(*await self._ask(name, "PTR"))

    async def _ask(self, name: str, kind: str) -> _Answer:
        try:
            asked = wire_name(name)
        except ValueError as error:  # UnicodeEncodeError is one
            raise PermanentError("a domain name cannot be looked up", f"{name[:300]!r}: {error}") from error
        detail = ""
        try:
            async with asyncio.timeout(TOTAL_SECONDS), self._in_flight:
                return await self._follow(asked, name, kind)
        except TimeoutError:
            reason = "no answer in time"
        except UnusableError as error:
            reason = "no usable answer"
            detail = str(error)
        except TooLargeError as error:
            raise TemporaryError(f"{name} {kind}: DNS answer of more than {MAX_ANSWER} octets") from error
        raise TemporaryError(f"{name} {kind}: {reason} from DNS", detail)

    async def _follow(self, asked: bytes, name: str, kind: str) -> _Answer:
        """Follows CNAMEs that the server left to us."""
        ttl = LONGEST_TTL
        for _ in range(MAX_CNAMES):
            reply = await exchange(asked, Type[kind], self._order())
            ttl = min(ttl, reply.ttl)
            if not reply.exists:
                return _Answer(DnsStatus.NO_NAME, (), ttl)
            if not reply.alias:
                return _Answer(DnsStatus.OK if reply.records else DnsStatus.NO_DATA, reply.records, ttl)
            asked = reply.alias
        raise TemporaryError(f"{name} {kind}: more than {MAX_CNAMES} CNAMEs")

    def _order(self) -> tuple[Server, ...]:
        if not self._servers:
            self._servers, self._rotate = _system_servers()
        return tuple(random.sample(self._servers, len(self._servers))) if self._rotate else self._servers


def _system_servers() -> tuple[tuple[Server, ...], bool]:
    """As dnspython reads them from the system, and whether to spread load over them (resolv.conf's rotate).

    UnusableError if the system has none.
    """
    import dns.exception
    import dns.resolver

    try:
        system = dns.resolver.Resolver(configure=True)
    except (dns.exception.DNSException, OSError) as error:
        raise UnusableError(str(error)) from error
    hosts = [str(each) for each in system.nameservers]
    return tuple(_at(each, system.nameserver_ports.get(each, system.port)) for each in hosts), system.rotate


def _server(text: str) -> Server:
    import ipaddress

    host, port = text, "53"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, port = text.split(":")
    try:
        if not 0 < int(port) < 65_536:
            raise ValueError
        return _at(str(ipaddress.ip_address(host)), int(port))
    except ValueError:
        raise SettingsError(f"DNS server {text!r} is not an IP address and port such as 192.0.2.53:53") from None


def _at(host: str, port: int) -> Server:
    return Server(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)
