"""relay.resend: what goes out again, to whom, and what is said where nothing does."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.encoding import decode_submission
from relay.errors import PermanentError, TemporaryError
from relay.outcome import Outcome, State
from relay.ports import Row
from relay.resend import Resend, Resent, UnclearError
from relay.submission import Stored, Submission
from smtp_gateway.message import Trace
from tests.fakes import FakeClock, FakeContent, FakeMessages, FakeQueue

ID = "0192f0c4-0000-7000-8000-000000000001"
ALL = tuple(f"{state}@in.example" for state in State)


def content(smtputf8: bool = False, body: bytes = b"Hello.\r\n") -> bytes:
    trace = Trace(ID, "gw.example", "app.example", "192.0.2.1", "TLSv1.3", smtputf8, 1.0)
    return trace.header() + b"From: a@b.example\r\nX: with UTF8SMTPSA (x)\r\n\r\n" + body


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    messages: FakeMessages = field(default_factory=FakeMessages)
    content: FakeContent = field(default_factory=FakeContent)
    queue: FakeQueue = field(default_factory=FakeQueue)

    def __post_init__(self) -> None:
        self.content.items[f"content/{ID}"] = content()
        for state in State:
            self.row(f"{state}@in.example", state)

    def row(self, recipient: str, state: State, attempt: int = 1, **changes: Any) -> None:
        outcome = Outcome(recipient, state, 2.0, attempt, 550, "5.1.1", "no")
        fields: dict[str, Any] = {"account": "jo@example.com", "mail_from": "news@b.example", **changes}
        asyncio.run(
            self.messages.put(
                (Row(id=ID, domain="in.example", received=1.0, stage="deliver", outcome=outcome, **fields),)
            )
        )

    def resend(self, *only: str) -> Resent:
        stage = Resend(messages=self.messages, content=self.content, queue=self.queue, clock=self.clock)
        return asyncio.run(stage(ID, frozenset(only)))

    def submitted(self) -> Submission:
        (sent,) = self.queue.sent
        assert sent.group == "jo@example.com"
        return decode_submission(sent.body)


def test_what_failed_goes_out_under_a_new_id() -> None:
    world = World()
    resent = world.resend()
    again = world.submitted()
    assert again.id == resent.id != ID
    assert set(resent.recipients) == {f"{each}@in.example" for each in ("bounced", "rejected", "expired", "suppressed")}
    assert again == Submission(
        id=resent.id,
        account="jo@example.com",
        mail_from="news@b.example",
        rcpt_to=resent.recipients,
        received=world.clock.time,
        content=Stored(f"content/{resent.id}", len(content())),
    )
    assert world.content.items[f"content/{resent.id}"] == content()


@pytest.mark.parametrize("state", ["bounced", "cancelled"])
def test_only_the_one_named(state: str) -> None:
    assert World().resend(f"{state}@in.example").recipients == (f"{state}@in.example",)


@pytest.mark.parametrize(("smtputf8", "body", "eightbit"), [(True, b"x", False), (False, b"\xf6", True)])
def test_its_extensions_are_those_of_the_first_time(smtputf8: bool, body: bytes, eightbit: bool) -> None:
    world = World()
    world.content.items[f"content/{ID}"] = content(smtputf8, body)
    world.resend()
    assert (world.submitted().smtputf8, world.submitted().eightbit) == (smtputf8, eightbit)


def test_the_newest_state_counts() -> None:
    world = World()
    world.row("deferred@in.example", State.BOUNCED, 2)
    assert "deferred@in.example" in world.resend().recipients


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("x@in.example", "x@in.example is not among the recipients: .* and 2 more"),
        ("delivered@in.example", "delivered@in.example has not failed, it is delivered"),
        ("deferred@in.example", "has not failed, it is deferred"),
    ],
)
def test_a_recipient_that_cannot_be_named(only: str, words: str) -> None:
    world = World()
    with pytest.raises(PermanentError, match=words):
        world.resend(only)
    assert not world.queue.sent


def test_nothing_failed() -> None:
    world = World(messages=FakeMessages())
    world.messages = FakeMessages()
    world.row("a@in.example", State.DELIVERED)
    with pytest.raises(PermanentError, match=r"no recipient has failed \(delivered\)"):
        world.resend()


def test_not_known_and_notices() -> None:
    world = World()
    world.messages = FakeMessages()
    with pytest.raises(PermanentError, match="nothing is recorded about"):
        world.resend()
    world.row("a@in.example", State.BOUNCED, notice=True)
    with pytest.raises(PermanentError, match="is a notice of the relay's own"):
        world.resend()


def test_content_that_is_gone() -> None:
    world = World()
    world.content.items.clear()
    with pytest.raises(PermanentError, match=r"the content of .* is gone"):
        world.resend()
    assert not world.queue.sent


def test_a_queue_that_does_not_answer() -> None:
    world = World()
    world.queue.fail = TemporaryError("away")
    with pytest.raises(UnclearError, match=r"it may have been sent again or not; see mailrelay trace [0-9a-f-]{36}"):
        world.resend()
