"""A destination that is left alone, or whose turn it isn't: the same attempt later, counted as made in the end."""

import asyncio

import pytest

from relay.encoding import decode_delivery
from relay.errors import TemporaryError
from relay.outcome import Outcome, State
from relay.ports import RecipientReply, Suppression
from relay.retry import DELAYS, LEAST, LIFETIME, PUT_OFF
from relay.submission import Delivery, Inline, Stored
from tests.unit.test_deliver import CONTENT, DELIVERY, LATER, NOW, A, B, World

WHY = "the destination is left alone for a while: it said 421 4.7.0"


class Paused(World):
    """until: of the gate and of the transport, 0.0 for open."""

    def __init__(self, gate: float = 0.0, transport: float = 0.0) -> None:
        super().__init__()
        self.gate, self.until = gate, transport
        self.stage._gate = self._ask
        self._send, self.transport.send = self.transport.send, self._put_off  # type: ignore[method-assign]

    async def _ask(self, _delivery: Delivery) -> float:
        return self.gate

    async def _put_off(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        if not self.until:
            return await self._send(delivery, recipients, content, deadline=deadline)
        return tuple(RecipientReply(to, False, False, 451, "4.4.5", WHY, put_off=self.until) for to in recipients)

    def outcomes(self) -> list[Outcome]:
        return [outcome for report in self.reported() for outcome in report.outcomes]


@pytest.mark.parametrize("attempt", [1, 7])
def test_before_the_claim_it_costs_no_write(attempt: int) -> None:
    world = Paused(gate=NOW + 60)
    delivery = DELIVERY._replace(attempt=attempt, due=NOW - 5)
    world.run(delivery)
    assert world.queued() == [(delivery, 60.0)]
    assert (world.ledger.items, world.transport.sent, world.outcomes(), world.observed) == ({}, [], [], [])
    assert world.suppressions.checked == 0


def test_after_the_claim_it_is_the_same_attempt_and_the_claim_ends() -> None:
    world = Paused(transport=NOW + 60)
    world.run(DELIVERY)
    assert world.queued() == [(DELIVERY, 60.0)]
    entry = world.ledger.items[DELIVERY.key]
    assert (entry.attempt, entry.owner, entry.claimed_until, entry.outcomes) == (1, "", 0.0, {})
    assert (world.outcomes(), world.observed) == ([], [])
    world.until = 0.0
    world.run(DELIVERY)
    assert world.states() == {A: State.DELIVERED, B: State.DELIVERED}
    assert {outcome.attempt for outcome in world.outcomes()} == {1}


def test_it_is_queued_before_the_claim_ends() -> None:
    world = Paused(transport=NOW + 60)
    world.queue.fail = TemporaryError("away")
    with pytest.raises(TemporaryError):
        world.run(DELIVERY)
    assert world.ledger.items[DELIVERY.key].claimed_until > NOW  # so the message that comes again waits for it
    world.queue.fail = None
    world.ledger.fail_next(None, TemporaryError("away"))
    world.clock.advance(400)
    with pytest.raises(TemporaryError):
        world.run(DELIVERY)
    assert [each for each, _ in world.queued()] == [DELIVERY]


def test_large_content_goes_by_reference() -> None:
    world = Paused(gate=NOW + 60)
    world.run(DELIVERY._replace(content=Inline(b"x" * 20_000)))
    ((queued, _),) = world.queued()
    assert isinstance(queued.content, Stored)


def test_a_long_pause_is_several_hops() -> None:
    world = Paused(gate=NOW + 1800)
    world.run(DELIVERY)
    assert world.queued() == [(DELIVERY, 900.0)]


@pytest.mark.parametrize(
    ("received", "due", "attempt"),
    [(NOW - PUT_OFF, 0.0, 1), (NOW - 10_000, NOW - PUT_OFF, 3)],
    ids=["since it was received", "since it was due"],
)
@pytest.mark.parametrize("gate", [NOW + 60, 0.0])
def test_what_was_put_off_for_an_hour_is_an_attempt_that_failed(
    received: float, due: float, attempt: int, gate: float
) -> None:
    """So it is seen in its trace, and its sender is told in time."""
    world = Paused(gate, transport=NOW + 60)
    world.run(DELIVERY._replace(received=received, due=due, attempt=attempt))
    assert {(each.state, each.attempt, each.text) for each in world.outcomes()} == {(State.DEFERRED, attempt, WHY)}
    ((queued, delay),) = world.queued()
    assert (queued.attempt, delay) == (attempt + 1, min(900.0, DELAYS[attempt - 1] * 1.05))


def test_it_expires_while_the_destination_is_left_alone() -> None:
    world = Paused(NOW + 1800, NOW + 1800)
    old = DELIVERY._replace(received=NOW - LIFETIME + 100, due=NOW - 5, attempt=LEAST)
    world.run(old)
    assert world.queued() == [(old, pytest.approx(100.0))]
    world.clock.advance(100)
    world.run(old)
    assert {(each.state, each.text) for each in world.outcomes()} == {(State.EXPIRED, WHY)}
    assert world.queued() == []
    assert world.ledger.items[DELIVERY.key].final


@pytest.mark.parametrize("step", [60.0, 1800.0])
def test_whatever_the_pauses_it_ends(step: float) -> None:
    """Nobody ever answers, and it is never the one that is let through."""
    world, message = Paused(), DELIVERY
    for _ in range(10_000):
        world.gate = world.until = world.clock.now() + step
        world.run(message)
        if not world.queue.sent:
            break
        (sent,) = world.queue.take()
        message = decode_delivery(sent.body)
        world.clock.advance(sent.delay)
    assert world.states() == {A: State.EXPIRED, B: State.EXPIRED}
    assert LIFETIME <= world.clock.now() - NOW < LIFETIME + 4 * 3600
    assert message.attempt >= LEAST


def test_who_is_suppressed_is_told_when_it_is_its_turn() -> None:
    world = Paused(transport=NOW + 60)
    asyncio.run(world.suppressions.set(Suppression("account", A, NOW - 1, NOW + 1000, "dead", "old")))
    world.run(DELIVERY)
    assert world.queued() == [(DELIVERY, 60.0)]
    assert world.outcomes() == []
    world.until = 0.0
    world.run(DELIVERY)
    assert world.states() == {A: State.SUPPRESSED, B: State.DELIVERED}


def test_what_some_servers_answered_is_an_attempt() -> None:
    world = Paused()
    world.transport.answers = {B: LATER}

    async def mixed(
        delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        (first, *rest) = await world._send(delivery, recipients, content, deadline=deadline)
        return first, *(each._replace(put_off=NOW + 60) for each in rest)

    world.transport.send = mixed  # type: ignore[method-assign]
    world.run(DELIVERY)
    assert world.states() == {A: State.DELIVERED, B: State.DEFERRED}
    assert world.content.items == {"content/id": CONTENT}
    assert world.queued()[0][0].attempt == 2
