"""A DNS server for tests: a zone file with absolute names on loopback, UDP and TCP, and what goes wrong at will."""

import socket
import struct
import threading
from collections import Counter
from types import TracebackType

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


class TestDnsServer:
    """`with TestDnsServer(zone) as server:` then ask `server.address`.

    zone: lines of `name [ttl] type rdata` (300 s). silent, servfail: names (without the last dot) that are not
    answered, answered with SERVFAIL. truncate: UDP answers are cut. bare_cnames: a CNAME is answered without its
    target. asked: how often each (name, type) was asked.
    """

    __test__ = False

    def __init__(self, zone: str = "", *, truncate: bool = False, bare_cnames: bool = False) -> None:
        self.records: dict[Key, dns.rrset.RRset] = {}
        self.silent: set[str] = set()
        self.servfail: set[str] = set()
        self.truncate = truncate
        self.bare_cnames = bare_cnames
        self.asked: Counter[tuple[str, str]] = Counter()
        self.add(zone)
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(self._tcp.getsockname())
        self.address = f"127.0.0.1:{self._tcp.getsockname()[1]}"
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)]
        self._ended = False

    def add(self, zone: str) -> None:
        for line in filter(None, map(str.strip, zone.splitlines())):
            name, *rest = line.split(maxsplit=3) if line.split()[1].isdigit() else line.split(maxsplit=2)
            ttl, kind, data = rest if len(rest) == 3 else (300, *rest)
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
            if wire and (response := self._respond(wire, udp=True)):
                self._udp.sendto(response, peer)

    def _serve_tcp(self) -> None:
        while not self._ended:
            client, _ = self._tcp.accept()
            with client, client.makefile("rwb") as stream:
                if len(prefix := stream.read(2)) == 2:
                    response = self._respond(stream.read(struct.unpack("!H", prefix)[0]), udp=False)
                    stream.write(struct.pack("!H", len(response or b"")) + (response or b""))

    def _respond(self, wire: bytes, *, udp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked[name, dns.rdatatype.to_text(question.rdtype)] += 1
        if name in self.silent:
            return None
        response = dns.message.make_response(query, recursion_available=True)
        if name in self.servfail:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            self._fill(response, question.name, question.rdtype)
        if udp and (self.truncate or len(response.to_wire(max_size=65_535)) > max(query.payload, 512)):
            response.flags |= dns.flags.TC
            response.answer = []
        return response.to_wire(max_size=65_535)

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
        elif not any(owner.is_subdomain(name) for owner, _ in self.records):  # else an empty non-terminal at least
            response.set_rcode(dns.rcode.NXDOMAIN)
