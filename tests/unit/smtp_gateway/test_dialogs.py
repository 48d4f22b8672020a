"""Runs the golden sessions of tests/dialogs against Session: line by line, octet by octet, and all at once.

A dialog is text, one step a line:

    C: what the client sends, CRLF added; \\r \\n \\0 \\xNN \\\\ stand for octets, {x*600} for 600 times x
    C| the same without CRLF
    S: a line of the server's replies; * stands for anything
    T: the TLS handshake happens here
    M: the message that the session hands over: <sender> -> <recipient>, ... with the parameters for notices after
       it; then its content, "| " before each line
    X: the session ends here
    # a comment; "#! tls" begins over TLS, "#! size=100 errors=3" sets limits, "#! quota=2" how many messages the
    account may send in an hour

The replies must come in this order however the octets come. Jo's password is "secret", Al's can't be checked.
RULINGS says for which domains nobody may send.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from relay.header import HeaderError, read_header
from relay.proof.ruling import Ruling, Standing
from smtp_gateway import replies
from smtp_gateway.events import Authenticate, Close, Message, Prove, StartTls
from smtp_gateway.limits import Limits
from smtp_gateway.log import Log
from smtp_gateway.message import other_domains
from smtp_gateway.senders import UNKNOWN, Senders
from smtp_gateway.session import Session
from tests.fakes import FakeClock
from tests.gateway import FakeAsk

FOLDER = Path(__file__).parents[2] / "dialogs"
DIALOGS = sorted(FOLDER.glob("*.smtp"))
ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))|\{(.)\*(\d+)\}")
ESCAPES = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"\\": b"\\"}
NO = ("sender not authorised by DNS: refused.example has no SPF record", 'publish: refused.example. IN TXT "v=spf1"')
RULINGS = {
    "refused.example": Ruling(Standing.REFUSED, NO, 30.0),
    "held.example": Ruling(Standing.HELD, ("put off until noon", "it has no DMARC record"), 30.0),
    "unknown.example": UNKNOWN,
}
SENDERS = Senders(FakeAsk(), FakeClock(), Log(FakeClock(), [].append))


@dataclass
class Player:
    """A session with the world around it: accounts, and a queue that takes everything."""

    session: Session
    left: int
    heard: list[str] = field(default_factory=list)
    taken: int = 0

    def send(self, data: bytes) -> None:
        self.hear(self.session.receive(data))
        while isinstance(self.session.event, Authenticate | Prove | Message):
            self.hear(self.answer(self.session.event))
            self.hear(self.session.receive(b""))
        if isinstance(self.session.event, Close) and "X:" not in self.heard:
            self.heard.append("X:")

    def answer(self, event: Authenticate | Prove | Message) -> bytes:
        if isinstance(event, Message):
            return self.take(event)
        if isinstance(event, Prove):
            if not self.left:
                return self.session.not_proved(replies.too_many_today(2, 1800))
            refusal = refused(event.account, event.sender.domain) if event.sender else None
            return self.session.not_proved(refusal) if refusal else self.session.proved()
        match event.credentials.user, event.credentials.password:
            case "jo@example.com", "secret":
                return self.session.authenticated("jo@example.com")
            case "al@example.com", _:
                return self.session.authentication_failed(replies.CANNOT_CHECK_LOGIN)
        return self.session.authentication_failed(replies.WRONG_LOGIN)

    def take(self, message: Message) -> bytes:
        self.heard += list(described(message))
        if refusal := refused(message.account, *others(message)):
            return self.session.answered(refusal)
        self.taken += 1
        self.left -= 1
        return self.session.answered(replies.queued(str(self.taken)))

    def hear(self, octets: bytes) -> None:
        assert not octets or octets.endswith(b"\r\n")
        self.heard += [f"S: {line}".rstrip() for line in octets.decode("ascii").split("\r\n")[:-1]]


def refused(account: str, *domains: str) -> replies.Reply | None:
    passed = Ruling(Standing.PASSED)
    return SENDERS.refusal(account, {domain: RULINGS.get(domain, passed) for domain in domains})


def others(message: Message) -> tuple[str, ...]:
    try:
        return other_domains(read_header(message.content), message.sender)
    except HeaderError:
        return ()  # test_submit.py has what becomes of those


def described(message: Message) -> Iterator[str]:
    flags = [name for name in ("eightbit", "smtputf8") if getattr(message, name)]
    flags += [f"{name.upper()}={value}" for name in ("ret", "envid") if (value := getattr(message, name))]
    recipients = ", ".join(" ".join([f"<{each}>", *asked(message, each)]) for each in message.recipients)
    yield " ".join([f"M: <{message.sender}> -> {recipients}", *flags])
    assert message.content == b"" or message.content.endswith(b"\r\n")
    yield from (f"| {line}".rstrip() for line in message.content.decode("utf-8", "backslashreplace").split("\r\n")[:-1])


def asked(message: Message, recipient: str) -> list[str]:
    values = message.dsn.get(recipient, ("", ""))
    return [f"{name}={value}" for name, value in zip(("NOTIFY", "ORCPT"), values, strict=True) if value]


def octets_of(step: str) -> bytes:
    def replace(match: re.Match[bytes]) -> bytes:
        if match[3]:
            return match[3] * int(match[4])
        return bytes([int(match[1], 16)]) if match[1] else ESCAPES[match[2]]

    return ESCAPE.sub(replace, step[3:].encode()) + (b"\r\n" if step[1] == ":" else b"")


def read(path: Path) -> tuple[Player, list[str]]:
    lines = path.read_text().splitlines()
    words = [word for line in lines if line.startswith("#! ") for word in line[3:].split()]
    counts = {name: int(value) for name, _, value in (word.partition("=") for word in words) if value}
    quota = counts.pop("quota", 1000)
    session = Session("gw.example", Limits(**counts), tls="tls" in words)
    return Player(session, quota), [line for line in lines if line and not line.startswith("#")]


def turns(steps: list[str]) -> Iterator[tuple[list[bytes], list[str]]]:
    """(what the client sends, what it should hear) up to each change from hearing to sending."""
    says: list[bytes] = []
    hears: list[str] = []
    for step in steps:
        if step.startswith(("C:", "C|")):
            if hears:
                yield says, hears
                says, hears = [], []
            says.append(octets_of(step))
        else:
            hears.append(step)
    yield says, hears


def check(heard: list[str], wanted: list[str]) -> None:
    assert len(heard) == len(wanted), (heard, wanted)
    for got, pattern in zip(heard, wanted, strict=True):
        escaped = pattern.replace("[", "[[]")
        assert got == pattern or fnmatchcase(got, escaped), (got, pattern)


def play(path: Path, cut: str) -> None:
    player, steps = read(path)
    session = player.session
    player.hear(session.greeting())
    wanted: list[str] = []
    waiting = b""
    for says, hears in turns(steps):
        joined = waiting + b"".join(says)
        handshake = "T:" in hears
        if cut == "whole" and not handshake and steps[-1] not in hears:
            waiting = joined  # sent along with what follows
        else:
            waiting = b""
            pieces = {"whole": [joined], "lines": says, "octets": [joined[i : i + 1] for i in range(len(joined))]}
            for piece in pieces[cut]:
                player.send(piece)
        wanted += [each for each in hears if each != "T:"]
        if handshake:
            assert isinstance(session.event, StartTls)
            session.tls_started()
        if not waiting:
            check(player.heard, wanted)
    player.send(waiting)
    check(player.heard, wanted)


@pytest.mark.parametrize("cut", ["lines", "octets", "whole"])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_dialog(path: Path, cut: str) -> None:
    play(path, cut)


def test_there_are_dialogs() -> None:
    assert len(DIALOGS) > 10


def test_a_wrong_dialog_fails(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.smtp"
    wrong.write_text("S: 220 gw.example ESMTP\nC: NOOP\nS: 251 2.0.0 OK\n")
    with pytest.raises(AssertionError):
        play(wrong, "lines")
