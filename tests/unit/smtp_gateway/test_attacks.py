"""Known attacks on a submission server, through the whole gateway but its sockets, and where it matters over them.

docs/attacks.md lists each with the test that covers it; many are golden sessions (tests/dialogs).
"""

import asyncio
import re
import ssl
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.encoding import decode_submission
from relay.submission import Inline
from smtp_gateway import replies
from smtp_gateway.commands import AUTH_LIMIT
from smtp_gateway.states import State
from tests.fuzz.core import ENVELOPE, LOGIN, Core
from tests.gateway import Gateway, Run, Wire, client_context, running, until

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "attacks.md").read_text()
FROM = b"From: jo@example.com\r\n"


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def core(loop: asyncio.AbstractEventLoop) -> Core:
    """A session over TLS, logged in."""
    core = Core(loop, tls=True, size=1_000_000)
    core.feed(LOGIN)
    return core


# --- fake ends of data: the advisories on SMTP smuggling of December 2023 ----------------------------

FAKE_ENDS = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
]
# What a server that falls for it takes for a second message.
SECOND = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nFrom: evil@example.com\r\n\r\nx\r\n.\r\n"
REFUSED = re.compile(rb"554 5\.6\.0 Message refused: it has a (?:NUL|CR or LF that is not part of a CRLF)\r\n")


@pytest.mark.parametrize("step", [10_000, 1, 2, 3], ids=["whole", "octets", "by two", "by three"])
@pytest.mark.parametrize("fake", FAKE_ENDS, ids=ascii)
def test_a_fake_end_of_data_ends_nothing(core: Core, fake: bytes, step: int) -> None:
    core.feed(ENVELOPE)
    content = FROM + b"\r\nfirst" + fake + SECOND
    said = b"".join(core.feed(content[start : start + step]) for start in range(0, len(content), step))
    assert REFUSED.fullmatch(said)
    assert not core.taken
    assert b"250 2.0.0 queued as " in core.feed(ENVELOPE + FROM + b".\r\n")
    assert [each.content for each in core.taken] == [FROM]


def test_fake_ends_over_a_socket(run: Run) -> None:
    """In one write, and with the write cut inside each."""

    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            for fake in FAKE_ENDS:
                for cut in (0, 1, len(fake) - 1):
                    wire.writer.write(ENVELOPE)
                    assert [(await wire.reply())[:3] for _ in range(3)] == [b"250", b"250", b"354"]
                    wire.writer.write(FROM + b"\r\nfirst" + fake[:cut])
                    await asyncio.sleep(0)
                    wire.writer.write(fake[cut:] + SECOND)
                    assert REFUSED.fullmatch(await wire.reply())
            assert await wire.ask(b"NOOP") == replies.OK.wire
            assert not gateway.queue.sent

    run(main())


# --- other protocols at our door ---------------------------------------------------------------------

POST = b"POST / HTTP/1.1\r\nHost: gw.example:587\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("tls", [False, True])
def test_a_browser_cannot_send_mail(run: Run, tls: bool) -> None:
    """The body that a web page chose is a whole session, with a login that works."""

    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.open(gateway.tls_port if tls else gateway.port, tls=tls)
            body = LOGIN + SECOND
            wire.writer.write(POST % len(body) + body)
            greeting, *rest = (await wire.rest()).splitlines(keepends=True)
            assert greeting.startswith(b"220 ")
            assert rest == [replies.NOT_SMTP.wire]
            assert not gateway.queue.sent
            assert [each["why"] for each in gateway.events("cut_off")] == ["not SMTP"]

    run(main())


