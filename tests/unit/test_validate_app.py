"""functions/validate/app.py: what it composes from the environment, and what it counts and logs."""

import json

import pytest
from aws_lambda_powertools import Logger, Metrics

from relay.settings import SettingsError
from relay.submission import Inline, Submission
from relay.validate import Decision
from tests.functions import load, process

SUBMISSION = Submission("0190-1", "app@example.com", "a@b.example", ("c@d.example",), 0.0, Inline(b"secret"))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in process("validate").items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_composes_once_and_takes_an_empty_batch() -> None:
    app = load("validate")

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 60_000

    assert app.handler({"Records": []}, Context()) == {"batchItemFailures": []}
    assert app.compose() is app.compose()
    app.compose().worker.close()


@pytest.mark.usefixtures("environment")
def test_answers_the_gateways_question() -> None:
    """The table is away here, which is no verdict; tests/e2e asks about real domains."""
    app = load("validate")
    event = {"domain": "d.example", "account": "a@b.example", "sender": "c@d.example"}
    assert app.handler(event, None) == {"standing": "unknown", "lines": [], "seconds": 0.0}
    app.compose().worker.close()


@pytest.mark.usefixtures("environment")
def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELAY_TOKEN_NAME")
    with pytest.raises(SettingsError, match="RELAY_TOKEN_NAME"):
        load("validate").compose()


@pytest.mark.usefixtures("environment")
def test_decisions_are_logged_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    observed = load("validate").Observed(Logger(service="a logger of its own"), Metrics())
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
