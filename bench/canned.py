"""What the gateway needs of AWS, canned: SQS, S3, DynamoDB and Lambda on one port, in a process of its own.

`python -m bench.canned --port N [--delay S]`. One account that exists, every sender proved, every message taken. It
does what costs the other side something: SQS's MD5 of each body, whole requests read. GET /stats: the seconds from a
request of SQS being here to its answer being written, as JSON.
"""

import argparse
import asyncio
import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final, cast

import uvloop

from relay.account import Account
from relay.aws.accounts import item_of
from relay.password import hash_password

USER, PASSWORD = "app@bench.example", "a-pass-phrase-for-the-bench"
SALT: Final = b"sixteen octets.."


class Canned(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, delay: float, times: list[float]) -> None:
        self._delay = delay
        self._times = times
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(buffer[:end]).decode("latin-1")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}
        size = int(fields.get("content-length", "0"))
        if len(buffer) < end + 4 + size:
            return
        since = time.perf_counter()
        body = bytes(buffer[end + 4 : end + 4 + size])
        del buffer[: end + 4 + size]
        answer = self._answer(head.split(" ", 2), fields.get("x-amz-target", ""), body)
        if "SendMessage" not in head:
            self._write(answer)
        elif self._delay:
            self._loop.call_later(self._delay, self._write, answer, since)
        else:
            self._write(answer, since)

    def _answer(self, request: list[str], target: str, body: bytes) -> bytes:
        method, path = request[:2]
        match target.rpartition(".")[2]:
            case "SendMessageBatch":
                return _json({"Successful": [_sent(each) for each in json.loads(body)["Entries"]], "Failed": []})
            case "GetItem":
                return _json(_account(json.loads(body)["Key"]["user"]["S"]))
        if path == "/stats":
            times = sorted(self._times)
            self._times.clear()
            return _json({"requests": len(times), "times": times})
        if "/functions/" in path:
            return _json({"standing": "passed", "lines": [], "seconds": 300.0})
        return b"" if method == "PUT" else _json({})

    def _write(self, answer: bytes, since: float | None = None) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {len(answer)}\r\n\r\n"
        self._transport.write(head.encode() + answer)
        if since is not None:
            self._times.append(time.perf_counter() - since)


def _sent(entry: dict[str, Any]) -> dict[str, str]:
    md5 = hashlib.md5(entry["MessageBody"].encode(), usedforsecurity=False).hexdigest()
    return {"Id": entry["Id"], "MessageId": f"m-{entry['Id']}", "MD5OfMessageBody": md5}


def _account(user: str) -> dict[str, Any]:
    if user != USER:
        return {}
    return {"Item": item_of(Account(USER, SALT, hash_password(PASSWORD, SALT), "+46700000000", 0.0))}


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


async def serve(port: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    make: Callable[[], Canned] = lambda: Canned(delay, times)  # noqa: E731
    server = await loop.create_server(make, "127.0.0.1", port, backlog=1024)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before SQS answers")
    options = parser.parse_args(arguments)
    uvloop.run(serve(options.port, options.delay))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
