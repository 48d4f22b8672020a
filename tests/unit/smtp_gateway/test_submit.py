import asyncio
import json
import os

import pytest

from relay import encoding
from relay.encoding import decode_submission
from relay.errors import PermanentError, TemporaryError
from relay.proof.ruling import Question, Ruling, Standing
from relay.submission import Inline, Stored
from smtp_gateway import replies
from smtp_gateway.events import Message
from smtp_gateway.limits import Limits
from smtp_gateway.log import Log
from smtp_gateway.message import Shown
from smtp_gateway.peer import Peer
from smtp_gateway.replies import Reply
from smtp_gateway.senders import Senders
from smtp_gateway.session import Session
from smtp_gateway.submit import Submit
from tests.fakes import FakeClock, FakeContent, FakeQueue
from tests.gateway import FakeAsk

CONTENT = b"Date: x\r\nMessage-ID: y\r\nFrom: jo@example.com\r\n\r\nsecret words\r\n"
MESSAGE = Message("jo@example.com", "app.example", "jo@example.com", ("a@b.example",), CONTENT, False, False)
PEER = Peer("192.0.2.1", "TLSv1.3")


class Place:
    def __init__(self, shown: Shown = Shown.NONE) -> None:
        self.queue = FakeQueue()
        self.store = FakeContent()
        self.ask = FakeAsk()
        self.lines: list[str] = []
        clock = FakeClock()
        self.log = log = Log(clock, self.lines.append)
        senders = Senders(self.ask, clock, log, patience=0.05)
        self.submit = Submit(self.queue, self.store, senders, clock, log, "gw.example", patience=0.05, shown=shown)

    def __call__(self, message: Message = MESSAGE) -> Reply:
        return asyncio.run(self.submit(message, PEER))

    @property
    def event(self) -> dict[str, object]:
        (line,) = self.lines
        assert "secret" not in line
        event: dict[str, object] = json.loads(line)
        return event


