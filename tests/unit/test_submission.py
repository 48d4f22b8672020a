"""Fan-out into deliveries: always numbered the same way, at most 100 recipients each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.submission import MAX_RECIPIENTS_PER_DELIVERY, Dsn, recipients_by_part

recipients = st.lists(
    st.builds("{}@{}".format, st.integers(0, 500), st.sampled_from(["a.example", "b.example"])),
    unique=True,
    max_size=300,
).map(tuple)


@given(recipients)
def test_every_recipient_is_in_exactly_one_part(rcpt_to: tuple[str, ...]) -> None:
    parts = recipients_by_part(rcpt_to)
    assert sorted(each for part in parts.values() for each in part) == sorted(rcpt_to)
    assert all(0 < len(part) <= MAX_RECIPIENTS_PER_DELIVERY for part in parts.values())
    assert all(each.endswith(f"@{domain}") for (domain, _), part in parts.items() for each in part)


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        ("", {"FAILURE", "DELAY"}),
        ("NEVER", set()),
        ("SUCCESS", {"SUCCESS"}),
        ("FAILURE", {"FAILURE"}),
        ("SUCCESS,FAILURE,DELAY", {"SUCCESS", "FAILURE", "DELAY"}),
    ],
)
def test_what_a_recipient_s_sender_wants_to_be_told(notify: str, wanted: set[str]) -> None:
    assert {event for event in ("SUCCESS", "FAILURE", "DELAY") if Dsn(notify).wants(event)} == wanted


def test_numbering() -> None:
    rcpt_to = tuple(f"{number}@a.example" for number in range(250)) + ("x@b.example",)
    assert {key: len(part) for key, part in recipients_by_part(rcpt_to).items()} == {
        ("a.example", 0): 100,
        ("a.example", 1): 100,
        ("a.example", 2): 50,
        ("b.example", 0): 1,
    }


def test_a_quoted_local_part_may_hold_an_at_sign() -> None:
    assert recipients_by_part(('"a@b"@c.example',)) == {("c.example", 0): ('"a@b"@c.example',)}
