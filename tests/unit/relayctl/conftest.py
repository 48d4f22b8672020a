"""`ctl`: the command against an empty relay; `filled`: against one with some mail."""

import json
from pathlib import Path

import pytest

from relay.outcome import State
from tests.unit.relayctl.harness import NOTICE, OTHER, RECEIVED, STATE, Ctl, row


@pytest.fixture
def ctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ctl:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "state.json").write_text(json.dumps(STATE))
    return Ctl(tmp_path)


@pytest.fixture
def filled(ctl: Ctl) -> Ctl:
    for each in (
        row("jo@there.example", State.DEFERRED),
        row("jo@there.example", State.DELIVERED, 2),
        row("nobody@there.example", State.BOUNCED),
        row("al@else.example", State.REJECTED, id=OTHER, stage="validate", received=RECEIVED + 60),
        row("news@shop.example", State.DELIVERED, id=NOTICE, notice=True, mail_from="", received=RECEIVED + 30),
    ):
        ctl.cloud.messages._rows[each.id, each.outcome.recipient, each.stage, each.outcome.attempt] = each
    return ctl
