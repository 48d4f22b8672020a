"""Many sessions for many minutes, half of them slow: what the honest ones wait for their 250, and memory over time.

`python -m bench.soak [--minutes 10] [--sessions 2000] [--slow 1000]`. The gateway is `python -m smtp_gateway` as it is,
AWS is canned (bench/canned.py). An honest session sends a message of 5 KB every 2 to 8 seconds; every kind of slow one
in SLOW does what it does as long as it is let, and comes back when it is cut off. Each has an address of its own.
"""

import argparse
import asyncio
import base64
import random
import resource
import ssl
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.table import Table

from bench.canned import PASSWORD, USER
from bench.load import body, percentile
from bench.servers import SERVERS, Place, free_port, memory, running, tree
from local.certificates import Authority

SIZE: Final = 5000  # octets
PAUSE: Final = (2.0, 8.0)  # seconds between an honest session's messages
MESSAGES: Final = 20  # of one, then it reconnects
STEP: Final = 1.0  # seconds between what a slow one says
BLOCK: Final = 16_384  # octets
LOGIN: Final = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
MAIL: Final = b"MAIL FROM:<news@bench.example>\r\n", b"RCPT TO:<you@in.example>\r\n", b"DATA\r\n"
HEAD: Final = b"From: <news@bench.example>\r\nTo: <you@in.example>\r\nSubject: soak\r\n\r\n"
GOAL_P99: Final = 2.0  # seconds
GOAL_MEMORY: Final = 512.0  # MiB

Ended = (OSError, EOFError, ssl.SSLError, asyncio.IncompleteReadError)


class UnexpectedError(Exception):
    """A reply that an honest session should not get."""


@dataclass(slots=True)
class Books:
    """Of one minute. times: seconds from the final dot to 250."""

    times: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    mib: list[float] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)


