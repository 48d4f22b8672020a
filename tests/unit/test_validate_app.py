"""functions/validate/app.py: what it composes from the environment, and what it counts and logs."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from aws_lambda_powertools import Logger, Metrics

from relay.settings import SettingsError
from relay.submission import Inline, Submission
from relay.validate import Decision

PATH = Path(__file__).parents[2] / "functions" / "validate" / "app.py"
SUBMISSION = Submission("0190-1", "app@example.com", "a@b.example", ("c@d.example",), 0.0, Inline(b"secret"))


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("validate_app", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "AWS_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "POWERTOOLS_METRICS_NAMESPACE": "MailRelay",
        "POWERTOOLS_SERVICE_NAME": "validate",
        "RELAY_VALIDATE_QUEUE_URL": "http://127.0.0.1:1/1/v",
        "RELAY_DELIVER_QUEUE_URL": "http://127.0.0.1:1/1/d",
        "RELAY_RECORD_QUEUE_URL": "http://127.0.0.1:1/1/r",
        "RELAY_LEDGER_TABLE": "ledger",
        "RELAY_MESSAGES_TABLE": "messages",
        "RELAY_ACCOUNTS_TABLE": "accounts",
        "RELAY_NOTICES_TABLE": "notices",
        "RELAY_DELAY_NOTICE_HOURS": "4",
        "RELAY_CONTENT_BUCKET": "content",
        "RELAY_TOKEN_NAME": "elastx-mrs",
        "RELAY_SPF_DOMAIN": "elastx.email",
        "RELAY_HOST_NAME": "smtp.elastx.email",
        "RELAY_CLAIM_SECONDS": "330",
        "RELAY_CLOCK_SPEED": "1",
        "RELAY_SMTP_PORT": "25",
        "RELAY_DNS_SERVERS": "127.0.0.1:53, [::1]:53",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_composes_once_and_takes_an_empty_batch() -> None:
    app = load()

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 60_000

    assert app.handler({"Records": []}, Context()) == {"batchItemFailures": []}
    assert app.compose() is app.compose()
    app.compose()[0].close()


@pytest.mark.usefixtures("environment")
def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELAY_TOKEN_NAME")
    with pytest.raises(SettingsError, match="RELAY_TOKEN_NAME"):
        load().compose()


@pytest.mark.usefixtures("environment")
def test_decisions_are_logged_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    observed = load().Observed(Logger(service="a logger of its own"), Metrics())
    for decision in (Decision.ACCEPTED, Decision.ACCEPTED, Decision.NOT_DUE):
        observed(SUBMISSION, decision, "")
    observed(SUBMISSION, Decision.REFUSED, "no SPF record")
    observed.flush()
    observed.flush()
    output = capsys.readouterr().out
    assert "secret" not in output
    lines = [json.loads(line) for line in output.splitlines()]
    (metrics,) = (line for line in lines if "_aws" in line)
    assert (metrics["accepted"], metrics["refused"], metrics["not_due"]) == ([2.0], [1.0], [1.0])
    refused = next(line for line in lines if line.get("message") == "refused")
    assert (refused["id"], refused["account"], refused["why"]) == ("0190-1", "app@example.com", "no SPF record")
