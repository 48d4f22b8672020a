"""Promises 2 and 3 at every step: the worker is killed, or a part of ours fails, before or after each call's
effect; queue messages are duplicated and shuffled. Nothing is lost, and nobody gets a message twice unless
the worker died between the remote's acceptance and our note of it.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.deliver import Deliver, Timing
from relay.encoding import decode_delivery, decode_report, encode_delivery
from relay.errors import TemporaryError
from relay.outcome import Outcome, State
from relay.ports import RecipientReply
from relay.retry import RetryPolicy
from relay.submission import Delivery, Inline, Stored
from tests.fakes import FakeClock, FakeContent, FakeLedger, FakeQueue, FakeSuppressions

CONTENT = b"Subject: x\r\n\r\nhello\r\n"
VISIBILITY = 1800.0
CLAIM = 330.0
RECIPIENTS = ("a@b.example", "b@b.example", "c@b.example")
NOW = FakeClock().now()
DELIVERY = Delivery("id", "account", "s@a.example", "b.example", 0, RECIPIENTS, NOW, Inline(CONTENT))
WINDOW = {("send", "after"), ("settle", "before")}  # promise 3 names it


class Killed(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Fault:
    """At the `step`th call of any port; `away`: TemporaryError, else the process dies."""

    step: int
    when: str
    away: bool


@dataclass
class World:
    """One delivery through the stage until no message is left. fates: recipient -> answers (o, t, p), one an
    attempt, the last for all that follow. waits: how often it is put off, by the gate and by the transport in turn."""

    fates: dict[str, str]
    faults: dict[int, Fault] = field(default_factory=dict)
    copies: int = 1
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    waits: int = 0

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger()
        self.content = FakeContent()
        self.suppressions = FakeSuppressions()
        self.queue = FakeQueue()
        self.reports = FakeQueue()
        self.steps = 0
        self.in_window = 0
        self.attempts: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.sent: Counter[int] = Counter()
        self.messages: list[tuple[float, str]] = [(self.clock.now(), encode_delivery(DELIVERY))] * self.copies
        self.stage = Deliver(
            ledger=_Faulty(self, self.ledger),  # type: ignore[arg-type]
            content=_Faulty(self, self.content),  # type: ignore[arg-type]
            suppressions=_Faulty(self, self.suppressions),  # type: ignore[arg-type]
            stopped=_never,
            transport=_Faulty(self, self),  # type: ignore[arg-type]
            gate=self._gate,
            queue=_Faulty(self, self.queue),  # type: ignore[arg-type]
            reports=_Faulty(self, self.reports),  # type: ignore[arg-type]
            clock=self.clock,
            retry=RetryPolicy(speed=8),  # hops enough, not hundreds
            timing=Timing(claim=CLAIM),
            chance=self.chance.random,
            owner=lambda: f"owner {self.steps}",
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def _waits(self, *, odd: bool) -> float:
        """Until when it is put off."""
        if self.waits <= 0 or self.waits % 2 != odd:
            return 0.0
        self.waits -= 1
        return self.clock.now() + 100.0

    async def _gate(self, _delivery: Delivery) -> float:
        return self._waits(odd=False)

    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        """The transport."""
        assert content == CONTENT
        if until := self._waits(odd=True):
            return tuple(
                RecipientReply(each, False, False, 451, "4.4.5", "later", put_off=until) for each in recipients
            )
        self.sent[delivery.attempt] += 1
        replies = []
        for recipient in recipients:
            fates = self.fates[recipient]
            fate = fates[min(self.attempts[recipient], len(fates) - 1)]
            self.attempts[recipient] += 1
            self.delivered[recipient] += fate == "o"
            code, enhanced = {"o": (250, "2.0.0"), "t": (450, "4.2.0"), "p": (550, "5.1.1")}[fate]
            replies.append(RecipientReply(recipient, fate == "o", fate == "p", code, enhanced, "words"))
        return tuple(replies)

    async def run(self) -> None:
        for _ in range(3000):
            if not self.messages:
                return
            soonest = min(visible for visible, _ in self.messages)
            self.clock.time = max(self.clock.time, soonest)
            visible = [each for each in self.messages if each[0] <= self.clock.time]
            await self._receive(self.chance.choice(visible)[1])
        raise AssertionError("it never ends")

    async def _receive(self, body: str) -> None:
        """As SQS and relay.worker do it."""
        self.messages.remove(next(each for each in self.messages if each[1] == body and each[0] <= self.clock.time))
        try:
            await self.stage(decode_delivery(body), deadline=self.clock.now() + 295.0)
        except TemporaryError:
            self.messages.append((self.clock.now() + 30.0, body))
        except Killed:
            self.messages.append((self.clock.now() + VISIBILITY, body))
        for sent in self.queue.take():
            copies = self.copies if len(self.messages) < 6 else 1  # or hops would multiply them without end
            self.messages += [(self.clock.now() + sent.delay, sent.body)] * copies

    def check(self) -> None:
        entry = self.ledger.items[DELIVERY.key]
        assert entry.final
        assert set(entry.outcomes) == set(RECIPIENTS)
        assert self.in_window or set(self.sent.values()) == {1}  # an attempt is made once
        expected = {"o": State.DELIVERED, "p": State.BOUNCED, "t": State.EXPIRED}
        reported: dict[str, set[Outcome]] = {}
        for report in (decode_report(each.body) for each in self.reports.sent):
            for outcome in report.outcomes:
                reported.setdefault(outcome.recipient, set()).add(outcome)
                if outcome.state is State.BOUNCED or outcome.state is State.EXPIRED:
                    assert isinstance(report.content, Stored)
                    assert self.content.items[report.content.key] == CONTENT
        for recipient, fates in self.fates.items():
            outcome = entry.outcomes[recipient]
            assert outcome.state.final
            assert outcome in reported[recipient]
            assert {each.state for each in reported[recipient] if each.state.final} == {outcome.state}
            if not self.in_window:
                decided = next((fate for fate in fates if fate != "t"), "t")
                assert outcome.state is expected[decided]
                assert self.delivered[recipient] == (decided == "o")
            else:
                assert self.delivered[recipient] <= 1 + self.in_window
                assert self.delivered[recipient] >= (outcome.state is State.DELIVERED)


async def _never(_account: str) -> str:
    return ""


class _Faulty:
    """A port whose calls fail by the world's plan."""

    def __init__(self, world: World, port: Any) -> None:
        self._world = world
        self._port = port

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)

        async def faulty(*arguments: Any, **named: Any) -> Any:
            world = self._world
            fault = world.faults.get(world.steps)
            world.steps += 1
            away = fault is not None and fault.away and call != world.send  # the transport never raises
            kill = fault is not None and not fault.away
            if fault and kill and (call.__name__, fault.when) in WINDOW and (call == world.send or name == "settle"):
                world.in_window += 1
            if fault and (away or kill) and fault.when == "before":
                raise TemporaryError("away") if away else Killed
            result = await call(*arguments, **named)
            if fault and (away or kill):
                raise TemporaryError("answer lost") if away else Killed
            return result

        return faulty