def test_a_tls_client_on_the_starttls_port_is_told_at_once(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection(
                    "127.0.0.1", gateway.port, ssl=client_context(), server_hostname="localhost"
                )
            assert await until(lambda: gateway.events("cut_off"))
            assert [each["why"] for each in gateway.events("cut_off")] == ["not SMTP"]

    run(main())


def test_bdat_ends_the_connection_and_its_chunk_is_never_run(run: Run) -> None:
    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            wire.writer.write(
                ENVELOPE.replace(b"DATA\r\n", b"") + b"BDAT %d LAST\r\n" % len(SECOND) + b"RSET\r\n" + SECOND
            )
            answers = (await wire.rest()).splitlines()
            assert [each[:3] for each in answers] == [b"250", b"250", b"502", b"421"]
            assert not gateway.queue.sent

    run(main())


# --- size: what a session keeps, whatever comes -------------------------------------------------------

ENDLESS = {
    "a command": (b"", b"x", replies.LINE_TOO_LONG),
    "a command with no blank": (b"MAIL FROM:<", b"a", replies.LINE_TOO_LONG),
    "a line of CR": (b"NOOP ", b"\r", replies.LINE_TOO_LONG),
    "a line of LF": (b"NOOP ", b"\n", replies.LINE_TOO_LONG),
    "a line of NUL": (b"", b"\0", replies.LINE_TOO_LONG),
    "content": (ENVELOPE, b"x", replies.too_big(100_000)),
    "content of dots": (ENVELOPE, b"\r\n..", replies.too_big(100_000)),
}


@pytest.mark.parametrize(("before", "piece", "reply"), ENDLESS.values(), ids=ENDLESS)
def test_ten_megabytes_of_a_line_take_no_memory(
    loop: asyncio.AbstractEventLoop, before: bytes, piece: bytes, reply: replies.Reply
) -> None:
    core = Core(loop, tls=True, size=100_000)
    core.feed(LOGIN + before)
    chunk = piece * (65_536 // len(piece))
    tracemalloc.start()
    try:
        for _ in range(160):
            assert core.feed(chunk) == b""
            assert core.session.backlog <= AUTH_LIMIT + 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600_000
    end = b"\r\n.\r\n" if before == ENVELOPE else b"\r\n"
    assert core.feed(end + b"NOOP\r\n") == reply.wire + replies.OK.wire


def test_ten_megabytes_of_a_sasl_response_take_no_memory(loop: asyncio.AbstractEventLoop) -> None:
    core = Core(loop, tls=True)
    core.feed(b"EHLO a.example\r\nAUTH PLAIN\r\n")
    for _ in range(160):
        assert core.feed(b"A" * 65_536) == b""
        assert core.session.backlog <= AUTH_LIMIT + 1
    assert core.feed(b"\r\nNOOP\r\n") == replies.AUTH_LINE_TOO_LONG.wire + replies.OK.wire


def rcpts(count: int, domain: bytes = b"b.example") -> bytes:
    return b"".join(b"RCPT TO:<r%d@%s>\r\n" % (number, domain) for number in range(count))


def test_ten_thousand_recipients(core: Core) -> None:
    """1,000 are taken, as many put off; who then still hasn't understood is sent away."""
    core.feed(b"MAIL FROM:<jo@example.com>\r\n")
    answers = core.feed(rcpts(10_000))
    assert answers.startswith(replies.RECIPIENT_OK.wire * 1000 + replies.TOO_MANY_RECIPIENTS.wire * 900)
    assert answers.endswith(replies.TOO_MANY_COMMANDS.wire)
    assert core.session.state is State.CLOSED
    assert not core.taken


def test_those_that_are_taken_get_the_message(core: Core) -> None:
    core.feed(b"MAIL FROM:<jo@example.com>\r\n" + rcpts(1500))
    assert core.feed(b"DATA\r\n" + FROM + b".\r\n").startswith(replies.GO_AHEAD.wire + b"250 2.0.0 queued as ")
    assert core.taken[0].recipients == tuple(f"r{number}@b.example" for number in range(1000))


def test_ten_thousand_recipients_that_are_none(core: Core) -> None:
    core.feed(b"MAIL FROM:<jo@example.com>\r\n")
    answers = core.feed(rcpts(10_000, b"localhost")).splitlines(keepends=True)
    assert {each[:9] for each in answers[:-1]} == {b"553 5.1.3"}
    assert answers[-1] == replies.TOO_MANY_COMMANDS.wire
    assert not core.session._recipients


# --- content made to break readers --------------------------------------------------------------------

COMMENTS = b"(" * 1000 + b"x" + b")" * 1000
TAKEN = {
    "1,000 nested comments": b"From: " + COMMENTS + b" jo@example.com\r\n",
    "1,000 nested comments in To": FROM + b"To: " + COMMENTS + b"\r\n",
    "32,000 addresses in To": FROM + b"To: " + b"a@b.cd,\r\n " * 26_000 + b"a@b.c\r\n",
    "49 Received": FROM + b"Received: x\r\n" * 49,
    "an unclosed comment in Subject": FROM + b"Subject: " + b"(" * 60_000 + b"\r\n",
}
REFUSED_HEADERS = {
    "1,000 comments that do not end": (b"From: " + b"(" * 1000 + b" jo@example.com\r\n", "a comment has no end"),
    "1,001 addresses in From": (b"From: " + b"a@b.cd," * 1000 + b"a@b.cd\r\n", "more than 1000 addresses"),
    "32,000 addresses in From": (b"From: " + b"a@b.cd," * 32_000 + b"a@b.cd\r\n", "longer than 65536 octets"),
    "32,000 addresses in To": (FROM + b"To: " + b"jo@b.example," * 32_000 + b"a@b.c\r\n", "longer than 262144 octets"),
    "32,000 fields": (FROM + b"To: a\r\n" * 32_000, "more than 2000 fields"),
    "50 Received": (FROM + b"Received: x\r\n" * 50, "too many Received fields"),
    "an encoded word as an address": (b"From: =?utf-8?q?jo=40evil.example?= <jo@example.com>\r\n", "an encoded word"),
    "two From": (FROM + b"From: al@example.com\r\n", "2 From fields"),
    "a NUL": (b"From: jo@example.com\0\r\n", "it has a NUL"),
}


@pytest.mark.parametrize("header", TAKEN.values(), ids=TAKEN)
def test_a_header_that_is_only_odd_goes_through_unchanged(core: Core, header: bytes) -> None:
    """core holds that what is queued is what came, and that validate can read it."""
    said = core.feed(ENVELOPE + header + b"\r\nbody\r\n.\r\n")
    assert b"250 2.0.0 queued as " in said, said


@pytest.mark.parametrize(("header", "why"), REFUSED_HEADERS.values(), ids=REFUSED_HEADERS)
def test_a_header_that_is_hostile_is_refused_with_its_reason(core: Core, header: bytes, why: str) -> None:
    said = core.feed(ENVELOPE + header + b"\r\nbody\r\n.\r\n").splitlines()[-1].decode()
    assert said.startswith("554 5.")
    assert why in said
    assert core.feed(b"NOOP\r\n") == replies.OK.wire


def mime(depth: int) -> bytes:
    """multipart in multipart in ..."""
    opened = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (at, at) for at in range(depth))
    return (
        FROM
        + b"MIME-Version: 1.0\r\n"
        + opened
        + b"\r\nx\r\n"
        + b"".join(b"--%d--\r\n" % at for at in range(depth)[::-1])
    )


def test_mime_of_depth_2000_is_content_like_any(run: Run) -> None:
    """Nothing reads MIME, so nothing recurses."""

    async def main() -> None:
        async with running(Gateway()) as gateway:
            wire = await Wire.logged_in(gateway)
            content = mime(2000)
            wire.writer.write(ENVELOPE + content + b".\r\n")
            assert [(await wire.reply())[:3] for _ in range(4)] == [b"250", b"250", b"354", b"250"]
            queued = decode_submission(gateway.queue.bodies[0]).content
            data = queued.data if isinstance(queued, Inline) else gateway.content.items[queued.key]
            assert data.endswith(content)

    run(main())


# --- the page ------------------------------------------------------------------------------------------


def test_each_attack_has_tests_that_exist() -> None:
    tables = re.findall(r"^\| attack \|.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = "".join(tables).splitlines()
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+?\.(?:py|smtp))(?:::(\w+))?`", row.rpartition(" | ")[2])
        assert named, row
        for file, test in named:
            text = (ROOT / file).read_text()
            assert file.endswith(".smtp") or re.search(rf"^(?:def|class) {test}\(", text, re.MULTILINE), row
