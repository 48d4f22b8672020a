"""relay.suppression: for how long, what lifts it, and what is said."""

import asyncio
from dataclasses import replace

import pytest

from relay import suppression
from relay.errors import TemporaryError
from relay.outcome import Outcome, State
from relay.ports import Checked, Suppression
from relay.suppression import DAY, Suppress
from tests.fakes import FakeClock, FakeSuppressions

NOW = FakeClock().now()
ACCOUNT = "jo@login.example"
DEAD = Outcome("Gone@there.example", State.BOUNCED, NOW, 1, 550, "5.1.1", "No such user", "mx", dead=True)
KEY = ACCOUNT, "gone@there.example"


@pytest.fixture
def kept() -> FakeSuppressions:
    return FakeSuppressions()


def learn(kept: FakeSuppressions, *times: float, days: float = 30, speed: float = 1.0) -> Suppression:
    for number, time in enumerate(times):
        asyncio.run(Suppress(kept, days, speed)(ACCOUNT, DEAD._replace(time=time), f"id-{number}"))
    return kept.items[KEY]


def test_a_day_at_first(kept: FakeSuppressions) -> None:
    assert learn(kept, NOW) == Suppression(ACCOUNT, KEY[1], NOW, NOW + DAY, "550 5.1.1 No such user", "id-0")


def test_and_thirty_when_it_is_dead_again(kept: FakeSuppressions) -> None:
    again = learn(kept, NOW, NOW + DAY + 60)
    assert (again.since, again.until, again.id) == (NOW + DAY + 60, NOW + DAY + 60 + 30 * DAY, "id-1")
    assert learn(kept, again.until + 1).until == again.until + 1 + 30 * DAY


@pytest.mark.parametrize("later", [0.0, 1.0, DAY - 1], ids=["the same report", "under way at the time", "much later"])
def test_what_comes_while_it_lasts_changes_nothing(kept: FakeSuppressions, later: float) -> None:
    assert learn(kept, NOW, NOW + later).id == "id-0"


def test_an_old_report_that_comes_again_changes_nothing(kept: FakeSuppressions) -> None:
    """A redrive weeks later: the newer word stands."""
    newest = learn(kept, NOW, NOW + 5 * DAY)
    asyncio.run(kept.set(replace(newest, until=NOW + 5 * DAY)))  # it has ended, say
    assert learn(kept, NOW + DAY).since == NOW + 5 * DAY


def test_what_an_operator_barred_is_left_and_is_no_first_time(kept: FakeSuppressions) -> None:
    barred = suppression.by_hand("Jo@login.example", "Gone@there.example", now=NOW, days=2, reason="asked")
    asyncio.run(kept.set(barred))
    assert learn(kept, NOW + DAY) == barred
    assert learn(kept, NOW + 3 * DAY).until == NOW + 4 * DAY


def test_a_short_parameter_bounds_the_first_day_too(kept: FakeSuppressions) -> None:
    assert learn(kept, NOW, days=0.5).until == NOW + DAY / 2


def test_durations_are_divided_by_speed(kept: FakeSuppressions) -> None:
    assert learn(kept, NOW, NOW + DAY, speed=10).until == NOW + DAY + 3 * DAY


def test_a_race_is_run_again_and_not_for_ever(kept: FakeSuppressions) -> None:
    class Racing(FakeSuppressions):
        async def put(self, wanted: Suppression, before: Suppression | None) -> Suppression | None:
            past = wanted.since - 2 * DAY - len(self.items)
            self.items["race", str(len(self.items))] = wanted
            return replace(wanted, since=past, until=past + DAY)

    with pytest.raises(TemporaryError):
        asyncio.run(Suppress(Racing(), 30)(ACCOUNT, DEAD, "id"))


def test_a_hostile_reason_is_bounded(kept: FakeSuppressions) -> None:
    asyncio.run(Suppress(kept, 30)(ACCOUNT, DEAD._replace(text="x" * 5000), "id"))
    assert len(kept.items[KEY].reason) == suppression.MAX_REASON


# --- what follows ------------------------------------------------------------------------------


FOUND = Suppression(ACCOUNT, KEY[1], NOW, NOW + DAY, "550 5.1.1 No such user", "id")


@pytest.mark.parametrize(("now", "barred"), [(NOW, True), (NOW + DAY - 1, True), (NOW + DAY, False)])
def test_in_force_until_it_ends(now: float, barred: bool) -> None:
    checked = Checked(known={KEY[1]: FOUND})
    found = suppression.in_force(checked, ("GONE@there.example", "fine@there.example"), now)
    assert found == ({"GONE@there.example": FOUND} if barred else {})


@pytest.mark.parametrize(
    ("state", "now", "lifts"),
    [(State.DELIVERED, NOW + DAY, True), (State.BOUNCED, NOW + DAY, False), (State.DELIVERED, NOW, False)],
    ids=["taken since", "dead again", "in force still"],
)
def test_what_a_success_lifts(state: State, now: float, lifts: bool) -> None:
    checked = Checked(known={KEY[1]: FOUND})
    assert suppression.lifted(checked, [DEAD._replace(state=state)], now) == ([FOUND] if lifts else [])


def test_what_the_sender_is_told() -> None:
    known = suppression.refused("Gone@there.example", FOUND, attempt=3, now=NOW + 5)
    assert known.text == (
        "not sent: on 2027-01-15 08:00 UTC its server said that there is no such address (550 5.1.1 No such user);"
        " mail to it goes out again from 2027-01-16 08:00 UTC on"
    )
    assert (known.state, known.attempt, known.time, known.recipient) == (
        State.SUPPRESSED,
        3,
        NOW + 5,
        "Gone@there.example",
    )
    barred = suppression.refused("a@b.example", replace(FOUND, id="", reason=""), attempt=1, now=NOW)
    assert barred.text == "not sent: the relay's operator has barred this address until 2027-01-16 08:00 UTC"
