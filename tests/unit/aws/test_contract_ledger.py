"""ports.Ledger: the fake and DynamoDB alike. Promise 3: nobody gets it twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.aws.http import ConnectionLostError
from relay.aws.ledger import DynamoLedger, entry_of, item_of
from relay.errors import PermanentError
from relay.outcome import State
from relay.ports import Claimed, Finished, Held, Ledger, LedgerEntry, Superseded
from tests.fakes import FakeLedger
from tests.unit.aws.contract import NOW, boto, delivery, make_table, outcome, unique, with_client

Run = Callable[[Callable[[Ledger], Awaitable[Any]]], Any]

UNTIL = NOW + 330
KEY = delivery().key


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test's coroutine function with an empty ledger."""
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeLedger()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "id", "part")
    return lambda test: with_client(endpoint, lambda client: test(DynamoLedger(client, table)))


async def claim(ledger: Ledger, attempt: int = 1, owner: str = "me", now: float = NOW, due: float = 0.0) -> Any:
    return await ledger.claim(delivery(attempt, due=due), owner=owner, now=now, until=now + 330)


def test_a_fresh_delivery_is_claimed(run: Run) -> None:
    got = run(lambda ledger: claim(ledger, due=NOW - 5))
    assert got == Claimed(LedgerEntry(KEY, 1, due=NOW - 5, owner="me", claimed_until=UNTIL))


