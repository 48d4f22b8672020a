"""Load for a submission server on loopback: many connections, each keeps one message in flight.

`python -m bench.load --port N --auth USER:PASSWORD --connections 20 --per-connection 100 --messages 2000`. Every
reply's code is checked, the certificate is not. One JSON object at the end; exit 0 only if every message was accepted.
"""

import argparse
import asyncio
import base64
import json
import resource
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, cast

import uvloop

RECIPIENT: Final = "you@in.example"
HANDSHAKES: Final = 64  # under way at once, where connections are only opened and held
PATIENCE: Final = 100  # errors after which no more is begun

Flight = tuple[bytes, tuple[bytes, ...]]  # what is written, and the codes of its replies


def body(size: int) -> bytes:
    """Of `size` octets before it is stuffed; one line in 16 begins with a dot."""
    lines, left, number = [], size, 0
    while left > 0:
        text = b"%sa line of the body, as long as most lines of mail, or nearly: %016d" % (
            b"." if number % 16 == 5 else b"",
            number,
        )
        line = text[: max(0, left - 2)]
        lines.append((b"." if line.startswith(b".") else b"") + line + b"\r\n")
        left -= len(line) + 2
        number += 1
    return b"".join(lines)


@dataclass(slots=True)
class Tally:
    """whole, dot: seconds from MAIL, and from the final dot, to 250."""

    started: int = 0
    accepted: int = 0
    errors: int = 0
    idle: int = 0
    dropped: int = 0
    whole: list[float] = field(default_factory=list)
    dot: list[float] = field(default_factory=list)
    last_error: str = ""