SCENARIOS = {
    "all delivered": "o o o",
    "all bounced": "p p p",
    "delivered, bounced, deferred then delivered": "o p to",
    "deferred at different times": "to tto tp",
    "one never": "o p t",
}


def fates(text: str) -> dict[str, str]:
    return dict(zip(RECIPIENTS, text.split(), strict=True))


def run(world: World) -> World:
    asyncio.run(world.run())
    world.check()
    return world


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("waits", [0, 3])
def test_without_faults(scenario: str, copies: int, waits: int) -> None:
    world = run(World(fates(scenario), copies=copies, waits=waits))
    assert world.in_window == 0


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("away", [False, True], ids=["killed", "away"])
@pytest.mark.parametrize("waits", [0, 3])
def test_a_fault_at_every_step(scenario: str, copies: int, when: str, away: bool, waits: int) -> None:
    steps = min(run(World(fates(scenario), copies=copies, waits=waits)).steps, 60)
    for step in range(steps):
        run(World(fates(scenario), {step: Fault(step, when, away)}, copies=copies, waits=waits))


def test_the_window_is_found_by_this_test() -> None:
    """Killed right after the remote took it: twice, and that is the one window there is."""
    world = World(fates("o o o"), {2: Fault(2, "after", away=False)})
    run(world)
    assert world.in_window == 1
    assert set(world.delivered.values()) == {2}


FAULTS = st.builds(Fault, st.integers(0, 80), st.sampled_from(["before", "after"]), st.booleans())


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(*[st.sampled_from(["o", "p", "to", "tp", "tto", "t"])] * 3),
    st.lists(FAULTS, max_size=8),
    st.integers(1, 3),
    st.integers(0, 1000),
    st.integers(0, 12),
)
def test_any_faults_in_any_order(
    answers: tuple[str, ...], faults: list[Fault], copies: int, seed: int, waits: int
) -> None:
    plan = {fault.step: fault for fault in faults}
    run(World(fates(" ".join(answers)), plan, copies, random.Random(seed), waits))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 5))
def test_copies_at_the_same_time(seed: int, workers: int) -> None:
    """Several workers hold copies of each message at once."""

    async def scenario() -> World:
        world = World(fates("o p to"), chance=random.Random(seed))
        for _ in range(50):
            if not world.messages:
                return world
            world.clock.time = max(world.clock.time, min(visible for visible, _ in world.messages))
            _, body = world.messages.pop(0)
            stages = [world.stage(decode_delivery(body), deadline=world.clock.now() + 295.0) for _ in range(workers)]
            await asyncio.gather(*stages)
            latest = {sent.body: world.clock.now() + sent.delay for sent in world.queue.take()}
            world.messages += [(visible, each) for each, visible in latest.items()]
        raise AssertionError("it never ends")

    world = asyncio.run(scenario())
    world.check()
