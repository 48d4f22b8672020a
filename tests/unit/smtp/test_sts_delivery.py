"""Delivery to domains with an MTA-STS policy: over TLS with a valid certificate of a host it names, or later."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from relay.errors import OutageError
from relay.smtp.policies import Known
from relay.smtp.sts import Mode, Policy
from tests.unit.smtp.authority import Servers
from tests.unit.smtp.scripted import Script, certificate
from tests.unit.smtp.world import SHORT, SOON, World, world
from tests.unit.smtp.zone import Zone

OFFERED = ("STARTTLS", "PIPELINING", "8BITMIME")
LIMITS = replace(SHORT, tls=SOON)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:
    return Servers(tmp_path_factory.mktemp("tls"))


def script(servers: Servers, *names: str, starttls: str = "220 go") -> Script:
    return Script(capabilities=OFFERED, tls=servers.tls(*names) if names else None, starttls=starttls)


def enforce(here: World, *mx: str, mode: Mode = Mode.ENFORCE, domain: str = "b.example") -> None:
    here.policies.items[domain] = Known("1", Policy(mode, mx, 86_400), here.clock.now())


def run(servers: Servers, scripts: tuple[Script, ...], scenario: Callable[[World], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30), world(*scripts, limits=LIMITS, ca_file=servers.ca_file) as here:
            await scenario(here)

    asyncio.run(bounded())


@pytest.mark.parametrize(("name", "pattern"), [("mx1.b.example", "mx1.b.example"), ("*.b.example", "*.b.example")])
def test_verified(servers: Servers, name: str, pattern: str) -> None:
    async def scenario(here: World) -> None:
        enforce(here, pattern)
        for _ in range(2):
            (reply,) = await here.send()
            assert (reply.ok, reply.tls) == (True, "TLSv1.3 verified")
        assert [each.tls for each in here.sinks[0].received] == [True, True]
        assert here.sinks[0].connections == 1

    run(servers, (script(servers, name),), scenario)


def unknown_ca(folder: Path, name: str, days: int) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a self-signed certificate that has but a CN, and that certificate's file."""
    for kind, pem in zip(("pem", "key"), certificate(name, days), strict=True):
        (folder / f"{name}.{kind}").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context, folder / f"{name}.pem"


def unmet(servers: Servers, tmp_path: Path) -> dict[str, tuple[Script, str]]:
    """What a server may do instead, and what the reply says of it."""
    return {
        "no STARTTLS": (Script(capabilities=("PIPELINING",)), "STARTTLS is not offered"),
        "HELO only": (Script(ehlo="502 what?"), "STARTTLS is not offered"),
        "another host's certificate": (script(servers, "mx2.b.example"), "certificate: Hostname mismatch"),
        "a wildcard of another level": (script(servers, "*.example"), "certificate: Hostname mismatch"),
        "the domain's certificate": (script(servers, "b.example"), "certificate: Hostname mismatch"),
        "an unknown CA": (
            replace(script(servers), tls=unknown_ca(tmp_path, "mx1.b.example", 1)[0]),
            "certificate: self-signed certificate",
        ),
        "STARTTLS refused": (script(servers, starttls="454 4.7.0 not now"), "STARTTLS refused"),
        "STARTTLS, then closed": (script(servers, starttls="drop"), "connection closed"),
        "STARTTLS and silence": (script(servers, starttls="hang"), "no answer in time"),
        "a handshake that stalls": (replace(script(servers), handshake="hang"), "handshake: ConnectionAbortedError"),
        "no TLS but text": (script(servers), "handshake: "),
        "injected text": (
            script(servers, "mx1.b.example", starttls="RAW:220 go\r\n250 x\r\n"),
            "text after the answer",
        ),
    }


@pytest.mark.parametrize("case", range(12))
def test_a_policy_that_is_not_met_puts_the_mail_off(servers: Servers, case: int, tmp_path: Path) -> None:
    cases = unmet(servers, tmp_path)
    assert len(cases) == 12
    bad, why = list(cases.values())[case]

    async def scenario(here: World) -> None:
        enforce(here, "mx1.b.example")
        (reply,) = await here.send()
        assert (reply.ok, reply.permanent, reply.code) == (False, False, 451)
        assert reply.enhanced in ("4.7.5", "4.4.2")
        assert why in reply.text
        assert reply.remote == "mx1.b.example[127.0.0.1]"
        assert here.sinks[0].connections == 1  # no second one in plaintext
        assert not any("MAIL" in line for lines in here.sinks[0].commands for line in lines)
        assert here.sinks[1].connections == 0  # a host that the policy does not name
        (reply,) = await here.send(domain="d.example")  # the same server, where no policy holds
        assert reply.ok != ("injected" in why or "text after" in why)

    async def with_another_domain(here: World) -> None:
        here.zone.mx_records["d.example"] = ((10, "mx1.b.example"),)
        await scenario(here)

    run(servers, (bad, script(servers, "mx2.b.example")), with_another_domain)