class Load:
    """All connections."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tally = Tally()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        user, _, password = options.auth.partition(":")
        self.login = base64.b64encode(f"\0{user}\0{password}".encode())
        self.envelope: tuple[Flight, ...] = (
            (f"MAIL FROM:<{options.sender}>\r\n".encode(), (b"250",)),
            (f"RCPT TO:<{RECIPIENT}>\r\n".encode(), (b"250",)),
            (b"DATA\r\n", (b"354",)),
        )
        if options.pipelining:
            self.envelope = ((b"".join(line for line, _ in self.envelope), (b"250", b"250", b"354")),)
        self.handshakes = asyncio.Semaphore(HANDSHAKES)
        self._run = f"{time.time_ns():x}"
        self._head = (
            f"From: <{options.sender}>\r\nTo: <{RECIPIENT}>\r\nSubject: load\r\nDate: {formatdate()}\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
        )
        self._body = body(options.size - len(self.content(0, b"")))
        self._slot = 0.0
        self._done = asyncio.Event()
        self._open = 0

    def content(self, number: int, rest: bytes | None = None) -> bytes:
        head = f"{self._head}Message-ID: <{self._run}.{number:010d}@bench.example>\r\n\r\n".encode()
        return head + (self._body + b".\r\n" if rest is None else rest)

    def next(self) -> int | None:
        """The number of the message to send now; None if there are no more."""
        options, tally = self.options, self.tally
        if tally.started >= options.messages:
            return None
        if options.mark and tally.started % options.mark == 0:
            self._say(f"MARK {tally.started}")
        tally.started += 1
        return tally.started

    def slot(self) -> float:
        """When the next message may start, by the loop's clock; 0.0 at once."""
        if not self.options.rate:
            return 0.0
        self._slot = max(self._slot + 1 / self.options.rate, asyncio.get_running_loop().time() - 0.1)
        return self._slot

    async def run(self) -> None:
        options = self.options
        self._open = options.idle or min(options.connections, options.messages)
        for _ in range(self._open):
            await self.handshakes.acquire()
            await self._connect()
        if not options.idle:
            await self._done.wait()
            return
        for _ in range(HANDSHAKES):
            await self.handshakes.acquire()
        self._say("HOLDING")
        await asyncio.sleep(options.hold)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Client(self), "127.0.0.1", self.options.port)

    def closed(self, error: str) -> None:
        """A connection has ended. error: "" if as it should."""
        tally = self.tally
        if error:
            tally.errors += 1
            tally.last_error = error
        if self.options.idle:
            tally.dropped += 1
        elif tally.started < self.options.messages and tally.errors < PATIENCE:
            self._again = asyncio.ensure_future(self._connect())
        else:
            self._open -= 1
            if not self._open:
                self._done.set()

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class Client(asyncio.Protocol):
    """One connection. `_script` yields what to write and the codes to wait for."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._script = self._session()
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ready = False
        self._rest = b""
        self._expected: Sequence[bytes] = ()
        self._error = "closed by the server"

    def _session(self) -> Iterator[Flight]:
        load, tally = self._load, self._load.tally
        hello = b"EHLO bench.example\r\n"
        yield b"", (b"220",)
        yield hello, (b"250",)
        yield b"STARTTLS\r\n", (b"220",)
        self._tls = load.tls.wrap_bio(self._in, self._out)
        self._handshake(self._tls)
        yield b"", ()
        yield hello, (b"250",)
        yield b"AUTH PLAIN " + load.login + b"\r\n", (b"235",)
        load.handshakes.release()
        tally.idle += 1
        if load.options.idle:
            yield b"", ()
        for _ in range(load.options.per_connection):
            if (number := load.next()) is None:
                break
            if slot := load.slot():
                self._loop.call_at(slot, self._go)
                yield b"", ()
            began = time.perf_counter()  # uvloop's own clock goes by ms
            yield from load.envelope
            dot = time.perf_counter()
            yield load.content(number), (b"250",)
            now = time.perf_counter()
            tally.accepted += 1
            tally.whole.append(now - began)
            tally.dot.append(now - dot)
        yield b"QUIT\r\n", (b"221",)

    def _go(self) -> None:
        """What was written is answered."""
        flight = next(self._script, None)
        if flight is None:
            self._error = ""
            self._transport.close()
            return
        data, self._expected = flight
        if not self._tls:
            self._transport.write(data)
        elif data:
            view = memoryview(data)
            while view:
                view = view[self._tls.write(view) :]
            self._flush()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._go()

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.closed(self._error)

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self._replies(data)
            return
        self._in.write(data)
        try:
            if not self._ready:
                self._handshake(self._tls)
            while piece := self._tls.read(65_536):
                self._replies(piece)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._fail(str(error))

    def _handshake(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        finally:
            self._flush()
        self._ready = True
        self._go()

    def _flush(self) -> None:
        if self._out.pending:
            self._transport.write(self._out.read())

    def _replies(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        codes = [line[:3] for line in lines if line[3:4] != b"-"]
        if codes != list(self._expected[: len(codes)]):
            self._fail(b" / ".join(lines).decode("latin-1"))
            return
        self._expected = self._expected[len(codes) :]
        if codes and not self._expected:
            self._go()

    def _fail(self, why: str) -> None:
        self._error = why
        self._transport.abort()


def percentile(times: Sequence[float], share: float) -> float:
    """In ms."""
    ordered = sorted(times)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3) if ordered else 0.0


def result(tally: Tally, wall: float) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "sent": tally.started,
        "accepted": tally.accepted,
        "errors": tally.errors,
        "wall": round(wall, 3),
        "rate": round(tally.accepted / wall, 1),
        "p50": percentile(tally.whole, 0.5),
        "p99": percentile(tally.whole, 0.99),
        "dot_p50": percentile(tally.dot, 0.5),
        "dot_p99": percentile(tally.dot, 0.99),
        "cpu_user": round(used.ru_utime, 3),
        "cpu_sys": round(used.ru_stime, 3),
        "idle_up": tally.idle,
        "idle_dead": tally.dropped,
        "last_error": tally.last_error,
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--auth", required=True, help="user:password")
    parser.add_argument("--from", dest="sender", default="news@bench.example")
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--per-connection", type=int, default=100, help="messages; then a new one")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--size", type=int, default=5000, help="octets of a message, header and CRLFs counted")
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second at most")
    parser.add_argument("--mark", type=int, default=0, help="print a line before each so many messages")
    parser.add_argument("--idle", type=int, default=0, help="open so many connections, log in, print HOLDING")
    parser.add_argument("--hold", type=float, default=5.0, help="seconds")
    for flag in ("--pipelining", "--starttls", "--json"):  # the last two as ever: they are other programs' options
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))

    async def run() -> dict[str, Any]:
        load, began = Load(options), time.monotonic()
        await load.run()
        return result(load.tally, time.monotonic() - began)

    found = uvloop.run(run())
    print(json.dumps(found))
    return 0 if options.idle or found["accepted"] == options.messages else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
