"""An HTTP server on loopback that answers as its script says; for the client's faults and retries."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = bytes | None
CLOSE: Answer = None  # without an answer
HANG: Answer = b""  # no answer, the connection stays


def answer(body: bytes | dict[str, Any], status: int = 200, headers: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data


@dataclass
class Scripted:
    """reply: (the request's number, from 0; its body) -> the bytes to answer, CLOSE or HANG."""

    reply: Callable[[int, bytes], Answer]
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        self.writers.append(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")
        )
        body = await reader.readexactly(length)
        self.heads.append(head)
        self.bodies.append(body)
        said = self.reply(len(self.heads) - 1, body)
        if said is None:  # CLOSE
            return False
        writer.write(said)
        await writer.drain()
        return True


@asynccontextmanager
async def scripted(
    reply: Callable[[int, bytes], Answer], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Scripted, str]]:
    """The server, and its URL."""
    script = Scripted(reply)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield script, f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        server.close()
        for writer in script.writers:
            writer.close()
        await asyncio.sleep(0)


def in_turn(*answers: Answer) -> Callable[[int, bytes], Answer]:
    """One after the other, then the last one for ever."""
    return lambda number, _: answers[min(number, len(answers) - 1)]
