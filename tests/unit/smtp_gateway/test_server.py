import asyncio
import smtplib
import socket

import pytest

from relay.encoding import decode_submission
from relay.errors import TemporaryError
from relay.submission import Inline
from smtp_gateway import replies
from smtp_gateway.data import Room
from smtp_gateway.deadlines import Timeouts
from smtp_gateway.limits import Limits
from smtp_gateway.metrics import Time
from smtp_gateway.server import ListenError, bind
from smtp_gateway.settings import Endpoint
from tests.gateway import PASSWORD, USER, Gateway, Run, Wire, client_context, plain, running, until

MESSAGE = b"From: jo@example.com\r\nDate: x\r\nMessage-ID: <1@example.com>\r\n\r\n.dot\r\nbody\r\n"
ENVELOPE = b"MAIL FROM:<jo@example.com>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"


def send(port: int, tls: bool) -> tuple[int, bytes]:
    """As an app does, with the standard library."""
    client: smtplib.SMTP
    if tls:
        client = smtplib.SMTP_SSL("localhost", port, context=client_context(), timeout=10)
    else:
        client = smtplib.SMTP("localhost", port, timeout=10)
    with client:
        if not tls:
            client.starttls(context=client_context())
        client.login(USER, PASSWORD)
        client.mail("jo@example.com", ["BODY=8BITMIME"])
        client.rcpt("a@b.example")
        client.rcpt("A@B.example")
        return client.data(MESSAGE)


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "tls"])
def test_an_app_submits(run: Run, tls: bool) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            code, text = await asyncio.to_thread(send, gateway.tls_port if tls else gateway.port, tls)
            assert code == 250
            submission = decode_submission(gateway.queue.bodies[0])
            assert text == b"2.0.0 queued as " + submission.id.encode()
            assert submission.account == gateway.queue.sent[0].group == USER
            assert submission.mail_from == "jo@example.com"
            assert submission.rcpt_to == ("a@b.example", "A@b.example")
            assert submission.eightbit
            assert isinstance(submission.content, Inline)
            content = submission.content.data
            assert content.startswith(b"Received: by ")
            assert content.endswith(MESSAGE)
            assert b" with ESMTPSA id " + submission.id.encode() + b"\r\n\ttls TLS_AES_256_GCM_SHA384; " in content
            assert b"127.0.0.1" not in content
            assert gateway.events("submitted") == [
                {
                    "event": "submitted",
                    "time": 1_800_000_000.0,
                    "id": submission.id,
                    "account": USER,
                    "peer": "127.0.0.1",
                    "size": len(content),
                    "recipients": 2,
                }
            ]
            assert PASSWORD not in "".join(gateway.lines)
            assert "body" not in "".join(gateway.lines)

    run(main())


def test_nothing_said_before_tls_is_heard_after_it(run: Run) -> None:
    """RFC 3207 §4.2, CVE-2011-0411: a command sent ahead in plaintext isn't run in the TLS session."""

    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.open(gateway.port)
            await wire.reply()
            await wire.ask(b"EHLO app.example")
            assert (await wire.ask(b"STARTTLS\r\nNOOP\r\nNOOP")).startswith(b"220 ")
            await wire.upgrade()
            assert await wire.ask(b"MAIL FROM:<>") == b"530 5.7.0 Authentication required\r\n"
            assert b"AUTH PLAIN LOGIN" in await wire.ask(b"EHLO app.example")

    run(main())


