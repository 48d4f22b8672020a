"""`mailrelay accounts export` and `mailrelay suppressions import`."""

import json
from pathlib import Path

import pytest

from relay.ports import Suppression
from tests.unit.relayctl.harness import RECEIVED, Ctl

NOW = RECEIVED + 3600
LIMITS = {"per_second": 100, "per_day": 5, "recipients": 1000, "size": 41_943_040}
APP = {
    "user": "App@mycorp.example",
    "phone": "+46701234567",
    "created": RECEIVED,
    "disabled": False,
    "paused": {"since": RECEIVED, "bounced": 60, "finished": 200},
    "limits": LIMITS,
    "own_limits": ["per_day"],
}
HAND = Suppression("app@mycorp.example", "jo@there.example", RECEIVED, NOW + 86_400, "asked for it")
DEAD = Suppression("app@mycorp.example", "al@there.example", RECEIVED, NOW + 60, "550 5.1.1 no", "id-1")


def test_accounts_as_json_lines(ctl: Ctl) -> None:
    ctl.cloud.answer = {"ok": True, "accounts": [APP, {**APP, "user": "al@b.example", "paused": None}]}
    assert ctl("accounts", "export") == 0
    first, second = map(json.loads, ctl.out.splitlines())
    assert first == {
        "user": "App@mycorp.example",
        "phone": "+46701234567",
        "created": "2027-01-15T08:00:00Z",
        "disabled": False,
        "paused": True,
        "per_second": None,
        "per_day": 5,
        "recipients": None,
        "size": None,
    }
    assert (second["user"], second["paused"]) == ("al@b.example", False)


def test_accounts_as_csv(ctl: Ctl) -> None:
    ctl.cloud.answer = {"ok": True, "accounts": [APP]}
    assert ctl("accounts", "export", "--format", "csv") == 0
    assert ctl.out == (
        "user,phone,created,disabled,paused,per_second,per_day,recipients,size\r\n"
        "App@mycorp.example,'+46701234567,2027-01-15T08:00:00Z,False,True,,5,,\r\n"
    )


def exported(ctl: Ctl, *suppressions: Suppression) -> Path:
    ctl.cloud.suppressions.items = {(each.account, each.address): each for each in suppressions}
    assert ctl("suppressions", "export") == 0
    ctl.cloud.suppressions.items = {}
    path = ctl.folder / "exported.jsonl"
    path.write_text(ctl.out)
    return path


def test_what_was_exported_is_imported(ctl: Ctl) -> None:
    path = exported(ctl, HAND, DEAD)
    assert ctl("suppressions", "import", str(path)) == 0
    assert ctl.out == "2 of 2 suppressions in force imported.\n"
    assert set(ctl.cloud.suppressions.items.values()) == {HAND, DEAD}
    assert ctl("suppressions", "import", str(path)) == 0
    assert ctl.out == "0 of 2 suppressions in force imported; the others are there already.\n"


def test_what_holds_for_longer_stands_and_what_has_ended_is_left_out(ctl: Ctl) -> None:
    path = exported(ctl, HAND, DEAD)
    longer = Suppression(HAND.account, HAND.address, NOW, HAND.until + 1, "another")
    ctl.cloud.suppressions.items = {(HAND.account, HAND.address): longer}
    with path.open("a") as file:
        file.write("\n" + json.dumps({**json.loads(path.read_text().splitlines()[0]), "until": "2026-01-01T00:00:00Z"}))
    assert ctl("suppressions", "import", str(path)) == 0
    assert ctl.out == "1 of 2 suppressions in force imported; the others are there already.\n"
    assert ctl.cloud.suppressions.items[HAND.account, HAND.address] == longer


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no JSON", "line 2: not as mailrelay suppressions export writes it"),
        ("[]", "line 2: not as mailrelay suppressions export writes it"),
        ('{"address": "jo@b.example"}', "line 2: no 'account'"),
        (
            '{"account": "a@b.example", "address": "jo", "since": "2026-01-01", "until": "2027-01-01", "id": null}',
            "line 2: not as mailrelay suppressions export writes it",
        ),
    ],
    ids=["text", "no object", "a field too few", "no address"],
)
def test_a_wrong_line_imports_nothing(ctl: Ctl, capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    path = exported(ctl, HAND)
    with path.open("a") as file:
        file.write(line)
    assert ctl("suppressions", "import", str(path)) == 1
    assert f"{said}; nothing was imported" in capsys.readouterr().err
    assert not ctl.cloud.suppressions.items


def test_a_file_that_is_not_there(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl("suppressions", "import", "nowhere.jsonl") == 2
    assert "nowhere.jsonl: No such file or directory" in capsys.readouterr().err
