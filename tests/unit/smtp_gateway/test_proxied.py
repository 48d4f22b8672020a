"""What comes from a balancer over real sockets: the PROXY header first, then as from the client itself."""

import asyncio

import pytest

from smtp_gateway.deadlines import Timeouts
from smtp_gateway.proxy import SIGNATURE
from tests.gateway import PASSWORD, USER, Gateway, Run, Wire, plain, running

LINE = b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 587\r\n"
SIX = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 587\r\n"
BINARY = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 127, 0, 0, 1]) + b"\xdc\x04\x02\x4b"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
BALANCER = ("127.0.0.0/8",)
MESSAGE = b"From: jo@example.com\r\n\r\nbody\r\n.\r\n"
GREETING = b"220 gw.example ESMTP\r\n"


async def behind(gateway: Gateway, header: bytes, *, tls: bool = False) -> Wire:
    """A client's session after `header`; begun, over TLS or not."""
    wire = await Wire.open(gateway.tls_port if tls else gateway.port)
    wire.writer.write(header)
    if tls:
        await wire.upgrade()
    assert await wire.reply() == GREETING
    return wire


async def empty(gateway: Gateway) -> None:
    while gateway.site.connections:
        await asyncio.sleep(0)


HEADERS = {
    "version 1": (LINE, "192.0.2.7"),
    "version 1, IPv6": (SIX, "2001:db8::7"),
    "version 2": (BINARY, "192.0.2.7"),
    "version 2, LOCAL": (LOCAL, "127.0.0.1"),
}


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "tls"])
@pytest.mark.parametrize(("header", "address"), HEADERS.values(), ids=HEADERS)
def test_the_header_says_who_the_client_is(run: Run, header: bytes, address: str, tls: bool) -> None:
    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER) as gateway:
            wire = await behind(gateway, header, tls=tls)
            if not tls:
                await wire.ask(b"EHLO app.example")
                await wire.start_tls()
            await wire.ask(b"EHLO app.example")
            assert (await wire.ask(b"AUTH PLAIN " + plain(USER, PASSWORD))).startswith(b"235 ")
            wire.writer.write(
                b"MAIL FROM:<jo@example.com>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n" + MESSAGE + b"QUIT\r\n"
            )
            assert b"250 2.0.0 queued as " in await wire.rest()
            for event in ("auth_ok", "submitted"):
                assert [each["peer"] for each in gateway.events(event)] == [address]

    run(main())


def test_octet_by_octet_and_with_what_follows(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER) as gateway:
            wire = await Wire.open(gateway.port)
            for octet in BINARY + b"NOOP\r\n":
                wire.writer.write(bytes([octet]))
                await asyncio.sleep(0)
            assert await wire.reply() == GREETING
            assert await wire.reply() == b"250 2.0.0 OK\r\n"

    run(main())


BAD = {
    "a client": b"EHLO app.example\r\n",
    "a malformed line": b"PROXY TCP4 192.0.2.7\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "half a header, then the end": LINE[:-5],
}


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "tls"])
@pytest.mark.parametrize("octets", BAD.values(), ids=BAD)
def test_without_a_good_header_nothing_is_said(run: Run, octets: bytes, tls: bool) -> None:
    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER) as gateway:
            wire = await Wire.open(gateway.tls_port if tls else gateway.port)
            wire.writer.write(octets)
            wire.writer.write_eof()
            assert await wire.rest() == b""
            await empty(gateway)
            (event,) = gateway.events("proxy_refused")
            assert event["peer"] == "127.0.0.1"
            assert "app.example" not in "".join(gateway.lines)

    run(main())


def test_the_header_has_a_deadline(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER, timeouts=Timeouts(proxy=0.05)) as gateway:
            wire = await Wire.open(gateway.port)
            wire.writer.write(LINE[:10])
            assert await wire.rest() == b""
            assert [each["why"] for each in gateway.events("proxy_refused")] == ["no PROXY header in time"]

    run(main())


def test_who_only_looks_whether_somebody_listens_is_not_logged(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER) as gateway:
            wire = await Wire.open(gateway.port)
            wire.writer.close()
            await empty(gateway)
            assert not gateway.events("proxy_refused")

    run(main())


def test_from_anybody_else_it_is_no_command(run: Run) -> None:
    """Whoever could give an address that isn't theirs would get round every limit."""

    async def main() -> None:
        async with running(Gateway(), proxy_from=("192.0.2.0/24", "2001:db8::/32")) as gateway:
            wire = await Wire.open(gateway.port)
            assert await wire.reply() == GREETING
            assert await wire.ask(LINE[:-2]) == b"500 5.5.2 Unknown command\r\n"
            assert (await wire.ask(b"EHLO app.example")).startswith(b"250-")
            tls = await Wire.open(gateway.tls_port)
            tls.writer.write(LINE)
            assert b"220" not in await tls.rest()
            assert [each["peer"] for each in gateway.events("tls_failed")] == ["127.0.0.1"]

    run(main())


@pytest.mark.parametrize("octets", [LINE, BINARY], ids=["version 1", "version 2"])
def test_without_balancers_it_is_no_command_either(run: Run, octets: bytes) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.open(gateway.port)
            wire.writer.write(octets + b"\r\nQUIT\r\n")
            said = await wire.rest()
            assert said.startswith(GREETING + b"500 5.5.2 Unknown command\r\n")
            assert b"250" not in said
            tls = await Wire.open(gateway.tls_port)
            tls.writer.write(octets)
            assert b"220" not in await tls.rest()

    run(main())


def test_a_second_header_is_no_command(run: Run) -> None:
    """A client behind the balancer says it: it is the client's word."""

    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER) as gateway:
            wire = await behind(gateway, SIX)
            assert await wire.ask(LINE[:-2]) == b"500 5.5.2 Unknown command\r\n"

    run(main())


def test_a_drain_ends_what_waits_for_its_header(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER) as gateway:
            waits, begun = await Wire.open(gateway.port), await behind(gateway, LINE)
            while len(gateway.site.connections) < 2:
                await asyncio.sleep(0)
            assert await gateway.server.stop(10.0) == 0
            assert await waits.rest() == b""
            assert await begun.rest() == b"421 4.3.2 Shutting down; try again\r\n"

    run(main())


def test_over_the_limit_is_said_to_the_client(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), proxy_from=BALANCER, max_connections=1) as gateway:
            first = await behind(gateway, LINE)
            second = await Wire.open(gateway.port)
            second.writer.write(LINE)
            assert await second.rest() == b"421 4.3.2 Too many connections; try again in 30 seconds\r\n"
            assert await first.ask(b"NOOP") == b"250 2.0.0 OK\r\n"

    run(main())
