"""`mailrelay audit`: as text and as JSON."""

import json

from relay.audit import Entry
from tests.unit.relayctl.harness import RECEIVED, Ctl

FIRST = Entry(RECEIVED, "app@mycorp.example", "rotate now", "arn:aws:iam::123456789012:user/al", "r-1", "done")
SECOND = Entry(RECEIVED + 60, "d.example", "enable", "not said", "r-2", "begun")


def test_all_that_was_done(ctl: Ctl) -> None:
    ctl.cloud.audit.items = {(each.subject, each.time, each.request): each for each in (SECOND, FIRST)}
    assert ctl("audit") == 0
    lines = ctl.out.splitlines()
    assert lines[0].split() == ["Time", "To", "What", "By", "Result"]
    assert lines[1].startswith("2027-01-15 08:00")
    assert max(map(len, lines)) <= 80
    assert ctl("audit", "App@mycorp.example", "--json") == 0
    assert json.loads(ctl.out) == [
        {
            "time": "2027-01-15T08:00:00Z",
            "subject": "app@mycorp.example",
            "action": "rotate now",
            "actor": "arn:aws:iam::123456789012:user/al",
            "result": "done",
            "request": "r-1",
        }
    ]


def test_nothing(ctl: Ctl) -> None:
    assert ctl("audit", "jo@b.example") == 0
    assert ctl.out == "Nothing was done to jo@b.example in a year.\n"
