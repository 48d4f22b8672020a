"""relay.bounces: an account whose mail bounces is paused, and who is told."""

import asyncio
import email
import email.policy
from dataclasses import replace

import pytest

from relay.account import Account, BouncePause
from relay.bounces import BounceWatch
from relay.encoding import decode_delivery
from relay.errors import OutageError, RelayError
from relay.outcome import Outcome, Report, State
from relay.owner_mail import OwnerMail
from relay.quota import Bounces, Threshold, day_of
from relay.submission import Inline
from tests.fakes import FakeAccounts, FakeAudit, FakeClock, FakeOperator, FakeQueue, FakeUsage

JO, NAME = Account("Jo@login.example", b"", b"", "", 0.0), "jo@login.example"
OTHER = "al@login.example"


class World:
    def __init__(self) -> None:
        self.clock, self.usage, self.operator = FakeClock(), FakeUsage(), FakeOperator()
        self.accounts, self.audit, self.queue = FakeAccounts(JO), FakeAudit(), FakeQueue()
        self.failed: list[tuple[str, str]] = []
        self.watch = BounceWatch(
            self.usage,
            self.accounts,  # type: ignore[arg-type]
            OwnerMail(self.queue, self.clock, "smtp.relay.example"),
            self.operator,
            self.clock,
            Threshold(percent=10.0, least=20),
            self.audit,
            self._fail,
        )

    def _fail(self, what: str, account: str, _: RelayError) -> None:
        self.failed.append((what, account))

    def record(self, *reports: Report) -> None:
        for report in reports:
            self.watch.count(report)
        asyncio.run(self.watch.pause())

    @property
    def pause(self) -> BouncePause | None:
        return self.accounts.items[NAME].pause


def report(*states: State, account: str = NAME, stage: str = "deliver", notice: bool = False) -> Report:
    outcomes = tuple(
        Outcome(f"a{number}@b.example", state, 0.0, 1, 550, "5.1.1", "no") for number, state in enumerate(states)
    )
    return Report("id", account, "jo@corp.example", "b.example", 0, 0.0, stage, outcomes, notice=notice)


GOOD, BAD = State.DELIVERED, State.BOUNCED


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([report(BAD)] * 20, (20, 20)),
        ([report(BAD)] * 19, None),
        ([report(*[BAD] * 20, *[GOOD] * 180)], (20, 200)),
        ([report(*[BAD] * 20, *[GOOD] * 181)], None),
        ([report(GOOD)] * 20, None),
        ([report(BAD, stage="validate")] * 20, None),
        ([report(BAD, notice=True)] * 20, None),
        ([report(State.EXPIRED, State.SUPPRESSED, State.CANCELLED, State.DEFERRED, State.REJECTED)] * 20, None),
        ([report(BAD, account=OTHER)] * 20, None),
        ([report(BAD, account="nobody@login.example")] * 20, None),
    ],
    ids=[
        "all",
        "too few",
        "just so many",
        "a smaller part",
        "none",
        "refused here",
        "notices",
        "other ends",
        "another's",
        "of an account that is no more",
    ],
)
def test_who_is_paused(reports: list[Report], expected: tuple[int, int] | None) -> None:
    world = World()
    world.record(*reports)
    assert world.pause == (BouncePause(world.clock.now(), *expected) if expected else None)
    assert not world.failed


def test_over_many_invocations_and_with_few_writes() -> None:
    world = World()
    for _ in range(10):
        world.record(report(BAD), report(GOOD, BAD))
    assert world.usage.bounces == {(NAME, day_of(world.clock.now())): Bounces(30, 20)}
    assert world.pause == BouncePause(world.clock.now(), 20, 30)


def test_each_day_is_counted_by_itself() -> None:
    world = World()
    world.record(*[report(BAD)] * 15)
    world.clock.advance(86_400.0)
    world.record(*[report(BAD)] * 15)
    assert world.pause is None


def test_good_news_pause_nobody() -> None:
    """Who was resumed with a bad rate isn't paused by a delivery."""
    world = World()
    world.record(*[report(BAD)] * 20)
    world.accounts.items[NAME] = JO
    world.record(report(GOOD))
    assert world.pause is None


def test_told_once() -> None:
    world = World()
    world.record(*[report(BAD)] * 20)
    world.record(*[report(BAD)] * 20)
    assert len(world.operator.told) == len(world.queue.sent) == len(world.audit.items) == 1


def test_what_the_operator_reads() -> None:
    world = World()
    world.record(*[report(BAD)] * 20, report(GOOD))
    ((subject, text),) = world.operator.told
    assert subject == "Mail relay: account Jo@login.example is paused"
    assert text.startswith("Jo@login.example is paused: 20 of 21 recipients bounced today.\n")
    assert "mailrelay accounts resume Jo@login.example\n" in text


def test_what_the_owner_reads() -> None:
    world = World()
    world.record(*[report(BAD)] * 20, report(GOOD))
    delivery = decode_delivery(world.queue.bodies[0])
    assert (delivery.rcpt_to, delivery.mail_from, delivery.account) == (("Jo@login.example",), "", NAME)
    assert delivery.notice  # or it would wait with the rest
    assert isinstance(delivery.content, Inline)
    mail = email.message_from_bytes(delivery.content.data, policy=email.policy.default)
    assert mail["Subject"] == "Your mail waits: too much of it has bounced"
    text = mail.get_content()
    assert "20 of the 21 recipients" in text
    assert all(len(line) <= 78 for line in text.splitlines())


def test_what_the_audit_has() -> None:
    world = World()
    world.record(*[report(BAD)] * 20)
    (entry,) = world.audit.items.values()
    assert (entry.subject, entry.action, entry.actor, entry.result) == (
        NAME,
        "pause",
        "the relay",
        "20 of 20 recipients bounced",
    )


@pytest.mark.parametrize(
    ("away", "paused", "failed"),
    [
        ("usage", False, "bounces not counted"),
        ("accounts", False, "bounces not counted"),
        ("operator", True, "operator not told"),
        ("queue", True, "owner not told"),
        ("audit", True, "pause not audited"),
    ],
)
def test_what_is_away_costs_no_more_than_itself(away: str, paused: bool, failed: str) -> None:
    world = World()
    getattr(world, away).fail_next(OutageError("away"))
    world.record(*[report(BAD)] * 20)
    assert (world.pause is not None) is paused
    assert [what for what, _ in world.failed] == [failed]
    told = len(world.operator.told) + len(world.queue.sent) + len(world.audit.items)
    assert told == (2 if paused else 0)


def test_a_login_that_is_no_address_has_nobody_to_write_to() -> None:
    world = World()
    world.accounts.items = {"root": replace(JO, user="root")}
    world.record(*[report(BAD, account="root")] * 20)
    assert world.accounts.items["root"].pause
    assert (len(world.operator.told), len(world.queue.sent)) == (1, 0)
