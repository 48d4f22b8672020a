"""Ids: UUIDv7 (RFC 9562 §5.7), ordered by time, the same from the same cause."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from relay.ids import derived_id, new_id

times = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)


@given(times)
def test_form(now: float) -> None:
    made = uuid.UUID(new_id(now))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(now * 1000)


@given(times, times)
def test_later_sorts_later(one: float, other: float) -> None:
    if int(one * 1000) < int(other * 1000):
        assert new_id(one) < new_id(other)


@given(times, st.text(), st.text())
def test_derived(now: float, one: str, other: str) -> None:
    assert derived_id(now, one) == derived_id(now, one)
    assert (derived_id(now, one) == derived_id(now, other)) == (one == other)
    assert uuid.UUID(derived_id(now, one)).version == 7


def test_unique() -> None:
    assert len({new_id(1.0) for _ in range(10_000)}) == 10_000
