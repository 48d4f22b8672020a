"""A DNS server for tests: a zone file with absolute names on loopback, UDP and TCP, and what goes wrong at will."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


@dataclass(frozen=True, slots=True)
class Asked:
    """times: how often the name has been asked about, this time included. response: what a good server would say."""

    query: dns.message.Message
    response: dns.message.Message
    udp: bool
    times: int
    peer: tuple[str, int]

    @property
    def wire(self) -> bytes:
        return self.response.to_wire(max_size=65_535)


# What to send instead: datagrams, or pieces of a TCP stream (`framed`), after which the server waits for the client
# to hang up; an OSError from it hangs up.
Trick = Callable[[Asked], Iterable[bytes]]


def framed(wire: bytes) -> bytes:
    """As TCP has a message (RFC 1035 §4.2.2)."""
    return struct.pack("!H", len(wire)) + wire


class TestDnsServer:
    """`with TestDnsServer(zone) as server:` then ask `server.address`.

    zone: lines of `name [ttl] type rdata` (300 s). silent, servfail: names (without the last dot) that are not
    answered, answered with SERVFAIL. tricks: by name, what to send instead. truncate: UDP answers are cut.
    bare_cnames: a CNAME is answered without its target. negative_ttl: of the root's SOA, which "no" then has.
    asked: how often each (name, type) was asked.
    """

    __test__ = False

    def __init__(
        self, zone: str = "", *, truncate: bool = False, bare_cnames: bool = False, negative_ttl: int | None = None
    ) -> None:
        self.records: dict[Key, dns.rrset.RRset] = {}
        self.silent: set[str] = set()
        self.servfail: set[str] = set()
        self.tricks: dict[str, Trick] = {}
        self.truncate = truncate
        self.bare_cnames = bare_cnames
        self.negative_ttl = negative_ttl
        self.asked: Counter[tuple[str, str]] = Counter()
        self.add(zone)
        self._tcp, self._udp = _listen()
        self.address = f"127.0.0.1:{self._tcp.getsockname()[1]}"
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)]
        self._ended = False

    def add(self, zone: str) -> None:
        for line in filter(None, map(str.strip, zone.splitlines())):
            name, rest = line.split(maxsplit=1)
            ttl, rest = rest.split(maxsplit=1) if rest.split()[0].isdigit() else ("300", rest)
            kind, data = rest.split(maxsplit=1)
            rdata = dns.rdata.from_text(dns.rdataclass.IN, kind, data)
            owner = dns.name.from_text(name)
            key = owner, dns.rdatatype.from_text(kind)
            self.records.setdefault(key, dns.rrset.RRset(owner, rdata.rdclass, rdata.rdtype)).add(rdata, int(ttl))

    def remove(self, name: str, kind: str) -> None:
        del self.records[dns.name.from_text(name), dns.rdatatype.from_text(kind)]

    @property
    def queries(self) -> int:
        return self.asked.total()

    def __enter__(self) -> "TestDnsServer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", self._udp.getsockname())
        socket.create_connection(self._tcp.getsockname()).close()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while not self._ended:
            wire, peer = self._udp.recvfrom(65_535)
            for response in self._respond(wire, peer, udp=True) if wire else ():
                self._udp.sendto(response, peer)

    def _serve_tcp(self) -> None:
        while not self._ended:
            client, peer = self._tcp.accept()
            with client, client.makefile("rb") as stream:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                if len(prefix := stream.read(2)) == 2:
                    query = stream.read(struct.unpack("!H", prefix)[0])
                    try:
                        for piece in self._respond(query, peer, udp=False):
                            client.sendall(piece)
                        stream.read(1)
                    except OSError:
                        pass

    def _respond(self, wire: bytes, peer: tuple[str, int], *, udp: bool) -> Iterable[bytes]:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        key = name, dns.rdatatype.to_text(question.rdtype)
        self.asked[key] += 1
        if name in self.silent:
            return ()
        response = dns.message.make_response(query, recursion_available=True)
        if name in self.servfail:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            self._fill(response, question.name, question.rdtype)
        if name in self.tricks:
            return self.tricks[name](Asked(query, response, udp, self.asked[key], peer))
        if udp and (self.truncate or len(response.to_wire(max_size=65_535)) > max(query.payload, 512)):
            response.flags |= dns.flags.TC
            response.answer = []
        answer = response.to_wire(max_size=65_535)
        return (answer if udp else framed(answer),)

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        for _ in range(20):  # a CNAME loop is answered, not followed for ever
            if cname := self.records.get((name, dns.rdatatype.CNAME)):
                response.answer.append(cname)
                name = next(iter(cname)).target
                if not self.bare_cnames:
                    continue
            break
        else:
            return
        if self.bare_cnames and response.answer:
            return
        if found := self.records.get((name, kind)):
            response.answer.append(found)
            return
        if not any(owner.is_subdomain(name) for owner, _ in self.records):  # else an empty non-terminal at least
            response.set_rcode(dns.rcode.NXDOMAIN)
        if self.negative_ttl is not None:
            soa = f". . 1 2 3 4 {self.negative_ttl}"
            response.authority.append(dns.rrset.from_text(dns.name.root, 86_400, "IN", "SOA", soa))


def _listen() -> tuple[socket.socket, socket.socket]:
    """TCP and UDP on one port, which is free in TCP but may be anybody's in UDP."""
    for _ in range(20):
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise OSError("no port that is free in TCP and UDP")
