"""`mailrelay cancel, resend, dlq, status, completion`: what they print, as text and as JSON, and their exit codes."""

import asyncio
import json
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from relay.account import Account
from relay.encoding import decode_submission, encode_delivery
from relay.errors import TemporaryError
from relay.outcome import State
from relay.ports import Depth, LedgerEntry
from relay.submission import Delivery, DeliveryKey, Inline
from relayctl import render
from tests.unit.relayctl.harness import ID, OTHER, RECEIVED, STATE, Ctl, row

NOW = RECEIVED + 3600  # the harness's clock
LETTER = "5f0c2c1e-5f0e-4c55-9a0e-2f1f5c6b7d88"
SECRET = b"Subject: secret\r\n\r\nsecret"


def put_off(ctl: Ctl, *, until: float = 0.0) -> None:
    """jo waits for a second attempt, nobody has bounced."""
    rows = row("jo@there.example", State.DEFERRED), row("nobody@there.example", State.BOUNCED)
    asyncio.run(ctl.cloud.messages.put(rows))
    key = DeliveryKey(ID, "there.example", 0)
    known = {each.outcome.recipient: each.outcome for each in rows}
    ctl.cloud.ledger.items[key] = LedgerEntry(key, 2, NOW + 60, "w" * bool(until), until, False, known)


# --- cancel ------------------------------------------------------------------------------------


def test_cancel(ctl: Ctl) -> None:
    put_off(ctl)
    assert ctl("cancel", ID.upper()) == 0
    assert ctl.out == "cancelled: jo@there.example\nleft as it is: nobody@there.example, bounced\n"
    assert len(ctl.cloud.stages["record"].queue.sent) == 1
    assert ctl("cancel", ID) == 1
    assert ctl.out.endswith("Nothing was left to cancel.\n")


def test_cancel_as_json(ctl: Ctl) -> None:
    put_off(ctl)
    assert ctl("cancel", ID, "--json") == 0
    assert json.loads(ctl.out) == {
        "id": ID,
        "cancelled": ["jo@there.example"],
        "ended": [{"recipient": "nobody@there.example", "state": "bounced"}],
        "sending": [],
        "coming": [],
        "recorded": True,
    }


def test_cancel_of_what_is_being_sent(ctl: Ctl) -> None:
    put_off(ctl, until=NOW + 7.2)
    assert ctl("cancel", ID) == 1
    assert ctl.out == "not stopped: mail to there.example is being sent right now; known in 8 s at the latest\n"
    assert ctl("cancel", ID, "--json") == 1
    assert json.loads(ctl.out)["sending"] == [{"domain": "there.example", "until": render.iso(NOW + 7)}]


def test_cancel_of_what_nothing_is_recorded_about(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl("cancel", ID) == 1
    assert "if it was sent just now, it ends when its turn comes" in capsys.readouterr().err
    assert ctl.cloud.suppressions.cancelled == {ID}
    assert ctl("cancel", ID, "--json") == 1
    assert json.loads(ctl.out)["recorded"] is False


def test_cancel_of_an_attempt_that_left_nothing(ctl: Ctl) -> None:
    asyncio.run(ctl.cloud.messages.put((row("al@else.example", State.DELIVERED),)))
    key = DeliveryKey(ID, "there.example", 0)
    ctl.cloud.ledger.items[key] = LedgerEntry(key, 1, owner="gone", claimed_until=NOW - 1)
    assert ctl("cancel", ID) == 0
    assert "ends when its turn comes: mail to there.example\n" in ctl.out


def test_cancel_of_all_that_waits_of_an_account(ctl: Ctl) -> None:
    put_off(ctl)
    other = row("al@else.example", State.DELIVERED, id=OTHER)
    asyncio.run(ctl.cloud.messages.put((other,)))
    assert ctl("cancel", "--account", "User@login.example") == 0
    assert ctl.out == f"{ID}\ncancelled: jo@there.example\nleft as it is: nobody@there.example, bounced\n"
    cancelled = row("jo@there.example", State.CANCELLED, 2)
    asyncio.run(ctl.cloud.messages.put((cancelled,)))
    assert ctl("cancel", "--account", "user@login.example") == 1
    assert ctl.out == "Nothing was left to cancel.\n"
    assert ctl("cancel", "--account", "user@login.example", "--json") == 1
    assert json.loads(ctl.out) == []


@pytest.mark.parametrize("argv", [[], [ID, "--account", "user@login.example"]], ids=["neither", "both"])
def test_cancel_wants_an_id_or_an_account(ctl: Ctl, argv: list[str]) -> None:
    assert ctl("cancel", *argv) == 2


# --- resend ------------------------------------------------------------------------------------


def test_resend(ctl: Ctl) -> None:
    put_off(ctl)
    ctl.cloud.content.items[f"content/{ID}"] = SECRET
    assert ctl("resend", ID) == 0
    (sent,) = ctl.cloud.stages["validate"].queue.sent
    new = decode_submission(sent.body)
    assert new.rcpt_to == ("nobody@there.example",)
    assert ctl.out == (
        f"sent again: nobody@there.example\nThe new message's id: {new.id}\n"
        f"What becomes of it: mailrelay trace {new.id}\n"
    )
    assert ctl("resend", ID, "--to", "nobody@There.example", "--json") == 0
    said = json.loads(ctl.out)
    assert (said["resent"], said["recipients"]) == (ID, ["nobody@there.example"])
    assert said["id"] not in (ID, new.id)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], f"mailrelay: the content of {ID} is gone (it is kept for 21 days): have the application send it anew\n"),
        (
            ["--to", "jo@there.example"],
            "mailrelay: jo@there.example has not failed, it is deferred: nothing to send again\n",
        ),
        (
            ["--to", "x@there.example"],
            "mailrelay: x@there.example is not among the recipients: jo@there.example, nobody@there.example\n",
        ),
    ],
    ids=["content gone", "not failed", "not a recipient"],
)
def test_resend_that_can_not_be(ctl: Ctl, capsys: pytest.CaptureFixture[str], argv: list[str], line: str) -> None:
    put_off(ctl)
    assert ctl("resend", ID, *argv) == 1
    assert capsys.readouterr().err == line


