"""`mailrelay sites`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from relay.shaping import Heard
from relay.sites import Pause
from tests.unit.relayctl.harness import RECEIVED, STATE, Ctl

NOW = RECEIVED + 3600
PAUSE = Pause("provider:big", NOW + 90, 2, NOW - 60, Heard.SLOW, "421 4.7.0 too much\x1b[31m")


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "state.json").write_text(json.dumps(STATE))
    return Ctl(tmp_path)


def pause(ctl: Ctl, *pauses: Pause) -> None:
    ctl.cloud.pauses.items = {each.site: each for each in pauses}


def test_list_has_what_is_left_alone_now(ctl: Ctl) -> None:
    over, trial = replace(PAUSE, site="mx.over.example", until=NOW - 1), replace(PAUSE, site="mx.b.example", trial=True)
    pause(ctl, PAUSE, over, trial)
    assert ctl("sites", "list") == 0
    assert "provider:big  2027-01-15 09:01  2027-01-15 08:59  421 4.7.0 too much" in ctl.out
    assert "being tried" in ctl.out
    assert "over.example" not in ctl.out
    assert "\x1b" not in ctl.out
    assert ctl("sites", "list", "--json") == 0
    first, second = json.loads(ctl.out)
    assert (first["site"], first["trying"], second["trying"]) == ("mx.b.example", True, False)
    assert {key: second[key] for key in ("until", "since", "step", "why")} == {
        "until": "2027-01-15T09:01:30Z",
        "since": "2027-01-15T08:59:00Z",
        "step": 2,
        "why": "slow",
    }


def test_none(ctl: Ctl) -> None:
    assert ctl("sites", "list") == 0
    assert ctl.out == "No destination is left alone.\n"


def test_resume(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    pause(ctl, PAUSE)
    assert ctl("sites", "resume", "provider:big") == 0
    assert ctl.out == "provider:big is tried again\n"
    assert ctl.cloud.pauses.items == {}
    assert ctl("sites", "resume", "provider:big") == 1
    assert "provider:big is not left alone; see mailrelay sites list" in capsys.readouterr().err
