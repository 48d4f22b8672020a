"""A connection to a remote server, made ready for its first transaction."""

import asyncio
import ssl

from relay.smtp import protocol
from relay.smtp.client import BrokenError, Connection, SilentError, TlsFailedError
from relay.smtp.limits import Limits
from relay.smtp.login import Login, authenticate
from relay.smtp.protocol import Capabilities, Phase, RefusedError
from relay.smtp.tls import Tls


async def connect(
    host: str,
    address: str,
    port: int,
    *,
    name: str,
    limits: Limits,
    tls: Tls | None,
    until: float,
    login: Login | None = None,
) -> Connection:
    """A connection that is ready for its first transaction.

    address: what is dialled; `host` is never looked up here. name: ours, for EHLO. tls: None for plaintext even if
    STARTTLS is offered. until: loop time. login: for AUTH, which needs verified TLS. BrokenError (SilentError),
    RefusedError (greeting, EHLO or AUTH refused), TlsFailedError.
    """
    connection = await _open(host, address, port, limits, tls if tls and tls.implicit else None, until)
    try:
        await connection.run(protocol.greeting(), until=until)
        connection.capabilities = await connection.run(protocol.hello(name), until=until)
        if connection.tls:
            pass  # from the first octet on
        elif tls is not None and connection.capabilities.starttls:
            await connection.start_tls(tls, until=until)
            connection.capabilities = await _hello_again(connection, name, until)
        elif tls is not None and tls.verified:
            connection.close()
            raise TlsFailedError("STARTTLS is not offered")
        if login is not None:
            assert tls is not None and tls.verified  # noqa: PT018 - a password is for the server it belongs to
            await connection.run(authenticate(connection.capabilities, login), until=until)
    except RefusedError:
        connection.close()
        raise
    except BaseException:
        connection.abort()
        raise
    return connection


async def _open(host: str, address: str, port: int, limits: Limits, implicit: Tls | None, until: float) -> Connection:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(min(loop.time() + limits.connect, until)):
            _, connection = await loop.create_connection(
                lambda: Connection(host, address, limits),
                address,
                port,
                ssl=implicit.context if implicit else None,
                server_hostname=host if implicit else None,
                ssl_handshake_timeout=limits.tls if implicit else None,
            )
    except TimeoutError:
        raise SilentError(Phase.CONNECT, "no connection in time") from None
    except ssl.SSLCertVerificationError as error:
        raise TlsFailedError(f"certificate: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise TlsFailedError(f"handshake: {type(error).__name__}") from None
    except OSError as error:
        raise BrokenError(Phase.CONNECT, error.strerror or "no connection") from None
    if implicit is not None:
        connection.secured(implicit)
    return connection


async def _hello_again(connection: Connection, name: str, until: float) -> Capabilities:
    """RFC 3207 §4.2: what was offered before TLS is forgotten. TLS 1.3 may fail as late as here."""
    try:
        return await connection.run(protocol.hello(name), until=until)
    except BrokenError as error:
        raise TlsFailedError(str(error)) from None
