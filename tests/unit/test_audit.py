"""relay.audit: what is written before and after, and what when that fails."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from relay.audit import BEGUN, DONE, LONGEST, NOBODY, UNCHANGED, Audited, Entry
from relay.errors import RelayError, TemporaryError
from tests.fakes import FakeAudit, FakeClock

EVENT = {"action": "rotate", "user": " Jo@Example.com", "caller": "arn:aws:iam::1:user/al", "phone": "+46701234567"}
ENTRY = Entry(7.0, "jo@example.com", "rotate", "arn:aws:iam::1:user/al", "r-1", DONE)


class World:
    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.audit, self.answer = FakeAudit(), answer
        self.ran: list[list[Entry]] = []  # what the table had, each time that something was done
        self.logged: list[str] = []

    def __call__(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        audited = Audited(self.audit, FakeClock(7.0), self.log)
        return asyncio.run(audited(event, "r-1", self.run))

    async def run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self.ran.append(list(self.audit.items.values()))
        return dict(self.answer)

    def log(self, what: str, error: RelayError) -> None:
        self.logged.append(f"{what}: {error.detail}")

    @property
    def entries(self) -> list[Entry]:
        return list(self.audit.items.values())


def test_written_before_and_after() -> None:
    world = World({"ok": True, "changed": True})
    assert world(EVENT) == world.answer
    assert world.ran == [[replace(ENTRY, result=BEGUN)]]
    assert world.entries == [ENTRY]


@pytest.mark.parametrize(
    ("event", "answer", "expected"),
    [
        pytest.param({**EVENT, "now": True}, {"ok": True}, replace(ENTRY, action="rotate now"), id="at-once"),
        pytest.param(
            {**EVENT, "action": "limits", "limits": {"per_day": 5, "size": 0}},
            {"ok": True},
            replace(ENTRY, action="limits per_day=5 size=default"),
            id="limits",
        ),
        pytest.param(EVENT, {"ok": True, "changed": False}, replace(ENTRY, result=UNCHANGED), id="no-difference"),
        pytest.param(EVENT, {"ok": False, "error": "no"}, replace(ENTRY, result="no"), id="refused"),
        pytest.param({**EVENT, "caller": ""}, {"ok": True}, replace(ENTRY, actor=NOBODY), id="nobody"),
        pytest.param({**EVENT, "caller": ["x"]}, {"ok": True}, replace(ENTRY, actor=NOBODY), id="no-text"),
        pytest.param({**EVENT, "caller": "x" * 999}, {"ok": True}, replace(ENTRY, actor="x" * LONGEST), id="long"),
        pytest.param(
            {"action": "enable", "domain": "D.example"},
            {"ok": True},
            Entry(7.0, "d.example", "enable", NOBODY, "r-1", DONE),
            id="of-a-domain",
        ),
    ],
)
def test_what_an_entry_says(event: Mapping[str, Any], answer: Mapping[str, Any], expected: Entry) -> None:
    world = World(answer)
    world(event)
    assert world.entries == [expected]
    assert "+4670" not in repr(world.entries)


@pytest.mark.parametrize(
    "event",
    [
        {"action": "list"},
        {"action": "show", "user": "jo@example.com"},
        {},
        {"action": "drop"},
        {"action": 3, "user": "jo"},
    ],
    ids=["list", "show", "nothing", "of nobody", "no action"],
)
def test_what_changes_nothing_is_not_written(event: Mapping[str, Any]) -> None:
    world = World({"ok": False, "error": "no"})
    assert world(event) == world.answer
    assert world.entries == []
    assert len(world.ran) == 1


def test_nothing_is_done_without_a_note_of_it() -> None:
    world = World({"ok": True})
    world.audit.fail = TemporaryError("away", "dynamodb: 503")
    answer = world(EVENT)
    assert answer["ok"] is False
    assert "nothing was done" in answer["error"]
    assert world.ran == []
    assert world.logged == ["nothing is done without a note of it: dynamodb: 503"]


def test_an_end_that_cannot_be_written_is_logged() -> None:
    world = World({"ok": True})
    world.audit.fail_next(None, TemporaryError("away", "dynamodb: 503"))
    assert world(EVENT) == {"ok": True}
    assert world.entries == [replace(ENTRY, result=BEGUN)]
    assert world.logged == ["an entry of the audit stays without its end: dynamodb: 503"]
