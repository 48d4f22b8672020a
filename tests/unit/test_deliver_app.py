"""functions/deliver/app.py: what it composes, logs and counts."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from relay.outcome import Outcome, State
from relay.submission import Delivery, Inline

APP = Path(__file__).parents[2] / "functions" / "deliver" / "app.py"
ENVIRONMENT = {
    "RELAY_VALIDATE_QUEUE_URL": "http://127.0.0.1:9/validate",
    "RELAY_DELIVER_QUEUE_URL": "http://127.0.0.1:9/deliver",
    "RELAY_RECORD_QUEUE_URL": "http://127.0.0.1:9/record",
    "RELAY_LEDGER_TABLE": "ledger",
    "RELAY_MESSAGES_TABLE": "messages",
    "RELAY_ACCOUNTS_TABLE": "accounts",
    "RELAY_NOTICES_TABLE": "notices",
    "RELAY_DELAY_NOTICE_HOURS": "4",
    "RELAY_CONTENT_BUCKET": "content",
    "RELAY_TOKEN_NAME": "token",
    "RELAY_SPF_DOMAIN": "spf.example",
    "RELAY_HOST_NAME": "smtp.relay.example",
    "RELAY_SMTP_PORT": "25",
    "RELAY_CLOCK_SPEED": "1",
    "RELAY_CLAIM_SECONDS": "330",
    "POWERTOOLS_METRICS_NAMESPACE": "MailRelay",
    "POWERTOOLS_SERVICE_NAME": "deliver",
    "AWS_REGION": "eu-north-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
}
SECRET = "the words of the message"
DELIVERY = Delivery(
    "id", "account", "s@a.example", "b.example", 0, ("r@b.example",), 1.0, Inline(SECRET.encode() + b"\r\n")
)


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 300_000


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("deliver_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    capsys.readouterr()
    observed.flush()
    observed.flush()
    (metrics,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (metrics["RecipientsDelivered"], metrics["RecipientsBounced"]) == ([2.0], [1.0])
    assert caplog.messages == ["delivered", "delivered", "bounced"]
    assert vars(caplog.records[0])["id"] == "id"
    assert SECRET not in str([vars(each) for each in caplog.records])
    worker.close()
