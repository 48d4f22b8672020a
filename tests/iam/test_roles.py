"""The roles of template.yaml: under them everything works, and what they have no business with is denied.

`python -m tests.iam` prints the matrix.
"""

from collections.abc import Iterator

import pytest

from tests.conditions import load
from tests.iam.gate import Gate
from tests.iam.matrix import DENIED, UNSEEN, denied, seen, unseen
from tests.iam.roles import CALLERS, Roles
from tests.iam.run import everything, gated


@pytest.fixture(scope="module")
def after() -> Iterator[tuple[Gate, Roles]]:
    with gated() as (system, gate, roles):
        everything(system)
        yield gate, roles


def test_every_role_is_looked_at() -> None:
    """All but the one by which ECS itself starts the task."""
    found = {name for name, each in load()["Resources"].items() if each["Type"] == "AWS::IAM::Role"}
    assert found - {"GatewayExecutionRole"} == set(CALLERS.values())


def test_nothing_that_the_relay_does_is_denied(after: tuple[Gate, Roles]) -> None:
    gate, _ = after
    assert not gate.denied


def test_every_caller_was_asked_about(after: tuple[Gate, Roles]) -> None:
    assert all(seen(*after).values())
    assert seen(*after).keys() == CALLERS.keys()


def test_what_is_allowed_is_needed(after: tuple[Gate, Roles]) -> None:
    """A right that the run doesn't use has its reason in UNSEEN."""
    assert {(caller, action) for caller, action, _ in unseen(*after)} <= UNSEEN.keys()


def test_what_nobody_has_any_business_with_is_denied(after: tuple[Gate, Roles]) -> None:
    _, roles = after
    assert [attempt for attempt, was in denied(roles) if not was] == []
    assert {attempt.caller for attempt in DENIED} == CALLERS.keys()
