"""The gateway without its sockets: Session, Senders and Submit as they are, with a queue that only keeps the last body.

`Core.feed` takes what a client sends and returns what it hears, and raises AssertionError where an invariant of
docs/attacks.md does not hold: any octets give replies or a clean end, nothing else.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from relay.address import AddressError, parse_address
from relay.encoding import decode_submission
from relay.header import HeaderError, read_header
from relay.proof.ruling import Question, Ruling, Standing
from relay.submission import Inline
from smtp_gateway import replies
from smtp_gateway.commands import AUTH_LIMIT
from smtp_gateway.events import Authenticate, Close, Message, Prove, StartTls
from smtp_gateway.limits import Limits
from smtp_gateway.log import Log
from smtp_gateway.message import other_domains
from smtp_gateway.peer import Peer
from smtp_gateway.senders import Senders
from smtp_gateway.session import LARGEST_ENVELOPE, Session
from smtp_gateway.submit import Submit
from tests.fakes import FakeClock

T = TypeVar("T")

USER: Final = "jo@example.com"
LOGIN: Final = b"EHLO a.example\r\nAUTH PLAIN AGpvQGV4YW1wbGUuY29tAHNlY3JldA==\r\n"
ENVELOPE: Final = b"MAIL FROM:<jo@example.com>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"
REPLIES: Final = re.compile(rb"(?:[2-5][0-9][0-9][- ][ -~]{0,506}\r\n)*")
BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


class Queue:
    """Takes everything, as the content store too."""

    def __init__(self) -> None:
        self.body = ""
        self.stored = b""

    async def send(self, body: str, *, group: str, delay: float = 0.0) -> None:
        self.body = body

    async def put(self, key: str, data: bytes) -> None:
        self.stored = data


async def _ask(question: Question) -> Ruling:
    """Domains in .no are refused, those in .hold put off."""
    refused = {"no": Standing.REFUSED, "hold": Standing.HELD}.get(question.domain.rpartition(".")[2])
    return Ruling(refused, ("it has no token", "publish: it"), 30.0) if refused else Ruling(Standing.PASSED, (), 60.0)


class Core:
    """loop: not running. tls: the session begins with it. size: octets a message may have. check: invariants are
    looked at."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, tls: bool, size: int = 100_000, check: bool = True) -> None:
        self.session = Session("gw.example", Limits(size=size), tls=tls)
        self.taken: list[Message] = []
        self._loop = loop
        self._check = check
        self._queue = Queue()
        clock, log = FakeClock(), Log(FakeClock(), lambda line: None)
        self._senders = Senders(_ask, clock, log)
        self._submit = Submit(self._queue, self._queue, self._senders, clock, log, "gw.example")  # type: ignore[arg-type]

    def feed(self, data: bytes) -> bytes:
        session = self.session
        out = session.receive(data)
        while not isinstance(session.event, Close | None):
            out += self._act(session.event) + session.receive(b"")
        if self._check:
            self._hold(out)
        return out

    def _act(self, event: StartTls | Authenticate | Prove | Message) -> bytes:
        session = self.session
        match event:
            case StartTls():
                session.tls_started()
                return b""
            case Authenticate(credentials):
                if credentials.user == USER:
                    return session.authenticated(USER)
                away = credentials.user.startswith("away")
                return session.authentication_failed(replies.CANNOT_CHECK_LOGIN if away else replies.WRONG_LOGIN)
            case Prove(account, sender):
                questions = (Question(sender.domain, account, str(sender)),) if sender else ()
                refusal = self._run(self._senders(account, questions))
                return session.not_proved(refusal) if refusal else session.proved()
            case Message():
                reply = self._run(self._submit(event, Peer("192.0.2.1", "TLSv1.3")))
                self.taken.append(event)
                if self._check:
                    self._hold_message(event, reply)
                return session.answered(reply)

    def _run(self, main: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(main)

    def _hold(self, out: bytes) -> None:
        session = self.session
        assert REPLIES.fullmatch(out), out
        assert session.backlog <= AUTH_LIMIT + 1
        assert session._envelope <= LARGEST_ENVELOPE
        assert not isinstance(session.event, Close) or not session.backlog
        assert session.logged_in or not session.in_transaction
        if len(session.refusals) > 100:
            session.refusals.clear()  # as the connection does after each step

    def _hold_message(self, message: Message, reply: replies.Reply) -> None:
        assert message.account == self.session.account == USER
        assert message.recipients
        assert not BARE.search(message.content)
        for address in filter(None, (message.sender, *message.recipients)):
            assert str(parse_address(address)) == address
        assert reply is not replies.NOT_STORED
        if not reply.ok:
            return
        submission = decode_submission(self._queue.body)
        content = submission.content.data if isinstance(submission.content, Inline) else self._queue.stored
        sent, queued = read_header(message.content), read_header(content)  # validate reads it, too
        assert queued.senders() == sent.senders()
        assert content[queued.end :] == message.content[sent.end :]
        assert not BARE.search(content)
        assert not queued.has(b"bcc")
        assert (submission.rcpt_to, submission.mail_from) == (message.recipients, message.sender)
        assert not any(self._may_not(domain) for domain in queued.senders())
        other_domains(queued, message.sender)

    def _may_not(self, domain: str) -> bool:
        ruling = self._senders.known(USER, domain)
        return ruling is not None and ruling.standing is not Standing.PASSED


def read_text(data: bytes) -> None:
    """The two parsers alone: what they take is what they would take again, and plain."""
    try:
        address = parse_address(data.decode("utf-8", "surrogateescape"))
    except AddressError:
        pass
    else:
        assert parse_address(str(address)) == address
        assert not BARE.search(str(address).encode())
    try:
        header = read_header(data)
    except HeaderError:
        return
    assert all(0 <= each.start < each.value_start <= each.end <= header.end for each in header.fields)
    try:
        senders = header.senders()
    except HeaderError:
        return
    assert set(header.authors()) <= set(senders)
    assert all(str(parse_address(f"x@{domain}")) == f"x@{domain}" for domain in senders)


PLAIN, LOGGED_IN, CONTENT, TEXT = range(4)


def run(data: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """data: how (PLAIN ... TEXT, then what begins with TLS), the octets that come at a time (0: all), the octets."""
    if len(data) < 2:
        return
    how, step, octets = data[0] % 4, data[1], data[2:]
    if how == TEXT:
        read_text(octets)
        read_text(b"From: " + octets + b"\r\n\r\n")
        return
    core = Core(loop, tls=how != PLAIN or data[0] >= 128)
    if how != PLAIN:
        core.feed(LOGIN)
    if how == CONTENT:
        core.feed(ENVELOPE)
        octets += b"\r\n.\r\n"
    step = step or len(octets) or 1
    for start in range(0, len(octets), step):
        core.feed(octets[start : start + step])
