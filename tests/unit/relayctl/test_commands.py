"""`mailrelay`: what each command prints, as text at 80 columns and as JSON, and its exit code."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.name
import pytest

from local.zone import Zone
from relay.account import Account
from relay.errors import TemporaryError
from relay.outcome import State
from relay.proof.token import token_value
from relayctl.context import Target
from tests.unit.relayctl.harness import ID, NOTICE, OTHER, RECEIVED, REMOTE, STATE, Ctl, row

# --- messages ----------------------------------------------------------------------------------


def test_messages(filled: Ctl) -> None:
    assert filled("messages") == 0
    assert (
        filled.out
        == f"""\
{OTHER}  2027-01-15 08:01:00
  from news@shop.example
  al@else.example  rejected  550 5.7.1 publish TXT token=0000 at shop.example
{NOTICE}  2027-01-15 08:00:30
  the relay's notice
  news@shop.example  delivered  250 2.0.0 OK queued as 4711
{ID}  2027-01-15 08:00:00
  from news@shop.example
  jo@there.example      delivered  250 2.0.0 OK queued as 4711
  nobody@there.example  bounced    550 5.1.1 No such user here
"""
    )


@pytest.mark.parametrize(
    ("options", "recipients"),
    [
        pytest.param(["--to", "there.example"], ["jo@there.example", "nobody@there.example"], id="a domain"),
        pytest.param(["--to", "@There.example"], ["jo@there.example", "nobody@there.example"], id="@domain, any case"),
        pytest.param(["--to", "JO@there.example"], ["jo@there.example"], id="an address"),
        pytest.param(["--state", "bounced"], ["nobody@there.example"], id="a state"),
        pytest.param(["--state", "deferred"], [], id="no longer deferred"),
        pytest.param(["--since", "59m"], ["al@else.example"], id="an age"),
        pytest.param(["--since", "2027-01-15T08:01"], ["al@else.example"], id="a time, UTC"),
        pytest.param(["--since", "2027-01-15T09:01+01:00"], ["al@else.example"], id="a time with its zone"),
        pytest.param(["--since", "2027-01-16"], [], id="a date"),
        pytest.param(["--limit", "1"], ["al@else.example"], id="a limit"),
        pytest.param(["--account", "USER@login.example", "--to", "else.example"], ["al@else.example"], id="an account"),
        pytest.param(["--account", "other@login.example"], [], id="another account"),
    ],
)
def test_messages_narrowed(filled: Ctl, options: list[str], recipients: list[str]) -> None:
    assert filled("messages", "--json", *options) == 0
    assert [each["recipient"] for each in json.loads(filled.out)] == recipients


def test_messages_as_json(filled: Ctl) -> None:
    filled("messages", "--json", "--to", "jo@there.example")
    assert json.loads(filled.out) == [
        {
            "id": ID,
            "account": "user@login.example",
            "mail_from": "news@shop.example",
            "received": "2027-01-15T08:00:00Z",
            "notice": False,
            "recipient": "jo@there.example",
            "stage": "deliver",
            "attempt": 2,
            "time": "2027-01-15T08:05:01Z",
            "state": "delivered",
            "code": 250,
            "enhanced": "2.0.0",
            "text": "OK queued as 4711",
            "remote": REMOTE,
            "tls": "TLSv1.3",
            "via": "mx",
            "failure": None,
            "next_try": None,
        }
    ]


def test_messages_say_when_there_are_more_or_none(filled: Ctl) -> None:
    assert filled("messages", "--limit", "1") == 0
    assert "3 more recipients: see them with --limit 4" in filled.out
    assert filled("messages", "--to", "nowhere.example") == 0
    assert filled.out == "No messages match. One just sent is here after its first try, in a moment.\n"


# --- trace -------------------------------------------------------------------------------------


def test_trace(filled: Ctl) -> None:
    assert filled("trace", ID) == 0
    assert (
        filled.out
        == f"""\
{ID}
  from     news@shop.example
  account  user@login.example

  jo@there.example: delivered
  nobody@there.example: bounced

2027-01-15 08:00:00  accepted (all times UTC)
2027-01-15 08:00:01  try 1 for nobody@there.example: bounced
    {REMOTE}, TLSv1.3
    550 5.1.1 No such user here
2027-01-15 08:00:01  try 1 for jo@there.example: deferred
    {REMOTE}, TLSv1.3
    451 4.7.1 Greylisted, try again later