def test_chunks_are_claimed_apart(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        got = await ledger.claim(delivery(chunk=1), owner="you", now=NOW, until=UNTIL)
        assert isinstance(got, Claimed)
        assert got.entry.key.chunk == 1

    run(test)


def test_a_living_claim_holds_until_its_end(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        assert await claim(ledger, owner="you", now=UNTIL - 0.5) == Held(UNTIL)

    run(test)


def test_a_living_claim_holds_a_later_attempt_too(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        assert await claim(ledger, attempt=2, owner="you", now=NOW + 1) == Held(UNTIL)

    run(test)


def test_an_expired_claim_is_taken_over_with_what_was_settled(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=False)
        got = await claim(ledger, owner="you", now=UNTIL)
        assert got == Claimed(
            LedgerEntry(KEY, 1, owner="you", claimed_until=UNTIL + 330, outcomes={"a@example.net": outcome()})
        )

    run(test)


def test_a_claim_whose_answer_was_lost_is_ours_again(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        first = await claim(ledger)
        assert await claim(ledger) == first

    run(test)


def test_an_older_attempt_is_superseded(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.advance(KEY, owner="me", attempt=2, due=NOW + 300)
        got = await claim(ledger, owner="you", now=NOW + 1)
        assert got == Superseded(LedgerEntry(KEY, 2, due=NOW + 300))

    run(test)


def test_an_older_attempt_is_superseded_even_while_a_claim_lives(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger, attempt=3)
        assert isinstance(await claim(ledger, attempt=2, owner="you"), Superseded)

    run(test)


def test_a_later_attempt_is_taken_when_no_claim_lives(run: Run) -> None:
    """Its message was queued, and then the worker died before it moved the ledger on."""

    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        got = await claim(ledger, attempt=2, owner="you", now=UNTIL, due=NOW + 300)
        assert isinstance(got, Claimed)
        assert (got.entry.attempt, got.entry.due, got.entry.owner) == (2, NOW + 300, "you")
        assert isinstance(await claim(ledger, owner="they", now=UNTIL), Superseded)

    run(test)


def test_the_next_attempt_is_claimed_after_advance(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        deferred = outcome(state=State.DEFERRED)
        await ledger.settle(KEY, owner="me", outcomes=(deferred,), final=False)
        await ledger.advance(KEY, owner="me", attempt=2, due=NOW + 300)
        got = await claim(ledger, attempt=2, owner="you", now=NOW + 1, due=NOW + 300)
        assert isinstance(got, Claimed)
        assert got.entry.outcomes == {"a@example.net": deferred}

    run(test)


def test_a_partial_settle_keeps_the_claim_and_the_other_outcomes(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.settle(KEY, owner="me", outcomes=(outcome("a@example.net", State.DEFERRED),), final=False)
        await ledger.settle(KEY, owner="me", outcomes=(outcome("b#c@example.net"),), final=False)
        await ledger.settle(KEY, owner="me", outcomes=(outcome("a@example.net", State.BOUNCED),), final=False)
        assert await claim(ledger, owner="you") == Held(UNTIL)
        got = await claim(ledger, owner="you", now=UNTIL)
        assert isinstance(got, Claimed)
        assert got.entry.outcomes == {
            "a@example.net": outcome("a@example.net", State.BOUNCED),
            "b#c@example.net": outcome("b#c@example.net"),
        }

    run(test)


def test_a_final_delivery_is_finished_for_everybody(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=True)
        for attempt, owner, now in ((1, "you", NOW), (2, "you", NOW), (1, "me", UNTIL + 1)):
            got = await claim(ledger, attempt=attempt, owner=owner, now=now)
            assert isinstance(got, Finished)
            assert got.entry.final
            assert got.entry.claimed_until == 0
            assert got.entry.outcomes == {"a@example.net": outcome()}

    run(test)


def test_of_two_outcomes_of_a_recipient_the_last_counts(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.settle(KEY, owner="me", outcomes=(outcome(state=State.DEFERRED), outcome()), final=True)
        got = await claim(ledger, owner="you")
        assert isinstance(got, Finished)
        assert got.entry.outcomes == {"a@example.net": outcome()}

    run(test)


def test_a_full_delivery_settles_at_once(run: Run) -> None:
    many = tuple(outcome(f"user{number}@example.net") for number in range(100))

    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.settle(KEY, owner="me", outcomes=many, final=True)
        got = await claim(ledger, owner="you")
        assert isinstance(got, Finished)
        assert set(got.entry.outcomes.values()) == set(many)

    run(test)


@pytest.mark.parametrize("final", [False, True], ids=["partial", "final"])
def test_a_settle_whose_answer_was_lost_goes_on(run: Run, final: bool) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        for _ in range(2):
            await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=final)

    run(test)


@pytest.mark.parametrize("final", [False, True], ids=["partial", "final"])
def test_a_settle_under_a_lost_claim_writes_nothing(run: Run, final: bool) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await claim(ledger, owner="you", now=UNTIL)
        with pytest.raises(PermanentError, match="claim lost"):
            await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=final)
        got = await claim(ledger, owner="they", now=UNTIL + 330)
        assert isinstance(got, Claimed)
        assert got.entry.outcomes == {}

    run(test)


@pytest.mark.parametrize("owner", ["me", "you"])
def test_nothing_is_settled_after_the_end(run: Run, owner: str) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=True)
        with pytest.raises(PermanentError, match="claim lost"):
            await ledger.settle(KEY, owner=owner, outcomes=(outcome(state=State.DEFERRED),), final=False)
        got = await claim(ledger)
        assert got.entry.outcomes == {"a@example.net": outcome()}

    run(test)


def test_a_settle_without_any_claim_is_lost(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        with pytest.raises(PermanentError, match="claim lost"):
            await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=True)
        assert isinstance(await claim(ledger), Claimed)

    run(test)


def test_advance_ends_the_claim(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        for _ in range(2):  # the second as after a lost answer
            await ledger.advance(KEY, owner="me", attempt=2, due=NOW + 300)
        with pytest.raises(PermanentError, match="claim lost"):
            await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=False)
        assert isinstance(await claim(ledger, attempt=2, owner="you"), Claimed)

    run(test)


def test_advance_under_a_lost_claim_changes_nothing(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.advance(KEY, owner="me", attempt=7, due=NOW)
        await claim(ledger)
        await claim(ledger, owner="you", now=UNTIL)
        await ledger.advance(KEY, owner="me", attempt=2, due=NOW + 300)
        assert await claim(ledger, owner="they", now=UNTIL) == Held(UNTIL + 330)

    run(test)


def test_advance_does_not_reopen_what_is_final(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await claim(ledger)
        await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=True)
        await ledger.advance(KEY, owner="me", attempt=2, due=NOW + 300)
        assert isinstance(await claim(ledger, attempt=2, owner="you"), Finished)

    run(test)


def test_refuse_makes_final_what_was_never_sent(run: Run) -> None:
    rejected = outcome(state=State.REJECTED)

    async def test(ledger: Ledger) -> None:
        got = await ledger.refuse(KEY, attempt=4, outcomes=(rejected,))
        assert got == LedgerEntry(KEY, 4, final=True, outcomes={"a@example.net": rejected})
        assert await claim(ledger) == Finished(got)

    run(test)


def test_the_first_refusal_stands(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        first = await ledger.refuse(KEY, attempt=1, outcomes=(outcome(state=State.REJECTED),))
        assert await ledger.refuse(KEY, attempt=2, outcomes=(outcome(state=State.EXPIRED),)) == first

    run(test)


def test_a_delivery_that_began_is_not_refused(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        claimed = await claim(ledger)
        assert await ledger.refuse(KEY, attempt=1, outcomes=(outcome(state=State.REJECTED),)) == claimed.entry

    run(test)


def test_a_message_s_deliveries_by_part(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        assert await ledger.of_id(KEY.id) == ()
        for each in (delivery(chunk=1), delivery(), delivery(id="018f-2")):
            await ledger.claim(each, owner="me", now=NOW, until=UNTIL)
        assert [entry.key for entry in await ledger.of_id(KEY.id)] == [KEY, delivery(chunk=1).key]

    run(test)


CANCELLED = outcome(state=State.CANCELLED, attempt=2)


async def put_off(ledger: Ledger) -> LedgerEntry:
    """The first attempt is over: one of two recipients got it, the other will be tried again."""
    await claim(ledger)
    got = (outcome(state=State.DEFERRED), outcome("b#c@example.net"))
    await ledger.settle(KEY, owner="me", outcomes=got, final=False)
    await ledger.advance(KEY, owner="me", attempt=2, due=NOW + 300)
    (entry,) = await ledger.of_id(KEY.id)
    return entry


def test_cancel_ends_what_is_put_off(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        read = await put_off(ledger)
        got = await ledger.cancel(read, owner="stop", now=NOW + 1, outcomes=(CANCELLED,))
        assert (got.owner, got.final, got.claimed_until) == ("stop", True, 0)
        assert got.outcomes == {"a@example.net": CANCELLED, "b#c@example.net": outcome("b#c@example.net")}
        assert await ledger.of_id(KEY.id) == (got,)
        assert await claim(ledger, attempt=2, owner="you", now=NOW + 301) == Finished(got)

    run(test)


def test_cancel_does_not_touch_a_living_claim(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        await put_off(ledger)
        await claim(ledger, attempt=2, owner="you", now=NOW + 301)
        (read,) = await ledger.of_id(KEY.id)
        assert await ledger.cancel(read, owner="stop", now=NOW + 302, outcomes=(CANCELLED,)) == read
        got = await ledger.cancel(read, owner="stop", now=read.claimed_until, outcomes=(CANCELLED,))
        assert (got.owner, got.final) == ("stop", True)
        with pytest.raises(PermanentError, match="claim lost"):
            await ledger.settle(KEY, owner="you", outcomes=(outcome(),), final=True)

    run(test)


def test_cancel_does_not_touch_what_has_moved_on(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        read = await put_off(ledger)
        await claim(ledger, attempt=2, owner="you", now=NOW + 301)
        await ledger.advance(KEY, owner="you", attempt=3, due=NOW + 900)
        got = await ledger.cancel(read, owner="stop", now=NOW + 400, outcomes=(CANCELLED,))
        assert (got.attempt, got.owner, got.final) == (3, "", False)

    run(test)


def test_cancel_does_not_touch_what_is_final(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        read = await put_off(ledger)
        first = await ledger.cancel(read, owner="stop", now=NOW + 1, outcomes=(CANCELLED,))
        assert await ledger.cancel(first, owner="halt", now=NOW + 2, outcomes=(outcome(),)) == first

    run(test)


def test_cancel_of_nothing(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        with pytest.raises(PermanentError, match="no such delivery"):
            await ledger.cancel(LedgerEntry(KEY, 1), owner="stop", now=NOW, outcomes=(CANCELLED,))

    run(test)


def test_one_of_many_at_once_wins(run: Run) -> None:
    async def test(ledger: Ledger) -> None:
        claims = await asyncio.gather(*(claim(ledger, owner=f"worker {number}") for number in range(8)))
        assert sorted(type(each).__name__ for each in claims) == ["Claimed", *["Held"] * 7]

    run(test)


# --- of DynamoDB alone --------------------------------------------------------------------------


class LosesAnswers:
    """The client's pool, whose first answers are lost after the call took effect."""

    def __init__(self, pool: Any, lost: int) -> None:
        self._pool = pool
        self._lost = lost

    async def request(self, *arguments: Any, **options: Any) -> Any:
        answer = await self._pool.request(*arguments, **options)
        if self._lost:
            self._lost -= 1
            raise ConnectionLostError("cut")
        return answer

    async def close(self) -> None:
        await self._pool.close()


def test_lost_answers_change_nothing(moto_endpoint: str) -> None:
    table = make_table(moto_endpoint, "id", "part")

    async def test(client: Any) -> None:
        ledger = DynamoLedger(client, table)
        whole = client._pool
        client._pool = LosesAnswers(whole, 2)
        assert isinstance(await claim(ledger), Claimed)
        client._pool = LosesAnswers(whole, 2)
        await ledger.settle(KEY, owner="me", outcomes=(outcome("b#c@example.net"),), final=False)
        client._pool = LosesAnswers(whole, 2)
        await ledger.settle(KEY, owner="me", outcomes=(outcome(),), final=True)
        other = delivery(id=unique("id")).key
        client._pool = LosesAnswers(whole, 2)
        assert (await ledger.refuse(other, attempt=1, outcomes=(outcome(),))).key == other
        client._pool = whole
        third = delivery(id=unique("id"))
        await ledger.claim(third, owner="me", now=NOW, until=NOW + 1)
        (read,) = await ledger.of_id(third.id)
        client._pool = LosesAnswers(whole, 2)
        assert (await ledger.cancel(read, owner="stop", now=NOW + 2, outcomes=(CANCELLED,))).owner == "stop"

    with_client(moto_endpoint, test, backoff=0.0)


def test_the_item_expires(moto_endpoint: str) -> None:
    table = make_table(moto_endpoint, "id", "part")

    async def test(client: Any) -> None:
        ledger = DynamoLedger(client, table, expiry_days=10)
        await claim(ledger)
        await ledger.refuse(delivery(id="other").key, attempt=1, outcomes=(outcome(),))

    with_client(moto_endpoint, test)
    items = boto("dynamodb", moto_endpoint).scan(TableName=table)["Items"]
    assert [item["expires"]["N"] for item in items] == [str(int(NOW) + 864_000)] * 2


def test_the_largest_item_fits() -> None:
    """100 recipients, each with the longest address and 1,000 characters of text; 400 KB is DynamoDB's limit."""
    outcomes = [outcome(f"{number:0254d}")._replace(text="🎉" * 1000) for number in range(100)]
    entry = LedgerEntry(KEY, 1, outcomes={each.recipient: each for each in outcomes})
    strings = [text for recipient, each in item_of(entry)["outcomes"]["M"].items() for text in (recipient, each["S"])]
    assert sum(len(text.encode()) for text in strings) < 390_000


def test_an_entry_survives_its_item() -> None:
    entry = LedgerEntry(KEY, 3, NOW + 0.25, "me", UNTIL, False, {"a@example.net": outcome()})
    assert entry_of(item_of(entry)) == entry
