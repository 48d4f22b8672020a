"""The resolver: dnspython's asynchronous one behind `ports.Resolver`, with everything bounded.

It asks a recursive resolver (RFC 1034 §5.3.1) and trusts its answers as far as they make sense. Nothing
is cached here: what may be remembered, and how long, is for the caller to decide by the answers' TTLs.
dnspython is imported at the first query: it costs a cold start 100 ms that not every path needs.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.errors import PermanentError, TemporaryError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from relay.settings import SettingsError

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as _Stub
    from dns.message import Message
    from dns.name import Name

QUERY_SECONDS: Final = 3.0  # one try at one server
TOTAL_SECONDS: Final = 10.0  # all tries at one name
MAX_ANSWER: Final = 16_384  # octets of a whole response; honest ones are far smaller
MAX_CNAMES: Final = 8
UDP_PAYLOAD: Final = 1232  # no IP fragments (RFC 9715 §3)
IN_FLIGHT: Final = 256  # sockets at once; a Lambda has 1,024 file descriptors


class _Answer(NamedTuple):
    status: DnsStatus
    records: tuple[Any, ...]  # dns.rdata.Rdata of the type asked for
    ttl: int


class DnspythonResolver:
    """servers: "ip:port", "[ip6]:port" or "ip" each; none means the system's. SettingsError for another form."""

    def __init__(self, servers: tuple[str, ...] = ()) -> None:
        self._servers = tuple(_server(each) for each in servers)
        self._stub: _Stub | None = None
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    async def txt(self, name: str) -> TxtAnswer:
        status, records, ttl = await self._ask(name, "TXT")
        return TxtAnswer(status, tuple(b"".join(each.strings) for each in records), ttl)

    async def mx(self, name: str) -> MxAnswer:
        status, records, ttl = await self._ask(name, "MX")
        return MxAnswer(status, tuple((each.preference, _host(each.exchange)) for each in records), ttl)

    async def a(self, name: str) -> AddressAnswer:
        status, records, ttl = await self._ask(name, "A")
        return AddressAnswer(status, tuple(each.address for each in records), ttl)

    async def aaaa(self, name: str) -> AddressAnswer:
        status, records, ttl = await self._ask(name, "AAAA")
        return AddressAnswer(status, tuple(each.address for each in records), ttl)

    async def ptr(self, name: str) -> PtrAnswer:
        status, records, ttl = await self._ask(name, "PTR")
        return PtrAnswer(status, tuple(_host(each.target) for each in records), ttl)

    async def _ask(self, name: str, kind: str) -> _Answer:
        """Follows CNAMEs that the server left to us."""
        target, ttl = _absolute(name), None
        for _ in range(MAX_CNAMES):
            found, canonical, seconds = await self._ask_once(target, kind, name)
            ttl = seconds if ttl is None else min(ttl, seconds)
            if found.records or found.status is DnsStatus.NO_NAME or canonical == target:
                return found._replace(ttl=ttl)
            target = canonical
        raise TemporaryError(f"{name} {kind}: more than {MAX_CNAMES} CNAMEs")

    async def _ask_once(self, target: "Name", kind: str, name: str) -> tuple[_Answer, "Name", int]:
        import dns.exception
        import dns.resolver

        async with self._in_flight:
            try:
                answer = await self._resolver().resolve(
                    target, kind, search=False, lifetime=TOTAL_SECONDS, raise_on_no_answer=False
                )
            except dns.resolver.NXDOMAIN as error:
                chain = error.response(target).resolve_chaining()  # type: ignore[no-untyped-call]
                return _Answer(DnsStatus.NO_NAME, (), 0), target, int(chain.minimum_ttl)
            except (dns.exception.DNSException, OSError, EOFError) as error:
                reason = "no answer in time" if isinstance(error, dns.exception.Timeout) else "no usable answer"
                raise TemporaryError(f"{name} {kind}: {reason} from DNS", type(error).__name__) from error
        _check_size(answer.response, name, kind)
        records = tuple(answer.rrset or ())
        status = DnsStatus.OK if records else DnsStatus.NO_DATA
        return _Answer(status, records, 0), answer.canonical_name, int(answer.chaining_result.minimum_ttl)

    def _resolver(self) -> "_Stub":
        if self._stub is None:
            import dns.asyncresolver
            import dns.nameserver

            self._stub = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                self._stub.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in self._servers]
            self._stub.timeout = QUERY_SECONDS
            self._stub.use_edns(0, 0, UDP_PAYLOAD)
        return self._stub


def _check_size(response: "Message", name: str, kind: str) -> None:
    if response.wire is not None and len(response.wire) > MAX_ANSWER:
        raise TemporaryError(f"{name} {kind}: DNS answer of more than {MAX_ANSWER} octets")


def _absolute(name: str) -> "Name":
    """The name as it stands: no escapes, no search list. PermanentError if it can't be looked up."""
    import dns.exception
    import dns.name

    try:
        labels = name.removesuffix(".").encode("ascii").split(b".")
        return dns.name.Name([*labels, b""])
    except (dns.exception.DNSException, UnicodeEncodeError) as error:
        raise PermanentError("a domain name cannot be looked up", f"{name[:300]!r}: {type(error).__name__}") from error


def _host(name: "Name") -> str:
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")  # "." alone is the null MX (RFC 7505)


def _server(text: str) -> tuple[str, int]:
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
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        raise SettingsError(f"DNS server {text!r} is not an IP address and port such as 192.0.2.53:53") from None
