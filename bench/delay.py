"""Distance on loopback: a TCP proxy in a process of its own that passes everything on later, in order.

`python -m bench.delay --to HOST:PORT --round-trip S --hosts N`. It listens at 127.0.1.1 to 127.0.1.N, on one port,
which it prints as {"port": P}. Each direction takes half the round trip; the connection to the server is begun one
and a half later, so that its greeting comes after two, as it does where SYN and ACK travel, too. No limit to the
bandwidth. On SIGTERM it prints what it saw: {"connections": all, "most": at once to any one host}.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import uvloop

NETWORK: Final = "127.0.1."


@dataclass
class Seen:
    connections: int = 0
    open: Counter[str] = field(default_factory=Counter)
    most: int = 0

    def begin(self, host: str) -> None:
        self.connections += 1
        self.open[host] += 1
        self.most = max(self.most, self.open[host])


class Line:
    """One direction. b"" is its end."""

    def __init__(self, delay: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay = delay
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.to: asyncio.Transport | None = None

    def put(self, data: bytes) -> None:
        self._under_way.append((self._loop.time() + self._delay, data))
        if self._timer is None and self.to is not None:
            self._timer = self._loop.call_at(self._under_way[0][0], self._arrive)

    def attach(self, to: asyncio.Transport) -> None:
        self.to = to
        if self._under_way:
            self._timer = self._loop.call_at(self._under_way[0][0], self._arrive)

    def _arrive(self) -> None:
        self._timer, now = None, self._loop.time()
        assert self.to is not None
        while self._under_way and self._under_way[0][0] <= now:
            data = self._under_way.popleft()[1]
            if self.to.is_closing():
                continue
            if data:
                self.to.write(data)
            else:
                self.to.close()
        if self._under_way:
            self._timer = self._loop.call_at(self._under_way[0][0], self._arrive)


class End(asyncio.Protocol):
    """What comes here goes into `line`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def data_received(self, data: bytes) -> None:
        self._line.put(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._line.put(b"")


class Near(End):
    """The client's end: it makes the far one."""

    def __init__(self, host: str, to: tuple[str, int], round_trip: float, seen: Seen) -> None:
        super().__init__(Line(round_trip / 2))
        self._host, self._to, self._round_trip, self._seen = host, to, round_trip, seen
        self._back = Line(round_trip / 2)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._seen.begin(self._host)
        self._back.attach(cast("asyncio.Transport", transport))
        self._opening = asyncio.ensure_future(self._open())

    def connection_lost(self, error: Exception | None) -> None:
        self._seen.open[self._host] -= 1
        super().connection_lost(error)

    async def _open(self) -> None:
        await asyncio.sleep(self._round_trip * 1.5)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: End(self._back), *self._to)
        self._line.attach(cast("asyncio.Transport", transport))


async def serve(to: tuple[str, int], round_trip: float, hosts: int) -> None:
    loop, seen, port = asyncio.get_running_loop(), Seen(), 0
    servers = []
    for number in range(1, hosts + 1):
        host = f"{NETWORK}{number}"

        def make(host: str = host) -> Near:
            return Near(host, to, round_trip, seen)

        servers.append(await loop.create_server(make, host, port, backlog=1024))
        port = servers[0].sockets[0].getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    print(json.dumps({"connections": seen.connections, "most": seen.most}), flush=True)


@dataclass
class Far:
    """host(n): of 1 to `hosts`. seen: once it has ended."""

    port: int
    seen: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def host(number: int) -> str:
        return f"{NETWORK}{number}"


@contextmanager
def far(port: int, round_trip: float, hosts: int = 1) -> Iterator[Far]:
    """The server at `port` of this machine, so far away, as `hosts` servers."""
    command = [sys.executable, "-m", "bench.delay", "--to", f"127.0.0.1:{port}", "--round-trip", str(round_trip)]
    with subprocess.Popen([*command, "--hosts", str(hosts)], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout
        place = Far(json.loads(process.stdout.readline())["port"])
        try:
            yield place
        finally:
            process.terminate()
            place.seen = json.loads(process.stdout.read() or "{}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--round-trip", type=float, default=0.1, metavar="S")
    parser.add_argument("--hosts", type=int, default=1)
    options = parser.parse_args(arguments)
    host, _, port = options.to.rpartition(":")
    uvloop.run(serve((host, int(port)), options.round_trip, options.hosts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