class Client:
    """One session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes) -> bytes:
        """The last line of the reply; EOFError if there is none."""
        self.writer.write(data)
        while line := await self.reader.readline():
            if line[3:4] != b"-":
                return line
        raise EOFError

    async def expect(self, code: bytes, data: bytes) -> None:
        reply = await self.ask(data)
        if not reply.startswith(code):
            raise UnexpectedError(reply.decode("latin-1").strip())

    async def drip(self, data: bytes, step: int = 1) -> None:
        """Until it is cut off: `step` octets a time, over and over."""
        while not self.reader.at_eof():
            for start in range(0, len(data), step):
                self.writer.write(data[start : start + step])
                await self.writer.drain()
                await asyncio.sleep(STEP)
                if self.reader.at_eof():
                    return


class Soak:
    def __init__(self, port: int, root: int) -> None:
        self._port = port
        self._root = root
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._content = HEAD + body(SIZE - len(HEAD)) + b".\r\n"
        self._handshakes = asyncio.Semaphore(50)  # all at once would be another measurement
        self.open = 0
        self.books = [Books()]

    async def connect(self, number: int, *, tls: bool = True, login: bool = True) -> Client:
        address = f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"
        async with self._handshakes:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(address, 0), limit=BLOCK
            )
            client = Client(reader, writer)
            await client.expect(b"220", b"")
            if tls:
                await client.expect(b"250", b"EHLO soak.example\r\n")
                await client.expect(b"220", b"STARTTLS\r\n")
                await writer.start_tls(self._tls)
                await client.expect(b"250", b"EHLO soak.example\r\n")
            if login:
                await client.expect(b"235", b"AUTH PLAIN " + LOGIN + b"\r\n")
        return client

    async def honest(self, number: int) -> None:
        await asyncio.sleep(_between(0.0, PAUSE[1]))
        while True:
            try:
                await self._with(self.connect(number), self._send)
            except UnexpectedError as error:
                self.books[-1].failed[str(error)] += 1
            except Ended as error:
                self.books[-1].failed[type(error).__name__] += 1
            await asyncio.sleep(STEP)

    async def _send(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(MESSAGES):
            for line, code in zip(MAIL, (b"250", b"250", b"354"), strict=True):
                await client.expect(code, line)
            began = loop.time()
            await client.expect(b"250", self._content)
            self.books[-1].times.append(loop.time() - began)
            await asyncio.sleep(_between(*PAUSE))
        await client.ask(b"QUIT\r\n")

    async def slow(self, number: int, kind: str) -> None:
        how, options = SLOW[kind]
        await asyncio.sleep(_between(0.0, PAUSE[1]))
        while True:
            try:
                await self._with(self.connect(number, **options), how)
            except UnexpectedError as error:
                self.books[-1].cut[f"{kind}: {error}"] += 1
            except Ended:
                pass
            self.books[-1].cut[kind] += 1
            await asyncio.sleep(STEP)

    async def _with(self, connecting: Awaitable[Client], what: Callable[[Client], Awaitable[object]]) -> None:
        client = await connecting
        self.open += 1
        try:
            await what(client)
        finally:
            self.open -= 1
            client.writer.transport.abort()

    async def watch(self) -> None:
        """Every ten seconds."""
        while True:
            await asyncio.sleep(10.0)
            self.books[-1].mib.append(memory(self._root) / 1_048_576)
            self.books[-1].sessions.append(self.open)

    async def run(self, minutes: int, sessions: int, slow: int, tell: Callable[[int, Books], None]) -> None:
        kinds = list(SLOW)
        tasks = [asyncio.create_task(self.honest(each)) for each in range(sessions - slow)]
        tasks += [asyncio.create_task(self.slow(sessions + each, kinds[each % len(kinds)])) for each in range(slow)]
        tasks.append(asyncio.create_task(self.watch()))
        for minute in range(minutes):
            await asyncio.sleep(60.0)
            tell(minute + 1, self.books[-1])
            self.books.append(Books())
        self.books.pop()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception):
                raise each


def _between(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - no secret


async def _silent(client: Client) -> None:
    await client.reader.read()


async def _commands(client: Client) -> None:
    await client.drip(b"NOOP the first word of a line that ends late\r\n")


async def _hello(client: Client) -> None:
    await client.ask(b"EHLO soak.example\r\n")
    await client.ask(b"STARTTLS\r\n")
    await client.drip(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))


async def _login(client: Client) -> None:
    await client.drip(b"AUTH PLAIN " + LOGIN[:-1] * 10)


async def _content(client: Client) -> None:
    for line in MAIL:
        await client.ask(line)
    await client.drip(HEAD + body(SIZE))


async def _large(client: Client) -> None:
    for line in MAIL:
        await client.ask(line)
    await client.drip(_block(), BLOCK)


@cache
def _block() -> bytes:
    """One for all: its sender begins again, until it is cut off or told that it is too large."""
    return body(1_000_000)


async def _deaf(client: Client) -> None:
    """Asks and never reads the answers."""
    while not client.writer.transport.is_closing():
        client.writer.write(b"EHLO soak.example\r\n" * 20)
        try:
            async with asyncio.timeout(STEP):
                await client.writer.drain()
        except TimeoutError:
            pass
        await asyncio.sleep(STEP)


# kind: what it does, and how far the session is when it begins
SLOW: Final[dict[str, tuple[Callable[[Client], Awaitable[None]], dict[str, bool]]]] = {
    "says nothing": (_silent, {"tls": False, "login": False}),
    "slow handshake": (_hello, {"tls": False, "login": False}),
    "slow commands": (_commands, {"login": False}),
    "slow login": (_login, {"login": False}),
    "logged in, silent": (_silent, {}),
    "slow content": (_content, {}),
    "slow large content": (_large, {}),
    "never reads": (_deaf, {}),
}


def _table() -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("minute", "sessions", "messages", "p50 ms", "p99 ms", "failed", "cut off", "MiB"):
        table.add_column(name, justify="right")
    return table


def _row(name: str, books: Books) -> Sequence[str]:
    return (
        name,
        str(min(books.sessions, default=0)),
        str(len(books.times)),
        f"{percentile(books.times, 0.5):.1f}",
        f"{percentile(books.times, 0.99):.1f}",
        str(books.failed.total()),
        str(sum(count for kind, count in books.cut.items() if kind in SLOW)),
        f"{max(books.mib, default=0.0):.0f}",
    )


def _sum(all_books: Sequence[Books]) -> Books:
    total = Books()
    for each in all_books:
        total.times += each.times
        total.failed += each.failed
        total.cut += each.cut
        total.mib += each.mib
        total.sessions += each.sessions[1:] if each is all_books[0] else each.sessions  # the first while they connect
    return total


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=1000)
    options = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    console = Console(width=80, highlight=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        aws, port = free_port(), free_port()
        place = Place(folder, port, Authority(folder).issue("soak", ("localhost",)), aws, None)
        arguments, environment = SERVERS[0].command(place)
        gateway = arguments, {**(environment or {}), "GATEWAY_WORKERS": "2"}
        canned: Any = [sys.executable, "-m", "bench.canned", "--port", str(aws)], None
        with (
            running("canned AWS", canned, aws, folder / "canned.log"),
            running("gateway", gateway, port, folder / "gateway.log") as pid,
        ):
            console.print(f"{len(tree(pid))} processes; {memory(pid) / 1_048_576:.0f} MiB before")
            soak = Soak(port, pid)
            shown = lambda minute, books: console.print(*_row(str(minute), books))  # noqa: E731
            uvloop.run(soak.run(options.minutes, options.sessions, options.slow, shown))
        bugs = [line for line in (folder / "gateway.log").read_text().splitlines() if '"event":"bug"' in line]
    table = _table()
    for minute, books in enumerate(soak.books, 1):
        table.add_row(*_row(str(minute), books))
    total = _sum(soak.books)
    table.add_row(*_row("all", total))
    console.print(table)
    for what, counted in (("failed", total.failed), ("cut off", total.cut)):
        for kind, count in counted.most_common():
            console.print(f"{what} {count:6}  {kind}")
    for line in bugs[:3]:
        console.print(line)
    good = percentile(total.times, 0.99) <= GOAL_P99 * 1000 and max(total.mib) <= GOAL_MEMORY and not bugs
    return 0 if good and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
