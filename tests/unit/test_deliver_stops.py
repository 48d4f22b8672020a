"""What stops a delivery before a server is asked, and what the class of a failure makes of it."""

import asyncio
from dataclasses import replace

import pytest

from relay.deliver import Deliver
from relay.errors import OutageError
from relay.failure import FailureClass, Stage
from relay.outcome import Outcome, State
from relay.ports import RecipientReply, Suppression
from relay.retry import DELAYS, LIFETIME
from relay.submission import Stored
from tests.unit.test_deliver import DELIVERY, LATER, NEVER, NOW, A, B, World

REMOTE = "mx.b.example[192.0.2.1]"
DEAD = Suppression("account", "a@b.example", NOW - 100, NOW + 100, "550 5.1.1 No such user", "old-id")


@pytest.fixture
def world() -> World:
    return World()


def suppress(world: World, suppression: Suppression = DEAD) -> None:
    asyncio.run(world.suppressions.set(suppression))


def outcomes(world: World) -> dict[str, Outcome]:
    return dict(world.ledger.items[DELIVERY.key].outcomes)


# --- suppressed addresses ----------------------------------------------------------------------


def test_a_dead_address_is_refused_and_the_others_get_it(world: World) -> None:
    suppress(world)
    world.run(DELIVERY)
    assert [recipients for _, recipients, _ in world.transport.sent] == [(B,)]
    refused = outcomes(world)[A]
    assert (refused.state, refused.code, refused.enhanced, refused.failure) == (
        State.SUPPRESSED,
        550,
        "5.1.1",
        FailureClass.ADDRESS,
    )
    assert "550 5.1.1 No such user" in refused.text
    assert outcomes(world)[B].state is State.DELIVERED
    assert world.ledger.items[DELIVERY.key].final
    (report,) = world.reported()
    assert report.content == Stored("content/id", 21)  # for the notice
    assert [each.state for each in world.observed] == [State.SUPPRESSED, State.DELIVERED]
    world.run(DELIVERY)
    assert len(world.transport.sent) == 1


def test_no_server_is_asked_and_no_content_loaded_if_all_are_suppressed(world: World) -> None:
    suppress(world)
    suppress(world, replace(DEAD, address="b@b.example", id="", reason="unsubscribed"))
    world.run(DELIVERY._replace(content=Stored("gone", 5)))
    assert world.transport.sent == []
    assert {each.enhanced for each in outcomes(world).values()} == {"5.1.1", "5.7.1"}
    assert "unsubscribed" in outcomes(world)[B].text
    assert world.ledger.items[DELIVERY.key].final
    assert world.queued() == []


@pytest.mark.parametrize("recipient", ["A@b.example", "a@b.example"])
def test_capitals_bring_nobody_back_to_life(world: World, recipient: str) -> None:
    suppress(world)
    world.run(DELIVERY._replace(rcpt_to=(recipient,)))
    assert outcomes(world)[recipient].state is State.SUPPRESSED


@pytest.mark.parametrize(
    "suppression",
    [replace(DEAD, until=NOW), replace(DEAD, account="another"), replace(DEAD, address="z@b.example")],
    ids=["ended", "of another account", "of another address"],
)
def test_what_is_not_meant_goes_out(world: World, suppression: Suppression) -> None:
    suppress(world, suppression)
    world.run(DELIVERY)
    assert world.states() == {A: State.DELIVERED, B: State.DELIVERED}


def test_it_is_looked_up_once_an_attempt_and_only_under_a_claim(world: World) -> None:
    world.transport.answers = {A: LATER}
    world.run(DELIVERY, DELIVERY, DELIVERY)
    assert world.suppressions.checked == 1
    world.run(DELIVERY._replace(due=NOW + 5))
    assert world.suppressions.checked == 1


def test_an_address_that_takes_mail_again_is_forgotten(world: World) -> None:
    suppress(world, replace(DEAD, until=NOW - 1))
    suppress(world, replace(DEAD, address="b@b.example", until=NOW - 1))
    world.transport.answers = {B: NEVER}
    world.run(DELIVERY)
    assert set(world.suppressions.items) == {("account", "b@b.example")}


def test_to_forget_is_no_duty(world: World) -> None:
    suppress(world, replace(DEAD, until=NOW - 1))
    world.suppressions.fail_next(None, OutageError("away"))
    world.run(DELIVERY)
    assert len(world.reported()) == 1
    assert world.ledger.items[DELIVERY.key].final


# --- cancelled messages ------------------------------------------------------------------------


def test_a_message_that_was_cancelled_before_its_first_attempt(world: World) -> None:
    asyncio.run(world.suppressions.cancel("id", now=NOW))
    world.run(DELIVERY._replace(content=Stored("gone", 5)))
    assert world.transport.sent == []
    assert world.states() == {A: State.CANCELLED, B: State.CANCELLED}
    (report,) = world.reported()
    assert {(each.state, each.attempt, each.text) for each in report.outcomes} == {
        (State.CANCELLED, 1, "cancelled by the operator")
    }
    assert world.queued() == []