def test_pipelined_messages_are_answered_in_order(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            wire.writer.write((ENVELOPE + MESSAGE + b".\r\n") * 3 + b"QUIT\r\n")
            answers = (await wire.rest()).splitlines()
            ids = [decode_submission(body).id for body in gateway.queue.bodies]
            assert [each[:3] for each in answers] == [b"250", b"250", b"354", b"250"] * 3 + [b"221"]
            assert [each.decode() for each in answers[3::4]] == [f"250 2.0.0 queued as {id}" for id in ids]

    run(main())


class Slow(Gateway):
    """Its queue takes its time, and tells when it has been asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        send = self.queue.send

        async def slow(body: str, *, group: str, delay: float = 0.0) -> None:
            self.asked.set()
            await self.answer.wait()
            await send(body, group=group, delay=delay)

        self.queue.send = slow  # type: ignore[method-assign]


def test_250_comes_after_the_queue_has_answered(run: Run) -> None:
    async def main() -> None:
        async with running(gateway := Slow()):
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + MESSAGE + b".\r\nNOOP\r\n")
            for _ in range(3):
                await wire.reply()
            await gateway.asked.wait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wire.reader.readline(), 0.05)
            assert not gateway.queue.sent
            gateway.answer.set()
            assert (await wire.reply()).startswith(b"250 2.0.0 queued as ")
            assert len(gateway.queue.sent) == 1
            assert await wire.reply() == b"250 2.0.0 OK\r\n"

    run(main())


def test_what_comes_meanwhile_is_bounded(run: Run) -> None:
    async def main() -> None:
        async with running(gateway := Slow(), limits=Limits(idle_lines=1_000_000)):
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + MESSAGE + b".\r\n")
            await gateway.asked.wait()
            noops = 400_000
            wire.writer.write(b"NOOP\r\n" * noops)
            for _ in range(20):
                await asyncio.sleep(0.005)
            (connection,) = gateway.site.connections
            assert connection._session.backlog < 1_000_000
            gateway.answer.set()
            for _ in range(4):
                await wire.reply()
            for _ in range(noops):
                assert await wire.reader.readline() == b"250 2.0.0 OK\r\n"

    run(main())


@pytest.mark.parametrize("error", [TemporaryError("queue is away"), ZeroDivisionError(), KeyError(PASSWORD)], ids=repr)
def test_our_fault_is_451_and_the_session_goes_on(run: Run, error: Exception) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.queue.fail_next(error)  # type: ignore[arg-type]
            wire = await Wire.logged_in(gateway)
            wire.writer.write((ENVELOPE + MESSAGE + b".\r\n") * 2 + b"QUIT\r\n")
            answers = (await wire.rest()).splitlines()
            assert answers[3] == b"451 4.3.0 Message not stored; try again later"
            assert answers[7].startswith(b"250 2.0.0 queued as ")
            assert len(gateway.queue.sent) == 1
            assert len(gateway.events("submitted")) == 1
            assert PASSWORD not in "".join(gateway.lines)

    run(main())


def test_a_bug_in_the_session_is_421(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtp_gateway.commands.parse_mail", lambda _: 1 / 0)

    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            assert await wire.ask(b"MAIL FROM:<>") == b"421 4.3.0 Internal error; try again later\r\n"
            assert await wire.rest() == b""
            assert gateway.events("bug")[0]["error"] == "ZeroDivisionError"

    run(main())


def test_a_bug_while_an_answer_is_made_is_421_and_keeps_no_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            monkeypatch.setattr(gateway.site.log.metrics, "time", lambda what, _: 1 / (what is not Time.TO_250))
            wire = await Wire.logged_in(gateway)
            wire.writer.write(b"MAIL FROM:<jo@example.com>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
            wire.writer.write(b"From: jo@example.com\r\n\r\nHello\r\n.\r\n")
            assert [(await wire.reply())[:3] for _ in range(4)] == [b"250", b"250", b"354", b"421"]
            assert await wire.rest() == b""
            assert [each["error"] for each in gateway.events("bug")] == ["ZeroDivisionError"]
            wire.writer.close()
            await until(lambda: not gateway.site.connections)

    run(main())


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        (USER, "wrong", b"535"),
        ("nobody@example.com", "wrong", b"535"),
        ("", "", b"535"),
        ("JO@example.com", PASSWORD, b"235"),
    ],
)
def test_authentication(run: Run, user: str, password: str, code: bytes) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.open(gateway.port)
            await wire.reply()
            await wire.ask(b"EHLO app.example")
            refused = await wire.ask(b"AUTH PLAIN " + plain(user, password))
            assert refused.startswith(b"538 5.7.11 ")
            await wire.start_tls()
            await wire.ask(b"EHLO app.example")
            reply = await wire.ask(b"AUTH PLAIN " + plain(user, password))
            assert reply[:3] == code
            if code == b"535":
                assert reply == b"535 5.7.8 User name or password wrong\r\n"
                assert await wire.ask(b"MAIL FROM:<>") == b"530 5.7.0 Authentication required\r\n"
            if password:
                assert password not in "".join(gateway.lines)

    run(main())


@pytest.mark.parametrize("error", [TemporaryError("table is away"), ZeroDivisionError()], ids=repr)
def test_accounts_away_is_454(run: Run, error: Exception) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.accounts.fail_next(error)  # type: ignore[arg-type]
            wire = await Wire.open(gateway.tls_port, tls=True)
            await wire.reply()
            await wire.ask(b"EHLO app.example")
            assert (await wire.ask(b"AUTH PLAIN " + plain(USER, PASSWORD))).startswith(b"454 4.7.0 ")
            assert (await wire.ask(b"AUTH PLAIN " + plain(USER, PASSWORD))).startswith(b"235 ")

    run(main())


SHORT = {
    "nothing at all": (Timeouts(login=0.05), False, b"", b"421 4.7.0"),
    "no login": (Timeouts(login=0.05), False, b"EHLO a.example\r\n", b"421 4.7.0"),
    "idle": (Timeouts(idle=0.05), True, b"NOOP\r\n", b"421 4.4.2"),
    "in data": (Timeouts(idle=0.05), True, ENVELOPE + b"half a line", b"421 4.4.2"),
    "slow data": (Timeouts(data=0.05), True, ENVELOPE + b"half a line", b"421 4.4.2"),
    "line in LF": (Timeouts(lone_lf=0.05), True, b"NOOP\n", b"521 5.5.2"),
}


@pytest.mark.parametrize(("timeouts", "login", "octets", "code"), SHORT.values(), ids=SHORT)
def test_time_outs(run: Run, timeouts: Timeouts, login: bool, octets: bytes, code: bytes) -> None:
    async def main() -> None:
        async with running(Gateway(), timeouts=timeouts) as gateway:
            wire = await (Wire.logged_in(gateway) if login else Wire.open(gateway.port))
            wire.writer.write(octets)
            last = (await wire.rest()).splitlines()[-1]
            assert last.startswith(code)
            assert not gateway.queue.sent

    run(main())


@pytest.mark.parametrize("tls_port", [True, False])
def test_a_handshake_that_never_comes_is_cut_off(run: Run, tls_port: bool) -> None:
    async def main() -> None:
        async with running(Gateway(), timeouts=Timeouts(login=0.05, linger=0.05)) as gateway:
            wire = await Wire.open(gateway.tls_port if tls_port else gateway.port)
            if not tls_port:
                wire.writer.write(b"EHLO a.example\r\nSTARTTLS\r\n")
            assert b"421" not in await wire.rest()
            while gateway.site.connections:
                await asyncio.sleep(0)

    run(main())


def test_a_bad_handshake_ends_that_connection_only(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            good = await Wire.logged_in(gateway)
            bad = await Wire.open(gateway.tls_port)
            bad.writer.write(b"EHLO a.example\r\n" * 10)
            assert b"250" not in await bad.rest()
            assert await good.ask(b"NOOP") == b"250 2.0.0 OK\r\n"
            while len(gateway.site.connections) > 1:
                await asyncio.sleep(0)
            assert gateway.events("tls_failed")

    run(main())


def test_too_many_connections(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), max_connections=1) as gateway:
            first = await Wire.open(gateway.port)
            await first.reply()
            second = await Wire.open(gateway.port)
            assert await second.rest() == b"421 4.3.2 Too many connections; try again in 30 seconds\r\n"
            third = await Wire.open(gateway.tls_port)
            assert await third.rest() == b""
            assert await first.ask(b"NOOP") == b"250 2.0.0 OK\r\n"

    run(main())


def test_a_drain_finishes_what_is_under_way(run: Run) -> None:
    async def main() -> None:
        async with running(gateway := Slow()):
            idle, busy = await Wire.logged_in(gateway), await Wire.logged_in(gateway)
            await busy.ask(b"MAIL FROM:<>")
            stopping = asyncio.create_task(gateway.server.stop(10.0))
            assert await idle.rest() == b"421 4.3.2 Shutting down; try again\r\n"
            with pytest.raises(OSError):  # noqa: PT011 - refused or reset
                await Wire.open(gateway.port)
            busy.writer.write(b"RCPT TO:<a@b.example>\r\nDATA\r\n" + MESSAGE + b".\r\n")
            await gateway.asked.wait()
            gateway.answer.set()
            answers = (await busy.rest()).splitlines()
            assert answers[2].startswith(b"250 2.0.0 queued as ")
            assert answers[3] == b"421 4.3.2 Shutting down; try again"
            assert await stopping == 0

    run(main())


def test_who_is_in_the_kernel_s_queue_as_the_drain_begins_is_told(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            waiting = [socket.create_connection(("127.0.0.1", gateway.port), 10) for _ in range(5)]
            await gateway.server.stop(1.0)
            for each in waiting:
                with each:
                    assert each.recv(100) == b"421 4.3.2 Shutting down; try again\r\n"

    run(main())


def test_a_drain_has_an_end(run: Run) -> None:
    async def main() -> None:
        async with running(gateway := Slow()):
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + MESSAGE + b".\r\n")
            await gateway.asked.wait()
            assert await gateway.server.stop(0.0) == 1
            assert b"queued" not in await wire.rest()

    run(main())


def test_too_big_is_refused_and_the_session_goes_on(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway(), limits=Limits(size=70_000)) as gateway:
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + MESSAGE + b"x" * 500_000 + b"\r\n.\r\nNOOP\r\n")
            answers = [await wire.reply() for _ in range(5)]
            assert answers[3] == b"552 5.3.4 Message refused: it is larger than 70000 octets\r\n"
            assert answers[4] == b"250 2.0.0 OK\r\n"
            assert not gateway.queue.sent
            assert gateway.events("refused")[0]["code"] == 552

    run(main())


def test_many_large_messages_at_once_are_put_off_and_small_ones_pass(run: Run) -> None:
    async def main() -> None:
        async with running(gateway := Slow()):
            gateway.site.room = room = Room(500_000)
            first, second, third = [await Wire.logged_in(gateway) for _ in range(3)]
            first.writer.write(ENVELOPE + MESSAGE + b"x" * 400_000 + b"\r\n.\r\n")
            await gateway.asked.wait()
            second.writer.write(ENVELOPE + MESSAGE + b"x" * 400_000 + b"\r\n.\r\nNOOP\r\n")
            answers = [await second.reply() for _ in range(5)]
            assert answers[3] == replies.NO_ROOM.wire
            assert answers[4] == b"250 2.0.0 OK\r\n"
            third.writer.write(ENVELOPE + MESSAGE + b".\r\n")
            gateway.answer.set()
            for wire in (first, third):
                assert [await wire.reply() for _ in range(4)][3].startswith(b"250 2.0.0 queued as ")
            assert room.free == 500_000

    run(main())


def test_room_is_given_back_when_a_client_goes_away(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            gateway.site.room = room = Room(500_000)
            wire = await Wire.logged_in(gateway)
            wire.writer.write(ENVELOPE + MESSAGE + b"x" * 200_000)
            while room.free == 500_000:
                await asyncio.sleep(0.001)
            wire.writer.transport.abort()
            while gateway.site.connections:
                await asyncio.sleep(0.001)
            assert room.free == 500_000

    run(main())


def test_a_client_that_goes_away_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        async with running(gateway := Slow()):
            wire = await Wire.logged_in(gateway)
            wire.writer.write((ENVELOPE + MESSAGE + b".\r\n") * 2)
            await gateway.asked.wait()
            wire.writer.transport.abort()
            for _ in range(5):
                await asyncio.sleep(0.005)
            gateway.answer.set()
            while gateway.site.connections:
                await asyncio.sleep(0)
            assert len(gateway.queue.sent) == 1  # the second was never begun

    run(main())


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            bind(Endpoint("127.0.0.1", port, "GATEWAY_LISTEN"))
    assert str(caught.value).startswith(f"GATEWAY_LISTEN: port {port} of 127.0.0.1 cannot be listened on: Address al")


def test_ipv6() -> None:
    try:
        (bound,) = bind(Endpoint("::1", 0, "GATEWAY_LISTEN"))
    except ListenError:
        pytest.skip("no IPv6 on this machine")
    with bound:
        assert bound.getsockname()[1]
