"""The least that a Python server does for a message, with no SMTP in it: PORT CERT KEY. Loop, TLS and lines as the
gateway has them, and a fixed reply to each line: no state, no limits, no account, no queue.

What it costs is what no gateway in Python on this loop and this TLS can be below.
"""

import asyncio
import signal
import ssl
import sys
from typing import cast

import uvloop

from smtp_gateway.tls import Tls

EHLO = b"250-floor\r\n250-PIPELINING\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n"
REPLIES = {
    b"EHLO": EHLO,
    b"AUTH": b"235 ok\r\n",
    b"STAR": b"220 go\r\n",
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 bye\r\n",
}


class Floor(asyncio.Protocol):
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._tls: Tls | None = None
        self._buffer = bytearray()
        self._content = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 floor\r\n")

    def data_received(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            self._buffer += data
        else:
            self._buffer += tls.receive(data)
        if (replies := self._replies()) and tls is not None:
            tls.send(replies)
        elif replies:
            self._transport.write(replies)
        if tls is not None and (out := tls.outgoing()):
            self._transport.write(out)

    def _replies(self) -> bytes:
        out = []
        buffer = self._buffer
        while True:
            end = buffer.find(b"\r\n.\r\n" if self._content else b"\r\n")
            if end < 0:
                return b"".join(out)
            if self._content:
                bytes(buffer[:end])
                del buffer[: end + 5]
                self._content = False
                out.append(b"250 2.0.0 queued\r\n")
                continue
            verb = bytes(buffer[:4]).upper()
            del buffer[: end + 2]
            out.append(REPLIES.get(verb, b"250 ok\r\n"))
            if verb == b"STAR":
                self._tls = Tls(self._context)
            self._content = verb == b"DATA"


async def serve(port: int, tls: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Floor(tls), "127.0.0.1", port, backlog=1024)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    port, cert, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(port), context))
