from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.pace import FIRST, Pace
from relay.smtp.protocol import (
    NO_TIME,
    Ask,
    Capabilities,
    Exchange,
    Message,
    Phase,
    RefusedError,
    Result,
    dot_stuff,
    greeting,
    hello,
    transaction,
)
from relay.smtp.replies import ProtocolError, Reply
from relay.submission import Dsn

T = TypeVar("T")

ALL = Capabilities(pipelining=True, starttls=True, eightbitmime=True, smtputf8=True, size=0)
STEPS = Capabilities(eightbitmime=True, smtputf8=True, size=0)
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
A, B, C = "a@b.example", "b@b.example", "c@b.example"


def drive(exchange: Exchange[T], *replies: str) -> tuple[list[Ask], T]:
    """Run `exchange` with these replies; what it asked, and its result."""
    asked = []
    rest = list(replies)
    try:
        ask = next(exchange)
        while True:
            asked.append(ask)
            code, _, text = rest.pop(0).partition(" ")
            ask = exchange.send(Reply(int(code), tuple(text.encode().split(b"|"))))
    except StopIteration as end:
        assert not rest, f"not asked for: {rest}"
        return asked, end.value


def message(content: bytes = CONTENT, mail_from: str = "s@a.example", *, smtputf8: bool = False) -> Message:
    return Message.prepare(mail_from, content, smtputf8=smtputf8)


def codes(result: Result) -> str:
    return " ".join(f"{answer.reply.code}@{answer.phase.name}" for answer in result.answers)


def written(asked: list[Ask]) -> bytes:
    return b"".join(ask.data for ask in asked)


def test_greeting() -> None:
    assert drive(greeting(), "220 hi")[0] == [Ask(b"", Phase.GREETING)]


@pytest.mark.parametrize("reply", ["554 no", "421 later", "250 what"])
def test_greeting_refused(reply: str) -> None:
    with pytest.raises(RefusedError):
        drive(greeting(), reply)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("250 mx", Capabilities()),
        ("250 mx|PIPELINING", Capabilities(pipelining=True)),
        ("250 mx|pipelining|StartTLS|8bitmime|SMTPUTF8", Capabilities(True, True, True, True)),
        ("250 mx|dsn", Capabilities(dsn=True)),
        ("250 mx|SIZE 1000", Capabilities(size=1000)),
        ("250 mx|SIZE", Capabilities(size=0)),
        ("250 mx|SIZE many", Capabilities(size=0)),
        ("250 mx|SIZE " + "9" * 5000, Capabilities(size=0)),
        ("250 mx||  |X-OTHER y", Capabilities()),
        ("250 PIPELINING", Capabilities()),
    ],
)
def test_ehlo(reply: str, expected: Capabilities) -> None:
    asked, capabilities = drive(hello("relay.example"), reply)
    assert asked == [Ask(b"EHLO relay.example\r\n", Phase.HELLO)]
    assert capabilities == expected


def test_helo_where_ehlo_is_unknown() -> None:
    asked, capabilities = drive(hello("relay.example"), "500 what?", "250 hello")
    assert asked[1] == Ask(b"HELO relay.example\r\n", Phase.HELLO)
    assert capabilities == Capabilities()


@pytest.mark.parametrize("replies", [["421 busy"], ["450 later"], ["502 no", "550 go away"]])
def test_hello_refused(replies: list[str]) -> None:
    with pytest.raises(RefusedError):
        drive(hello("relay.example"), *replies)


def test_pipelined_envelope_is_one_write() -> None:
    asked, result = drive(transaction(ALL, message(), (A, B)), "250 ok", "250 ok", "250 ok", "354 go", "250 queued")
    envelope = b"MAIL FROM:<s@a.example> SIZE=21\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n"
    assert asked == [
        Ask(envelope, Phase.MAIL),
        Ask(b"", Phase.RCPT),
        Ask(b"", Phase.RCPT),
        Ask(b"", Phase.DATA),
        Ask(CONTENT + b".\r\n", Phase.CONTENT, last=True),
    ]
    assert codes(result) == "250@CONTENT 250@CONTENT"
    assert (result.reset, result.usable) == (False, True)


