"""What two gateway processes of one relay make of an account: how exact its limits are over both, and how long it takes
from `accounts disable` to the first 535 on each.

The whole local system, and a second gateway beside its own. Limits: both are offered as much as they take, by several
sessions each, until the day is used up; counted is what got 250, in all and in the worst second. Disabled are several
accounts, one after the other at times that fall anywhere in what gateways remember; each gateway is asked four times a
second with the right password, which keeps what it remembers fresh.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from local.supervisor import Options, System
from relay.proof.token import records_to_publish

USER: Final = "limited@two.example"
PASSWORD: Final = "bench-password"  # noqa: S105 - of an account on this machine
PER_SECOND: Final = 20
PER_DAY: Final = 300
SESSIONS: Final = 4  # at each gateway
ASK_EVERY: Final = 0.25  # seconds
ENVELOPE: Final = b"MAIL FROM:<a@two.example>\r\nRCPT TO:<b@in.example>\r\nDATA\r\n"
CONTENT: Final = b"From: a@two.example\r\n\r\nhello\r\n.\r\n"


@contextlib.contextmanager
def second_gateway(system: System, log: Path) -> Iterator[int]:
    """The STARTTLS port of another gateway of the same system."""
    entries = Path(f"/proc/{system.state['pids']['gateway']}/environ").read_bytes().decode().split("\0")
    environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    environment |= {"GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_TLS_LISTEN": "127.0.0.1:0", "PATH": "/usr/bin:/bin"}
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "smtp_gateway"], env=environment, stdout=out, stderr=out)
    try:
        while not (started := [line for line in log.read_text().splitlines() if '"listening"' in line]):
            time.sleep(0.05)
        yield int(json.loads(started[0])["tls_port"])
    finally:
        process.terminate()
        process.wait(40)


class Client:
    """One session over TLS."""

    def __init__(self, port: int, ca_file: str) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=ca_file)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, server_hostname="localhost"
        )
        await self.reply()
        await self.say(b"EHLO bench.example\r\n")

    async def log_in(self, user: str, password: str) -> int:
        return await self.say(b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()) + b"\r\n")

    async def say(self, data: bytes) -> int:
        self._writer.write(data)
        return await self.reply()

    async def reply(self) -> int:
        while (line := await self._reader.readline())[3:4] == b"-":
            pass
        return int(line[:3] or b"0")

    async def send(self) -> int:
        """A message; the code that refused it, or the last one."""
        self._writer.write(ENVELOPE)
        codes = [await self.reply() for _ in range(3)]
        return next((code for code in codes if code >= 400), 0) or await self.say(CONTENT)

    def close(self) -> None:
        self._writer.close()


async def limits(ports: list[int], ca_file: str) -> dict[str, Any]:
    taken: list[float] = []
    refused = 0

    async def session(port: int) -> None:
        nonlocal refused
        client = Client(port, ca_file)
        await client.open()
        assert await client.log_in(USER, PASSWORD) == 235
        misses = 0
        while misses < 3:
            if await client.send() == 250:
                taken.append(time.monotonic())
                misses = 0
            else:
                refused, misses = refused + 1, misses + 1
                await client.say(b"RSET\r\n")
                await asyncio.sleep(1.0)
        client.close()

    began = time.monotonic()
    await asyncio.gather(*(session(port) for port in ports for _ in range(SESSIONS)))
    worst = max(Counter(int(4 * (when - began)) for when in taken).values()) if taken else 0
    first, last = min(taken), max(taken)
    in_a_second = max(sum(when <= each < when + 1.0 for each in taken) for when in taken)
    return {
        "taken": len(taken),
        "limit_of_day": PER_DAY,
        "messages_a_second": round(len(taken) / (last - first), 2),
        "limit_of_second": PER_SECOND,
        "most_in_a_second": in_a_second,
        "most_in_a_quarter": worst,
        "refused": refused,
    }


async def until_refused(port: int, ca_file: str, user: str, since: float) -> float:
    """Seconds from `since` to the first 535."""
    while True:
        client = Client(port, ca_file)
        await client.open()
        code = await client.log_in(user, PASSWORD)
        client.close()
        if code == 535:
            return time.monotonic() - since
        await asyncio.sleep(ASK_EVERY)


def disabled(system: System, ports: list[int], users: list[str]) -> dict[str, Any]:
    """Seconds from the command's end to the first 535, by gateway."""
    ca_file, command = system.state["ca_file"], str(Path(sys.executable).with_name("mailrelay"))

    async def one(user: str, number: int) -> list[float]:
        keep = [asyncio.create_task(until_refused(port, ca_file, user, 0.0)) for port in ports]  # remembered there
        await asyncio.sleep(1.0 + 2.3 * number)
        for task in keep:
            task.cancel()
        arguments = [command, "accounts", "disable", user, "--state-file", str(system.state_file)]
        process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.DEVNULL)
        assert await process.wait() == 0
        since = time.monotonic()
        return list(await asyncio.gather(*(until_refused(port, ca_file, user, since) for port in ports)))

    async def all_of_them() -> list[list[float]]:
        return await asyncio.gather(*(one(user, number) for number, user in enumerate(users)))

    found = asyncio.run(all_of_them())
    return {
        f"gateway {number}": {"seconds": sorted(round(each[number], 1) for each in found)}
        for number in range(len(ports))
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=8, help="that are disabled")
    options = parser.parse_args(arguments)
    users = [f"user-{number}@two.example" for number in range(options.accounts)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zone = folder / "zone"
        records = records_to_publish("two.example", USER, "elastx-mrs", "elastx.email")
        zone.write_text("".join(f'{each.name}. {each.type} "{each.value}"\n' for each in records))
        accounts = tuple((user, PASSWORD) for user in (USER, *users))
        parameters = {"MessagesPerSecond": str(PER_SECOND), "MessagesPerDay": str(PER_DAY)}
        made = Options(0, 0, zone, state=folder / "state.json", accounts=accounts, parameters=parameters)
        with System(made) as system, second_gateway(system, folder / "log") as port:
            ports = [system.state["tls_port"], port]
            results = {"limits": asyncio.run(limits(ports, system.state["ca_file"]))}
            results["disabled"] = disabled(system, ports, users)
    Console().print_json(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