def test_resend_that_may_have_been(ctl: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    put_off(ctl)
    ctl.cloud.content.items[f"content/{ID}"] = SECRET
    ctl.cloud.stages["validate"].queue.fail = TemporaryError("away")
    assert ctl("resend", ID) == 1
    assert "it may have been sent again or not; see mailrelay trace " in capsys.readouterr().err


# --- dlq ---------------------------------------------------------------------------------------


@pytest.fixture
def dead(ctl: Ctl) -> Ctl:
    delivery = Delivery(
        id=ID,
        account="jo@login.example",
        mail_from="news@shop.example",
        domain="there.example",
        chunk=0,
        rcpt_to=("a@there.example", "b@there.example"),
        received=RECEIVED,
        content=Inline(SECRET),
    )
    stages = ctl.cloud.stages
    stages["validate"].dead.add("poison", "not ours", group="g", sent=NOW - 90)
    stages["deliver"].dead.add(LETTER, encode_delivery(delivery), group="jo@login.example", sent=NOW - 7200)
    return ctl


def test_dlq_list(dead: Ctl) -> None:
    assert dead("dlq", "list") == 0
    assert (
        dead.out
        == f"""\
validate: 1 dead letter
  poison  90 s old
    no id  g
    unreadable submission: JSONDecodeError: invalid literal, expected 'null':
    line 1 column 1 (char 0)
deliver: 1 dead letter
  {LETTER}  2 h old
    {ID}  jo@login.example
    readable: the deliver function failed on it each time; its log says how,
    under the queue's message id
record: 0 dead letters

One of them: mailrelay dlq show MESSAGE-ID. Back to work: mailrelay dlq redrive
"""
    )
    assert not any(stage.dead.held for stage in dead.cloud.stages.values())


def test_dlq_list_as_json(dead: Ctl) -> None:
    assert dead("dlq", "list", "--json") == 0
    validate, deliver, record = json.loads(dead.out)
    assert (validate["queue"], validate["count"], validate["messages"][0]["id"]) == ("validate", 1, None)
    assert record == {"queue": "record", "count": 0, "messages": []}
    (letter,) = deliver["messages"]
    assert letter.pop("why").startswith("readable")
    assert letter == {
        "message_id": LETTER,
        "id": ID,
        "account": "jo@login.example",
        "sent": render.iso(NOW - 7200),
        "receives": 5,
    }


def test_dlq_list_is_bounded(ctl: Ctl) -> None:
    for number in range(35):
        ctl.cloud.stages["record"].dead.add(f"letter {number}", "x", sent=NOW - number)
    assert ctl("dlq", "list", "--limit", "12") == 0
    assert "record: 35 dead letters, 20 of them here" in ctl.out
    assert not ctl.cloud.stages["record"].dead.held


@pytest.mark.parametrize("id", [LETTER, ID], ids=["the queue's id", "the mail's id"])
def test_dlq_show_tells_the_envelope_and_never_the_content(dead: Ctl, id: str) -> None:
    assert dead("dlq", "show", id) == 0
    assert [line.split(maxsplit=1) for line in dead.out.splitlines() if line.startswith("  ")] == [
        ["queue", "deliver"],
        ["why", "readable: the deliver function failed on it each time; its log says"],
        ["how,", "under the queue's message id"],
        ["queued", "2027-01-15 07:00:00 UTC, 2 h ago"],
        ["receives", "5"],
        ["size", f"{len(dead.cloud.stages['deliver'].dead.letters[LETTER].body)} octets"],
        ["id", ID],
        ["account", "jo@login.example"],
        ["from", "news@shop.example"],
        ["to", "a@there.example, b@there.example"],
        ["attempt", "1"],
        ["content", "in the message itself, 36 octets as it is packed"],
    ]
    assert dead("dlq", "show", id, "--json") == 0
    (said,) = json.loads(dead.out)
    assert said["rcpt_to"] == ["a@there.example", "b@there.example"]
    assert "secret" not in dead.out
    assert "c2VjcmV0" not in dead.out


def test_dlq_redrive(dead: Ctl) -> None:
    body = dead.cloud.stages["deliver"].dead.letters[LETTER].body
    assert dead("dlq", "redrive") == 0
    assert dead.out == "validate: 1 message put back\ndeliver: 1 message put back\n"
    stages = dead.cloud.stages
    assert not any(stage.dead.letters for stage in stages.values())
    assert [(sent.body, sent.group) for sent in stages["deliver"].queue.sent] == [(body, "jo@login.example")]
    assert [(sent.body, sent.group) for sent in stages["validate"].queue.sent] == [("not ours", "g")]
    assert dead("dlq", "redrive") == 0
    assert dead.out == "There is nothing to put back.\n"


@pytest.mark.parametrize("options", [["deliver"], ["--id", LETTER], ["--id", ID], ["deliver", "--id", ID]], ids=str)
def test_dlq_redrive_of_some(dead: Ctl, options: list[str]) -> None:
    assert dead("dlq", "redrive", *options, "--json") == 0
    moved = {each["queue"]: each["moved"] for each in json.loads(dead.out)}
    assert moved["deliver"] == 1
    assert not moved.get("validate")
    assert list(dead.cloud.stages["validate"].dead.letters) == ["poison"]
    assert not dead.cloud.stages["validate"].dead.held


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--account", "JO@login.example"], {LETTER}),
        (["--account", "g"], {"poison"}),
        (["--account", "al@login.example"], set()),
        (["--to", "There.example"], {LETTER}),
        (["--to", "@there.example"], {LETTER}),
        (["--to", "b@there.example"], {LETTER}),
        (["--to", "example"], set()),
        (["--reason", "jsondecodeerror"], {"poison"}),
        (["--reason", "KeyError"], set()),
        (["--since", "1h"], {"poison"}),
        (["--until", "1h"], {LETTER}),
        (["--since", "3h", "--until", "1h"], {LETTER}),
        (["--since", "2027-01-15T09:00"], set()),
        (["--to", "there.example", "--since", "1h"], set()),
        (["deliver", "--reason", "JSON"], set()),
    ],
    ids=str,
)
def test_dlq_redrive_of_what_fits(dead: Ctl, options: list[str], expected: set[str]) -> None:
    if options[0].startswith("--"):  # list is of all queues
        assert dead("dlq", "list", "--json", *options) == 0
        assert {each["message_id"] for queue in json.loads(dead.out) for each in queue["messages"]} == expected
    assert dead("dlq", "redrive", *options) == 0
    assert ("No dead letter fits that" in dead.out) is (not expected)
    left = {id for stage in dead.cloud.stages.values() for id in stage.dead.letters}
    assert left == {LETTER, "poison"} - expected
    assert not any(stage.dead.held for stage in dead.cloud.stages.values())


