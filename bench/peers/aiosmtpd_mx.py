"""aiosmtpd as a recipients' server with STARTTLS that discards: CERT KEY. It prints its port."""

import asyncio
import signal
import ssl
import sys
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP


class Discard:
    async def handle_EHLO(self, _server: Any, session: Any, _envelope: Any, name: str, lines: list[str]) -> list[str]:  # noqa: N802 - aiosmtpd's name
        session.host_name = name
        return [*lines[:-1], "250-PIPELINING", lines[-1]]  # it can, and doesn't say so

    async def handle_DATA(self, *_session: Any) -> str:  # noqa: N802
        return "250 OK"


async def serve(tls: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()

    def make() -> SMTP:
        return SMTP(Discard(), hostname="mx.bench.example", tls_context=tls, command_call_limit=None, loop=loop)

    server = await loop.create_server(make, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    uvloop.run(serve(context))
