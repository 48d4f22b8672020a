"""Messages that follow each other on one connection, the next envelope right behind the content (RFC 2920 §3.1)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from relay.ports import RecipientReply
from tests.unit.smtp.scripted import Script
from tests.unit.smtp.world import LIMITS, SOON, World, world

LIMIT = replace(LIMITS, connections_per_site=1)
MAIL, RCPT, DATA, DOT = b"250 2.1.0 ok", b"250 2.1.5 ok", b"354 go on", b"250 2.0.0 queued"


@dataclass
class Server:
    """Answers line by line, the final dot by `dot(its number, what came behind it)`: lines, or None for all that
    was said so far and then no more. `behind`: for each final dot, what had come behind it."""

    dot: Callable[[int, bytes], bytes | None] = lambda _number, _behind: DOT
    mail: Callable[[int], bytes] = lambda _number: MAIL
    rcpt: Callable[[bytes], bytes] = lambda _line: RCPT
    forgets: bool = False  # what came behind a final dot
    waits: float = 0.0  # seconds, for the answer to each final dot
    connections: int = 0
    taken: list[bytes] = field(default_factory=list)
    behind: list[bytes] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 ESMTP\r\n")
        buffer, mails = b"", 0
        end = b"\r\n"  # of a line, or of content
        while chunk := await reader.read(65_536):
            buffer += chunk
            while end in buffer:
                what, _, buffer = buffer.partition(end)
                mails += what.startswith(b"MAIL")
                if len(end) > 2:
                    answer = await self.content(what, buffer)
                    buffer, end = b"" if self.forgets else buffer, b"\r\n"
                else:
                    answer = self.line(what, mails)
                    end = b"\r\n.\r\n" if what == b"DATA" else end
                if answer is None:
                    writer.transport.abort()
                    return
                writer.write(answer + b"\r\n")
                if answer.startswith((b"421", b"221")):
                    writer.close()
                    return
        writer.transport.abort()

    def line(self, line: bytes, mails: int) -> bytes:
        match line[:4]:
            case b"EHLO":
                return b"250-me\r\n250 PIPELINING"
            case b"MAIL":
                return self.mail(mails)
            case b"RCPT":
                return self.rcpt(line)
            case b"DATA":
                return DATA
            case b"RSET":
                return b"250 2.0.0 ok"
        return b"221 2.0.0 bye"

    async def content(self, content: bytes, behind: bytes) -> bytes | None:
        self.behind.append(behind)
        await asyncio.sleep(self.waits)
        answer = self.dot(len(self.behind), behind)
        if answer and answer.startswith(b"2"):
            self.taken.append(content)
        return answer


@asynccontextmanager
async def served(server: Server, limits: object = LIMIT) -> AsyncIterator[World]:
    async with asyncio.timeout(30), world(Script(), limits=limits) as here:  # type: ignore[arg-type]
        here.zone.a_records["mx1.b.example"] = ("127.0.0.9",)
        listening = await asyncio.start_server(server, "127.0.0.9", here.sinks[0].port)
        try:
            yield here
        finally:
            here.transport.close()
            listening.close()


def text(number: int) -> bytes:
    return b"Subject: %d\r\n\r\nhello" % number


async def send(here: World, count: int, first: int = 1) -> list[RecipientReply]:
    each = [here.send(content=text(number) + b"\r\n") for number in range(first, first + count)]
    return [reply for (reply,) in await asyncio.gather(*each)]


def run(server: Server, scenario: Callable[[World], Awaitable[None]], limits: object = LIMIT) -> None:
    async def bounded() -> None:
        async with served(server, limits) as here:
            await scenario(here)

    asyncio.run(bounded())


async def all_delivered(here: World, count: int = 6) -> None:
    replies = await send(here, count)
    assert [reply.ok for reply in replies] == [True] * count, replies


def test_next_envelope_comes_with_the_content() -> None:
    server = Server()
    run(server, all_delivered)
    assert server.taken == [text(number) for number in range(1, 7)]
    assert server.connections == 1
    # The first message shows how the server answers; nobody follows the last one.
    assert [bool(behind) for behind in server.behind] == [False, True, True, True, True, False]
    assert server.behind[1] == b"MAIL FROM:<s@a.example>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"


@pytest.mark.parametrize(
    ("mail", "dot"),
    [(b"250 ok", b"250 ok"), (b"250 2.0.0 ok", DOT), (MAIL, b"250 ok"), (MAIL, b"250 2.1.0 ok")],
    ids=["no enhanced codes", "MAIL is 2.0.0", "none for the dot", "dot is 2.1.0"],
)
def test_whose_answers_cannot_be_told_apart_is_waited_for(mail: bytes, dot: bytes) -> None:
    server = Server(mail=lambda _number: mail, dot=lambda _number, _behind: dot)
    run(server, all_delivered)
    assert server.behind == [b""] * 6


def test_nobody_is_made_to_wait_behind_a_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.smtp.order.QUICK", 0.0)
    server = Server()
    run(server, all_delivered)
    assert server.behind == [b""] * 6


def test_a_message_that_is_refused_takes_nobody_along() -> None:
    server = Server(dot=lambda number, _behind: b"554 5.6.0 no" if number == 3 else DOT)

    async def scenario(here: World) -> None:
        assert [reply.ok for reply in await send(here, 6)] == [True, True, False, True, True, True]

    run(server, scenario)
    assert server.behind[2]
    assert server.connections == 1


def test_recipients_left_over_are_asked_about_before_the_next_message() -> None:
    server = Server(rcpt=lambda line: b"452 4.5.3 enough" if b"<b@" in line and len(server.behind) == 1 else RCPT)

    async def scenario(here: World) -> None:
        await send(here, 1)
        two = here.send("a@b.example", "b@b.example", content=text(2) + b"\r\n")
        both, (other,) = await asyncio.gather(two, here.send(content=text(3) + b"\r\n"))
        assert [each.ok for each in (*both, other)] == [True] * 3

    run(server, scenario)
    assert server.taken == [text(1), text(2), text(2), text(3)]
    assert [bool(behind) for behind in server.behind] == [False, False, True, False]


def test_answers_in_another_order_are_taken_for_no_other_message() -> None:
    """The server answers the next MAIL before the dot, and then refuses the message."""

    def dot(number: int, behind: bytes) -> bytes:
        return MAIL + b"\r\n" + RCPT + b"\r\n" + DATA + b"\r\n451 4.0.0 not now" if number == 2 and behind else DOT

    server = Server(dot=dot)

    async def scenario(here: World) -> None:
        replies = await send(here, 6)
        assert [reply.ok for reply in replies] == [True, False, True, True, True, True]
        assert (replies[1].permanent, replies[1].enhanced) == (False, "4.4.2")

    run(server, scenario)
    assert [bool(behind) for behind in server.behind] == [False, True, False, False, False, False], "trusted again"


def test_who_forgets_what_comes_behind_a_message_gets_it_again() -> None:
    server = Server(forgets=True)
    run(server, all_delivered, replace(LIMIT, mail=SOON))
    assert sorted(server.taken) == [text(number) for number in range(1, 7)]
    assert sum(map(bool, server.behind)) == 1, "tried again on each connection"


def test_421_to_the_next_message_is_no_end_of_it() -> None:
    server = Server(mail=lambda number: b"421 4.7.0 enough for now" if number == 3 else MAIL)
    run(server, all_delivered)
    assert sorted(server.taken) == [text(number) for number in range(1, 7)]
    assert server.connections == 3


def test_a_lost_answer_is_one_message_s_loss() -> None:
    server = Server(dot=lambda number, _behind: None if number == 2 else DOT)

    async def scenario(here: World) -> None:
        replies = await send(here, 6)
        assert [reply.ok for reply in replies] == [True, False, True, True, True, True]
        assert "may have the message" in replies[1].text

    run(server, scenario)
    assert server.behind[1]


def test_time_for_an_answer_begins_when_those_before_it_are_there() -> None:
    server = Server(waits=SOON * 1.5)

    async def scenario(here: World) -> None:
        await all_delivered(here, 3)

    run(server, scenario, replace(LIMIT, mail=SOON, rcpt=SOON, data=SOON))
    assert server.behind[1]


def test_who_leaves_lets_the_one_before_have_its_answer() -> None:
    server = Server(waits=SOON / 2)

    async def scenario(here: World) -> None:
        await send(here, 1)
        leader = asyncio.create_task(here.send(content=text(2) + b"\r\n"))
        follower = asyncio.create_task(here.send(content=text(3) + b"\r\n"))
        while len(server.behind) < 2:
            await asyncio.sleep(0.01)
        assert server.behind[1], "nobody followed"
        follower.cancel()
        (reply,) = await leader
        assert reply.ok
        with pytest.raises(asyncio.CancelledError):
            await follower
        await all_delivered(here, 2)

    run(server, scenario)


def test_a_connection_is_handed_over_as_often_as_it_may_be_used() -> None:
    server = Server()
    run(server, all_delivered, replace(LIMIT, per_connection=2))
    assert server.connections == 3
    assert server.taken == [text(number) for number in range(1, 7)]


def test_large_content_is_followed_by_nobody() -> None:
    server = Server()

    async def scenario(here: World) -> None:
        await send(here, 1)
        large = here.send(content=b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" + b"y" * 70 * 5000 + b"\r\n")
        both = await asyncio.gather(large, partial(here.send, content=text(3) + b"\r\n")())
        assert all(reply.ok for (reply,) in both)

    run(server, scenario)
    assert server.behind == [b""] * 3
