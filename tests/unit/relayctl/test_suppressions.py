"""`mailrelay suppressions`: what it prints, as text, JSON and CSV, and what it says of wrong input."""

import asyncio
import csv
import io
import json

import pytest

from relay.account import Account
from relay.ports import Suppression
from relay.suppression import DAY
from relayctl import render
from tests.unit.relayctl.harness import ID, RECEIVED, Ctl

NOW = RECEIVED + 3600  # the harness's clock
USER = "user@login.example"
DEAD = Suppression(USER, "gone@there.example", NOW - 60, NOW + DAY, "550 5.1.1 No such user", ID)
BARRED = Suppression(USER, "stop@else.example", NOW - 60, NOW + 9 * DAY, "she asked for it")
ENDED = Suppression(USER, "old@there.example", NOW - 9 * DAY, NOW, "550 5.1.1 No such user", ID)
OTHER = Suppression("al@login.example", "gone@there.example", NOW - 60, NOW + DAY, "550 5.1.1 no\x1b[31m", ID)


@pytest.fixture
def some(ctl: Ctl) -> Ctl:
    ctl.cloud.users.items[USER] = Account("User@login.example", b"", b"", "", 0.0)
    for each in (DEAD, BARRED, ENDED, OTHER):
        asyncio.run(ctl.cloud.suppressions.set(each))
    return ctl


def test_list(some: Ctl) -> None:
    assert some("suppressions", "list") == 0
    head, *rows = some.out.splitlines()
    assert head.split() == ["Address", "Account", "Until", "Why"]
    assert "by the operator: she asked for it" in " ".join(some.out.split())
    assert "old@there" not in some.out
    assert "\x1b" not in some.out
    assert max(map(len, rows)) <= 80


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [OTHER, DEAD, BARRED]),
        (["--account", "User@Login.example"], [DEAD, BARRED]),
        (["--domain", "THERE.example"], [OTHER, DEAD]),
        (["--domain", "@there.example", "--account", USER], [DEAD]),
        (["--account", "nobody@login.example"], []),
    ],
    ids=str,
)
def test_list_as_json(some: Ctl, options: list[str], expected: list[Suppression]) -> None:
    assert some("suppressions", "list", "--json", *options) == 0
    assert json.loads(some.out) == [
        {
            "account": each.account,
            "address": each.address,
            "since": render.iso(each.since),
            "until": render.iso(each.until),
            "by": "operator" if each is BARRED else "server",
            "reason": each.reason,
            "id": each.id or None,
        }
        for each in expected
    ]


def test_an_empty_list(ctl: Ctl) -> None:
    assert ctl("suppressions", "list") == 0
    assert ctl.out == "No address is suppressed.\n"


def test_add(some: Ctl) -> None:
    assert some("suppressions", "add", "New@There.example", "--account", "User@login.example") == 0
    assert some.out == "new@there.example gets no mail of user@login.example until 2027-02-14 09:00 UTC\n"
    made = some.cloud.suppressions.items[USER, "new@there.example"]
    assert made == Suppression(USER, "new@there.example", NOW, NOW + 30 * DAY, "")
    options = ("--account", USER, "--days", "365", "--reason", " she  asked\x1b ")
    assert some("suppressions", "add", DEAD.address, *options) == 0
    made = some.cloud.suppressions.items[USER, DEAD.address]
    assert (made.until, made.reason, made.by_hand) == (NOW + 365 * DAY, "she asked\ufffd", True)


def test_remove(some: Ctl) -> None:
    assert some("suppressions", "remove", "Gone@there.example", "--account", USER) == 0
    assert some.out == "gone@there.example gets mail of user@login.example again\n"
    assert (USER, DEAD.address) not in some.cloud.suppressions.items
    assert (OTHER.account, OTHER.address) in some.cloud.suppressions.items