def test_step_by_step_without_pipelining() -> None:
    asked, result = drive(transaction(STEPS, message(), (A,)), "250 ok", "250 ok", "354 go", "250 queued")
    assert [ask.phase for ask in asked] == [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT]
    assert all(ask.data for ask in asked)
    assert codes(result) == "250@CONTENT"


def paced(*windows: int) -> Callable[[int], int]:
    """What Pace says, call by call."""
    rest = list(windows)
    return lambda _answered: rest.pop(0)


PACED = {
    "a part, then the rest": (
        ALL,
        (2, 9),
        "250 250 550 450 354 250",
        [b"MAIL RCPT RCPT", b"RCPT DATA", CONTENT],
        "250@CONTENT 550@RCPT 450@RCPT",
    ),
    "no time for the rest": (
        ALL,
        (2, 0),
        "250 550 250 354 250",
        [b"MAIL RCPT RCPT", b"DATA", CONTENT],
        "550@RCPT 250@CONTENT 451@RCPT",
    ),
    "no time, and nobody accepted": (
        ALL,
        (2, 0),
        "250 550 450",
        [b"MAIL RCPT RCPT"],
        "550@RCPT 450@RCPT 451@RCPT",
    ),
    "MAIL refused": (ALL, (2,), "550 503 503", [b"MAIL RCPT RCPT"], "550@MAIL 550@MAIL 550@MAIL"),
    "closing": (ALL, (1, 1, 1), "250 250 421", [b"MAIL RCPT", b"RCPT"], "421@RCPT 421@RCPT 421@RCPT"),
    "one by one": (ALL, (1, 1, 1), "250 250 250 250 354 250", None, "250@CONTENT 250@CONTENT 250@CONTENT"),
    "no pipelining, no time": (
        STEPS,
        (1, 1, 0),
        "250 250 250 354 250",
        [b"MAIL", b"RCPT", b"RCPT", b"DATA", CONTENT],
        "250@CONTENT 250@CONTENT 451@RCPT",
    ),
    "no pipelining, no time, nobody accepted": (
        STEPS,
        (1, 0),
        "250 450",
        [b"MAIL", b"RCPT"],
        "450@RCPT 451@RCPT 451@RCPT",
    ),
}


@pytest.mark.parametrize(("offered", "windows", "replies", "writes", "answers"), PACED.values(), ids=PACED)
def test_paced(
    offered: Capabilities, windows: tuple[int, ...], replies: str, writes: list[bytes] | None, answers: str
) -> None:
    asked, result = drive(transaction(offered, message(), (A, B, C), paced(*windows)), *replies.split())
    assert codes(result) == answers
    assert all((reply is NO_TIME) == (reply.code == 451) for reply, _ in result.answers)
    sent = [ask.data for ask in asked if ask.data]
    if writes is not None:
        verbs = [b" ".join(line.split()[0] for line in each.splitlines()) for each in sent if CONTENT not in each]
        assert verbs + [each.removesuffix(b".\r\n") for each in sent if CONTENT in each] == writes


def test_pace() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0], until=100.0)
    assert pace(0) == FIRST
    now[0] = 0.5
    assert pace(5) > 100  # quick: all at once
    now[0] = 25.0
    assert pace(5) == 5  # 5 s each, 50 s left for the envelope: half of it
    now[0] = 70.0
    assert pace(2) == 1  # one at least while there is time
    now[0] = 75.0
    assert pace(3) == 0
    pace.begin()  # 25 s each, and 25 s left in all
    assert pace(0) == 0


def test_pace_of_a_second_transaction() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0], until=100.0)
    now[0] = 20.0
    assert pace(10) == 13
    pace.begin()
    assert pace(0) == 15  # known by now


RESET, FIT, SENT = "reset", "fit", "sent"  # RSET is needed; the connection may be used again; content was sent