def test_what_was_delivered_before_it_was_cancelled_stays_so(world: World) -> None:
    world.transport.answers = {B: LATER}
    world.run(DELIVERY)
    ((following, _),) = world.queued()
    asyncio.run(world.suppressions.cancel("id", now=NOW))
    world.clock.time = following.due
    world.run(following)
    assert world.states() == {A: State.DELIVERED, B: State.CANCELLED}
    assert len(world.transport.sent) == 1


# --- disabled accounts -------------------------------------------------------------------------


def test_a_disabled_account_s_mail_waits_and_goes_on(world: World) -> None:
    world.disabled = {"account"}
    world.run(DELIVERY)
    assert world.transport.sent == []
    assert world.states() == {A: State.DEFERRED, B: State.DEFERRED}
    waiting = outcomes(world)[A]
    assert (waiting.code, waiting.enhanced, waiting.failure) == (451, "4.7.13", FailureClass.POLICY)
    assert "disabled" in waiting.text
    ((following, _),) = world.queued()
    assert following.attempt == 2
    world.disabled = set()
    world.clock.time = following.due
    world.run(following)
    assert world.states() == {A: State.DELIVERED, B: State.DELIVERED}


def test_it_waits_no_longer_than_any_mail(world: World) -> None:
    world.disabled = {"account"}
    world.run(DELIVERY._replace(attempt=20, received=NOW - LIFETIME))
    assert world.states() == {A: State.EXPIRED, B: State.EXPIRED}


def test_it_can_be_cancelled_while_it_waits(world: World) -> None:
    world.disabled = {"account"}
    asyncio.run(world.suppressions.cancel("id", now=NOW))
    world.run(DELIVERY)
    assert world.states() == {A: State.CANCELLED, B: State.CANCELLED}


def test_the_relay_s_notices_go_on(world: World) -> None:
    world.disabled = {"account"}
    world.run(DELIVERY._replace(notice=True, mail_from=""))
    assert world.states() == {A: State.DELIVERED, B: State.DELIVERED}


def test_a_table_of_accounts_that_is_away_leaves_no_claim_behind(world: World) -> None:
    async def away(_account: str) -> str:
        raise OutageError("away")

    world.stage._stopped = away
    with pytest.raises(OutageError):
        world.run(DELIVERY)
    assert world.ledger.items == {}


# --- the class decides -------------------------------------------------------------------------


def answer(world: World, code: int, enhanced: str, text: str, stage: str = Stage.RCPT, remote: str = REMOTE) -> None:
    """Everybody is answered this."""

    class Transport:
        async def send(
            self, delivery: object, recipients: tuple[str, ...], content: bytes, *, deadline: float
        ) -> tuple[RecipientReply, ...]:
            return tuple(
                RecipientReply(each, code < 300, code >= 500, code, enhanced, text, remote, stage=stage)
                for each in recipients
            )

    stage_: Deliver = world.stage
    stage_._transport = Transport()


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "state", "failure", "is_dead"),
    [
        (550, "5.1.1", "User unknown", State.BOUNCED, "address", True),
        (550, "5.7.1", "Greylisted, come back later", State.DEFERRED, "rate", False),
        (554, "5.0.0", "try again later", State.DEFERRED, "rate", False),
        (552, "5.2.2", "Over quota", State.BOUNCED, "mailbox full", False),
        (452, "4.2.2", "Over quota", State.DEFERRED, "mailbox full", False),
        (550, "5.7.25", "no PTR record", State.DEFERRED, "ours", False),
        (550, "5.1.1", "rejected by policy", State.BOUNCED, "policy", False),
        (450, "4.1.1", "User unknown", State.DEFERRED, "address", False),
    ],
    ids=lambda value: str(value),
)
def test_retry_and_suppression_go_by_it(
    world: World, code: int, enhanced: str, text: str, state: State, failure: str, is_dead: bool
) -> None:
    answer(world, code, enhanced, text)
    world.run(DELIVERY)
    became = outcomes(world)[A]
    assert (became.state, became.failure, became.dead) == (state, failure, is_dead)
    assert became.code == code  # as the server had it
    assert world.reported()[0].outcomes == tuple(outcomes(world).values())


def test_a_5xx_that_is_tried_again_expires(world: World) -> None:
    answer(world, 550, "5.7.1", "Greylisted")
    world.run(DELIVERY._replace(attempt=20, received=NOW - LIFETIME))
    assert world.states() == {A: State.EXPIRED, B: State.EXPIRED}


def test_our_own_outage_ends_no_mail_however_long_it_lasts(world: World) -> None:
    answer(world, 451, "4.3.0", "the relay's own DNS does not answer", Stage.ROUTE, remote="")
    world.run(DELIVERY._replace(attempt=200, received=NOW - 20 * LIFETIME))
    assert world.states() == {A: State.DEFERRED, B: State.DEFERRED}
    assert outcomes(world)[A].next_due == pytest.approx(NOW + DELAYS[-1] * 1.05)
    assert outcomes(world)[A].failure is FailureClass.OURS


def test_a_success_has_no_class(world: World) -> None:
    world.run(DELIVERY)
    assert {(each.failure, each.dead) for each in outcomes(world).values()} == {(None, False)}
