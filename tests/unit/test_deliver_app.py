"""functions/deliver/app.py: what it composes, logs and counts."""

import json
from types import ModuleType

import pytest

from relay.outcome import Outcome, State
from relay.submission import Delivery, Inline
from tests.functions import load, process

SECRET = "the words of the message"
DELIVERY = Delivery(
    "id", "account", "s@a.example", "b.example", 0, ("r@b.example",), 1.0, Inline(SECRET.encode() + b"\r\n")
)


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 300_000


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in process("deliver").items():
        monkeypatch.setenv(name, value)
    return load("deliver")


def test_an_unreadable_message_fails_alone_and_nothing_is_said_of_content(
    app: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    record = {"messageId": "m-1", "body": SECRET, "attributes": {"ApproximateReceiveCount": "1"}}
    assert app.handler({"Records": [record]}, Context()) == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert "record failed" in caplog.text
    assert SECRET not in str([vars(each) for each in caplog.records])
    app.compose()[0].close()


def test_composed_once(app: ModuleType) -> None:
    assert app.compose() is app.compose()
    app.compose()[0].close()


def test_outcomes_are_logged_and_counted_without_content(
    app: ModuleType, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    worker, observed = app.compose()
    caplog.set_level("INFO")
    for state in (State.DELIVERED, State.DELIVERED, State.BOUNCED):
        observed(DELIVERY, Outcome("r@b.example", state, 1.0, 1, 250, "2.0.0", "ok", "mx[192.0.2.1]", "TLSv1.3"))
    observed.site("site paused", {"site": "mx.b.example", "seconds": 60})
    observed.site("site resumed", {"site": "mx.b.example"})
    capsys.readouterr()
    observed.flush()
    observed.flush()
    (metrics,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (metrics["RecipientsDelivered"], metrics["RecipientsBounced"]) == ([2.0], [1.0])
    assert metrics["SitesPaused"] == [1.0]
    assert caplog.messages == ["delivered", "delivered", "bounced", "site paused", "site resumed"]
    assert vars(caplog.records[0])["id"] == "id"
    assert SECRET not in str([vars(each) for each in caplog.records])
    worker.close()