def test_remove_a_domain_leaves_what_an_operator_added(some: Ctl) -> None:
    barred = Suppression(USER, "stop@there.example", NOW, NOW + DAY, "")
    asyncio.run(some.cloud.suppressions.set(barred))
    assert some("suppressions", "remove", "--domain", "there.example", "--account", USER) == 0
    assert some.out.splitlines() == [
        "gone@there.example gets mail of user@login.example again",
        "old@there.example gets mail of user@login.example again",
    ]
    assert set(some.cloud.suppressions.items) == {
        (USER, BARRED.address),
        (USER, barred.address),
        (OTHER.account, OTHER.address),
    }


def test_export_as_json_lines(some: Ctl) -> None:
    assert some("suppressions", "export") == 0
    assert [json.loads(line)["address"] for line in some.out.splitlines()] == [
        OTHER.address,
        DEAD.address,
        BARRED.address,
    ]


def test_export_as_csv(some: Ctl) -> None:
    formula = Suppression(USER, "=cmd()@there.example", NOW, NOW + DAY, '+say "hi",\nthere')
    asyncio.run(some.cloud.suppressions.set(formula))
    assert some("suppressions", "export", "--format", "csv", "--account", USER) == 0
    assert some.out.startswith("account,address,since,until,by,reason,id\r\n")
    rows = list(csv.DictReader(io.StringIO(some.out, newline="")))
    assert [row["address"] for row in rows] == ["'=cmd()@there.example", DEAD.address, BARRED.address]
    assert rows[0]["reason"] == '\'+say "hi",\nthere'
    assert rows[1] == {
        "account": USER,
        "address": DEAD.address,
        "since": render.iso(DEAD.since),
        "until": render.iso(DEAD.until),
        "by": "server",
        "reason": DEAD.reason,
        "id": ID,
    }


@pytest.mark.parametrize(
    ("argv", "code", "line"),
    [
        ([], 2, "required: ACTION"),
        (["add", "jo@there.example"], 2, "required: --account"),
        (["add", "jo", "--account", USER], 2, "'jo': "),
        (["add", "jo@there.example", "--account", " "], 2, "--account is empty"),
        (["add", "jo@there.example", "--account", "al@x.example"], 1, "there is no account al@x.example"),
        (["add", "jo@there.example", "--account", USER, "--days", "0"], 2, "'0' is not a number of days from 1"),
        (["add", "jo@there.example", "--account", USER, "--days", "4000"], 2, "from 1 to 3650"),
        (["add", "jo@there.example", "--account", USER, "--days", "x"], 2, "'x' is not a number of days"),
        (["add", "jo@there.example", "--account", USER, "--reason", "x" * 301], 2, "--reason has 301 characters"),
        (["remove", "--account", USER], 2, "one of the arguments ADDRESS --domain is required"),
        (["remove", "a@b.example", "--domain", "b.example", "--account", USER], 2, "not allowed with argument"),
        (["remove", "jo@there.example", "--account", USER], 1, "jo@there.example is not suppressed for user@login"),
        (["remove", "--domain", "x.example", "--account", USER], 1, "x.example is not suppressed for"),
        (["list", "--domain", "a b"], 2, "--domain 'a b': "),
        (["export", "--format", "xml"], 2, "invalid choice: 'xml'"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_wrong_input(some: Ctl, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, line: str) -> None:
    before = dict(some.cloud.suppressions.items)
    assert some("suppressions", *argv) == code
    said = capsys.readouterr().err
    assert line in said
    assert said.startswith("mailrelay")
    assert said.count("\n") == 1
    assert some.cloud.suppressions.items == before


@pytest.mark.parametrize("action", ["", "list", "add", "remove", "export"])
def test_help_fits_80_columns_and_has_an_example(ctl: Ctl, capsys: pytest.CaptureFixture[str], action: str) -> None:
    assert ctl("suppressions", *action.split(), "--help") == 0
    text = capsys.readouterr().out
    assert "\nexample" in text
    assert max(len(line) for line in text.splitlines()) <= 80
