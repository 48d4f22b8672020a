"""bench.quotas: the multiplication, and that docs/scale.md shows what it says."""

import json
from pathlib import Path

import pytest

from bench.quotas import RATES, Message, main, quotas

SCALE = Path(__file__).parents[3] / "docs" / "scale.md"


@pytest.mark.parametrize(
    ("name", "used"),
    [
        pytest.param("SQS: in flight, DeliverQueue", 30_000.0, id="littles-law"),
        pytest.param("Lambda: invocations of deliver at once (a mapping's most)", 300.0, id="a-batch-each"),
        pytest.param("DynamoDB: the same of one account: one partition", 500.0, id="one-of-two-accounts"),
        pytest.param("DynamoDB: write units of LedgerTable", 2_000.0, id="whoever-sends"),
    ],
)
def test_what_a_stream_takes(name: str, used: float) -> None:
    found = {each.name: each.used for each in quotas(1_000, Message(seconds=30.0, accounts=2))}
    assert found[name] == used


def test_the_page_has_the_limits_and_what_is_taken_of_each() -> None:
    page = SCALE.read_text()
    for rate in RATES:
        for each in quotas(rate, Message()):
            if each.limit and each.used >= 10:
                assert f"{each.limit:,.0f}" in page, each.name
                assert f"{each.used:,.0f}" in page, each.name


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"1000", "10000"}