def test_small_content_goes_inline() -> None:
    place = Place()
    reply = place(MESSAGE._replace(smtputf8=True))
    submission = decode_submission(place.queue.bodies[0])
    assert reply == replies.queued(submission.id)
    assert isinstance(submission.content, Inline)
    assert submission.content.data.endswith(CONTENT)
    assert (submission.account, submission.mail_from) == ("jo@example.com", "jo@example.com")
    assert (submission.attempt, submission.due, submission.received) == (1, 0.0, 1_800_000_000.0)
    assert (submission.eightbit, submission.smtputf8) == (False, True)
    assert not place.store.items
    assert place.event["event"] == "submitted"


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_large_content_is_stored_first(size: int) -> None:
    place = Place()
    reply = place(MESSAGE._replace(content=CONTENT + os.urandom(size // 2).hex().encode() + b"\r\n"))
    submission = decode_submission(place.queue.bodies[0])
    assert reply == replies.queued(submission.id)
    assert isinstance(submission.content, Stored)
    stored = place.store.items[submission.content.key]
    assert submission.content.size == len(stored)
    assert place.event["size"] == len(stored)


@pytest.mark.parametrize("shown", Shown)
def test_the_trace_shows_of_the_client_what_the_setting_says(shown: Shown) -> None:
    place = Place(shown)
    place()
    content = decode_submission(place.queue.bodies[0]).content
    assert isinstance(content, Inline)
    assert (MESSAGE.helo.encode() in content.data) == (shown is Shown.FULL)
    assert (b"[192.0.2.1]" in content.data) == (shown is not Shown.NONE)


def test_how_long_the_queue_takes_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 10.25])
    monkeypatch.setattr("smtp_gateway.submit.monotonic", lambda: next(times))
    place = Place()
    place()
    assert place.log.metrics.take(1.0, 0)["QueueLatency"] == {
        "Values": [250.0],
        "Counts": [1],
        "Min": 250.0,
        "Max": 250.0,
        "Sum": 250.0,
        "Count": 1,
    }


def test_a_queue_that_fails_is_no_latency() -> None:
    place = Place()
    place.queue.fail_next(TemporaryError("away"))
    place()
    taken = place.log.metrics.take(1.0, 0)
    assert ("QueueLatency" in taken, taken["NotStored"], taken["Messages"]) == (False, 1, 0)


def test_undeclared_8_bit_content_is_declared() -> None:
    place = Place()
    place(MESSAGE._replace(content=CONTENT + b"\xf6\r\n"))
    assert decode_submission(place.queue.bodies[0]).eightbit


def test_a_thousand_recipients_fit() -> None:
    recipients = tuple(f"{number:04}{'x' * 60}@{'y' * 60}.{'z' * 60}.{'z' * 60}.example" for number in range(1000))
    place = Place()
    reply = place(MESSAGE._replace(recipients=recipients, content=CONTENT + b"a" * 100_000 + b"\r\n"))
    assert reply.code == 250
    assert decode_submission(place.queue.bodies[0]).rcpt_to == recipients


def test_whatever_envelope_a_session_takes_fits_the_queue() -> None:
    """The longest addresses that grow most in JSON, and all that can be asked for each."""
    session = Session("gw.example", Limits(), tls=True)
    session.receive(b"EHLO a.example\r\nAUTH PLAIN AGEAYg==\r\n")
    session.authenticated("a")
    session.receive(f"MAIL FROM:<> SMTPUTF8 RET=FULL ENVID={'x' * 100}\r\n".encode())
    session.proved()
    taken = 0
    for number in range(1000):
        address = f"{number:04}{'ö' * 28}@{'y' * 60}.{'z' * 60}.{'z' * 50}.example"
        asked = f"NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{'x' * 493}"
        taken += session.receive(f"RCPT TO:<{address}> {asked}\r\n".encode()) == replies.RECIPIENT_OK.wire
    assert 100 < taken < 1000
    noise = os.urandom(encoding.inline_limit() - encoding.ENVELOPE_ROOM).hex()[: encoding.inline_limit() * 3 // 5]
    session.receive(f"DATA\r\nFrom: a@b.example\r\n\r\n{noise}\r\n.\r\n".encode())
    message = session.event
    assert isinstance(message, Message)
    place = Place()
    assert place(message).code == 250
    submission = decode_submission(place.queue.bodies[0])
    assert len(submission.rcpt_to) == len(submission.dsn) == taken
    assert (submission.ret, submission.envid) == ("FULL", "x" * 100)


FAILURES = [TemporaryError("away"), PermanentError("not legal"), TimeoutError()]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_queue_that_fails_is_451(error: TemporaryError) -> None:
    place = Place()
    place.queue.fail_next(error)
    assert place() is replies.NOT_STORED
    assert not place.queue.sent
    assert place.event["event"] == "not_stored"


def test_a_store_that_fails_is_451_and_nothing_is_queued() -> None:
    place = Place()
    place.store.fail_next(TemporaryError("away"))
    assert place(MESSAGE._replace(content=CONTENT + os.urandom(400_000).hex().encode() + b"\r\n")) is replies.NOT_STORED
    assert not place.queue.sent


def test_a_queue_that_does_not_answer_is_451(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(body: str, *, group: str, delay: float = 0.0) -> None:
        await asyncio.Event().wait()

    place = Place()
    monkeypatch.setattr(place.queue, "send", never)
    assert place() is replies.NOT_STORED
    assert place.event["error"] == "TimeoutError"


def test_a_bug_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection makes it 451 (test_server)."""
    monkeypatch.setattr(encoding, "encode_submission", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Place()()


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (
            b"From: a@b.example\r\nDKIM-Signature: h=bcc\r\nBcc: x\r\n\r\n",
            b"554 5.6.0 Message refused: its DKIM signature covers Bcc",
        ),
        (b"no colon\r\n\r\n", b"554 5.6.0 Message refused: line 1 of the header"),
        (b"From: a@b.example\r\n" + b"Received: x\r\n" * 50 + b"\r\n", b"554 5.4.6 "),
        (b"To: a@b.example\r\n\r\n", b"554 5.6.0 Message refused: the message has no From field"),
        (b"From: a\r\n\r\n", b"554 5.6.0 Message refused: From cannot be read: an address has no @"),
        (b"From: a@b.example\r\nFrom: a@b.example\r\n\r\n", b"554 5.6.0 Message refused: the message has 2 From"),
        (
            b"From: " + b",".join(b"a@d%d.example" % number for number in range(20)) + b"\r\n\r\n",
            b"554 5.6.0 Message refused: the message names 21 sender domains; at most 20 are allowed",
        ),
    ],
    ids=["signed Bcc", "no header", "loop", "no From", "no address", "two From", "21 domains"],
)
def test_what_is_wrong_with_the_message_is_5xx(content: bytes, start: bytes) -> None:
    place = Place()
    assert place(MESSAGE._replace(content=content)).wire.startswith(start)
    assert not place.queue.sent
    assert not place.ask.asked
    assert place.event["event"] == "refused"


def other(domain: str) -> bytes:
    return CONTENT.replace(b"jo@example.com", f"jo@example.com, boss@{domain}".encode())


def test_the_envelope_s_domain_is_not_asked_about_again() -> None:
    place = Place()
    assert place().code == 250
    assert not place.ask.asked


def test_what_the_header_shows_besides_is_asked_about() -> None:
    place = Place()
    assert place(MESSAGE._replace(content=other("b.example"))).code == 250
    assert place.ask.asked == [Question("b.example", "jo@example.com", "postmaster@b.example")]


def test_the_header_of_a_notice_is_asked_about() -> None:
    place = Place()
    place.ask.rulings["example.com"] = Ruling(Standing.REFUSED, ("it has no token",), 30.0)
    assert place(MESSAGE._replace(sender="")).wire.startswith(b"550-5.7.1 it has no token\r\n")


@pytest.mark.parametrize(
    ("standing", "start"),
    [(Standing.REFUSED, b"550-5.7.1 "), (Standing.HELD, b"451-4.7.1 ")],
)
def test_a_sender_in_the_header_that_is_not_proved(standing: Standing, start: bytes) -> None:
    place = Place()
    place.ask.rulings["b.example"] = Ruling(standing, ("it has no token", "publish: this"), 30.0)
    reply = place(MESSAGE._replace(content=other("b.example")))
    assert reply.wire.startswith(start + b"it has no token\r\n")
    assert not place.queue.sent
    assert place.event == {
        "event": "refused",
        "time": 1_800_000_000.0,
        "account": "jo@example.com",
        "peer": PEER.ip,
        "code": reply.code,
        "enhanced": reply.enhanced,
        "text": "it has no token",
        "lines": 3,
    }


@pytest.mark.parametrize("trouble", ["silent", "failing"])
def test_a_sender_in_the_header_of_whom_nobody_can_tell_is_the_queue_s(trouble: str) -> None:
    place = Place()
    if trouble == "silent":
        place.ask.silent.add("b.example")
    else:
        place.ask.fail = TemporaryError("away")
    assert place(MESSAGE._replace(content=other("b.example"))).code == 250
    assert len(place.queue.sent) == 1
