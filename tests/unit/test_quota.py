"""relay.quota: leases, by the rate and by the day."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.quota import BURST, DAY, HELD, LARGEST, Lease, Limits, Over, Usage, day_of, lease, start_of

NOW = 1_800_000_000.0
MIDNIGHT = NOW - NOW % DAY + DAY


def test_limits_of_its_own_are_before_the_defaults() -> None:
    defaults = Limits(100, 1000, 50, 10_000)
    assert Limits().over(defaults) == defaults
    assert Limits(per_day=5, size=1).over(defaults) == Limits(100, 5, 50, 1)


@pytest.mark.parametrize(
    ("usage", "limits", "wanted", "count", "wait"),
    [
        (Usage(), Limits(100, 100_000), 1, 1, 0.0),
        (Usage(), Limits(100, 100_000), 10, 10, 0.0),
        (Usage(), Limits(100, 100_000), 80, 25, 0.0),
        (Usage(), Limits(10_000_000, 10_000_000), 5000, LARGEST, 0.0),
        (Usage(), Limits(1, 100_000), 5, 1, 0.0),
        (Usage(1, NOW + 1.0), Limits(1, 100_000), 5, 1, 1.0),
        (Usage(100, NOW + 1.0), Limits(100, 100_000), 25, 1, 0.01),
        (Usage(100, NOW + 0.9), Limits(100, 100_000), 25, 10, 0.0),
        (Usage(100, NOW - 7.0), Limits(100, 100_000), 25, 25, 0.0),
        (Usage(600, NOW + 5.9), Limits(100, 100_000), 25, 1, 4.91),
        (Usage(0, 0.0), Limits(100, 200), 25, 10, 0.0),
        (Usage(160, 0.0), Limits(100, 200), 25, 2, 0.0),
        (Usage(199, 0.0), Limits(100, 200), 25, 1, 0.0),
    ],
    ids=[
        "one",
        "as many as wanted",
        "a quarter of a second's",
        "the largest",
        "one a second",
        "the next one",
        "held back",
        "what is left of the second",
        "after a while",
        "held back for long",
        "a part of the day's",
        "near the end of the day's",
        "the last one",
    ],
)
def test_a_lease(usage: Usage, limits: Limits, wanted: int, count: int, wait: float) -> None:
    found = lease(usage, limits, NOW, wanted)
    assert isinstance(found, Lease)
    assert (found.messages, found.usage.messages) == (count, usage.messages + count)
    assert found.at - NOW == pytest.approx(wait, abs=1e-5)
    assert found.usage.clear == pytest.approx(max(usage.clear, NOW) + count / limits.per_second)


@pytest.mark.parametrize(
    ("usage", "limits", "now", "expected"),
    [
        (Usage(200, 0.0), Limits(100, 200), MIDNIGHT - 60.0, Over(60.0, of_day=True)),
        (Usage(300, 0.0), Limits(100, 200), MIDNIGHT - 60.0, Over(60.0, of_day=True)),
        (Usage(1, NOW + 6.5), Limits(1, 200), NOW, Over(6.5, of_day=False)),
    ],
    ids=["the day's", "more than the day's", "the second's"],
)
def test_over(usage: Usage, limits: Limits, now: float, expected: Over) -> None:
    found = lease(usage, limits, now, 10)
    assert isinstance(found, Over)
    assert (round(found.seconds, 3), found.of_day) == expected


@given(
    limits=st.builds(Limits, st.integers(1, 5000), st.integers(1, 50) | st.integers(1, 5000)),
    steps=st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 2000)), max_size=60),
)
def test_never_more_than_the_day_nor_faster_than_the_rate(limits: Limits, steps: list[tuple[float, int]]) -> None:
    usage, now, taken = Usage(), NOW, []
    for pause, wanted in steps:
        now += pause
        match lease(usage, limits, now, wanted):
            case Lease(count, at, after):
                assert 1 <= count <= wanted
                assert now <= at <= now + HELD
                assert after.messages == usage.messages + count
                usage = after
                taken.append((at, count))
            case Over(seconds, _):
                assert seconds > 0
    assert sum(count for _, count in taken) == usage.messages <= limits.per_day
    for index, (begin, _) in enumerate(taken):
        for end, _ in taken[index:]:
            within = sum(count for at, count in taken if begin <= at <= end)
            assert within <= limits.per_second * (end - begin + BURST) * (1 + 1e-6) + 1e-2


def test_the_day_is_in_utc() -> None:
    assert day_of(MIDNIGHT - 0.001) == "2027-01-15"
    assert day_of(MIDNIGHT) == "2027-01-16"
    assert start_of("2027-01-16") == MIDNIGHT
