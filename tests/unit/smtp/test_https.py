"""The fetch of a policy against a real HTTPS server on loopback."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from relay.errors import TemporaryError
from relay.smtp.https import LARGEST, Fetch, FetchError
from relay.smtp.mx import Routes
from relay.smtp.reach import Reach
from relay.smtp.tls import verified_tls
from tests.unit.smtp.authority import Servers
from tests.unit.smtp.zone import Zone

HOST, PATH = "mta-sts.b.example", "/.well-known/mta-sts.txt"
TEXT = "Content-Type: text/plain\r\n"
SOON = 0.5


def answer(body: bytes, status: str = "200 OK", headers: str = TEXT) -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:
    return Servers(tmp_path_factory.mktemp("https"))


class Server:
    """says: what is written once the request is in, piece by piece; "hang" keeps the connection."""

    def __init__(self, says: Callable[[], AsyncIterator[bytes]]) -> None:
        self._says = says
        self.requests: list[bytes] = []
        self.written = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            async for piece in self._says():
                writer.write(piece)
                await writer.drain()
                self.written += len(piece)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server, context: ssl.SSLContext) -> AsyncIterator[int]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def fetched(
    servers: Servers,
    says: Callable[[], AsyncIterator[bytes]],
    *,
    names: tuple[str, ...] = (HOST,),
    addresses: tuple[str, ...] = ("127.0.0.1",),
    opened: tuple[str, ...] = ("127.0.0.0/8",),
    ca: bool = True,
) -> tuple[bytes | str, Server]:
    """The body, or why there is none; and the server that was asked."""
    server = Server(says)

    async def scenario() -> bytes | str:
        async with serving(server, servers.tls(*names)) as port:
            routes = Routes(Zone(a_records={HOST: addresses}), "relay.example", Reach(opened))
            tls = verified_tls(servers.ca_file if ca else None)
            try:
                return await Fetch(routes.addresses, lambda: tls, port=port, seconds=SOON)(HOST, PATH)
            except FetchError as error:
                return str(error)

    return asyncio.run(scenario()), server


def once(*pieces: bytes, then_hang: bool = False) -> Callable[[], AsyncIterator[bytes]]:
    async def says() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if then_hang:
            await asyncio.sleep(20)

    return says


CHUNKED = f"HTTP/1.1 200 OK\r\n{TEXT}Transfer-Encoding: chunked\r\n\r\n".encode()
GOOD = {
    "length": answer(b"version: STSv1\n"),
    "chunks": CHUNKED + chunked(b"version: ", b"STSv1\n"),
    "until the end": b"HTTP/1.0 200 OK\r\n" + TEXT.encode() + b"\r\nversion: STSv1\n",
    "a charset": answer(b"version: STSv1\n", headers="Content-Type: Text/Plain; charset=utf-8\r\n"),
    "early hints": b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"version: STSv1\n"),
}


@pytest.mark.parametrize("says", GOOD.values(), ids=GOOD)
def test_the_body(servers: Servers, says: bytes) -> None:
    body, server = fetched(servers, once(says))
    assert body == b"version: STSv1\n"
    (request,) = server.requests
    assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
    assert b"host: mta-sts.b.example\r\n" in request.lower()


def test_byte_by_byte(servers: Servers) -> None:
    whole = GOOD["chunks"]
    assert fetched(servers, once(*(bytes([each]) for each in whole)))[0] == b"version: STSv1\n"


def test_the_largest(servers: Servers) -> None:
    assert fetched(servers, once(answer(b"x" * LARGEST)))[0] == b"x" * LARGEST


BAD = {
    "not found": (answer(b"", "404 Not Found"), "HTTP status 404"),
    "a redirect": (answer(b"", "301 Moved", f"{TEXT}Location: https://127.0.0.1/\r\n"), "HTTP status 301"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "HTTP status 204"),
    "HTML": (answer(b"x", headers="Content-Type: text/html\r\n"), "not text/plain"),
    "no type": (answer(b"x", headers=""), "not text/plain"),
    "two types": (answer(b"x", headers=TEXT + "Content-Type: text/html\r\n"), "not text/plain"),
    "too large": (answer(b"x" * (LARGEST + 1)), "more than 65536 octets"),
    "not HTTP": (b"220 mx ESMTP\r\n", "no HTTP answer: RemoteProtocolError"),
    "closed": (b"", "no HTTP answer: RemoteProtocolError"),
    "cut": (answer(b"version: STSv1\n")[:-3], "no HTTP answer: RemoteProtocolError"),
    "too long a header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000, "no HTTP answer: RemoteProtocolError"),
}


@pytest.mark.parametrize(("says", "why"), BAD.values(), ids=BAD)
def test_nothing(servers: Servers, says: bytes, why: str) -> None:
    assert fetched(servers, once(says))[0] in (why, why.replace("RemoteProtocolError", "ConnectionResetError"))


@pytest.mark.parametrize("head", [b"", answer(b"x" * 1000)[:-999]], ids=["at once", "within the body"])
def test_silence_ends_in_time(servers: Servers, head: bytes) -> None:
    began = time.monotonic()
    assert fetched(servers, once(head, then_hang=True))[0] == "no answer in time"
    assert time.monotonic() - began < SOON + 2


@pytest.mark.parametrize(
    "piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"x"], ids=["1xx without end", "a header without end"]
)
def test_an_endless_answer_is_bounded(servers: Servers, piece: bytes) -> None:
    async def says() -> AsyncIterator[bytes]:
        while True:
            yield piece * 100
            await asyncio.sleep(0)

    began = time.monotonic()
    assert fetched(servers, says)[0] in ("no answer in time", "no HTTP answer: RemoteProtocolError")
    assert time.monotonic() - began < SOON + 2


def test_an_endless_body_is_cut(servers: Servers) -> None:
    async def says() -> AsyncIterator[bytes]:
        yield CHUNKED
        while True:
            yield b"1000\r\n" + b"x" * 4096 + b"\r\n"

    body, server = fetched(servers, says)
    assert body == "more than 65536 octets"
    assert server.written < 16_000_000  # what the sockets buffer


@pytest.mark.parametrize(
    ("names", "ca", "why"),
    [
        (("*.b.example",), True, None),
        (("b.example",), True, "Hostname mismatch"),
        (("*.mta-sts.b.example",), True, "Hostname mismatch"),
        (("x.example", HOST), True, None),
        ((HOST,), False, "unable to get local issuer certificate"),
    ],
    ids=["a wildcard", "another host", "a wildcard below", "its second name", "an unknown CA"],
)
def test_the_certificate(servers: Servers, names: tuple[str, ...], ca: bool, why: str | None) -> None:
    body, server = fetched(servers, once(answer(b"x")), names=names, ca=ca)
    if why is None:
        assert body == b"x"
    else:
        assert isinstance(body, str)
        assert body.startswith("certificate: ")
        assert why in body
        assert server.requests == []


def test_an_inside_address_is_not_connected_to(servers: Servers) -> None:
    body, server = fetched(servers, once(answer(b"x")), opened=())
    assert body == "no mail server of the domain has an address on the public internet"
    assert server.requests == []


def test_the_next_address(servers: Servers) -> None:
    assert fetched(servers, once(answer(b"x")), addresses=("127.0.0.9", "127.0.0.1"))[0] == b"x"
    assert fetched(servers, once(answer(b"x")), addresses=("127.0.0.7", "127.0.0.8", "127.0.0.9", "127.0.0.1"))[0] == (
        "no connection: ConnectionRefusedError"
    )


def test_dns_away() -> None:
    async def scenario() -> None:
        zone = Zone(a_records={HOST: TemporaryError("away")})
        with pytest.raises(FetchError):
            await Fetch(Routes(zone, "relay.example", Reach()).addresses, verified_tls, seconds=SOON)(HOST, PATH)

    asyncio.run(scenario())
