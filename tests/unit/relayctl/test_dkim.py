"""`mailrelay dkim`: what it asks of the function and prints, as text, as a zone file and as JSON."""

import json
from typing import Any

import pytest

from local.zone import Zone
from tests.unit.relayctl.harness import RECEIVED, Ctl

VALUE = "v=DKIM1; k=rsa; p=" + "M" * 392


def key(selector: str, state: str, dns: str, **times: float) -> dict[str, Any]:
    return {
        "selector": selector,
        "state": state,
        "name": f"{selector}._domainkey.shop.example",
        "value": VALUE,
        "dns": dns,
        "created": RECEIVED,
        "seen": None,
        "ended": None,
        **times,
    }


WAITING = key("mr2", "waiting", "missing")
SIGNING = key("mr1", "signing", "right", seen=RECEIVED + 60)
ENDED = key("mr0", "ended", "missing", seen=RECEIVED + 60, ended=RECEIVED + 120)


def answer(*keys: dict[str, Any], changed: bool = True, enabled: bool = True) -> dict[str, Any]:
    return {
        "ok": True,
        "domain": "shop.example",
        "enabled": enabled,
        "changed": changed,
        "kept_days": 21,
        "keys": list(keys),
    }


RECORD = f"""\
Publish this record (in a form that takes strings, these):

  mr2._domainkey.shop.example  TXT
    "{VALUE[:255]}"
    "{VALUE[255:]}"

As a line of a zone file:

mr2._domainkey.shop.example. TXT "{VALUE[:255]}" "{VALUE[255:]}"

"""


def test_enable(ctl: Ctl) -> None:
    ctl.cloud.answer = answer(WAITING)
    assert ctl("dkim", "enable", "Shop.example.") == 0
    assert ctl.cloud.asked == [{"action": "enable", "domain": "shop.example"}]
    assert (
        ctl.out
        == f"""
{RECORD}The relay signs mail from shop.example as soon as DNS has it; until then mail leaves unsigned.
How far is it? mailrelay dkim show shop.example
"""
    )


def test_enable_again(ctl: Ctl) -> None:
    ctl.cloud.answer = answer(SIGNING, changed=False)
    assert ctl("dkim", "enable", "shop.example") == 0
    assert ctl.out.startswith("Nothing is changed: shop.example has a key that signs since 2027-01-15 08:01.\n")
    assert "The record, which DNS has" in ctl.out
    assert "The relay signs mail from shop.example with it." in ctl.out


def test_rotate_says_how_long_the_old_key_has_to_stay(ctl: Ctl) -> None:
    ctl.cloud.answer = answer(WAITING, SIGNING)
    assert ctl("dkim", "rotate", "shop.example") == 0
    assert RECORD in ctl.out
    assert "mr1 goes on signing until DNS has it. Leave\nmr1._domainkey.shop.example\nin DNS for 21 days" in ctl.out


def test_disable(ctl: Ctl) -> None:
    ctl.cloud.answer = answer(ENDED, enabled=False)
    assert ctl("dkim", "disable", "shop.example") == 0
    assert (
        ctl.out
        == """\
the relay does not sign mail from shop.example.
Mail that is signed may be on its way for 21 days; leave these in DNS so long:
  mr0._domainkey.shop.example
"""
    )


@pytest.mark.parametrize(
    ("keys", "enabled", "words"),
    [
        ([WAITING], True, ["will sign its mail once it has seen the key in DNS", "DNS does not have it yet"]),
        ([SIGNING], True, ["the relay signs its mail", "mr1: signs since 2027-01-15 08:01", "DNS has it"]),
        ([key("mr2", "waiting", "other")], True, ["it has to be this one alone"]),
        ([key("mr2", "waiting", "no answer")], True, ["DNS does not answer"]),
        (
            [WAITING, SIGNING, ENDED],
            True,
            ["the relay signs its mail", "mr0: ended 2027-01-15 08:02", "Not needed in DNS after 2027-02-05"],
        ),
        ([ENDED], False, ["does not sign its mail"]),
    ],
    ids=["waits", "signs", "other", "no answer", "rotating", "disabled"],
)
def test_show(ctl: Ctl, keys: list[dict[str, Any]], enabled: bool, words: list[str]) -> None:
    ctl.cloud.answer = answer(*keys, enabled=enabled, changed=False)
    assert ctl("dkim", "show", "shop.example") == 0
    assert [each for each in words if each not in ctl.out] == []


@pytest.mark.parametrize("action", ["enable", "rotate", "show"])
def test_a_zone_file_reads_it(ctl: Ctl, action: str) -> None:
    ctl.cloud.answer = answer(WAITING, SIGNING, ENDED)
    assert ctl("dkim", action, "shop.example", "--zone") == 0
    zone = Zone.parse(ctl.out, "zone")
    lines = ctl.out.splitlines()
    assert [line.split(".")[0] for line in lines] == ["mr2", "mr1"]
    assert zone


def test_json(ctl: Ctl) -> None:
    ctl.cloud.answer = answer(SIGNING, changed=False)
    assert ctl("dkim", "show", "shop.example", "--json") == 0
    assert json.loads(ctl.out) == {
        "domain": "shop.example",
        "enabled": True,
        "changed": False,
        "kept_days": 21,
        "keys": [{**SIGNING, "created": "2027-01-15T08:00:00Z", "seen": "2027-01-15T08:01:00Z"}],
    }


def test_a_refusal_is_one_line(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    ctl.cloud.answer = {"ok": False, "error": "signing for shop.example is disabled"}
    assert ctl("dkim", "rotate", "shop.example") == 1
    assert capsys.readouterr().err == "mailrelay: shop.example: signing for shop.example is disabled\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["enable"], "DOMAIN"),
        (["enable", "no_domain"], "DOMAIN 'no_domain'"),
        (["enable", "jo@shop.example"], "give the domain alone, such as shop.example"),
        (["enable", "shop.example", "--zone", "--json"], "not allowed with"),
        (["disable", "shop.example", "--zone"], "--zone"),
        (["sign", "shop.example"], "sign"),
    ],
)
def test_wrong_usage(ctl: Ctl, capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    assert ctl("dkim", *argv) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert ctl.cloud.asked == []


@pytest.mark.parametrize("action", ["", "enable", "rotate", "disable", "show"])
def test_the_help_fits(ctl: Ctl, capsys: pytest.CaptureFixture[str], action: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert ctl("dkim", *action.split(), "--help") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