def test_dlq_redrive_leaves_what_it_could_not_send(dead: Ctl, capsys: pytest.CaptureFixture[str]) -> None:
    dead.cloud.stages["deliver"].queue.fail = TemporaryError("away")
    assert dead("dlq", "redrive") == 1
    assert capsys.readouterr().err == "mailrelay: deliver: not all were put back: away; run it again\n"
    assert list(dead.cloud.stages["deliver"].dead.letters) == [LETTER]


def test_dlq_redrive_sends_before_it_removes(dead: Ctl) -> None:
    """What dies between the two is there twice, never lost."""
    dead.cloud.stages["deliver"].dead.fail_next(None, TemporaryError("away"))
    assert dead("dlq", "redrive", "deliver") == 1
    assert len(dead.cloud.stages["deliver"].queue.sent) == 1
    assert LETTER in dead.cloud.stages["deliver"].dead.letters


def test_dlq_redrive_leaves_what_has_come_back_meanwhile(ctl: Ctl) -> None:
    ctl.cloud.stages["record"].dead.add("again", "x", sent=NOW)
    assert ctl("dlq", "redrive") == 0
    assert ctl.out == "There is nothing to put back.\n"
    assert "again" in ctl.cloud.stages["record"].dead.letters


# --- status ------------------------------------------------------------------------------------


