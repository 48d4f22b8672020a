"""`mailrelay usage` and `mailrelay accounts limits`."""

import json
from typing import Any

import pytest

from relay.quota import Bounces, Usage
from tests.unit.relayctl.harness import RECEIVED, Ctl

LIMITS = {"per_second": 100, "per_day": 5, "recipients": 1000, "size": 41_943_040}
FACTS: dict[str, Any] = {"user": "App@mycorp.example", "limits": LIMITS, "own_limits": ["per_day"], "paused": None}
APP, GONE, SHOP = "app@mycorp.example", "gone@b.example", "shop@b.example"


def used(ctl: Ctl) -> None:
    ctl.cloud.answer = {
        "ok": True,
        "accounts": [FACTS, {**FACTS, "user": SHOP, "paused": {"since": RECEIVED, "bounced": 60, "finished": 200}}],
    }
    usage = ctl.cloud.usage
    for account, day, messages in ((APP, "2027-01-15", 3), (APP, "2027-01-14", 5), (GONE, "2027-01-15", 1)):
        usage.items[account, day] = Usage(messages)
    usage.items[SHOP, "2027-01-15"] = Usage(200)
    usage.bounces[SHOP, "2027-01-15"] = Bounces(200, 60)


def test_today_of_all(ctl: Ctl) -> None:
    used(ctl)
    assert ctl("usage") == 0
    assert [line.split() for line in ctl.out.splitlines()] == [
        ["User", "Day", "Messages", "Limit", "Answers", "Bounced"],
        ["App@mycorp.example", "2027-01-15", "3", "5", "0", "0"],
        [GONE, "2027-01-15", "1", "0", "0", "deleted"],
        [SHOP, "2027-01-15", "200", "5", "200", "60", "paused"],
    ]
    assert max(map(len, ctl.out.splitlines())) <= 80


def test_days_of_one(ctl: Ctl) -> None:
    used(ctl)
    assert ctl("usage", "APP@mycorp.example", "--days", "2", "--json") == 0
    first = {"user": "App@mycorp.example", "limit": 5, "answers": 0, "bounced": 0, "paused": False}
    assert json.loads(ctl.out) == [
        {**first, "day": "2027-01-14", "messages": 5},
        {**first, "day": "2027-01-15", "messages": 3},
    ]


def test_nothing_was_sent(ctl: Ctl) -> None:
    ctl.cloud.answer = {"ok": True, "accounts": [FACTS]}
    assert ctl("usage", APP) == 0
    assert ctl.out == f"Nothing was sent by {APP} since 2027-01-15 (UTC).\n"
    assert ctl("usage") == 0
    assert ctl.out == "Nothing was sent since 2027-01-15 (UTC).\n"


def test_nobody(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    ctl.cloud.answer = {"ok": True, "accounts": [FACTS]}
    assert ctl("usage", "nobody@b.example") == 1
    assert "there is no account nobody@b.example" in capsys.readouterr().err


def test_the_function_is_away(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    ctl.cloud.answer = {"ok": False, "error": "a service is away"}
    assert ctl("usage") == 1
    assert "accounts: a service is away" in capsys.readouterr().err


SHOWN = """\
Limits of App@mycorp.example:
  messages a second  100  (default)
  messages a day     5
  recipients         1000  (default)
  octets             41943040  (default)
"""


def test_limits_are_shown(ctl: Ctl) -> None:
    ctl.cloud.answer = {"ok": True, **FACTS}
    assert ctl("accounts", "limits", APP) == 0
    assert ctl.cloud.asked == [{"action": "show", "user": APP}]
    assert ctl.out == SHOWN


def test_limits_are_changed(ctl: Ctl) -> None:
    ctl.cloud.answer = {"ok": True, **FACTS, "changed": True}
    assert ctl("accounts", "limits", APP, "--per-day", "5", "--recipients", "default") == 0
    assert ctl.cloud.asked == [{"action": "limits", "user": APP, "limits": {"per_day": 5, "recipients": 0}}]
    assert ctl.out == f"Changed; l{SHOWN[1:]}"
    assert ctl("accounts", "limits", APP, "--per-day", "5", "--json") == 0
    assert json.loads(ctl.out) == {
        "user": "App@mycorp.example",
        "limits": LIMITS,
        "own_limits": ["per_day"],
        "changed": True,
    }
