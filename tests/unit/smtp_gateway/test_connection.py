"""Over real sockets: when MAIL is answered, and what waits for it; the limits. test_server.py has the rest."""

import asyncio
import contextlib
import itertools
import socket
import ssl

import pytest

from relay.proof.ruling import Ruling, Standing
from smtp_gateway.connection import Connection
from smtp_gateway.deadlines import Timeouts
from smtp_gateway.limits import Limits
from tests.gateway import PASSWORD, USER, Gateway, Run, Wire, client_context, plain, running, until

MAIL = b"MAIL FROM:<jo@example.com>"
OK = b"250 2.1.0 Sender OK\r\n"
REST = b"RCPT TO:<a@b.example>\r\nDATA\r\nFrom: jo@example.com\r\n\r\nHello\r\n.\r\n"
NO = Ruling(Standing.REFUSED, ("example.com has no token", "publish: this"), 30.0)
REFUSED = (
    b"550-5.7.1 example.com has no token\r\n550-5.7.1 publish: this\r\n"
    b"550 5.7.1 run: mailrelay check jo@example.com --domain example.com\r\n"
)


def test_a_sender_that_is_not_proved_is_refused_with_the_record_to_publish(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.ask.rulings["example.com"] = NO
            wire = await Wire.logged_in(gateway)
            assert await wire.ask(MAIL) == REFUSED
            assert await wire.ask(b"MAIL FROM:<x@other.example>") == OK
            assert [(each.account, each.sender) for each in gateway.ask.asked] == [
                (USER, "jo@example.com"),
                (USER, "x@other.example"),
            ]
            (line,) = gateway.events("refused")
            assert (line["account"], line["code"], line["text"], line["lines"]) == (
                USER,
                550,
                "example.com has no token",
                3,
            )

    run(main())


def test_any_number_of_refused_senders_is_no_error_of_the_client(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.ask.rulings["example.com"] = NO
            wire = await Wire.logged_in(gateway)
            for _ in range(50):
                assert await wire.ask(MAIL) == REFUSED
            assert await wire.ask(b"NOOP") == b"250 2.0.0 OK\r\n"
            assert len(gateway.ask.asked) == 1

    run(main())


def test_mail_is_answered_after_the_ruling_and_what_follows_waits(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.ask.answer.clear()
            wire = await Wire.logged_in(gateway)
            wire.writer.write(MAIL + b"\r\n" + REST + MAIL + b"\r\nQUIT\r\n")
            await until(lambda: gateway.ask.asked)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wire.reader.readline(), 0.05)
            gateway.ask.answer.set()
            answers = (await wire.rest()).splitlines()
            assert [each[:3] for each in answers] == [b"250", b"250", b"354", b"250", b"250", b"221"]
            assert len(gateway.queue.sent) == len(gateway.ask.asked) == 1

    run(main())


def test_a_null_sender_is_not_asked_about(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            assert await wire.ask(b"MAIL FROM:<>") == OK
            assert not gateway.ask.asked

    run(main())


def test_a_known_yes_makes_no_task(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            await wire.ask(MAIL)
            monkeypatch.setattr(Connection, "_work", None)
            wire.writer.write((b"RSET\r\n" + MAIL + b"\r\n") * 3 + b"QUIT\r\n")
            assert [each[:3] for each in (await wire.rest()).splitlines()] == [b"250"] * 6 + [b"221"]
            assert len(gateway.ask.asked) == 1

    run(main())


@pytest.mark.parametrize("trouble", ["silent", "bug"])
def test_a_sender_of_whom_nobody_can_tell_is_accepted(run: Run, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    async def main() -> None:
        async with running(Gateway(), patience=0.05) as gateway:
            if trouble == "silent":
                gateway.ask.silent.add("example.com")
            else:
                monkeypatch.setattr(gateway.site.senders, "_ruling", lambda *_: 1 / 0)
            wire = await Wire.logged_in(gateway)
            assert await wire.ask(MAIL) == OK
            wire.writer.write(REST)
            assert [(await wire.reply())[:3] for _ in range(3)] == [b"250", b"354", b"250"]
            assert bool(gateway.events("bug")) == (trouble == "bug")

    run(main())


def test_another_sender_in_the_header_is_refused_and_the_session_goes_on(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.ask.rulings["other.example"] = Ruling(Standing.HELD, ("later",), 30.0)
            wire = await Wire.logged_in(gateway)
            for sender, code in ((b"x@other.example", b"451"), (b"jo@example.com", b"250")):
                wire.writer.write(MAIL + b"\r\n" + REST.replace(b"jo@example.com", sender))
                assert [(await wire.reply())[:3] for _ in range(4)] == [b"250", b"250", b"354", code]
            assert len(gateway.queue.sent) == 1

    run(main())


def test_our_wait_is_not_the_client_s_idleness(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), timeouts=Timeouts(idle=0.1)) as gateway:
            wire = await Wire.logged_in(gateway)
            gateway.ask.answer.clear()
            wire.writer.write(MAIL + b"\r\n")
            await until(lambda: gateway.ask.asked)
            asyncio.get_running_loop().call_later(0.3, gateway.ask.answer.set)
            assert await wire.reply() == OK
            assert (await wire.reply()).startswith(b"421 4.4.2 ")

    run(main())


def test_a_drain_waits_for_the_ruling(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.ask.answer.clear()
            wire = await Wire.logged_in(gateway)
            wire.writer.write(MAIL + b"\r\n" + REST)
            await until(lambda: gateway.ask.asked)
            stopping = asyncio.create_task(gateway.server.stop(10.0))
            await asyncio.sleep(0)
            gateway.ask.answer.set()
            answers = (await wire.rest()).splitlines()
            assert [each[:3] for each in answers] == [b"250", b"250", b"354", b"250", b"421"]
            await stopping

    run(main())


def test_a_client_that_goes_away_meanwhile_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.ask.answer.clear()
            wire = await Wire.logged_in(gateway)
            wire.writer.write(MAIL + b"\r\n" + REST)
            await until(lambda: gateway.ask.asked)
            (connection,) = gateway.site.connections
            wire.writer.transport.abort()
            await until(lambda: connection._lost)
            gateway.ask.answer.set()
            await until(lambda: not gateway.site.connections)
            assert not gateway.queue.sent

    run(main())


def test_refusals_that_nobody_reads_do_not_pile_up(run: Run) -> None:
    """A refusal is many times as long as the command: a client that only writes must not fill our memory."""

    async def main() -> None:
        async with running(Gateway(), limits=Limits(idle_lines=10_000)) as gateway:
            gateway.ask.rulings["example.com"] = Ruling(Standing.REFUSED, ("x" * 400,) * 12, 30.0)
            wire = await Wire.logged_in(gateway)
            count = 8_000  # 40 MB of replies
            wire.writer.write((MAIL + b"\r\n") * count + b"QUIT\r\n")
            (connection,) = gateway.site.connections
            await until(lambda: connection._clogged)
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert connection._transport.get_write_buffer_size() < 500_000
            assert not connection._task
            answers = (await wire.rest()).split(b"\r\n")
            assert len(answers) == 12 * count + 2
            assert answers[-2].startswith(b"221 ")

    run(main())


def test_a_client_that_never_reads_is_cut_off(run: Run) -> None:
    async def main() -> None:
        timeouts = Timeouts(unread=0.2, linger=0.05)
        async with running(Gateway(), limits=Limits(idle_lines=10_000), timeouts=timeouts) as gateway:
            gateway.ask.rulings["example.com"] = Ruling(Standing.REFUSED, ("x" * 400,) * 12, 30.0)
            wire = await Wire.logged_in(gateway)
            wire.writer.write((MAIL + b"\r\n") * 8_000)
            await until(lambda: not gateway.site.connections)
            assert gateway.events("cut_off")[0]["why"] == "replies not read"

    run(main())


# What a client says at once, and then octet by octet, each well before it would be idle: login, envelope and so on
# are over for all that.
DRIPS = {
    "handshake": (Timeouts(handshake=0.1, linger=0.05), b"", b"\x16\x03\x01\x02\x00", "no handshake in time", b""),
    "line": (Timeouts(line=0.1), b"EHLO a.example\r\n", b"NOOP", "line took too long", b"421 4.4.2 "),
    "login": (Timeouts(login=0.1), b"EHLO a.example\r\n", b"NOOP\r\n", "no login in time", b"421 4.7.0 "),
    "envelope": (Timeouts(envelope=0.1), MAIL + b"\r\n", b"NOOP\r\n", "envelope took too long", b"421 4.4.2 "),
    "data": (Timeouts(data=0.1), MAIL + b"\r\n" + REST[:40], b"x", "data took too long", b"421 4.4.2 "),
    "data's rate": (Timeouts(data_start=0.1), MAIL + b"\r\n" + REST[:40], b"x", "data took too long", b"421 4.4.2 "),
    "message": (Timeouts(message=0.1), b"", b"NOOP\r\n", "no message in time", b"421 4.4.2 "),
}


@pytest.mark.parametrize(("timeouts", "first", "then", "why", "last"), DRIPS.values(), ids=DRIPS)
def test_a_slow_drip_is_cut_off_by_the_total(
    run: Run, timeouts: Timeouts, first: bytes, then: bytes, why: str, last: bytes
) -> None:
    async def main() -> None:
        async with running(Gateway(), timeouts=timeouts) as gateway:
            if why in ("no handshake in time", "no login in time"):
                wire = await Wire.open(gateway.tls_port if why.startswith("no handshake") else gateway.port)
            else:
                wire = await Wire.logged_in(gateway)
            wire.writer.write(first)
            heard = b""
            octets = itertools.cycle(then[at : at + 1] for at in range(len(then)))
            while not wire.reader.at_eof():
                wire.writer.write(next(octets))
                with contextlib.suppress(TimeoutError, ConnectionError):
                    heard += await asyncio.wait_for(wire.reader.read(1000), 0.01)
            assert heard.splitlines()[-1:] == [] if not last else heard.splitlines()[-1].startswith(last)
            assert gateway.events("cut_off")[0]["why"] == why
            assert not gateway.queue.sent

    run(main())


def test_commands_that_bring_no_message_end_a_session(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), limits=Limits(idle_lines=10)) as gateway:
            wire = await Wire.logged_in(gateway)
            message = MAIL + b"\r\n" + REST
            wire.writer.write((b"NOOP\r\n" * 6 + message) * 3 + b"RSET\r\n" * 20)
            answers = (await wire.rest()).splitlines()
            assert [each[:3] for each in answers] == ([b"250"] * 8 + [b"354", b"250"]) * 3 + [b"250"] * 10 + [b"421"]
            assert len(gateway.queue.sent) == 3
            assert gateway.events("cut_off")[0]["why"] == "commands"

    run(main())


@pytest.mark.parametrize("says", ["close_notify", "FIN"])
def test_who_says_no_more_behind_the_final_dot_gets_the_answer(run: Run, says: str) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            stored, send = asyncio.Event(), gateway.queue.send

            async def late(body: str, *, group: str) -> None:
                await stored.wait()
                await send(body, group=group)

            gateway.queue.send = late  # type: ignore[method-assign,assignment]
            raw = socket.create_connection(("127.0.0.1", gateway.tls_port), 10)

            def submit() -> bytes:
                with client_context().wrap_socket(raw, server_hostname="localhost") as client:
                    token = plain(USER, PASSWORD)
                    for line in (b"EHLO x\r\nAUTH PLAIN " + token, MAIL + b"\r\n" + REST[:-2]):
                        client.sendall(line + b"\r\n")
                    heard = b""
                    while b"\r\n354 " not in heard and (more := client.recv(1000)):
                        heard += more
                    if says == "FIN":
                        socket.socket.shutdown(client, socket.SHUT_WR)
                        return client.recv(1000) + client.recv(1000)
                    client.settimeout(0)
                    with contextlib.suppress(ssl.SSLWantReadError):
                        client.unwrap()
                    return b""

            said = asyncio.create_task(asyncio.to_thread(submit))
            (connection,) = await until(lambda: [each for each in gateway.site.connections if each._ended])
            stored.set()
            assert (await said)[:4] == (b"250 " if says == "FIN" else b"")
            await until(lambda: gateway.queue.sent)
            await until(lambda: connection not in gateway.site.connections)

    run(main())
