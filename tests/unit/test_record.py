"""relay.record: rows, and who is told of what; twice is as once."""

import asyncio
import itertools
from typing import Any

import pytest

from relay.encoding import decode_delivery
from relay.errors import TemporaryError
from relay.outcome import Outcome, Report, State
from relay.ports import Account
from relay.record import Record
from relay.submission import Delivery, Inline, Stored
from tests.fakes import FakeAccounts, FakeClock, FakeContent, FakeMessages, FakeQueue

CONTENT = b"From: app@shop.example\r\nSubject: order\r\n\r\nsecret body\r\n"
USER = Account(user="User@mailbox.example", salt=b"", hash=b"", phone="+46700000000", created=0.0)


def outcome(recipient: str, state: State = State.BOUNCED, attempt: int = 1) -> Outcome:
    return Outcome(f"{recipient}@there.example", state, 1_800_000_000.0 + attempt, attempt, 550, "5.1.1", "no")


def report(*outcomes: Outcome, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "id": "0192f0c4-0000-7000-8000-000000000001",
        "account": "user@mailbox.example",
        "mail_from": "app@shop.example",
        "domain": "there.example",
        "chunk": 0,
        "received": 1_800_000_000.0,
        "stage": "deliver",
        "content": Stored("key", len(CONTENT)),
        **changes,
    }
    return Report(outcomes=outcomes, **fields)


class World:
    def __init__(self) -> None:
        self.messages = FakeMessages()
        self.queue = FakeQueue()
        self.content = FakeContent()
        self.content.items["key"] = CONTENT
        self.accounts = FakeAccounts(USER)
        self.clock = FakeClock()
        self.record = Record(
            messages=self.messages,
            deliver_queue=self.queue,
            content=self.content,
            accounts=self.accounts,
            clock=self.clock,
            host_name="smtp.relay.example",
        )

    def run(self, *reports: Report) -> list[Delivery]:
        """The notices that these reports caused."""
        for each in reports:
            asyncio.run(self.record(each))
        return [decode_delivery(sent.body) for sent in self.queue.take()]


@pytest.fixture
def world() -> World:
    return World()


def test_of_large_content_only_the_header_is_read(world: World) -> None:
    """A hundred failures of a message of 40 MB in one batch don't fit a function of 512 MB."""
    world.content.items["key"] = CONTENT + b"x" * 1_000_000
    (notice,) = world.run(report(outcome("a"), content=Stored("key", len(CONTENT) + 1_000_000)))
    assert b"Subject: order" in text_of(notice)
    assert world.content.octets_read < 20_000


def text_of(delivery: Delivery) -> bytes:
    assert isinstance(delivery.content, Inline)
    return delivery.content.data


def test_a_row_for_every_outcome(world: World) -> None:
    world.run(report(outcome("a", State.DELIVERED), outcome("b", State.DEFERRED)))
    assert [(row.outcome.recipient, row.outcome.state, row.stage) for row in world.messages.rows] == [
        ("a@there.example", State.DELIVERED, "deliver"),
        ("b@there.example", State.DEFERRED, "deliver"),
    ]


@pytest.mark.parametrize(
    ("stage", "state", "changes", "told"),
    [
        pytest.param("deliver", State.BOUNCED, {}, "app@shop.example", id="bounced"),
        pytest.param("deliver", State.EXPIRED, {}, "app@shop.example", id="expired"),
        pytest.param("validate", State.REJECTED, {}, "User@mailbox.example", id="refused: the user, not the sender"),
        pytest.param("validate", State.EXPIRED, {}, "User@mailbox.example", id="expired unproved: the user"),
        pytest.param("validate", State.REJECTED, {"account": "gone@x.example"}, "gone@x.example", id="no such account"),
        pytest.param("validate", State.REJECTED, {"account": "no-address"}, None, id="a login that is no address"),
        pytest.param("deliver", State.DELIVERED, {}, None, id="delivered"),
        pytest.param("deliver", State.DEFERRED, {}, None, id="deferred"),
        pytest.param("deliver", State.CANCELLED, {}, None, id="cancelled"),
        pytest.param("deliver", State.BOUNCED, {"mail_from": ""}, None, id="null sender"),
        pytest.param("validate", State.REJECTED, {"mail_from": ""}, None, id="null sender refused"),
        pytest.param("deliver", State.BOUNCED, {"notice": True}, None, id="a notice never causes a notice"),
        pytest.param("deliver", State.BOUNCED, {"notice": True, "mail_from": ""}, None, id="a notice as it is"),
    ],
)
def test_who_is_told(world: World, stage: str, state: State, changes: dict[str, Any], told: str | None) -> None:
    notices = world.run(report(outcome("a", state), stage=stage, **changes))
    assert [each.rcpt_to for each in notices] == ([(told,)] if told else [])
    assert len(world.messages.rows) == 1


def test_the_notice_is_a_delivery_that_causes_no_other(world: World) -> None:
    world.clock.advance(60)
    (delivery,) = world.run(report(outcome("a"), outcome("b", State.DELIVERED)))
    assert (delivery.mail_from, delivery.notice, delivery.domain, delivery.chunk) == ("", True, "shop.example", 0)
    assert (delivery.account, delivery.received) == ("user@mailbox.example", world.clock.now())
    assert not delivery.smtputf8
    assert b"a@there.example" in text_of(delivery)
    assert b"b@there.example" not in text_of(delivery)
    assert b"Subject: order" in text_of(delivery)
    assert b"secret body" not in text_of(delivery)


def test_a_non_ascii_sender_needs_smtputf8(world: World) -> None:
    (delivery,) = world.run(report(outcome("a"), mail_from="åsa@shop.example"))
    assert delivery.smtputf8


def test_twice_is_the_same_notice(world: World) -> None:
    failed = report(outcome("a"), outcome("b"))
    first, second = world.run(failed, failed)
    assert first.key == second.key


def test_each_recipient_is_told_of_once_whatever_the_order() -> None:
    """a fails at attempt 1, b at 3; the final report carries both. Every order gives the same two notices."""
    a, b, later = outcome("a"), outcome("b", attempt=3), outcome("b", State.DEFERRED)
    reports = (report(a, later), report(a, b), report(b))
    for order in itertools.permutations(reports):
        notices = World().run(*order)
        by_key = {each.key: each for each in notices}
        assert len(by_key) == 2
        told = sorted(
            recipient for each in by_key.values() for recipient in (b"a@", b"b@") if recipient in text_of(each)
        )
        assert told == [b"a@", b"b@"]


def test_two_chunks_are_two_notices(world: World) -> None:
    first, second = world.run(report(outcome("a")), report(outcome("a"), chunk=1))
    assert first.id != second.id


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        pytest.param(Stored("key", 1), True, id="stored"),
        pytest.param(Inline(CONTENT), True, id="inline"),
        pytest.param(None, False, id="none"),
        pytest.param(Stored("gone", 1), False, id="its lifecycle has ended"),
    ],
)
def test_where_the_original_header_comes_from(world: World, content: Any, quoted: bool) -> None:
    (delivery,) = world.run(report(outcome("a"), content=content))
    assert (b"text/rfc822-headers" in text_of(delivery)) is quoted


@pytest.mark.parametrize("port", ["messages", "queue", "content", "accounts"])
def test_a_failing_port_is_passed_on_and_the_repeat_completes(world: World, port: str) -> None:
    refused = report(outcome("a", State.REJECTED), stage="validate")
    getattr(world, port).fail_next(TemporaryError("away"))
    with pytest.raises(TemporaryError):
        world.run(refused)
    assert world.queue.sent == []
    assert len(world.run(refused)) == 1
