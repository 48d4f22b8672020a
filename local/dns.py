"""The local DNS server: `python -m local.dns [--listen HOST:PORT] FILE...`, UDP and TCP on one port.

Answers from master files (local.zone) with EDNS (RFC 6891) and truncation (RFC 2181 §9: the client
asks again over TCP). Recursion is said to be available, because stub resolvers ask for it.
When ready it prints {"event": "listening", "port": N} on stdout.
"""

import argparse
import asyncio
import json
import logging
import signal
import struct
import sys
from pathlib import Path
from typing import Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rrset

from local.zone import Trial, ZoneError, ZoneFiles

PLAIN_UDP: Final = 512  # octets, RFC 1035 §4.2.1
LARGEST_UDP: Final = 1232  # what passes everywhere without fragments (DNS flag day 2020)
LARGEST_TCP: Final = 65_535
TCP_IDLE_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


class Responder:
    """Query in wire format -> answer in wire format, or None where there is nothing to say."""

    def __init__(self, zones: ZoneFiles) -> None:
        self._zones = zones

    def respond(self, wire: bytes, *, udp: bool) -> bytes | None:
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return _format_error(wire)
        if query.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST_UDP)
        response.flags |= dns.flags.AA
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            response.set_rcode(dns.rcode.NOTIMP)
        elif query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
        elif not self._fill(response, query.question[0]):
            return None
        limit = LARGEST_TCP
        if udp:
            limit = PLAIN_UDP if query.edns < 0 else min(max(query.payload, PLAIN_UDP), LARGEST_UDP)
        return _to_wire(response, limit)

    def _fill(self, response: dns.message.Message, question: dns.rrset.RRset) -> bool:
        if question.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY):
            response.set_rcode(dns.rcode.REFUSED)
            return True
        match self._zones.current().answer(question.name.canonicalize(), question.rdtype):
            case Trial.TIMEOUT:
                return False
            case Trial.SERVFAIL:
                response.set_rcode(dns.rcode.SERVFAIL)
            case answer:
                response.set_rcode(answer.rcode)
                response.answer = answer.answer
                response.authority = answer.authority
        return True


def _to_wire(response: dns.message.Message, limit: int) -> bytes:
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        response.flags |= dns.flags.TC
        response.answer, response.authority = [], []
        return response.to_wire(max_size=limit)


def _format_error(wire: bytes) -> bytes | None:
    if len(wire) < 12 or wire[2] & 0x80:  # no header, or itself a response
        return None
    return wire[:2] + bytes([0x80 | wire[2] & 0x79, dns.rcode.FORMERR]) + bytes(8)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        answer = self._responder.respond(data, udp=True)
        if answer is not None:
            self._transport.sendto(answer, addr)


class DnsServer:
    """UDP and TCP on the same port of `host`. Use `await start()`, then `.port`, then `await stop()`."""

    def __init__(self, zones: ZoneFiles, host: str = "127.0.0.1", port: int = 0) -> None:
        """port: 0 = any that is free for both."""
        self._responder = Responder(zones)
        self._host = host
        self.port = port

    async def start(self) -> None:
        """OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        for chance in range(10, -1, -1):
            self._tcp = await asyncio.start_server(self._serve, self._host, self.port)
            port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Udp(self._responder), local_addr=(self._host, port)
                )
            except OSError:
                self._tcp.close()
                if self.port or not chance:  # a given port, or ten that were free for TCP only
                    raise
            else:
                self.port = port
                return

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    (size,) = struct.unpack("!H", await reader.readexactly(2))  # RFC 1035 §4.2.2
                    query = await reader.readexactly(size)
                answer = self._responder.respond(query, udp=False)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            pass  # the client is done, or idle
        finally:
            writer.close()


async def _run(paths: tuple[Path, ...], host: str, port: int) -> None:
    server = DnsServer(ZoneFiles(paths), host, port)
    await server.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps({"event": "listening", "port": server.port}), flush=True)  # noqa: T201 - the protocol
    await stop.wait()
    await server.stop()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="local.dns", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    host, _, port = options.listen.rpartition(":")
    try:
        asyncio.run(_run(tuple(options.files), host, int(port)))
    except (ZoneError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
