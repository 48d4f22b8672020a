"""relay.record: rows, and who is told of what; twice is as once."""

import asyncio
import itertools
import os
from typing import Any

import pytest

from relay.account import Account
from relay.encoding import decode_delivery
from relay.errors import TemporaryError
from relay.outcome import Outcome, Report, State
from relay.record import Record
from relay.retry import RetryPolicy
from relay.submission import Delivery, Dsn, Inline, Proved, Stored
from relay.suppression import DAY, Suppress
from tests.fakes import FakeAccounts, FakeClock, FakeContent, FakeMessages, FakeNotices, FakeQueue, FakeSuppressions

CONTENT = b"From: app@shop.example\r\nSubject: order\r\n\r\nsecret body\r\n"
USER = Account(user="User@mailbox.example", salt=b"", hash=b"", phone="+46700000000", created=0.0)


def outcome(recipient: str, state: State = State.BOUNCED, attempt: int = 1, **changes: Any) -> Outcome:
    made = Outcome(f"{recipient}@there.example", state, 1_800_000_000.0 + attempt, attempt, 550, "5.1.1", "no")
    return made._replace(**changes)


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
        self.notices = FakeNotices()
        self.queue = FakeQueue()
        self.content = FakeContent()
        self.content.items["key"] = CONTENT
        self.accounts = FakeAccounts(USER)
        self.suppressions = FakeSuppressions()
        self.clock = FakeClock()
        self.record = Record(
            messages=self.messages,
            notices=self.notices,
            deliver_queue=self.queue,
            content=self.content,
            accounts=self.accounts,
            suppress=Suppress(self.suppressions, days=30),
            clock=self.clock,
            retry=RetryPolicy(),
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


@pytest.mark.parametrize("port", ["messages", "notices", "queue", "content", "accounts"])
def test_a_failing_port_is_passed_on_and_the_repeat_completes(world: World, port: str) -> None:
    refused = report(outcome("a", State.REJECTED), stage="validate")
    getattr(world, port).fail_next(TemporaryError("away"))
    with pytest.raises(TemporaryError):
        world.run(refused)
    assert world.queue.sent == []
    assert len(world.run(refused)) == 1


# --- what the sender asked for (RFC 3461) -------------------------------------------------------

RECEIVED = 1_800_000_000.0
FOUR_HOURS = RECEIVED + 4 * 3600


@pytest.mark.parametrize(
    ("notify", "state", "told"),
    [
        ("", State.BOUNCED, b"Action: failed"),
        ("FAILURE", State.EXPIRED, b"Action: failed"),
        ("SUCCESS,DELAY", State.BOUNCED, None),
        ("NEVER", State.BOUNCED, None),
        ("", State.DEFERRED, b"Action: delayed"),
        ("DELAY", State.DEFERRED, b"Action: delayed"),
        ("SUCCESS,FAILURE", State.DEFERRED, None),
        ("NEVER", State.DEFERRED, None),
        ("", State.DELIVERED, None),
        ("SUCCESS", State.DELIVERED, b"Action: relayed"),
        ("FAILURE,DELAY", State.DELIVERED, None),
        ("NEVER", State.DELIVERED, None),
        ("SUCCESS,FAILURE,DELAY", State.CANCELLED, None),
    ],
)
def test_what_is_told(world: World, notify: str, state: State, told: bytes | None) -> None:
    dsn = {"a@there.example": Dsn(notify, "rfc822;a@there.example")}
    notices = world.run(report(outcome("a", state, time=FOUR_HOURS), dsn=dsn, envid="e1"))
    assert [told in text_of(each) for each in notices if told] == ([True] if told else [])
    assert len(notices) == bool(told)
    for each in notices:
        assert b"Original-Envelope-Id: e1\r\n" in text_of(each)
        assert b"Original-Recipient: rfc822; a@there.example\r\n" in text_of(each)


def test_success_is_the_remote_s_to_tell_where_it_offers_dsn(world: World) -> None:
    dsn = {"a@there.example": Dsn("SUCCESS"), "b@there.example": Dsn("SUCCESS")}
    outcomes = outcome("a", State.DELIVERED, dsn=True), outcome("b", State.DELIVERED)
    (told,) = world.run(report(*outcomes, dsn=dsn, content=Inline(CONTENT)))
    assert b"a@there" not in text_of(told)
    assert b"Subject: order" in text_of(told)


@pytest.mark.parametrize(
    ("tried", "time", "told"),
    [
        pytest.param(0.0, RECEIVED, False, id="first attempt"),
        pytest.param(RECEIVED + 6600, RECEIVED + 13_800, True, id="at 3 h 50: the next would be at 8 h"),
        pytest.param(RECEIVED + 6600, FOUR_HOURS + 10, True, id="after four hours"),
        pytest.param(RECEIVED + 13_800, RECEIVED + 28_200, False, id="told before"),
        pytest.param(RECEIVED + 10, RECEIVED + 100_000, True, id="after an outage of ours"),
    ],
)
def test_a_delay_is_told_once(world: World, tried: float, time: float, told: bool) -> None:
    again = report(outcome("a", State.DEFERRED, 6, time=time), outcome("b", State.DEFERRED, 6, time=time), tried=tried)
    notices = world.run(again, again)
    assert len({each.key for each in notices}) == told
    assert all(b"a@there" in text_of(each) and b"b@there" in text_of(each) for each in notices)


def test_a_delay_told_later_by_parameter() -> None:
    world = World()
    world.record._late = 20 * 3600.0
    late = outcome("a", State.DEFERRED, 6, time=FOUR_HOURS)
    assert not world.run(report(late))
    assert world.run(report(late._replace(time=RECEIVED + 20 * 3600), tried=late.time))


@pytest.mark.parametrize(
    ("state", "ret", "whole"),
    [
        (State.BOUNCED, "FULL", True),
        (State.BOUNCED, "HDRS", False),
        (State.BOUNCED, "", False),
        (State.DEFERRED, "FULL", False),
        (State.DELIVERED, "FULL", False),
    ],
)
def test_the_whole_original_comes_back_of_failures_only(world: World, state: State, ret: str, whole: bool) -> None:
    dsn = {"a@there.example": Dsn("SUCCESS,FAILURE,DELAY")}
    (told,) = world.run(report(outcome("a", state, time=FOUR_HOURS), ret=ret, dsn=dsn))
    assert (b"secret body" in text_of(told)) is whole
    assert b"Subject: order" in text_of(told)


def test_a_large_original_goes_by_reference_and_a_larger_one_not_at_all(world: World) -> None:
    lines = b"".join(f"\u00e9{os.urandom(30).hex()}\r\n".encode() for _ in range(8000))
    world.content.items["key"] = CONTENT + lines
    failed = report(outcome("a"), ret="FULL")
    (told,) = world.run(failed)
    assert told.eightbit
    assert isinstance(told.content, Stored)
    assert world.content.items["key"] in world.content.items[told.content.key]
    world.content.items["key"] = CONTENT + 2 * lines + lines
    (told,) = world.run(failed)
    assert b"rfc822-headers" in text_of(told)
    assert not told.eightbit


# --- the same refusal --------------------------------------------------------------------------


def refused(number: int, *recipients: str, text: str = "no SPF", **changes: Any) -> Report:
    outcomes = [outcome(each, State.REJECTED, text=text) for each in recipients or ("a",)]
    return report(*outcomes, stage="validate", id=f"0192f0c4-0000-7000-8000-{number:012}", **changes)


def test_the_same_refusal_is_told_once_an_hour_with_a_count(world: World) -> None:
    assert len(world.run(*(refused(number) for number in range(50)))) == 1
    assert not world.run(refused(50, "b", "c"))
    world.clock.advance(3599)
    assert not world.run(refused(51))
    world.clock.advance(1)
    (told,) = world.run(refused(52))
    assert b"mail to 52 more recipients met the same." in text_of(told)
    world.clock.advance(7200)
    (told,) = world.run(refused(53))
    assert b"more recipient" not in text_of(told)
    assert len(world.messages.rows) == 55


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"account": "other@mailbox.example"}, id="another user"),
        pytest.param({"mail_from": "app@other.example"}, id="another domain"),
        pytest.param({"text": "no DMARC"}, id="another reason"),
    ],
)
def test_another_refusal_is_told(world: World, other: dict[str, Any]) -> None:
    assert len(world.run(refused(1), refused(2, **other))) == 2


