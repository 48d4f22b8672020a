"""aiosmtpd as a submission server that discards: PORT CERT KEY USER:PASSWORD asyncio|uvloop."""

import asyncio
import signal
import ssl
import sys
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Discard:
    async def handle_DATA(self, *_session: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return "250 OK"


async def serve(port: int, tls: ssl.SSLContext, user: str, password: str) -> None:
    loop = asyncio.get_running_loop()
    known = LoginPassword(user.encode(), password.encode())

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data == known, handled=False)

    def make() -> SMTP:
        return SMTP(
            Discard(),
            hostname="peer.bench.example",
            tls_context=tls,
            require_starttls=True,
            auth_required=True,
            authenticator=authenticate,
            data_size_limit=41_943_040,
            loop=loop,
        )

    server = await loop.create_server(make, "127.0.0.1", port, backlog=1024)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    port, cert, key, login, loop = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    user, _, password = login.partition(":")
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(int(port), context, user, password))
