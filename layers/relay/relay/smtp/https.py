"""One HTTPS GET, as RFC 8461 §3.3 has it: bounded in time and size, no redirect, no cache, the host's certificate."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import h11

from relay.smtp.mx import NoRouteError

LARGEST: Final = 65_536  # octets of the body
READ: Final = 16_384


class FetchError(Exception):
    """Why there is nothing; never what the server sent."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """addresses: those of a host that may be connected to (NoRouteError if there are none). tls: verifies.
    seconds: for all of it, DNS included. tries: addresses that are tried.
    """

    addresses: Callable[[str], Awaitable[tuple[str, ...]]]
    tls: Callable[[], ssl.SSLContext]
    port: int = 443
    seconds: float = 20.0
    tries: int = 3

    async def __call__(self, host: str, path: str) -> bytes:
        """The body of https://<host><path>, which is text/plain. FetchError."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self._any(host, path)
        except TimeoutError:
            raise FetchError("no answer in time") from None
        except NoRouteError as error:
            raise FetchError(error.reply.text) from None

    async def _any(self, host: str, path: str) -> bytes:
        failure = FetchError("no address")
        for address in (await self.addresses(host))[: self.tries]:
            try:
                reader, writer = await asyncio.open_connection(
                    address, self.port, ssl=self.tls(), server_hostname=host, limit=READ
                )
            except ssl.SSLCertVerificationError as error:
                failure = FetchError(f"certificate: {error.verify_message}")
            except (OSError, ValueError) as error:  # ValueError: a host name that can't be an SNI
                failure = FetchError(f"no connection: {type(error).__name__}")
            else:
                return await _exchange(reader, writer, host, path)
        raise failure


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str) -> bytes:
    http = h11.Connection(h11.CLIENT)
    headers = [("host", host), ("accept", "text/plain"), ("connection", "close")]
    asked = http.send(h11.Request(method="GET", target=path, headers=headers)) or b""
    try:
        writer.write(asked + (http.send(h11.EndOfMessage()) or b""))
        return await _answer(http, reader)
    except (OSError, h11.RemoteProtocolError) as error:
        raise FetchError(f"no HTTP answer: {type(error).__name__}") from None
    finally:
        writer.transport.abort()


async def _answer(http: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await reader.read(READ))
            case h11.Response(status_code=status, headers=headers):
                if status != 200:  # a redirect is no policy either
                    raise FetchError(f"HTTP status {status}")
                kinds = [value for name, value in headers if name == b"content-type"]
                if [kind.partition(b";")[0].strip().lower() for kind in kinds] != [b"text/plain"]:
                    raise FetchError("not text/plain")
            case h11.Data(data=data):
                body += data
                if len(body) > LARGEST:
                    raise FetchError(f"more than {LARGEST} octets")
            case h11.EndOfMessage():
                return body
            case h11.ConnectionClosed():
                raise FetchError("closed before the answer")