2027-01-15 08:05:01  try 2 for jo@there.example: delivered
    {REMOTE}, TLSv1.3
    250 2.0.0 OK queued as 4711
"""
    )


def test_trace_tells_what_comes_next(ctl: Ctl) -> None:
    for each in (
        *(row(f"{name}@there.example", State.DEFERRED) for name in "abcde"),
        row("z@there.example", State.DEFERRED, 13, stage="validate"),
    ):
        ctl.cloud.messages._rows[each.id, each.outcome.recipient, each.stage, each.outcome.attempt] = each
    assert ctl("trace", ID) == 0
    assert "try 1 for a@there.example, b@there.example, c@there.example and 2 more: deferred" in " ".join(
        ctl.out.split()
    )
    assert ctl.out.endswith(
        """\
2027-01-15 08:05:01  next try for a@there.example, b@there.example,
                     c@there.example and 2 more, under way
2027-01-15 09:05:01  next check for z@there.example
"""
    )


def test_trace_tells_of_another_way_than_the_usual(ctl: Ctl) -> None:
    usual = row("jo@there.example", State.DELIVERED)
    outcome = usual.outcome._replace(remote="email.eu-north-1.amazonaws.com", tls="HTTPS", via="ses")
    ctl.cloud.messages._rows[ID, outcome.recipient, "deliver", 1] = replace(usual, outcome=outcome)
    assert ctl("trace", ID) == 0
    assert "email.eu-north-1.amazonaws.com, HTTPS, by ses" in ctl.out


def test_trace_as_json(filled: Ctl) -> None:
    assert filled("trace", ID.upper(), "--json") == 0
    whole = json.loads(filled.out)
    assert {name: whole[name] for name in whole if name != "recipients"} == {
        "id": ID,
        "account": "user@login.example",
        "mail_from": "news@shop.example",
        "received": "2027-01-15T08:00:00Z",
        "notice": False,
        "proof": {"receipts": [], "warnings": []},
    }
    jo, nobody = whole["recipients"]
    assert (jo["recipient"], jo["state"]) == ("jo@there.example", "delivered")
    assert [(each["attempt"], each["state"], each["next_try"]) for each in jo["attempts"]] == [
        (1, "deferred", "2027-01-15T08:05:01Z"),
        (2, "delivered", None),
    ]
    assert (nobody["state"], len(nobody["attempts"])) == ("bounced", 1)


def test_what_a_remote_says_does_not_reach_the_terminal_raw(ctl: Ctl) -> None:
    evil = row("a@there.example", State.BOUNCED)
    evil = replace(evil, outcome=evil.outcome._replace(text="\x1b[31mred\x9b2J [bold]x[/bold]"))
    ctl.cloud.messages._rows[ID, "a", "deliver", 1] = evil
    for command in (["trace", ID], ["messages"]):
        assert ctl(*command) == 0
        assert "\x1b" not in ctl.out
        assert "\x9b" not in ctl.out
        assert "[bold]x[/bold]" in ctl.out


# --- dns, accounts -----------------------------------------------------------------------------

HASH = "b4c9a289323b21a01c3e940f150eb9b8c542587f1abfd8f0e1cc1ffc5e475514"  # printf %s user@example.com | sha256sum


def test_dns(ctl: Ctl) -> None:
    assert ctl("dns", "user@example.com") == 0
    assert (
        ctl.out
        == f"""\
Publish these records; that is the whole sign-up.

So that example.com may send:

  example.com  TXT
    token={HASH}
  example.com  TXT
    v=spf1 include:spf.example -all
  _dmarc.example.com  TXT
    v=DMARC1; p=none

A domain that has an SPF record keeps it, with this put in at its start:
  include:spf.example
