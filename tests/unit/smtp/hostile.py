"""Servers that do their worst at a stage of the session, and what that costs: `python -m tests.unit.smtp.hostile`
prints the table of docs/delivery.md."""

import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from relay.ports import RecipientReply
from tests.unit.smtp.scripted import Script
from tests.unit.smtp.world import LIMITS, SOON, World, world

STAGES = ("greeting", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "content")
BLOCK = 65_536
SHORT = replace(
    LIMITS, greeting=SOON, hello=SOON, tls=SOON, mail=SOON, rcpt=SOON, data=SOON, content=SOON, block=SOON, reset=SOON
)


class Peer:
    """What the hostile part of a server says to the client; `octets` counts it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.octets = 0

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        self.octets += len(data)
        await self._writer.drain()

    async def flood(self, data: bytes, octets: int = 1 << 40) -> None:
        block = data * (BLOCK // len(data))
        while self.octets < octets:
            await self.say(block)
            await asyncio.sleep(0)

    def reset(self) -> None:
        self._writer.transport.abort()


async def long_line(peer: Peer) -> None:
    await peer.say(b"250 ")
    await peer.flood(b"x", 20_000_000)
    await peer.say(b"\r\n")


async def drip(peer: Peer) -> None:
    while True:
        for octet in b"250-one octet at a time\r\n":
            await peer.say(bytes([octet]))
            await asyncio.sleep(SOON / 10)


async def silence(_peer: Peer) -> None:
    await asyncio.sleep(60)


async def disconnect(peer: Peer) -> None:
    peer.reset()


WORST: dict[str, Callable[[Peer], Awaitable[None]]] = {
    "endless lines of a reply": lambda peer: peer.flood(b"250-and another thing\r\n"),
    "endless replies": lambda peer: peer.flood(b"250 ok\r\n"),
    "endless empty lines": lambda peer: peer.flood(b"\r\n"),
    "a line of 20 MB": long_line,
    "an octet now and then": drip,
    "silence": silence,
    "disconnects": disconnect,
    "a code of 999": lambda peer: peer.say(b"999 ok\r\n"),
    "a code of four digits": lambda peer: peer.say(b"2500 ok\r\n"),
    "a code of one digit": lambda peer: peer.say(b"2 ok\r\n"),
    "1xx": lambda peer: peer.say(b"150 wait\r\n"),
    "binary": lambda peer: peer.say(bytes(range(256)) * 4 + b"\r\n"),
}


class Hostile:
    """A server, well-behaved up to `stage`."""

    def __init__(self, stage: str, worst: Callable[[Peer], Awaitable[None]]) -> None:
        self._stage = stage
        self._worst = worst
        self.peers: list[Peer] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        peer = Peer(writer)
        self.peers.append(peer)
        try:
            await self._session(reader, writer, peer)
            await reader.read()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        if self._stage == "greeting":
            await self._worst(peer)
            return
        writer.write(b"220 ESMTP\r\n")
        while line := await reader.readline():
            stage = {"EHLO": "EHLO", "STAR": "STARTTLS", "MAIL": "MAIL", "RCPT": "RCPT", "DATA": "DATA"}.get(
                line[:4].decode("latin-1").upper(), ""
            )
            if stage == self._stage:
                await self._worst(peer)
                return
            if stage == "DATA":
                writer.write(b"354 go on\r\n")
                while await reader.readline() not in (b".\r\n", b""):
                    pass
                if self._stage == "content":
                    await self._worst(peer)
                    return
            starttls = b"250-STARTTLS\r\n" if self._stage == "STARTTLS" else b""
            writer.write(b"250-x\r\n" + starttls + b"250 PIPELINING\r\n" if stage == "EHLO" else b"250 ok\r\n")


@dataclass(frozen=True)
class Measured:
    """seconds: until the delivery was over. peak: octets of memory more than before, server included. said: octets
    that the server got rid of. reply: the first recipient's. elsewhere: messages that the second host has."""

    seconds: float
    peak: int
    said: int
    reply: RecipientReply
    elsewhere: int


async def measure(stage: str, worst: Callable[[Peer], Awaitable[None]]) -> Measured:
    """A delivery to a domain whose first host is hostile, and whose second is not."""
    server = Hostile(stage, worst)
    async with asyncio.timeout(30), world(Script(), Script(), limits=SHORT) as here:
        listening = await _in_place_of_the_first(here, server)
        try:
            tracemalloc.start()
            began = time.monotonic()
            (reply,) = await here.send()
            seconds = time.monotonic() - began
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            listening.close()
            for task in server.tasks:
                task.cancel()
            await asyncio.gather(*server.tasks, return_exceptions=True)
        return Measured(seconds, peak, sum(peer.octets for peer in server.peers), reply, here.received[1])


async def _in_place_of_the_first(here: World, server: Hostile) -> asyncio.Server:
    here.zone.a_records["mx1.b.example"] = ("127.0.0.3",)
    return await asyncio.start_server(server, "127.0.0.3", here.sinks[0].port)


def main() -> None:
    print("| the server | at worst | seconds | memory | it said |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, worst in WORST.items():
        measured = {stage: asyncio.run(measure(stage, worst)) for stage in STAGES}
        stage, most = max(measured.items(), key=lambda each: each[1].peak)
        seconds = max(each.seconds for each in measured.values())
        said = max(each.said for each in measured.values())
        print(f"| {name} | {stage} | {seconds:.2f} | {most.peak / 1024:.0f} KiB | {said / 1024:.0f} KiB |")


if __name__ == "__main__":
    main()