def test_a_common_name_is_no_host(tmp_path: Path) -> None:
    context, trusted = unknown_ca(tmp_path, "mx1.b.example", 1)

    async def scenario() -> None:
        offered = Script(capabilities=OFFERED, tls=context)
        async with asyncio.timeout(30), world(offered, limits=LIMITS, ca_file=str(trusted)) as here:
            enforce(here, "mx1.b.example")
            (reply,) = await here.send()
            assert (reply.ok, reply.permanent, reply.enhanced) == (False, False, "4.7.5")
            assert "Hostname mismatch" in reply.text

    asyncio.run(scenario())


def test_the_next_host_that_the_policy_names(servers: Servers) -> None:
    async def scenario(here: World) -> None:
        enforce(here, "mx1.b.example", "mx3.b.example")
        (reply,) = await here.send()
        assert (reply.ok, reply.remote) == (True, "mx3.b.example[127.0.0.3]")
        assert [sink.connections for sink in here.sinks] == [1, 0, 1]

    run(
        servers,
        (script(servers, "x.example"), script(servers, "*.b.example"), script(servers, "mx3.b.example")),
        scenario,
    )


def test_no_host_that_the_policy_names(servers: Servers) -> None:
    async def scenario(here: World) -> None:
        enforce(here, "mx.other.example")
        (reply,) = await here.send()
        assert (reply.permanent, reply.enhanced) == (False, "4.7.5")
        assert here.sinks[0].connections == 0

    run(servers, (script(servers, "mx1.b.example"),), scenario)


@pytest.mark.parametrize("mode", [Mode.TESTING, Mode.NONE])
def test_a_policy_that_is_not_enforced(servers: Servers, mode: Mode) -> None:
    async def scenario(here: World) -> None:
        enforce(here, "mx.other.example", mode=mode)
        (reply,) = await here.send()
        assert (reply.ok, reply.tls) == (True, "TLSv1.3")

    run(servers, (script(servers, "x.example"),), scenario)


def test_connections_are_not_shared_with_a_domain_without_policy(servers: Servers) -> None:
    async def scenario(here: World) -> None:
        here.zone.mx_records["d.example"] = here.zone.mx_records["b.example"]
        enforce(here, "mx1.b.example")
        said = [(await here.send(domain=domain))[0].tls for domain in ("d.example", "b.example") * 2]
        assert said == ["TLSv1.3", "TLSv1.3 verified"] * 2
        assert here.sinks[0].connections == 2

    run(servers, (script(servers, "mx1.b.example"),), scenario)


def test_a_store_that_is_away_sends_nothing(servers: Servers) -> None:
    async def scenario(here: World) -> None:
        here.policies.fail = OutageError("away")
        with pytest.raises(OutageError):
            await here.send()
        assert here.sinks[0].connections == 0
        here.policies.fail = None
        assert (await here.send())[0].ok

    run(servers, (script(servers, "mx1.b.example"),), scenario)


def test_from_the_record_to_the_delivery(servers: Servers) -> None:
    """TXT, HTTPS and SMTP in one: the policy names the second host, so the first is not asked."""
    body = b"version: STSv1\nmode: enforce\nmx: mx2.b.example\nmax_age: 86400\n"
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        writer.close()

    async def scenario() -> None:
        https = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=servers.tls("mta-sts.b.example"))
        port = https.sockets[0].getsockname()[1]
        scripts = script(servers, "mx1.b.example"), script(servers, "mx2.b.example")
        async with asyncio.timeout(30), world(*scripts, ca_file=servers.ca_file, policy_port=port) as here:
            here.zone.txt_records["_mta-sts.b.example"] = (b"v=STSv1; id=20261125;",)
            here.zone.a_records["mta-sts.b.example"] = ("127.0.0.1",)
            for _ in range(2):
                (reply,) = await here.send()
                assert (reply.ok, reply.tls, reply.remote) == (
                    True,
                    "TLSv1.3 verified",
                    "mx2.b.example[127.0.0.2]",
                )
            assert here.received == [0, 2]
            assert here.policies.items["b.example"].id == "20261125"
        https.close()

    asyncio.run(scenario())
    assert len(asked) == 1


def test_zone_has_no_policy_by_itself() -> None:
    """The tests of transport beside these are about domains without one."""
    assert asyncio.run(Zone().txt("_mta-sts.b.example")).records == ()