def test_a_refusal_s_report_that_comes_twice_is_told_the_same(world: World) -> None:
    first, second, third = world.run(refused(1), refused(2), refused(1), refused(1))
    assert first == second == third


def test_what_deliver_met_is_told_of_each_recipient(world: World) -> None:
    """RFC 3461 §5.2.6: programs count bounces by recipient."""
    reports = (report(outcome("a"), id=f"0192f0c4-0000-7000-8000-{number:012}") for number in range(10))
    assert len(world.run(*reports)) == 10


@pytest.mark.parametrize(("enhanced", "told"), [("4.7.1", 0), ("4.4.3", 1)], ids=["held", "no answer"])
def test_a_delay_by_a_hold_is_not_told_again(world: World, enhanced: str, told: int) -> None:
    late = outcome("a", State.DEFERRED, time=1_800_000_000.0 + 5 * 3600, enhanced=enhanced)
    assert len(world.run(report(late, stage="validate"))) == told


def test_a_row_says_what_was_proved(world: World) -> None:
    proved = Proved(("shop.example@1800000000000",), ("odd",))
    world.run(report(outcome("a"), proved=proved))
    assert [row.proved for row in world.messages.rows] == [proved]


# --- suppression -------------------------------------------------------------------------------


def test_a_dead_address_is_suppressed_for_its_account(world: World) -> None:
    dead, alive = outcome("dead", dead=True), outcome("alive")
    world.run(report(dead, alive), report(dead, alive))
    (suppression,) = world.suppressions.items.values()
    assert (suppression.account, suppression.address) == ("user@mailbox.example", "dead@there.example")
    assert (suppression.since, suppression.until) == (dead.time, dead.time + DAY)
    assert (suppression.reason, suppression.id) == ("550 5.1.1 no", report().id)


def test_a_notice_s_dead_recipient_is_suppressed_too(world: World) -> None:
    assert world.run(report(outcome("dead", dead=True), notice=True, mail_from="")) == []
    assert len(world.suppressions.items) == 1


def test_who_is_suppressed_is_told_of(world: World) -> None:
    (notice,) = world.run(report(outcome("a", State.SUPPRESSED, text="not sent: it is dead")))
    assert isinstance(notice.content, Inline)
    text = notice.content.data.decode()
    assert "not sent: it is dead" in text
    assert "No server was asked" in text
    assert "Action: failed" in text


def test_a_table_that_is_away_has_it_done_again(world: World) -> None:
    world.suppressions.fail_next(TemporaryError("away"))
    dead = report(outcome("dead", dead=True))
    with pytest.raises(TemporaryError):
        world.run(dead)
    assert len(world.run(dead)) == 1
    assert len(world.suppressions.items) == 1