All there? mailrelay check user@example.com --domain example.com
"""
    )


def test_dns_as_a_zone_file_is_one_that_the_local_system_reads(ctl: Ctl) -> None:
    assert ctl("dns", "user@example.com", "--domain", "a.example", "--zone") == 0
    zone = Zone.parse(ctl.out, "my.zone")
    (dmarc,) = zone.nodes[dns.name.from_text("_dmarc.a.example")].rdatasets
    assert [str(each) for each in dmarc] == ['"v=DMARC1; p=none"']
    assert len(ctl.out.splitlines()) == 3


def test_dns_as_json_for_several_domains(ctl: Ctl) -> None:
    assert ctl("dns", "user@example.com", "--domain", "a.example", "--domain", "BÜCHER.example", "--json") == 0
    records = json.loads(ctl.out)
    assert [each["domain"] for each in records] == ["a.example"] * 3 + ["xn--bcher-kva.example"] * 3
    assert records[0] == {"domain": "a.example", "name": "a.example", "type": "TXT", "value": f"token={HASH}"}


def test_dns_without_a_relay_takes_the_template(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / ".local" / "state.json").unlink()
    assert ctl("dns", "user@example.com") == 0
    assert f"elastx-mrs={HASH}" in ctl.out
    assert "v=spf1 include:elastx.email -all" in ctl.out
    assert ctl.targets == []


def test_the_token_is_the_hash_of_the_name_as_given(ctl: Ctl) -> None:
    assert ctl("dns", "USER@example.com", "--json") == 0
    assert HASH not in ctl.out


@pytest.mark.parametrize(
    ("typed", "hashed"),
    [
        ("User@example.com", "User@example.com"),
        ("user@example.com", "user@example.com"),
        ("USER@example.com", "User@example.com"),
        ("OTHER@example.com", "OTHER@example.com"),
    ],
    ids=["as registered", "in lower case", "in another case", "not registered"],
)
def test_the_token_is_one_that_counts(ctl: Ctl, typed: str, hashed: str) -> None:
    ctl.cloud.users.items["user@example.com"] = Account("User@example.com", b"", b"", "", 0.0)
    assert ctl("dns", typed, "--json") == 0
    assert json.loads(ctl.out)[0]["value"] == token_value(hashed, "token")


def test_a_domain_that_is_given_twice_is_shown_once(ctl: Ctl) -> None:
    assert ctl("dns", "user@example.com", "--domain", "a.example", "--domain", "A.example", "--zone") == 0
    assert len(ctl.out.splitlines()) == 3


TO_USE = {
    "server": "smtp.relay.example",
    "records": [{"name": "mycorp.example", "type": "TXT", "value": "relay-token=1"}],
}
FACTS = {"user": "app@mycorp.example", "phone": "+46701234567", "created": RECEIVED, "disabled": False}
SHOWN = """
  server  127.0.0.1
  port    1 with STARTTLS, or 1 with TLS
  user    app@mycorp.example

So that mycorp.example may send:

  mycorp.example  TXT
    relay-token=1