@pytest.fixture
def busy(dead: Ctl) -> Ctl:
    for name, disabled in (("user", False), ("old", True)):
        dead.cloud.users.items[f"{name}@login.example"] = Account(
            f"{name}@login.example", b"", b"", "", 0.0, disabled=disabled
        )
    dead.cloud.stages["deliver"].live.now_depth = Depth(7, 2, 30)
    dead.cloud.stages["deliver"].live.now_oldest = 260.0
    early = row("early@there.example", State.BOUNCED)
    early = replace(early, outcome=early.outcome._replace(time=NOW - 3700))
    asyncio.run(
        dead.cloud.messages.put(
            (early, *(row(f"{n}@there.example", State.DELIVERED) for n in "ab"), row("c@x.example", State.DEFERRED))
        )
    )
    return dead


def test_status(busy: Ctl) -> None:
    assert busy("status") == 1  # nobody listens on port 1
    assert (
        busy.out
        == """\
The local system of .local/state.json, 2027-01-15 09:00:00 UTC

gateway    127.0.0.1:1 does not answer
accounts   2, 1 of them disabled
last hour  1 deferred, 2 delivered

Queue     Waiting  In flight  Delayed  Oldest  Dead  Oldest dead
validate        0          0        0             1         90 s
deliver         7          2       30   4 min     1          2 h
record          0          0        0             0

What could not be processed: mailrelay dlq list
"""
    )


def test_status_as_json(busy: Ctl, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        state = {**STATE, "port": server.getsockname()[1]}
        (tmp_path / ".local" / "state.json").write_text(json.dumps(state))

        def greet() -> None:
            server.settimeout(10)
            connection, _ = server.accept()
            connection.sendall(b"220 smtp.example ESMTP\r\n")
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        assert busy("status", "--json") == 0
        thread.join()
    said = json.loads(busy.out)
    assert said["gateway"] == {
        "address": f"127.0.0.1:{state['port']}",
        "answers": True,
        "greeting": "220 smtp.example ESMTP",
    }
    assert said["queues"][1] == {
        "queue": "deliver",
        "waiting": 7,
        "in_flight": 2,
        "delayed": 30,
        "oldest": 260,
        "dead": 1,
        "oldest_dead": 7200,
    }
    assert (said["accounts"], said["disabled"], said["complete"]) == (2, 1, True)
    assert said["last_hour"] == {**dict.fromkeys(map(str, State), 0), "delivered": 2, "deferred": 1}


def test_status_of_a_deployed_one(ctl: Ctl) -> None:
    assert ctl("status", "--stack", "relay", "--region", "eu-west-1") == 0
    assert ctl.out.startswith("Stack relay in eu-west-1, 2027-01-15 09:00:00 UTC\n\naccounts   0\n")
    assert "gateway" not in ctl.out


# --- completion, colours -----------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(ctl: Ctl, shell: str) -> None:
    assert ctl("completion", shell) == 0
    for word in ("redrive", "--since", "resend", "completion"):
        assert word in ctl.out


def test_bash_takes_its_completion(ctl: Ctl, tmp_path: Path) -> None:
    ctl("completion", "bash")
    script = tmp_path / "completion"
    script.write_text(ctl.out)
    ask = f'source "{script}"; COMP_WORDS=(mailrelay dlq re); COMP_CWORD=2; _shtab_mailrelay; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == "redrive\n"


class Terminal:
    """What is written to a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def isatty(self) -> bool:
        return True

    def flush(self) -> None: ...


@pytest.mark.parametrize(("variable", "coloured"), [(None, True), ("NO_COLOR", False)])
def test_colours_only_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if variable:
        monkeypatch.setenv(variable, "1")
    out = Terminal()
    render.show(out, render.state_text(State.BOUNCED), render.Text("bold", style="bold"))  # type: ignore[arg-type]
    assert ("\x1b" in out.text) is coloured
    assert "bounced" in out.text
