"""Ids: UUIDv7 (RFC 9562 §5.7), ordered by time, the same from the same cause."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from relay.ids import derived_id, new_id, tag_in, tag_of

ACCOUNT = "app@login.example"

times = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)


@given(times)
def test_form(now: float) -> None:
    made = uuid.UUID(new_id(now, ACCOUNT))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(now * 1000)


@given(times, times)
def test_later_sorts_later(one: float, other: float) -> None:
    if int(one * 1000) < int(other * 1000):
        assert new_id(one, ACCOUNT) < new_id(other, "other@login.example")


@given(times, st.text(), st.text())
def test_derived(now: float, one: str, other: str) -> None:
    assert derived_id(now, one, ACCOUNT) == derived_id(now, one, ACCOUNT)
    assert (derived_id(now, one, ACCOUNT) == derived_id(now, other, ACCOUNT)) == (one == other)
    assert uuid.UUID(derived_id(now, one, ACCOUNT)).version == 7


@given(times, st.text())
def test_an_id_ends_with_its_account_s_tag(now: float, account: str) -> None:
    assert tag_in(new_id(now, account)) == tag_in(derived_id(now, "name", account)) == tag_of(account)


def test_tags_of_accounts_differ() -> None:
    assert len({tag_of(f"app{number}@login.example") for number in range(1000)}) == 1000


def test_unique() -> None:
    assert len({new_id(1.0, ACCOUNT) for _ in range(10_000)}) == 10_000