For another domain: mailrelay dns app@mycorp.example --domain DOMAIN
"""


PAUSE = {"since": RECEIVED, "bounced": 60, "finished": 200}


def test_accounts_create(ctl: Ctl) -> None:
    ctl.cloud.answer = {"ok": True, "user": "app@mycorp.example", **TO_USE}
    assert ctl("accounts", "create", "app@mycorp.example", "--phone", "+46 70-123 45 67") == 0
    assert ctl.cloud.asked == [{"action": "create", "user": "app@mycorp.example", "phone": "+46701234567"}]
    said = "Account app@mycorp.example is made; its password is on its way to +46701234567 by SMS.\n"
    assert ctl.out == said + SHOWN
    assert ctl("accounts", "create", "app@mycorp.example", "--phone", "+46701234567", "--json") == 0
    assert json.loads(ctl.out) == {"user": "app@mycorp.example", **TO_USE}
    assert ctl("accounts", "show", "app@mycorp.example", "--stack", "relay", "--region", "eu-north-1") == 0
    assert "  server  smtp.relay.example\n  port    587 with STARTTLS, or 465 with TLS\n" in ctl.out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"disabled": False}, "enabled, since 2027-01-15, phone +46701234567\n"),
        ({"disabled": True}, "disabled, since 2027-01-15, phone +46701234567\n"),
        (
            {"old_password_until": RECEIVED + 60},
            "enabled, since 2027-01-15, phone +46701234567\n"
            "The old password holds until 2027-01-15T08:01:00Z; to end it:\n"
            "  mailrelay accounts rotate app@mycorp.example --now\n",
        ),
        (
            {"paused": {"since": RECEIVED, "bounced": 60, "finished": 200}},
            "paused, since 2027-01-15, phone +46701234567\n"
            "Paused since 2027-01-15T08:00:00Z: 60 of 200 recipients bounced. Its mail waits until\n"
            "  mailrelay accounts resume app@mycorp.example\n",
        ),
    ],
    ids=["enabled", "disabled", "rotated", "paused"],
)
def test_accounts_show(ctl: Ctl, answer: dict[str, Any], said: str) -> None:
    ctl.cloud.answer = {"ok": True, **FACTS, "old_password_until": None, **TO_USE, **answer}
    assert ctl("accounts", "show", "app@mycorp.example") == 0
    assert ctl.cloud.asked == [{"action": "show", "user": "app@mycorp.example"}]
    assert ctl.out == f"Account app@mycorp.example: {said}{SHOWN}"
    assert ctl("accounts", "show", "app@mycorp.example", "--json") == 0
    assert json.loads(ctl.out)["created"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("options", "now", "until", "said"),
    [
        ([], False, RECEIVED, "The old password holds until 2027-01-15T08:00:00Z; "),
        (["--now"], True, None, "The old one opens nothing any more"),
    ],
    ids=["overlap", "now"],
)
def test_accounts_rotate(ctl: Ctl, options: list[str], now: bool, until: float | None, said: str) -> None:
    ctl.cloud.answer = {"ok": True, **FACTS, "changed": True, "old_password_until": until}
    assert ctl("accounts", "rotate", "app@mycorp.example", *options) == 0
    assert ctl.cloud.asked == [{"action": "rotate", "user": "app@mycorp.example", "now": now}]
    assert "is on its way to +46701234567 by SMS" in ctl.out
    assert said in ctl.out
    assert ctl("accounts", "rotate", "app@mycorp.example", "--json", *options) == 0
    assert json.loads(ctl.out)["old_password_until"] == (until and "2027-01-15T08:00:00Z")


@pytest.mark.parametrize(
    ("action", "changed", "said"),
    [
        ("disable", True, "is disabled: no login"),
        ("disable", False, "is disabled already."),
        ("enable", True, "is enabled, with the password that it had."),
        ("enable", False, "is not disabled: nothing to do."),
        ("resume", True, "is resumed: its mail goes on."),
        ("resume", False, "is not paused: nothing to do."),
        ("delete", True, "is deleted; its name stays reserved."),
        ("delete", False, "is deleted already."),
    ],
)
def test_accounts_disable_enable_delete(ctl: Ctl, action: str, changed: bool, said: str) -> None:
    ctl.cloud.answer = {"ok": True, **FACTS, "changed": changed}
    assert ctl("accounts", action, "app@mycorp.example") == 0
    assert ctl.cloud.asked == [{"action": action, "user": "app@mycorp.example"}]
    assert ctl.out.startswith(f"Account app@mycorp.example {said}")
    assert ctl("accounts", action, "app@mycorp.example", "--json") == 0
    assert json.loads(ctl.out)["changed"] is changed


def test_accounts_list(ctl: Ctl) -> None:
    ctl.cloud.answer = {
        "ok": True,
        "accounts": [
            {"user": "app@mycorp.example", "phone": "+46701234567", "created": RECEIVED, "disabled": False},
            {"user": "old@mycorp.example", "phone": "+46700000000", "created": RECEIVED, "disabled": True},
            {"user": "shop@b.example", "phone": "+46700000001", "created": RECEIVED, "paused": dict(PAUSE)},
        ],
    }
    assert ctl("accounts", "list") == 0
    assert [line.rstrip() for line in ctl.out.splitlines()] == [
        "User                Phone         Since",
        "app@mycorp.example  +46701234567  2027-01-15",
        "old@mycorp.example  +46700000000  2027-01-15  disabled",
        "shop@b.example      +46700000001  2027-01-15  paused",
    ]
    assert ctl("accounts", "list", "--json") == 0
    assert json.loads(ctl.out)[0] == {
        "user": "app@mycorp.example",
        "phone": "+46701234567",
        "created": "2027-01-15T08:00:00Z",
        "disabled": False,
    }
    assert json.loads(ctl.out)[2]["paused"] == {**PAUSE, "since": "2027-01-15T08:00:00Z"}


# --- which relay -------------------------------------------------------------------------------


def test_a_deployed_stack(ctl: Ctl) -> None:
    assert ctl("messages", "--stack", "relay", "--region", "eu-west-1") == 0
    ctl.environment = {"AWS_REGION": "eu-north-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}
    assert ctl("messages", "--stack", "relay") == 0
    assert ctl.targets == [
        Target("stack relay in eu-west-1", "eu-west-1", None, "relay"),
        Target("stack relay in eu-north-1", "eu-north-1", "http://127.0.0.1:4566", "relay"),
    ]


def test_a_local_system_by_its_state_file(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(STATE))
    assert ctl("messages", "--state-file", "other.json") == 0
    assert ctl("trace", ID, "--state", "other.json") == 1
    assert ctl("messages") == 0
    assert [each.name for each in ctl.targets] == [
        "the local system of other.json",
        "the local system of other.json",
        "the local system of .local/state.json",
    ]


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "code", "line"),
    [
        ([], 2, "mailrelay: the following arguments are required: COMMAND (see mailrelay --help)"),
        (["nonsense"], 2, "mailrelay: argument COMMAND: invalid choice: 'nonsense'"),
        (["messages", "--since", "soon"], 2, "argument --since: 'soon' is neither an age (30m, 1h, 2d) nor a date"),
        (["messages", "--since", "-1h"], 2, "argument --since"),
        (["messages", "--since", "99999999999h"], 2, "is neither an age"),
        (["messages", "--state", "lost"], 2, "argument --state: 'lost' is not one of deferred, delivered, bounced"),
        (["messages", "--limit", "0"], 2, "argument --limit: '0' is not a number from 1 up"),
        (["messages", "--limit", "x"], 2, "argument --limit: 'x' is not a number from 1 up"),
        (["messages", "--region", "eu-west-1"], 2, "--region goes with --stack NAME"),
        (["messages", "--stack", "relay"], 2, "--stack relay needs --region REGION (or AWS_REGION)"),
        (["messages", "--stack", "a", "--region", "b", "--state-file", "c"], 2, "name two different relays"),
        (["messages", "--state-file", "none.json"], 1, "no local system: none.json does not exist; start one with"),
        (["messages", "--state-file", "bad.json"], 1, "bad.json is not a state file of `mailrelay local`"),
        (["messages", "--state-file", "list.json"], 1, "list.json is not a state file of `mailrelay local`"),
        (["trace", "4711"], 2, "'4711' is not a message id; it looks like"),
        (["trace", ID], 1, f"nothing is recorded about {ID}: check the id, or ask again"),
        (["dns", "nobody"], 2, "USER 'nobody': the user name must be an e-mail address"),
        (["dns", "a@b.example", "--domain", "a..b"], 2, "--domain 'a..b': the domain has an empty label"),
        (["dns", "åsa@b.example"], 2, "USER 'åsa@b.example': the user name must be ASCII"),
        (["check", "a@b.example", "--domain", "a..b"], 2, "--domain 'a..b': the domain has an empty label"),
        (["check", "a@b.example", "--dns", "ns1:53"], 2, "--dns: DNS server 'ns1:53' is not an IP address and port"),
        (["cancel", "4711"], 2, "'4711' is not a message id; it looks like"),
        (["cancel", ID], 1, f"nothing is recorded about {ID} yet: check the id; if it was sent just now"),
        (["resend", "4711"], 2, "'4711' is not a message id; it looks like"),
        (["resend", ID], 1, f"nothing is recorded about {ID}: check the id"),
        (["resend", ID, "--to", "jo"], 2, "--to 'jo': the address has no domain"),
        (["dlq"], 2, "required: ACTION"),
        (["dlq", "list", "--limit", "-1"], 2, "argument --limit"),
        (["dlq", "show", "4711"], 1, "no dead letter has the id 4711: see mailrelay dlq list"),
        (["dlq", "redrive", "nothing"], 2, "argument QUEUE: invalid choice: 'nothing' (choose from"),
        (["dlq", "redrive", "--id", "4711"], 1, "no dead letter has the id 4711"),
        (["completion", "fish"], 2, "argument SHELL: invalid choice: 'fish' (choose from"),
        (["accounts"], 2, "required: ACTION"),
        (["accounts", "create", "a@b.example"], 2, "required: --phone"),
        (["accounts", "rotate"], 2, "required: USER"),
        (
            ["accounts", "limits", "a@b.example", "--per-day", "0"],
            2,
            "'0' is neither a whole number above 0 nor default",
        ),
        (["accounts", "limits", "a@b.example", "--per-day", "many"], 2, "--per-day: 'many' is neither"),
        (["accounts", "limits", "a@b.example", "--size", "1000"], 2, "size must be from 65536 to 41943040"),
        (["usage", "--days", "91"], 2, "'91' is not a number of days from 1 to 90"),
        (["usage", "jo"], 2, "USER 'jo': the user name must be an e-mail address"),
        (["accounts", "disable", "jo"], 2, "USER 'jo': the user name must be an e-mail address"),
        (["accounts", "create", "a@b.example", "--phone", "070"], 2, "--phone '070': the phone number must have +"),
        (["send", "--to", "a"], 2, "--to 'a': the address has no domain"),
        (["send", "--to", "a@b.example", "--port", "0"], 2, "argument --port: '0' is not a port from 1 to 65535"),
        (["send", "--to", "a@b.example", "--server", "127.0.0.1"], 2, "--user USER is needed: the account to log in"),
        (["send", "--to", "a@b.example", "--user", "u@v.example", "none.eml"], 1, "cannot read none.eml: No such file"),
        (
            ["send", "--to", "a@b.example", "--user", "u@v.example", "--ca-file", "none"],
            2,
            "--ca-file none: there",
        ),
        (["send", "--to", "a@b.example", "--user", "u@v.example"], 1, "127.0.0.1:1: Connection refused; is the relay"),
        (["local", "--port", "65536"], 2, "argument --port: '65536' is not a port from 0 to 65535"),
        (["local", "--account", "a@b.example"], 2, "argument --account: give USER:PASSWORD"),
        (["local", "--dns", "127.0.0.1"], 2, "argument --dns: '127.0.0.1' is not HOST:PORT"),
        (["local", "--clock-speed", "0"], 2, "argument --clock-speed: '0' is not a number from 1 to 1000000"),
        (["local", "--clock-speed", "nan"], 2, "argument --clock-speed: 'nan' is not"),
        (["local", "--aws-endpoint", "localhost"], 2, "argument --aws-endpoint: 'localhost' is not a URL such as"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input(
    ctl: Ctl, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, line: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    assert ctl(*argv) == code
    said = capsys.readouterr().err
    assert line in said
    assert said.startswith("mailrelay")
    assert said.count("\n") == 1
    assert ctl.out == ""


def test_a_refusal_of_the_accounts_function(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    ctl.cloud.answer = {"ok": False, "error": "the user name a@b.example is taken; nothing was changed"}
    assert ctl("accounts", "create", "a@b.example", "--phone", "+46701234567") == 1
    said = capsys.readouterr().err
    assert said == "mailrelay: a@b.example: the user name a@b.example is taken; nothing was changed\n"


def test_a_relay_that_is_away(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    ctl.cloud.messages.fail = TemporaryError("away", "connection refused")
    assert ctl("trace", ID) == 1
    assert capsys.readouterr().err == "mailrelay: away (connection refused)\n"


@pytest.mark.parametrize(
    ("users", "line"),
    [
        (["one@a.example"], "127.0.0.1:1: Connection refused"),
        (["one@a.example", "two@a.example"], "--user USER is needed: one of one@a.example, two@a.example"),
        ([], "--user USER is needed: the account to log in with"),
    ],
    ids=["one", "several", "none"],
)
def test_send_takes_the_only_user(ctl: Ctl, capsys: pytest.CaptureFixture[str], users: list[str], line: str) -> None:
    ctl.cloud.answer = {"ok": True, "accounts": [{"user": user} for user in users]}
    assert ctl("send", "--to", "a@b.example") > 0
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        *(
            "",
            "dns",
            "check",
            "accounts",
            "accounts create",
            "accounts list",
            "accounts show",
            "accounts rotate",
            "accounts disable",
            "accounts enable",
            "accounts resume",
            "accounts limits",
            "accounts export",
            "suppressions import",
            "accounts delete",
            "audit",
            "usage",
            "messages",
            "trace",
            "send",
            "local",
        ),
        *("demo", "cancel", "resend", "dlq", "dlq list", "dlq show", "dlq redrive", "status", "completion"),
    ],
)
def test_help_fits_80_columns_and_has_an_example(ctl: Ctl, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert ctl(*command.split(), "--help") == 0
    text = capsys.readouterr().out
    assert "\nexample" in text
    assert max(len(line) for line in text.splitlines()) <= 80