OUTCOMES = {
    "some taken, pipelined": (ALL, "250 550 250 450 354 250", "550@RCPT 250@CONTENT 450@RCPT", {FIT, SENT}),
    "some taken": (STEPS, "250 550 250 450 354 250", "550@RCPT 250@CONTENT 450@RCPT", {FIT, SENT}),
    "none taken, pipelined": (ALL, "250 550 551 450 554", "550@RCPT 551@RCPT 450@RCPT", {RESET, FIT}),
    "none taken: no DATA": (STEPS, "250 550 551 450", "550@RCPT 551@RCPT 450@RCPT", {RESET, FIT}),
    "none taken and 354: a lone dot": (ALL, "250 550 550 550 354 554", "550@RCPT 550@RCPT 550@RCPT", {RESET, FIT}),
    "none taken, lone dot taken": (ALL, "250 550 550 550 354 250", "550@RCPT 550@RCPT 550@RCPT", {RESET, FIT}),
    "MAIL refused, pipelined": (ALL, "552 503 503 503 503", "552@MAIL 552@MAIL 552@MAIL", {RESET, FIT}),
    "MAIL refused": (STEPS, "451", "451@MAIL 451@MAIL 451@MAIL", {RESET, FIT}),
    "closing at MAIL": (ALL, "421", "421@MAIL 421@MAIL 421@MAIL", {RESET}),
    "closing at RCPT": (ALL, "250 550 421", "550@RCPT 421@RCPT 421@RCPT", {RESET}),
    "closing: who was taken is not": (STEPS, "250 250 421", "421@RCPT 421@RCPT 421@RCPT", {RESET}),
    "DATA refused": (ALL, "250 250 550 250 451", "451@DATA 550@RCPT 451@DATA", {RESET, FIT}),
    "closing at DATA": (ALL, "250 250 250 250 421", "421@DATA 421@DATA 421@DATA", {RESET}),
    "content refused": (ALL, "250 250 550 250 354 554", "554@CONTENT 550@RCPT 554@CONTENT", {FIT, SENT}),
    "closing after content": (STEPS, "250 250 251 252 354 421", "421@CONTENT 421@CONTENT 421@CONTENT", {SENT}),
}


