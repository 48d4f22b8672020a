"""The retry clock: the table of delays, expiry, jitter, hops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.retry import JITTER, LIFETIME, LONGEST_HOP, RetryPolicy, hop

MINUTE, HOUR = 60.0, 3600.0


@pytest.mark.parametrize(
    ("attempt", "delay"),
    [
        (1, 5 * MINUTE),
        (2, 15 * MINUTE),
        (3, 30 * MINUTE),
        (4, HOUR),
        (5, 2 * HOUR),
        (6, 4 * HOUR),
        (7, 4 * HOUR),
        (20, 4 * HOUR),
    ],
)
def test_the_table_of_delays(attempt: int, delay: float) -> None:
    assert RetryPolicy().next_due(received=0, attempt=attempt, now=1000, chance=0) == 1000 + delay


def test_jitter_only_lengthens() -> None:
    assert RetryPolicy().next_due(received=0, attempt=1, now=0, chance=0.5) == 5 * MINUTE * (1 + JITTER / 2)


def test_the_last_attempt_is_at_the_expiry_then_none() -> None:
    policy = RetryPolicy()
    assert policy.next_due(received=0, attempt=9, now=LIFETIME - HOUR, chance=0) == LIFETIME
    assert policy.next_due(received=0, attempt=10, now=LIFETIME, chance=0) is None


def test_speed_divides_every_duration() -> None:
    policy = RetryPolicy(speed=100)
    assert policy.next_due(received=0, attempt=1, now=0, chance=0) == 3.0
    assert policy.next_due(received=0, attempt=1, now=LIFETIME / 100, chance=0) is None


@given(st.integers(1, 50), st.floats(0, LIFETIME * 2), st.floats(0, 1, exclude_max=True))
def test_the_next_attempt_is_later_and_within_the_lifetime(attempt: int, now: float, chance: float) -> None:
    due = RetryPolicy().next_due(received=0, attempt=attempt, now=now, chance=chance)
    assert (due is None) == (now >= LIFETIME)
    assert due is None or now < due <= LIFETIME


def test_a_message_is_tried_some_fifteen_times_in_48_hours() -> None:
    now, attempts = 0.0, 1
    while (due := RetryPolicy().next_due(received=0, attempt=attempts, now=now, chance=0.5)) is not None:
        now, attempts = due, attempts + 1
    assert 14 <= attempts <= 20


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=20, max_size=20))
def test_one_attempt_is_the_first_late_one_about_four_hours_on(chances: list[float]) -> None:
    policy = RetryPolicy(speed=100)
    now, tried, late = 1000.0, 0.0, []
    for attempt, chance in enumerate(chances, 1):
        if policy.is_late(received=1000.0, tried=tried, now=now):
            late.append(now - 1000.0)
        due = policy.next_due(received=1000.0, attempt=attempt, now=now, chance=chance)
        tried, now = now, due or now
    (after,) = late
    assert 3.75 * HOUR <= after * 100 <= 4.25 * HOUR


@pytest.mark.parametrize(
    ("tried", "now", "late"),
    [
        pytest.param(0.0, 99.0, False, id="not yet"),
        pytest.param(50.0, 100.0, True, id="first"),
        pytest.param(0.0, 5000.0, True, id="first of all, after an outage"),
        pytest.param(100.0, 101.0, False, id="told before"),
    ],
)
def test_is_late(tried: float, now: float, late: bool) -> None:
    assert RetryPolicy(speed=10).is_late(received=0.0, tried=tried, now=now, late=1000 + 900) is late


@pytest.mark.parametrize(
    ("due", "now", "delay"), [(10, 20, 0), (100, 20, 80), (10_000, 0, LONGEST_HOP)], ids=["past", "near", "far"]
)
def test_hop(due: float, now: float, delay: float) -> None:
    assert hop(due, now) == delay
