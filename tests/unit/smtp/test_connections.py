"""SmtpTransport's connections: TLS, reuse, how many, how long."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.smtp.scripted import Script, certificate
from tests.unit.smtp.world import LIMITS, SHORT, SOON, A, B, one, run, world


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("tls")
    certificate_pem, key_pem = certificate()
    (folder / "cert.pem").write_bytes(certificate_pem)
    (folder / "key.pem").write_bytes(key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


# --- TLS -----------------------------------------------------------------------------------------

WITH_TLS = ("STARTTLS", "PIPELINING", "8BITMIME")


def test_starttls_with_whatever_certificate(server_tls: ssl.SSLContext) -> None:
    (reply,), sink = one(Script(capabilities=WITH_TLS, tls=server_tls))
    assert reply.ok
    assert reply.tls.startswith("TLSv1.")
    assert sink.received[0].tls
    assert sink.commands[0][:3] == ["EHLO relay.example", "STARTTLS", "EHLO relay.example"]


def test_what_was_offered_before_tls_is_forgotten(server_tls: ssl.SSLContext) -> None:
    script = Script(capabilities=(*WITH_TLS, "SIZE 5"), after_tls_capabilities=(), tls=server_tls)
    (reply,), _ = one(script)
    assert reply.ok


@pytest.mark.parametrize("starttls", ["454 4.7.0 not now", "501 what", "drop", "hang", "220 but no handshake"])
def test_plaintext_on_a_new_connection_where_tls_fails(starttls: str) -> None:
    script = Script(capabilities=WITH_TLS, starttls=starttls)
    (reply,), sink = one(script, limits=replace(SHORT, tls=SOON))
    assert (reply.ok, reply.tls) == (True, "")
    assert sink.connections == 2
    assert "STARTTLS" not in sink.commands[1]


def test_text_injected_before_tls_is_an_error_and_nothing_falls_back(server_tls: ssl.SSLContext) -> None:
    script = Script(capabilities=WITH_TLS, starttls="RAW:220 go\r\n250 injected\r\n", tls=server_tls)
    (reply,), sink = one(script)
    assert (reply.ok, reply.permanent, reply.enhanced) == (False, False, "4.4.2")
    assert sink.connections == 1


# --- connections ---------------------------------------------------------------------------------


def test_connections_are_reused_without_rset_or_greeting() -> None:
    async def scenario() -> None:
        async with world(Script()) as here:
            for _ in range(5):
                assert (await here.send())[0].ok
            (commands,) = here.sinks[0].commands
            assert [command.split()[0] for command in commands] == ["EHLO", *(["MAIL", "RCPT", "DATA"] * 5)]

    run(scenario)


def test_a_worn_connection_is_closed() -> None:
    async def scenario() -> None:
        async with world(Script(), limits=replace(LIMITS, per_connection=2)) as here:
            for _ in range(5):
                await here.send()
            assert [len(commands) for commands in here.sinks[0].commands] == [8, 8, 4]  # with QUIT, but the last

    run(scenario)


def test_an_idle_connection_is_closed_with_quit() -> None:
    async def scenario() -> None:
        async with world(Script(), limits=replace(LIMITS, idle=0.05)) as here:
            await here.send()
            while here.sinks[0].open_now:
                await asyncio.sleep(0.01)
            assert here.sinks[0].commands[0][-1] == "QUIT"
            assert (await here.send())[0].ok

    run(scenario)


def test_a_connection_that_the_server_closed_while_idle_is_not_used() -> None:
    async def scenario() -> None:
        async with world(Script()) as here:
            await here.send()
            here.sinks[0].writers[0].write(b"421 4.4.2 idle\r\n")
            here.sinks[0].writers[0].close()
            await here.sinks[0].writers[0].wait_closed()
            assert (await here.send())[0].ok
            assert here.sinks[0].connections == 2

    run(scenario)


@pytest.mark.parametrize("answer", ["drop", "421 4.4.2 enough", "hang"])
def test_a_reused_connection_that_is_dead_at_mail_is_replaced_once(answer: str) -> None:
    async def scenario() -> None:
        used: list[int] = []

        def before(connection: int, line: str) -> str | None:
            if line.startswith("MAIL"):
                used.append(connection)
            return answer if used.count(connection) == 2 and line.startswith("MAIL") else None

        async with world(Script(before=before), limits=replace(LIMITS, mail=SOON)) as here:
            assert (await here.send())[0].ok
            assert (await here.send())[0].ok
            assert (here.sinks[0].connections, here.received) == (2, [2])

    run(scenario)


def test_rset_before_reuse_after_a_refused_envelope() -> None:
    async def scenario() -> None:
        async with world(Script(rcpt=lambda to: "550 5.1.1 no" if "b@" in to else "250 ok")) as here:
            assert (await here.send(B))[0].permanent
            assert (await here.send(A))[0].ok
            (commands,) = here.sinks[0].commands
            assert commands.count("RSET") == 1

    run(scenario)


def test_at_most_so_many_connections_to_a_site() -> None:
    async def scenario() -> None:
        async with world(Script(), limits=replace(LIMITS, connections_per_site=3)) as here:
            replies = await asyncio.gather(*(here.send() for _ in range(20)))
            assert all(reply.ok for (reply,) in replies)
            assert here.received == [20]
            assert here.sinks[0].most_open == 3

    run(scenario)


def test_a_site_that_hangs_holds_nobody_else_up() -> None:
    async def scenario() -> None:
        async with world(Script(mail="hang"), Script(), limits=replace(LIMITS, connections_per_site=2)) as here:
            here.zone.mx_records |= {"b.example": ((10, "mx1.b.example"),), "c.example": ((10, "mx2.b.example"),)}
            stuck = [asyncio.create_task(here.send(left=20.0)) for _ in range(10)]
            for _ in range(10):
                assert (await here.send(domain="c.example"))[0].ok
            assert not any(task.done() for task in stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    run(scenario)


def test_waiting_for_a_connection_ends_in_time() -> None:
    async def scenario() -> None:
        async with world(Script(mail="hang"), limits=replace(LIMITS, connections_per_site=1)) as here:
            first, second = await asyncio.gather(here.send(left=SOON), here.send(left=SOON / 2))
            assert {first[0].enhanced, second[0].enhanced} == {"4.4.2", "4.4.5"}

    run(scenario)


# --- time ----------------------------------------------------------------------------------------


def test_nothing_is_begun_when_the_wait_for_the_answer_no_longer_fits() -> None:
    (reply,), sink = one(Script(), limits=replace(LIMITS, least=10.0), left=9.0)
    assert (reply.ok, reply.permanent) == (False, False)
    assert sink.received == []


def test_content_is_not_sent_when_the_wait_for_its_answer_no_longer_fits() -> None:
    async def scenario() -> None:
        limits = replace(LIMITS, least=10.0)
        async with world(Script(capabilities=(), rcpt="250 ok"), limits=limits) as here:
            loop = asyncio.get_running_loop()
            real, late = loop.time, [0.0]
            loop.time = lambda: real() + late[0]  # type: ignore[method-assign]

            def slow(_: str) -> str:
                late[0] = 25.0
                return "354 go on"

            here.sinks[0].script.data = slow
            (reply,) = await here.send(left=30.0)
            assert (reply.ok, reply.permanent, reply.enhanced) == (False, False, "4.4.2")
            assert here.received == [0]

    run(scenario)


def test_the_deadline_bounds_every_wait() -> None:
    (reply,), _ = one(Script(content="hang"), left=SOON)
    assert (reply.ok, reply.permanent) == (False, False)


def test_a_server_that_never_reads_is_given_up() -> None:
    async def scenario() -> None:
        async with world(Script(capabilities=()), limits=replace(LIMITS, block=SOON)) as here:

            def deaf(_: str) -> str:
                here.sinks[0].writers[0].transport.pause_reading()  # type: ignore[attr-defined]
                return "354 go on"

            here.sinks[0].script.data = deaf
            (reply,) = await here.send(content=b"x" * 30_000_000)
            assert (reply.ok, reply.permanent, reply.enhanced) == (False, False, "4.4.2")

    run(scenario)


def test_bugs_are_not_swallowed() -> None:
    async def scenario() -> None:
        async with world(Script()) as here:
            with pytest.raises(ValueError, match="control character"):
                await here.send("a\r\n@b.example")
            assert (await here.send())[0].ok

    run(scenario)