@pytest.mark.parametrize(("offered", "replies", "answers", "after"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes(offered: Capabilities, replies: str, answers: str, after: set[str]) -> None:
    asked, result = drive(transaction(offered, message(), (A, B, C)), *replies.split())
    assert codes(result) == answers
    assert (result.reset, result.usable) == (RESET in after, FIT in after)
    assert (message().stuffed in written(asked)) == (SENT in after)


@pytest.mark.parametrize("replies", ["354", "250 354", "250 250 250", "250 250 354 354", "250 250 334"])
def test_replies_that_make_no_sense(replies: str) -> None:
    with pytest.raises(ProtocolError):
        drive(transaction(STEPS, message(), (A,)), *replies.split())


EIGHT = b"Subject: x\r\n\r\nh\xc3\xa9\r\n"
UTF8_HEADER = "Subject: é\r\n\r\nhello\r\n".encode()


@pytest.mark.parametrize(
    ("offered", "made", "command"),
    [
        (ALL, message(), b"MAIL FROM:<s@a.example> SIZE=21\r\n"),
        (Capabilities(), message(), b"MAIL FROM:<s@a.example>\r\n"),
        (ALL, message(mail_from=""), b"MAIL FROM:<> SIZE=21\r\n"),
        (ALL, message(EIGHT), b"MAIL FROM:<s@a.example> SIZE=19 BODY=8BITMIME\r\n"),
        (ALL, message(EIGHT, smtputf8=True), b"MAIL FROM:<s@a.example> SIZE=19 BODY=8BITMIME\r\n"),
        (ALL, message(UTF8_HEADER, smtputf8=True), b"MAIL FROM:<s@a.example> SIZE=22 BODY=8BITMIME SMTPUTF8\r\n"),
        (ALL, message(UTF8_HEADER), b"MAIL FROM:<s@a.example> SIZE=22 BODY=8BITMIME\r\n"),
        (ALL, message(mail_from="é@a.example"), "MAIL FROM:<é@a.example> SIZE=21 SMTPUTF8\r\n".encode()),
        (Capabilities(size=21), message(), b"MAIL FROM:<s@a.example> SIZE=21\r\n"),
    ],
)
def test_mail_command_says_what_the_message_needs(offered: Capabilities, made: Message, command: bytes) -> None:
    asked = next(transaction(offered, made, (A,)))
    assert asked.data.startswith(command)


ASKED = Message.prepare(
    "s@a.example", CONTENT, smtputf8=False, ret="HDRS", envid="x+2B1", dsn={A: Dsn("NEVER"), B: Dsn("", "rfc822;o@b")}
)


@pytest.mark.parametrize(
    ("dsn", "lines"),
    [
        pytest.param(
            True,
            b"MAIL FROM:<s@a.example> RET=HDRS ENVID=x+2B1\r\nRCPT TO:<a@b.example> NOTIFY=NEVER\r\n"
            b"RCPT TO:<b@b.example> ORCPT=rfc822;o@b\r\nRCPT TO:<c@b.example>\r\nDATA\r\n",
            id="offered: passed on, nothing added",
        ),
        pytest.param(
            False,
            b"MAIL FROM:<s@a.example>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<b@b.example>\r\n"
            b"RCPT TO:<c@b.example>\r\nDATA\r\n",
            id="not offered",
        ),
    ],
)
def test_what_was_asked_about_notices(dsn: bool, lines: bytes) -> None:
    asked = next(transaction(Capabilities(pipelining=True, dsn=dsn), ASKED, (A, B, C)))
    assert asked.data == lines


@pytest.mark.parametrize(
    ("offered", "made", "code", "enhanced"),
    [
        (Capabilities(smtputf8=True), message(EIGHT), 554, "5.6.3"),
        (Capabilities(eightbitmime=True), message(UTF8_HEADER, smtputf8=True), 553, "5.6.7"),
        (Capabilities(eightbitmime=True), message(mail_from="é@a.example"), 553, "5.6.7"),
        (Capabilities(size=20), message(), 552, "5.3.4"),
    ],
)
def test_what_the_remote_lacks_is_refused_without_a_word_to_it(
    offered: Capabilities, made: Message, code: int, enhanced: str
) -> None:
    asked, result = drive(transaction(offered, made, (A, B)))
    assert asked == []
    assert [(reply.code, reply.enhanced) for reply, _ in result.answers] == [(code, enhanced)] * 2
    assert (result.reset, result.usable) == (False, True)


def test_only_the_recipients_that_need_smtputf8_are_refused_for_it() -> None:
    offered = Capabilities(pipelining=True)
    asked, result = drive(transaction(offered, message(), ("é@b.example", A)), "250", "250", "354", "250")
    assert [reply.enhanced for reply, _ in result.answers] == ["5.6.7", "2.0.0"]
    assert "é".encode() not in written(asked)
    asked, result = drive(transaction(offered, message(), ("é@b.example",)))
    assert asked == []
    assert codes(result) == "553@HELLO"


@pytest.mark.parametrize("address", ["a@b.example\r\nRCPT TO:<c@c.example>", "a\n@b.example", "a\0@b.example"])
def test_no_command_is_made_of_an_address_that_would_end_it(address: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        next(transaction(ALL, message(), (address,)))
    with pytest.raises(ValueError, match="control character"):
        next(transaction(ALL, message(mail_from=address), (A,)))


@pytest.mark.parametrize(
    ("content", "stuffed"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\n", b"...\r\n.\r\n"),
        (b"a\r\n.\r\n.b\r\n", b"a\r\n..\r\n..b\r\n.\r\n"),
        (b"a.\r\nb\r\n", b"a.\r\nb\r\n.\r\n"),
    ],
)
def test_dot_stuffing(content: bytes, stuffed: bytes) -> None:
    assert dot_stuff(content) == stuffed


@given(st.lists(st.sampled_from([b".", b"a", b"..", b"\xff"])).map(b"".join), st.integers(0, 3))
def test_what_is_stuffed_is_read_back(line: bytes, repeat: int) -> None:
    content = (line + b"\r\n") * repeat
    lines = dot_stuff(content).split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"".join(each.removeprefix(b".") + b"\r\n" for each in lines[:-2]) == content
    assert b"." not in lines[:-2]


def test_time_that_is_over_at_the_start_of_a_pipelined_envelope_is_noticed_after_one_recipient() -> None:
    asked, result = drive(transaction(ALL, message(), (A, B), lambda _: 0), "250 ok", "250 ok", "354 go", "250 queued")
    assert asked[0].data == b"MAIL FROM:<s@a.example> SIZE=21\r\nRCPT TO:<a@b.example>\r\n"
    assert [answer.reply.ok for answer in result.answers] == [True, False]
