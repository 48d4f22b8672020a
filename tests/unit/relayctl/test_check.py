"""`mailrelay check`: what is found, what is wanted, and the exit code, against a real DNS server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.ports import Account
from relay.proof.token import DnsRecord, token_value
from relayctl.check import record_of
from tests.dnsserver import TestDnsServer
from tests.unit.relayctl.harness import STATE, Ctl

USER = "User@login.example"
TOKEN = token_value(USER, "token")
GOOD = f"""\
d.example. TXT "{TOKEN}"
d.example. TXT "v=spf1 include:spf.example -all"
_dmarc.d.example. TXT "v=DMARC1; p=none"
"""


@pytest.fixture
def dns() -> Iterator[TestDnsServer]:
    with TestDnsServer(GOOD) as server:
        yield server


@pytest.fixture
def checked(ctl: Ctl, dns: TestDnsServer, tmp_path: Path) -> Ctl:
    """The local system of the state file uses `dns` and knows USER."""
    (tmp_path / ".local" / "state.json").write_text(json.dumps({**STATE, "dns": dns.address}))
    ctl.cloud.users.items[USER.lower()] = Account(USER, b"", b"", "", 0.0)
    return ctl


def test_all_is_right(checked: Ctl) -> None:
    assert checked("check", "user@LOGIN.example", "--domain", "D.example") == 0
    assert (
        checked.out
        == f"""\
May {USER} send mail from d.example?

Ownership token: right
  found at d.example, TXT:
    {TOKEN}

SPF: right
  found at d.example, TXT:
    v=spf1 include:spf.example -all

DMARC: right
  found at _dmarc.d.example, TXT:
    v=DMARC1; p=none

Yes: all is right.
"""
    )


def test_what_is_wrong_and_what_to_publish(checked: Ctl, dns: TestDnsServer) -> None:
    dns.add('e.example. TXT "token=0000"\ne.example. TXT "v=spf1 mx -all"\n')
    assert checked("check", USER, "--domain", "e.example") == 1
    assert (
        checked.out
        == f"""\
May {USER} send mail from e.example?

Ownership token: wrong
  found at e.example, TXT:
    token=0000
  e.example has 1 token record, none of them for {USER}
  publish at e.example, TXT:
    {TOKEN}

SPF: wrong
  found at e.example, TXT:
    v=spf1 mx -all
  the SPF record of e.example does not include spf.example
  publish instead at e.example, TXT:
    v=spf1 include:spf.example mx -all

DMARC: wrong
  found at _dmarc.e.example: nothing
  e.example has no DMARC record
  publish at _dmarc.e.example, TXT:
    v=DMARC1; p=none

No: mail is refused until this is put right.
"""
    )


def test_as_json(checked: Ctl, dns: TestDnsServer) -> None:
    dns.add('e.example. TXT "v=spf1 mx -all"\ne.example. TXT "v=DMARC1; p=reject"\n')
    assert checked("check", USER, "--domain", "e.example", "--json") == 1
    said = json.loads(checked.out)
    records = said.pop("records")
    assert said == {
        "user": USER,
        "domain": "e.example",
        "accepted": False,
        "account": True,
        "error": None,
        "warnings": ["the DMARC record of e.example is at the domain itself; receivers only look at _dmarc.e.example"],
    }
    assert [(each["proof"], each["ok"], each["found"]) for each in records] == [
        ("token", False, []),
        ("spf", False, ["v=spf1 mx -all"]),
        ("dmarc", True, ["v=DMARC1; p=reject"]),
    ]
    assert records[1] == {
        "proof": "spf",
        "ok": False,
        "name": "e.example",
        "type": "TXT",
        "found": ["v=spf1 mx -all"],
        "wanted": "v=spf1 include:spf.example mx -all",
        "problem": "the SPF record of e.example does not include spf.example",
        "publish": {"name": "e.example", "type": "TXT", "value": "v=spf1 include:spf.example mx -all"},
    }
    assert (records[2]["wanted"], records[2]["problem"], records[2]["publish"]) == ("v=DMARC1; p=none", None, None)


def test_the_answers_shown_are_the_answers_judged(checked: Ctl, dns: TestDnsServer) -> None:
    checked("check", USER, "--domain", "d.example")
    assert dns.asked == {("d.example", "TXT"): 1, ("_dmarc.d.example", "TXT"): 1}


def test_dns_that_does_not_answer(checked: Ctl, dns: TestDnsServer) -> None:
    dns.servfail.add("_dmarc.d.example")
    assert checked("check", USER, "--domain", "d.example") == 1
    assert "DNS does not answer: _dmarc.d.example TXT: no usable answer from DNS.\n" in checked.out
    assert "put off and tried again, not refused" in checked.out
    assert checked("check", USER, "--domain", "d.example", "--json") == 1
    said = json.loads(checked.out)
    assert (said["accepted"], said["error"], said["records"]) == (
        False,
        "_dmarc.d.example TXT: no usable answer from DNS",
        [],
    )


@pytest.mark.parametrize("disabled", [True, None], ids=["disabled", "not there"])
def test_an_account_that_may_not_send(checked: Ctl, disabled: bool | None) -> None:
    del checked.cloud.users.items[USER.lower()]
    if disabled:
        checked.cloud.users.items[USER.lower()] = Account(USER, b"", b"", "", 0.0, disabled=True)
    assert checked("check", USER, "--domain", "d.example") == 1
    assert f"Account: wrong: {USER} is not there, or is disabled.\n" in checked.out


def test_without_a_relay_the_template_decides(ctl: Ctl, dns: TestDnsServer, tmp_path: Path) -> None:
    (tmp_path / ".local" / "state.json").unlink()
    name = "elastx"
    dns.add(
        f'login.example. TXT "{token_value(USER, f"{name}-mrs")}"\n'
        f'login.example. TXT "v=spf1 include:{name}.email -all"\n'
        '_dmarc.login.example. TXT "v=DMARC1; p=none"\n'
    )
    assert ctl("check", USER, "--dns", dns.address, "--json") == 0
    assert json.loads(ctl.out)["account"] is None
    assert json.loads(ctl.out)["domain"] == "login.example"
    assert ctl.targets == []


def test_what_dns_has_does_not_reach_the_terminal_raw(checked: Ctl, dns: TestDnsServer) -> None:
    dns.add('e.example. TXT "token=\\027[31m"\n')
    checked("check", USER, "--domain", "e.example")
    assert "token=" in checked.out
    assert "\x1b" not in checked.out


@pytest.mark.parametrize("value", ["v=spf1 -all", 'a "quoted" \\ text', "x" * 600], ids=["plain", "escapes", "long"])
def test_a_record_comes_back_from_its_master_file_form(value: str) -> None:
    record = DnsRecord("a.example", "TXT", value)
    assert record_of(str(record)) == record
