"""One question to a few recursive servers: UDP, TCP where the answer doesn't fit, the next server where one fails
(RFC 1035 §4.2, RFC 7766 §5).

Each query has an id from the system's random source and a socket, so a port, of its own: who doesn't see it
has to guess both (RFC 5452 §9.2). The sockets are connected: the kernel drops what others send.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relay import dns_message
from relay.dns_message import MessageError, Reply, Type

QUERY_SECONDS: Final = 3.0  # one try at one server, UDP and TCP together
FIRST_PAUSE: Final = 0.1  # after all servers have been silent; doubled each time
LONGEST_PAUSE: Final = 2.0
MAX_ANSWER: Final = 16_384  # octets of a whole response; honest ones are far smaller
LARGEST_UDP: Final = 4096  # what servers that ignore our size may send


class UnusableError(Exception):
    """No server has an answer that makes sense; the last one's reason."""


class TooLargeError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Server:
    """host: an IP address, of `family`."""

    family: socket.AddressFamily
    host: str
    port: int


async def exchange(name: bytes, type: Type, servers: Sequence[Server]) -> Reply:
    """Asks one after the other, again and again while they are silent: the caller has to set an end to it.

    name: as in a message. UnusableError if every server failed, TooLargeError.
    """
    left, pause = list(servers), FIRST_PAUSE
    reason = "no DNS server"
    while left:
        for server in tuple(left):
            try:
                async with asyncio.timeout(QUERY_SECONDS):
                    return await _try(dns_message.query(os.urandom(2), name, type), server)
            except TimeoutError:
                continue
            except (OSError, MessageError) as error:
                left.remove(server)
                reason = f"{server.host}: {error}"
        if left:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    raise UnusableError(reason)


async def _try(query: bytes, server: Server) -> Reply:
    wire = await _udp(query, server)
    if dns_message.is_truncated(wire):
        wire = await _tcp(query, server)
    return dns_message.read(wire, query)


async def _udp(query: bytes, server: Server) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(server.family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((server.host, server.port))
        sock.send(query)
        while True:
            wire = await loop.sock_recv(sock, LARGEST_UDP)
            if dns_message.answers(wire, query):
                return wire
            # else it's late, a guess, or garbage: the true one may still come


async def _tcp(query: bytes, server: Server) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(server.family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (server.host, server.port))
        await loop.sock_sendall(sock, len(query).to_bytes(2) + query)
        size = int.from_bytes(await _receive(sock, 2))
        if size > MAX_ANSWER:
            raise TooLargeError
        wire = await _receive(sock, size)
    if not dns_message.answers(wire, query) or dns_message.is_truncated(wire):
        raise MessageError("an answer to another question, or a part of one")
    return wire


async def _receive(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < size:
        part = await loop.sock_recv(sock, size - len(received))
        if not part:
            raise MessageError("the connection ended within an answer")
        received += part
    return bytes(received)
