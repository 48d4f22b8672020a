"""`mailrelay check`: what is found, what is wanted, and the exit code, against a real DNS server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.account import Account
from relay.dns import DnspythonResolver
from relay.proof.receipt import Known
from relay.proof.token import DnsRecord, token_value
from relay.proof.verdict import Verdict, judge
from relayctl.context import Service
from relayctl.inquiry import record_of
from tests.dnsserver import TestDnsServer
from tests.unit.proof import near_misses
from tests.unit.proof.near_misses import MISSES, Miss
from tests.unit.relayctl.harness import RECEIVED, STATE, Ctl

USER = "User@login.example"
TOKEN = token_value(USER, "token")
GOOD = f"""\
d.example. TXT "{TOKEN}"
d.example. TXT "v=spf1 include:spf.example -all"
_dmarc.d.example. TXT "v=DMARC1; p=none"
"""
UNKNOWN = "The relay itself has not been asked about it yet.\n"


@pytest.fixture
def dns() -> Iterator[TestDnsServer]:
    with TestDnsServer(GOOD, negative_ttl=300) as server:
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

{UNKNOWN}
Yes: all is right.
"""
    )


def test_what_is_wrong_and_what_to_publish(checked: Ctl, dns: TestDnsServer) -> None:
    dns.add(f'e.example. TXT "token={near_misses.sha256("else")}"\ne.example. TXT "v=spf1 mx -all"\n')
    assert checked("check", USER, "--domain", "e.example") == 1
    assert (
        checked.out
        == f"""\
May {USER} send mail from e.example?

Ownership token: wrong
  found at e.example, TXT:
    token={near_misses.sha256("else")}
  e.example has 1 token record, none of them for {USER}
  hint: the token record of e.example is the hash of another user name: leave
  it, and publish one for {USER}, too
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

{UNKNOWN}
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
        "accepted_from": None,
        "accepted_until": None,
        "account": True,
        "error": None,
        "warnings": ["the DMARC record of e.example is at the domain itself; receivers only look at _dmarc.e.example"],
        "relay": None,
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
        "unknown": None,
        "hints": [],
        "publish": {"name": "e.example", "type": "TXT", "value": "v=spf1 include:spf.example mx -all"},
    }
    assert (records[2]["wanted"], records[2]["problem"], records[2]["publish"]) == ("v=DMARC1; p=none", None, None)


def test_the_answers_shown_are_the_answers_judged(checked: Ctl, dns: TestDnsServer) -> None:
    checked("check", USER, "--domain", "d.example")
    assert dns.asked == {(name, "TXT"): 1 for name in ("d.example", "_dmarc.d.example", "_dmarc.example")}


def test_dns_that_does_not_answer(checked: Ctl, dns: TestDnsServer) -> None:
    dns.servfail.add("_dmarc.d.example")
    assert checked("check", USER, "--domain", "d.example") == 1
    assert "DNS does not answer: _dmarc.d.example TXT: no usable answer from DNS.\n" in checked.out
    assert checked.out.endswith("\nNo: DNS does not answer, so mail is put off and tried again, not refused.\n")
    assert checked("check", USER, "--domain", "d.example", "--json") == 1
    said = json.loads(checked.out)
    assert (said["accepted"], said["error"], said["records"]) == (
        False,
        "_dmarc.d.example TXT: no usable answer from DNS",
        [],
    )


def test_what_dns_answers_not_beside_a_no(checked: Ctl, dns: TestDnsServer) -> None:
    """One proof that fails decides, whatever the others may be."""
    dns.add('e.example. TXT "v=spf1 include:spf.example -all"\n')
    dns.servfail.add("_dmarc.e.example")
    assert checked("check", USER, "--domain", "e.example") == 1
    assert "DMARC: not known: _dmarc.e.example TXT: no usable answer from DNS\n\n" in checked.out
    assert checked.out.endswith("\nNo: mail is refused until this is put right.\n")
    assert checked("check", USER, "--domain", "e.example", "--json", "--receipt") == 1
    said = json.loads(checked.out)
    unknown = "_dmarc.e.example TXT: no usable answer from DNS"
    assert [(each["ok"], each["unknown"]) for each in said["records"]] == [
        (False, None),
        (True, None),
        (False, unknown),
    ]
    assert said["receipt"]["unanswered"] == {"dmarc": unknown}


def test_an_include_that_dns_answers_not_beside_a_no(checked: Ctl, dns: TestDnsServer) -> None:
    checked.cloud.service = replace(checked.cloud.service, egress=("192.0.2.1",))
    dns.add('e.example. TXT "v=spf1 include:away.example -all"\n_dmarc.e.example. TXT "v=DMARC1; p=none"\n')
    dns.servfail.add("away.example")
    assert checked("check", USER, "--domain", "e.example") == 1
    assert "\nSPF: not known: " in checked.out
    assert "\nDMARC: right\n" in checked.out


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


# --- near misses ---------------------------------------------------------------------------------


@pytest.fixture
def near(ctl: Ctl) -> Ctl:
    ctl.cloud.service = Service(near_misses.NAME, near_misses.RELAY, "smtp.elastx.email")
    ctl.cloud.users.items[near_misses.USER.lower()] = Account(near_misses.USER, b"", b"", "", 0.0)
    return ctl


@pytest.mark.parametrize("miss", MISSES.values(), ids=MISSES.keys())
def test_a_near_miss_is_recognised(near: Ctl, miss: Miss) -> None:
    with TestDnsServer(miss.zone) as server:
        ask = ("check", near_misses.USER, "--domain", near_misses.D, "--dns", server.address)
        assert near(*ask, "--json") == 1
        records = json.loads(near.out)["records"]
        assert near(*ask) == 1
    (record,) = (each for each in records if not each["ok"])
    assert record["proof"] == miss.proof
    assert record["hints"] == list(miss.says)
    if not miss.elsewhere:
        there = {value if isinstance(value, str) else value.decode("utf-8", "replace") for _, value in miss.records}
        assert record["found"]
        assert set(record["found"]) <= there
    text = " ".join(near.out.split())
    for said in miss.says:
        assert f"hint: {' '.join(said.split())}" in text
    assert max(map(len, near.out.splitlines())) <= 80
    if miss.publish:
        assert record["publish"]["value"] == record["wanted"] == miss.publish


def test_what_may_be_found_elsewhere_is_not_asked_for_when_all_is_right(near: Ctl) -> None:
    with TestDnsServer("".join(near_misses.line(*each) for each in near_misses.GOOD.values())) as server:
        assert near("check", near_misses.USER, "--domain", near_misses.D, "--dns", server.address) == 0
        assert ("www.mail.corp.example", "TXT") not in server.asked


def test_a_place_that_does_not_answer_is_only_a_hint_less(near: Ctl) -> None:
    miss = MISSES["elsewhere: token at _spf"]
    with TestDnsServer(miss.zone) as server:
        server.servfail |= {f"www.{near_misses.D}", "corp.example"}
        ask = ("check", near_misses.USER, "--domain", near_misses.D, "--dns", server.address)
        assert near(*ask, "--json") == 1
    assert json.loads(near.out)["records"][0]["hints"] == list(miss.says)


def test_what_is_right_and_yet_dangerous(checked: Ctl, dns: TestDnsServer) -> None:
    dns.remove("d.example", "TXT")
    dns.add(GOOD.replace("-all", "+all"))
    assert checked("check", USER, "--domain", "d.example") == 0
    assert 'Note: the SPF record of d.example has "+all", which lets anybody send' in checked.out


# --- by the rules of the relay asked -------------------------------------------------------------


def test_the_relay_s_addresses_decide(checked: Ctl, dns: TestDnsServer) -> None:
    dns.add('spf.example. TXT "v=spf1 ip4:192.0.2.0/28 -all"\n')
    checked.cloud.service = replace(checked.cloud.service, egress=("192.0.2.1",))
    assert checked("check", USER, "--domain", "d.example") == 0
    dns.remove("d.example", "TXT")
    dns.add(GOOD.replace("include:spf.example", "ip4:192.0.2.1"))
    dns.remove("spf.example", "TXT")
    dns.add('spf.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"\n')
    checked.cloud.service = replace(checked.cloud.service, egress=("192.0.2.1", "192.0.2.99"))
    assert checked("check", USER, "--domain", "d.example", "--json") == 1
    assert '"fail" to the relay\'s address 192.0.2.99' in json.loads(checked.out)["records"][1]["problem"]


def test_the_relay_s_own_records_are_wrong(checked: Ctl, dns: TestDnsServer) -> None:
    dns.add('spf.example. TXT "v=spf1 ip4:192.0.2.0/28 -all"\n')
    checked.cloud.service = replace(checked.cloud.service, egress=("192.0.2.99",))
    assert checked("check", USER, "--domain", "d.example") == 1
    assert "DNS does not answer" not in checked.out
    assert "Not known: the relay's own SPF record is wrong.\n" in checked.out
    assert "so mail is put off and tried again, not refused." in " ".join(checked.out.split())


def test_dmarc_may_be_optional(checked: Ctl, dns: TestDnsServer) -> None:
    dns.remove("_dmarc.d.example", "TXT")
    assert checked("check", USER, "--domain", "d.example") == 1
    checked.cloud.service = replace(checked.cloud.service, dmarc_required=False)
    assert checked("check", USER, "--domain", "d.example") == 0
    assert "DMARC: not there, and not required\n  found at _dmarc.d.example: nothing\n" in checked.out
    assert "Note: d.example has no DMARC record.\n" in checked.out


def test_what_check_cannot_see_is_said(checked: Ctl) -> None:
    checked.cloud.service = replace(checked.cloud.service, dkim="require")
    assert checked("check", USER, "--domain", "d.example") == 0
    assert "Note: the relay also wants a DKIM signature of the From domain" in checked.out


def test_an_spf_record_that_depends_on_the_sender(checked: Ctl, dns: TestDnsServer) -> None:
    dns.remove("d.example", "TXT")
    dns.add(GOOD.replace("include:spf.example", "exists:%{l}.ok.example") + "news.ok.example. A 127.0.0.2\n")
    dns.add('spf.example. TXT "v=spf1 ip4:192.0.2.1 -all"\n')
    checked.cloud.service = replace(checked.cloud.service, egress=("192.0.2.1",))
    assert checked("check", USER, "--domain", "d.example") == 1
    assert "this is about postmaster@d.example." in " ".join(checked.out.split())
    assert checked("check", USER, "--sender", "news@D.example") == 0
    assert "this is about news@d.example." in " ".join(checked.out.split())


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--sender", "news"], "--sender 'news': the address has no domain"),
        (["--sender", "a@b.example", "--domain", "c.example"], "is not of the domain c.example: leave --domain out"),
    ],
    ids=["no address", "another domain"],
)
def test_a_sender_that_makes_no_sense(ctl: Ctl, capsys: pytest.CaptureFixture[str], argv: list[str], line: str) -> None:
    assert ctl("check", USER, *argv) == 2
    assert line in capsys.readouterr().err


def test_a_domain_may_end_in_a_dot(checked: Ctl) -> None:
    assert checked("check", USER, "--domain", "D.example.") == 0


@pytest.mark.parametrize("command", ["check", "dns"])
@pytest.mark.parametrize(
    "given",
    [
        "https://good.example/",
        "HTTP://good.example:80/a/b?c=d@e",
        "news@good.example",
        "good.example/",
        "mailto:a@good.example.",
    ],
)
def test_a_domain_is_given_alone(ctl: Ctl, capsys: pytest.CaptureFixture[str], command: str, given: str) -> None:
    assert ctl(command, USER, "--domain", given) == 2
    said = f"mailrelay: --domain {given!r}: give the domain alone, such as good.example\n"
    assert capsys.readouterr().err == said


# --- what the relay remembers --------------------------------------------------------------------

NOW = RECEIVED + 3600


@pytest.fixture
def remember(checked: Ctl, dns: TestDnsServer) -> Callable[..., Known]:
    """Puts into the relay's memory what DNS says now, with changes to Known."""

    def put(**changes: Any) -> Known:
        resolver = DnspythonResolver((dns.address,))
        terms = checked.cloud.service.terms
        found: Verdict = asyncio.run(judge("d.example", USER, terms=terms, resolver=resolver, now=NOW - 600))
        known = Known(found, until=NOW + 30, confirmed=NOW - 60, **changes)
        checked.cloud.receipts.items["d.example", USER.lower()] = known
        return known

    return put


def test_the_relay_s_last_verdict(checked: Ctl, remember: Callable[..., Known]) -> None:
    known = remember(good_at=NOW - 60)
    assert checked("check", USER, "--domain", "d.example") == 0
    assert (
        """\
The relay's own last verdict: passed
  decided 2027-01-15 08:50:00, confirmed 2027-01-15 08:59:00 (UTC)
  serves until 2027-01-15 09:00:30, then DNS is asked again; its answers held
  for 300 s
  Ownership token: a TXT record of d.example is the token token of
  User@login.example
  SPF: the SPF record of d.example reaches spf.example with a pass
  DMARC: the DMARC record at _dmarc.d.example has a policy of none

"""
        in checked.out
    )
    assert checked("check", USER, "--domain", "d.example", "--json") == 0
    relay = json.loads(checked.out)["relay"]
    assert relay == {
        "receipt": known.verdict.name,
        "domain": "d.example",
        "user": USER,
        "sender": "",
        "decided": "2027-01-15T08:50:00Z",
        "passed": True,
        "rules": {proof.value: rule for proof, rule in known.verdict.rules.items()},
        "problems": [],
        "unanswered": {},
        "warnings": [],
        "ttl": 300,
        "standing": "passed",
        "confirmed": "2027-01-15T08:59:00Z",
        "until": "2027-01-15T09:00:30Z",
        "failing_since": None,
        "held_until": None,
    }


HOUR = 3600.0
STANDINGS = {
    "held": (NOW - HOUR, NOW - 2 * HOUR, "held", "mail waits until 2027-01-16 08:00:00, then it is refused"),
    "held too long": (
        NOW - 25 * HOUR, NOW - 26 * HOUR, "refused", "mail was held until 2027-01-15 08:00:00, now it is refused",
    ),
    "never proved": (NOW - HOUR, 0.0, "refused", "mail is refused"),
    "proved long ago": (NOW - HOUR, NOW - 40 * 24 * HOUR, "refused", "mail is refused"),
}  # fmt: skip


@pytest.mark.parametrize(("since", "good_at", "standing", "words"), STANDINGS.values(), ids=STANDINGS.keys())
def test_a_domain_that_fails_for_the_relay(
    checked: Ctl,
    dns: TestDnsServer,
    remember: Callable[..., Known],
    since: float,
    good_at: float,
    standing: str,
    words: str,
) -> None:
    dns.remove("_dmarc.d.example", "TXT")
    remember(failing_since=since, good_at=good_at)
    assert checked("check", USER, "--domain", "d.example") == 1
    assert "The relay's own last verdict: failed\n" in checked.out
    assert f"{words} Ownership token: a TXT" in " ".join(checked.out.split())
    assert "DMARC: no: d.example has no DMARC record\n" in checked.out
    assert checked("check", USER, "--domain", "d.example", "--json") == 1
    relay = json.loads(checked.out)["relay"]
    assert (relay["standing"], relay["held_until"] is not None) == (standing, "until" in words)


REFUSED = "mail is refused until this is put right"
WAITS = "mail waits until this is put right, or it is 2027-01-16"
ANSWERS = {
    "held": ({"failing_since": NOW - HOUR, "good_at": NOW - 2 * HOUR}, f"{WAITS} 08:00:00 (UTC)"),
    "good until now": ({"good_at": NOW - HOUR}, f"{WAITS} 09:00:00 (UTC)"),
    "held too long": ({"failing_since": NOW - 25 * HOUR, "good_at": NOW - 26 * HOUR}, REFUSED),
    "never good": ({"failing_since": NOW - HOUR}, REFUSED),
}


@pytest.mark.parametrize(("changes", "words"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_becomes_of_mail(
    checked: Ctl, dns: TestDnsServer, remember: Callable[..., Known], changes: dict[str, float], words: str
) -> None:
    remember(**changes)
    dns.remove("_dmarc.d.example", "TXT")
    assert checked("check", USER, "--domain", "d.example") == 1
    assert " ".join(checked.out.split()).endswith(f"No: {words}.")


@pytest.fixture
def no(checked: Ctl, dns: TestDnsServer, remember: Callable[..., Known]) -> Callable[..., Known]:
    """The relay remembers that there was no DMARC record, until NOW + 30; it is there now."""

    def put(**changes: Any) -> Known:
        dns.remove("_dmarc.d.example", "TXT")
        known = remember(failing_since=NOW - 60, **changes)
        dns.add('_dmarc.d.example. TXT "v=DMARC1; p=none"\n')
        return known

    return put


FROM_THEN = "Yes, from 2027-01-15 09:00:30 (UTC) on: the relay remembers its last no until then.\n"


def test_the_relay_goes_by_its_last_no(checked: Ctl, no: Callable[..., Known]) -> None:
    known = no()
    assert checked("check", USER, "--domain", "d.example") == 1
    assert f"\n{FROM_THEN}" in checked.out.replace("until\nthen", "until then")
    assert checked("check", USER, "--domain", "d.example", "--json") == 1
    said = json.loads(checked.out)
    assert (said["accepted"], said["accepted_from"]) == (False, "2027-01-15T09:00:30Z")
    assert [each["ok"] for each in said["records"]] == [True] * 3
    checked.cloud.receipts.items["d.example", USER.lower()] = replace(known, until=NOW)
    assert checked("check", USER, "--domain", "d.example") == 0


def test_watch_waits_until_the_last_no_is_over(checked: Ctl, no: Callable[..., Known]) -> None:
    no()
    assert checked("check", USER, "--domain", "d.example", "--watch") == 0
    assert checked.out.endswith("2027-01-15 09:00:30  The relay's last no is over\nYes: all is right.\n")
    assert checked.pauses == [30.0]


def test_watch_says_that_the_last_no_serves(checked: Ctl, dns: TestDnsServer, remember: Callable[..., Known]) -> None:
    dns.negative_ttl = 5
    dns.remove("_dmarc.d.example", "TXT")
    remember(failing_since=NOW - 60)
    checked.meanwhile = lambda: dns.add('_dmarc.d.example. TXT "v=DMARC1; p=none"\n')
    assert checked("check", USER, "--domain", "d.example", "--watch") == 0
    changes = checked.out.split("Ctrl-C ends it.\n")[1].replace("until\nthen", "until then")
    assert (
        changes
        == f"""\
2027-01-15 09:00:05  DMARC: right
{FROM_THEN}2027-01-15 09:00:30  The relay's last no is over
Yes: all is right.
"""
    )
    assert checked.pauses == [5.0, 25.0]


GOES_BY = "Yes: DNS does not answer; the relay goes by its last good verdict until"
PUT_OFF = "No: DNS does not answer, so mail is put off and tried again, not refused."
REFUSES = "From 2027-01-15 09:00:30 (UTC) on: until then the relay remembers its last no and refuses it."
STALE = {
    "good lately": ({"good_at": NOW - HOUR}, f"{GOES_BY} 2027-01-16 08:00:00 (UTC).", True),
    "good long ago, but fresh": ({"good_at": NOW - 25 * HOUR}, f"{GOES_BY} 2027-01-15 09:00:30 (UTC).", True),
    "good long ago": ({"good_at": NOW - 25 * HOUR, "until": NOW}, PUT_OFF, False),
    "of another sender": ({"good_at": NOW - HOUR, "sender": "news@d.example"}, PUT_OFF, False),
    "refused": ({"failing_since": NOW - HOUR}, f"{PUT_OFF} {REFUSES}", False),
    "refused, stale": ({"failing_since": NOW - HOUR, "until": NOW}, PUT_OFF, False),
    "held": ({"failing_since": NOW - HOUR, "good_at": NOW - 2 * HOUR}, PUT_OFF, False),
}


@pytest.mark.parametrize(("changes", "words", "accepted"), STALE.values(), ids=STALE.keys())
def test_while_dns_is_away_the_relay_goes_by_what_it_remembers(
    checked: Ctl,
    dns: TestDnsServer,
    remember: Callable[..., Known],
    changes: dict[str, Any],
    words: str,
    accepted: bool,
) -> None:
    if "failing_since" in changes:
        dns.remove("_dmarc.d.example", "TXT")
    plain = {name: value for name, value in changes.items() if name not in ("until", "sender")}
    known = remember(**plain)
    verdict = known.verdict
    if "sender" in changes:
        verdict = replace(verdict, sender=changes["sender"], per_sender=True)
    known = replace(known, verdict=verdict, until=changes.get("until", known.until))
    checked.cloud.receipts.items["d.example", USER.lower()] = known
    dns.servfail.add("d.example")
    dns.servfail.add("_dmarc.d.example")
    assert checked("check", USER, "--domain", "d.example") == (0 if accepted else 1)
    assert " ".join(checked.out.split()).endswith(words)
    assert checked("check", USER, "--domain", "d.example", "--json") == (0 if accepted else 1)
    said = json.loads(checked.out)
    assert (said["accepted"], said["accepted_until"] is not None) == (accepted, accepted)


def test_an_account_that_is_disabled_is_refused_also_while_dns_is_away(
    checked: Ctl, dns: TestDnsServer, remember: Callable[..., Known]
) -> None:
    remember(good_at=NOW)
    dns.servfail.add("d.example")
    checked.cloud.users.items[USER.lower()] = Account(USER, b"", b"", "", 0.0, disabled=True)
    assert checked("check", USER, "--domain", "d.example") == 1
    assert checked.out.endswith("\nNo: mail is refused until this is put right.\n")


def test_an_account_that_is_disabled_has_its_mail_refused(checked: Ctl, remember: Callable[..., Known]) -> None:
    remember(good_at=NOW)
    checked.cloud.users.items[USER.lower()] = Account(USER, b"", b"", "", 0.0, disabled=True)
    assert checked("check", USER, "--domain", "d.example") == 1
    assert checked.out.endswith("\nNo: mail is refused until this is put right.\n")


def test_the_whole_receipt(checked: Ctl, remember: Callable[..., Known]) -> None:
    remember(good_at=NOW)
    assert checked("check", USER, "--domain", "d.example", "--receipt") == 0
    answers = f"""\
d.example TXT: ok, TTL 300 s
  {TOKEN}
  v=spf1 include:spf.example -all
_dmarc.d.example TXT: ok, TTL 300 s
  v=DMARC1; p=none
_dmarc.example TXT: no such name, TTL 300 s
"""
    for title in ("What DNS says:\n", "  What DNS said:\n"):
        assert title + "".join(f"  {each}\n" for each in answers.splitlines()) in checked.out
    assert checked("check", USER, "--domain", "d.example", "--receipt", "--json") == 0
    said = json.loads(checked.out)
    for receipt in (said["receipt"], said["relay"]):
        assert [each["name"] for each in receipt["answers"]] == ["d.example", "_dmarc.d.example", "_dmarc.example"]
    assert said["receipt"]["answers"][1] == {
        "name": "_dmarc.d.example",
        "type": "TXT",
        "status": "ok",
        "ttl": 300,
        "records": ["v=DMARC1; p=none"],
    }


# --- until it passes -----------------------------------------------------------------------------


def test_watch(checked: Ctl, dns: TestDnsServer) -> None:
    """The records come one after the other; nothing is said while nothing changes."""
    dns.negative_ttl = 2
    steps = iter(
        [
            "",
            f'e.example. 2 TXT "v=spf1 include:spf.example -all"\ne.example. 2 TXT "{TOKEN}"\n',
            "",
            '_dmarc.e.example. TXT "v=DMARC1, p=none"\n',
            "servfail",
            "answers",
        ]
    )

    def meanwhile() -> None:
        match next(steps):
            case "servfail":
                dns.servfail.add("e.example")
            case "answers":
                dns.servfail.clear()
                dns.remove("_dmarc.e.example", "TXT")
                dns.add('_dmarc.e.example. TXT "v=DMARC1; p=none"\n')
            case zone:
                dns.add(zone)

    checked.meanwhile = meanwhile
    assert checked("check", USER, "--domain", "e.example", "--watch") == 0
    first, changes = checked.out.split("Asking again until it passes; Ctrl-C ends it.\n")
    assert first.endswith("No: mail is refused until this is put right.\n")
    assert (
        changes
        == """\
2027-01-15 09:00:10  Ownership token: right
2027-01-15 09:00:10  SPF: right
2027-01-15 09:00:20  DMARC: wrong; e.example has no DMARC record; the DMARC
                     record at _dmarc.e.example has no ";" behind "v=DMARC1":
                     put one there, and between the tags
2027-01-15 09:00:25  DNS does not answer: e.example TXT: no usable answer from
                     DNS
2027-01-15 09:00:30  DNS answers
2027-01-15 09:00:30  DMARC: right
Yes: all is right.
"""
    )
    assert checked.pauses == [5.0] * 6


def test_watch_waits_by_the_ttl(checked: Ctl, dns: TestDnsServer) -> None:
    for name in ("e.example", "_dmarc.e.example", "_dmarc.example"):
        dns.add(f'{name}. 20 TXT "something"\n')
    ttls = iter([300, 0])

    def meanwhile() -> None:
        if (ttl := next(ttls, None)) is None:
            raise KeyboardInterrupt
        for name in ("e.example", "_dmarc.e.example", "_dmarc.example"):
            dns.remove(name, "TXT")
            dns.add(f'{name}. {ttl} TXT "something"\n')

    checked.meanwhile = meanwhile
    assert checked("check", USER, "--domain", "e.example", "--watch") == 1
    assert checked.pauses == [20.0, 30.0, 5.0]


def test_watch_as_json(checked: Ctl, dns: TestDnsServer) -> None:
    """An object a line."""
    dns.remove("_dmarc.d.example", "TXT")
    steps = iter(["", '_dmarc.d.example. TXT "v=DMARC1; p=none"\n'])
    checked.meanwhile = lambda: dns.add(next(steps))
    assert checked("check", USER, "--domain", "d.example", "--watch", "--json") == 0
    assert [json.loads(line)["accepted"] for line in checked.out.splitlines()] == [False, True]


def test_watch_of_what_is_right_ends_at_once(checked: Ctl) -> None:
    assert checked("check", USER, "--domain", "d.example", "--watch") == 0
    assert checked.pauses == []
    assert "Asking again" not in checked.out


def test_watch_sees_an_account_come(checked: Ctl) -> None:
    account = checked.cloud.users.items.pop(USER.lower())
    checked.meanwhile = lambda: checked.cloud.users.items.update({USER.lower(): account})
    assert checked("check", USER, "--domain", "d.example", "--watch") == 0
    assert checked.out.endswith("  Account: right\nYes: all is right.\n")


def test_watch_ends_with_ctrl_c(checked: Ctl, dns: TestDnsServer, capsys: pytest.CaptureFixture[str]) -> None:
    dns.remove("_dmarc.d.example", "TXT")

    def meanwhile() -> None:
        raise KeyboardInterrupt

    checked.meanwhile = meanwhile
    assert checked("check", USER, "--domain", "d.example", "--watch") == 1
    assert checked.out.endswith("Ctrl-C ends it.\n")
    assert capsys.readouterr().err == ""
