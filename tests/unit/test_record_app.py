"""functions/record/app.py: what it composes, and the metrics it writes."""

import asyncio
import json
from types import ModuleType
from typing import Any

import pytest

from relay.errors import TemporaryError
from relay.outcome import Outcome, Report, State
from tests.functions import load, process


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in process("record").items():
        monkeypatch.setenv(name, value)
    return load("record")


class Recorded:
    """Stands for Record."""

    def __init__(self) -> None:
        self.error: TemporaryError | None = None

    async def __call__(self, report: Report) -> None:
        if self.error:
            raise self.error


class Watch:
    """Stands for BounceWatch."""

    def __init__(self, error: Exception | None = None) -> None:
        self.counted: list[Report] = []
        self._error = error

    def count(self, report: Report) -> None:
        self.counted.append(report)

    async def pause(self) -> None:
        if self._error:
            raise self._error


def report(*states: State) -> Report:
    outcomes = tuple(
        Outcome(f"r{number}@x.example", state, 1.0, 1, 250, "2.0.0", "") for number, state in enumerate(states)
    )
    return Report("id", "user@x.example", "a@x.example", "x.example", 0, 1.0, "deliver", outcomes)


def published(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_outcomes_are_counted_by_state(app: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    counted = app.Counted(Recorded(), Watch())
    for each in (report(State.DELIVERED, State.DELIVERED), report(State.DELIVERED, State.BOUNCED)):
        asyncio.run(counted(each, deadline=0.0))
    counted.publish(app.Metrics())
    metrics = published(capsys)
    assert metrics["OutcomesDelivered"] == [3.0]
    assert metrics["OutcomesBounced"] == [1.0]
    assert metrics["service"] == "record"
    counted.publish(app.Metrics())
    assert capsys.readouterr().out == ""


def test_what_is_not_recorded_is_not_counted(app: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = Recorded()
    recorded.error = TemporaryError("away")
    counted = app.Counted(recorded, Watch())
    with pytest.raises(TemporaryError):
        asyncio.run(counted(report(State.BOUNCED), deadline=0.0))
    counted.publish(app.Metrics())
    assert capsys.readouterr().out == ""


def test_it_composes_once_from_the_environment(app: ModuleType) -> None:
    worker, *_ = app.compose()
    try:
        assert app.compose()[0] is worker
        assert app.handler({"Records": []}, _Context()) == {"batchItemFailures": []}
    finally:
        worker.close()


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def test_bounces_are_watched_where_it_was_recorded(app: ModuleType) -> None:
    recorded, watch = Recorded(), Watch()
    counted = app.Counted(recorded, watch)
    asyncio.run(counted(report(State.BOUNCED), deadline=0.0))
    recorded.error = TemporaryError("away")
    with pytest.raises(TemporaryError):
        asyncio.run(counted(report(State.BOUNCED), deadline=0.0))
    assert len(watch.counted) == 1


def test_a_bug_of_the_watch_costs_no_record(app: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    app._pause(loop, Watch(ZeroDivisionError()))
    loop.close()
    assert [each.getMessage() for each in caplog.records] == ["bounces not counted"]
