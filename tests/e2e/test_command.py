"""`mailrelay` as a person uses it, against the running local system; and the demo."""

import base64
import json
import os
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.encoding import encode_submission
from relay.submission import Inline, Submission
from tests.system import PASSWORD, USER, LocalSystem, local_system, mailrelay, marks, message, wait_for


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system("--clock-speed", "100") as running:
        yield running


def call(folder: Path, *argv: str, code: int = 0, **environment: str) -> str:
    """Standard output, or standard error if it is to fail; the exit code is as expected."""
    done = subprocess.run(
        [mailrelay(), *argv],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def test_from_send_to_trace(system: LocalSystem) -> None:
    state = ["--state-file", "state.json"]
    sent = call(
        system.folder,
        *[
            "send",
            "--user",
            USER,
            "--from",
            "news@proved.example",
            "--to",
            "a@in.example",
            "--to",
            "nobody@in.example",
            "--json",
        ],
        *state,
        MAILRELAY_PASSWORD=PASSWORD,
    )
    id = json.loads(sent)["id"]
    assert json.loads(sent)["reply"] == f"250 2.0.0 queued as {id}"

    def ended() -> bool:
        known = json.loads(call(system.folder, "messages", "--account", USER, "--json", *state))
        return {each["recipient"]: each["state"] for each in known if each["id"] == id} == {
            "a@in.example": "delivered",
            "nobody@in.example": "bounced",
        }

    wait_for("both fates", ended)
    whole = json.loads(call(system.folder, "trace", id, "--json", *state))
    assert whole["mail_from"] == "news@proved.example"
    assert [each["state"] for each in whole["recipients"]] == ["delivered", "bounced"]
    text = call(system.folder, "trace", id, *state)
    assert "550 5.1.1 No such user here" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "nobody@in.example" in call(system.folder, "messages", "--state", "bounced", *state)


@pytest.mark.parametrize("options", [[], ["--tls"]], ids=["STARTTLS", "TLS"])
def test_a_file_arrives_as_it_is(system: LocalSystem, tmp_path: Path, options: list[str]) -> None:
    mark = "tls" if options else "starttls"
    (tmp_path / "letter.eml").write_text(
        f"From: news@proved.example\nTo: b@in.example\nSubject: {mark}\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n"
        f"Message-ID: <{mark}@proved.example>\n\n.dot\nblekinge, åland\n",
        "utf-8",
    )
    said = call(
        tmp_path,
        *["send", "letter.eml", "--user", USER, "--from", "news@proved.example", "--to", "b@in.example", *options],
        *["--state-file", str(system.folder / "state.json")],
        MAILRELAY_PASSWORD=PASSWORD,
    )
    assert said.startswith("250 2.0.0 queued as ")
    assert "What becomes of it: mailrelay trace " in said
    expected = (tmp_path / "letter.eml").read_bytes().replace(b"\n", b"\r\n")
    wait_for("the message", lambda: [mail for mail in system.sunk() if mail.content.endswith(b"\r\n" + expected)])


@pytest.mark.parametrize(
    ("options", "password", "line"),
    [
        pytest.param([], "wrong", "check user and password", id="wrong password"),
        pytest.param(["--user", "nobody@x.example"], PASSWORD, "check user and password", id="unknown user"),
        pytest.param(["--ca-file", "/dev/null"], PASSWORD, "", id="a CA file without a CA"),
        pytest.param(["--port", "1"], PASSWORD, "is the relay running there?", id="wrong port"),
    ],
)
def test_what_send_says_when_it_fails(system: LocalSystem, options: list[str], password: str, line: str) -> None:
    argv = ["send", "--to", "a@in.example", "--user", USER, "--state-file", "state.json", *options]
    said = call(system.folder, *argv, code=2 if "/dev/null" in options else 1, MAILRELAY_PASSWORD=password)
    assert said.startswith("mailrelay: ")
    assert said.count("\n") == 1
    assert line in said
    assert password not in said or password == "wrong"


def test_accounts(system: LocalSystem) -> None:
    state = ["--state-file", "state.json"]
    said = call(system.folder, "accounts", "create", "New@login.example", "--phone", "+46700000001", *state)
    assert said.startswith("Account New@login.example is made; its password is on its way to +46700000001 by SMS.")
    assert (
        "No phone rings on this machine; the SMS says:\n  smtp.elastx.email: user New@login.example password " in said
    )
    taken = call(system.folder, "accounts", "create", "new@login.example", "--phone", "+46700000001", *state, code=1)
    assert taken.startswith("mailrelay: new@login.example: ")
    assert "taken" in taken
    assert {each["user"] for each in json.loads(call(system.folder, "accounts", "list", "--json", *state))} == {
        USER,
        "New@login.example",
    }


STATE = ("--state-file", "state.json")


def by_sms(said: str) -> str:
    """The password that a command on the local system shows, as no phone rings."""
    return said.partition("the SMS says:\n")[2].partition(" password ")[2].split()[0]


def logs_in(system: LocalSystem, user: str, password: str) -> bool:
    try:
        system.connect(user, password).close()
    except smtplib.SMTPAuthenticationError as refused:
        if refused.smtp_code != 535:
            raise
        return False
    return True


def test_the_life_of_an_account(system: LocalSystem) -> None:
    def do(action: str, *options: str) -> str:
        return call(system.folder, "accounts", action, "life@login.example", *options, *STATE)

    first = by_sms(do("create", "--phone", "+46700000002"))
    assert logs_in(system, "life@login.example", first)
    assert f"port    {system.state['port']} with STARTTLS" in do("show")
    second = by_sms(do("rotate"))
    wait_for("the new password", lambda: logs_in(system, "LIFE@login.example", second))
    assert logs_in(system, "life@login.example", first)
    assert "The old password holds until " in do("show")
    third = by_sms(do("rotate", "--now"))
    wait_for("the old one's end", lambda: not logs_in(system, "life@login.example", second))
    wait_for("the third password", lambda: logs_in(system, "life@login.example", third))
    assert "is disabled" in do("disable")
    wait_for("535", lambda: not logs_in(system, "life@login.example", third))
    assert "is enabled" in do("enable")
    wait_for("no 535", lambda: logs_in(system, "life@login.example", third))
    assert "is deleted" in do("delete")
    assert "is deleted already" in do("delete")
    assert "is taken" in call(
        system.folder, "accounts", "create", "life@login.example", "--phone", "+46700000002", *STATE, code=1
    )
    entries = json.loads(call(system.folder, "audit", "life@login.example", "--json", *STATE))
    done = ["create", "rotate", "rotate now", "disable", "enable", "delete", "delete", "create"]
    assert [each["action"] for each in entries] == done
    assert [each["result"] for each in entries[:-1]] == ["done"] * 6 + ["unchanged"]
    assert "is taken" in entries[-1]["result"]
    assert {each["actor"] for each in entries} == {"this machine"}
    assert "+46700000002" not in json.dumps(entries)
    kept = "".join(each.read_text() for each in Path(system.state["logs"]).glob("*.log")) + tables(system)
    assert kept.count("life@login.example") > 10
    plain = [base64.b64encode(f"\0life@login.example\0{each}".encode()).decode() for each in (first, second, third)]
    assert not [each for each in (first, second, third, *plain) if each in kept]


def tables(system: LocalSystem) -> str:
    """Every item of every table, as JSON; binary values as they are."""
    dynamodb = system.client("dynamodb")
    pages = [
        page["Items"]
        for name in system.state["tables"].values()
        for page in dynamodb.get_paginator("scan").paginate(TableName=name)
    ]
    return json.dumps(pages, default=lambda value: value.decode("latin-1"))


def fates(system: LocalSystem, id: str) -> dict[str, str]:
    whole = json.loads(call(system.folder, "trace", id, "--json", *STATE))
    return {each["recipient"]: each["state"] for each in whole["recipients"]}


def recorded(system: LocalSystem, id: str, *states: str) -> None:
    """Wait until the message's recipients are in these states, in any order."""

    def there() -> bool:
        return bool(list(filter(lambda row: row["id"] == id, system.rows()))) and sorted(
            fates(system, id).values()
        ) == sorted(states)

    wait_for(f"{id} to be {states}", there)


def test_cancel_ends_the_attempts(system: LocalSystem) -> None:
    id = system.submit("news@proved.example", ["full@in.example", "ok@in.example"], message("cancelled"))
    recorded(system, id, "deferred", "delivered")

    def cancelled() -> bool:  # not while an attempt is under way
        done = subprocess.run([mailrelay(), "cancel", id, *STATE], cwd=system.folder, capture_output=True, text=True)
        assert "cancelled: full@in.example" in done.stdout or "being sent right now" in done.stdout
        return done.returncode == 0

    wait_for("the cancellation", cancelled)
    recorded(system, id, "cancelled", "delivered")
    attempts = len([row for row in system.rows() if row["id"] == id])
    # the attempt that was queued comes, finds that it is over, and ends
    wait_for("empty queues", lambda: not any(system.depth(f"{name}Queue") for name in ("Deliver", "Record")))
    assert len([row for row in system.rows() if row["id"] == id]) == attempts
    text = call(system.folder, "trace", id, *STATE)
    assert "full@in.example: cancelled\n" in text
    assert "452 4.2.2 Mailbox full" in text
    assert "next try" not in text
    assert (
        "Nothing was left to cancel."
        in subprocess.run([mailrelay(), "cancel", id, *STATE], cwd=system.folder, capture_output=True, text=True).stdout
    )


def test_check_mend_resend(system: LocalSystem) -> None:
    """Refused for its DNS; `check` says what to publish and sees it come; published, the message goes out again."""
    content = message("mended", sender="news@mended.example")
    id = "01931e3c-8f6e-7c1a-9b6e-6f0c3f0d9a11"
    system.client("sqs").send_message(  # as if DNS hadn't answered the session in time
        QueueUrl=system.state["queues"]["ValidateQueue"],
        MessageBody=encode_submission(
            Submission(id, USER, "news@mended.example", ("m@in.example",), time.time(), Inline(content))
        ),
        MessageGroupId=USER,
    )
    recorded(system, id, "rejected")
    text = call(system.folder, "trace", id, *STATE)
    assert "mended.example: failed, decided " in text
    assert "DMARC: no: mended.example has no DMARC record\n" in text
    watch = subprocess.Popen(
        [mailrelay(), "check", USER, "--domain", "mended.example", "--watch", "--json", *STATE],
        cwd=system.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    with watch:
        assert watch.stdout
        first = json.loads(watch.stdout.readline())
        assert (first["accepted"], first["relay"]["standing"]) == (False, "refused")
        records = [each["publish"] for each in first["records"]]
        assert len(records) == 3
        with (system.folder / "zone").open("a") as zone:
            zone.writelines(f'{each["name"]}. 1 IN {each["type"]} "{each["value"]}"\n' for each in records)
        changes = [json.loads(line)["accepted"] for line in watch.stdout]
    assert changes[-1] is True
    assert watch.returncode == 0
    again: dict[str, str] = {}

    def accepted() -> bool:  # validate may remember its no for some seconds
        again.update(json.loads(call(system.folder, "resend", id, "--json", *STATE)))
        assert again["resent"] == id
        assert again["recipients"] == ["m@in.example"]
        wait_for("its fate", lambda: [row for row in system.rows() if row["id"] == again["id"]])
        return fates(system, again["id"]) == {"m@in.example": "delivered"}

    wait_for("the second time", accepted)
    (mail,) = [mail for mail in system.sunk() if mail.rcpt_to == ["m@in.example"]]
    assert mail.content.endswith(content)
    proof = json.loads(call(system.folder, "trace", again["id"], "--json", *STATE))["proof"]
    (receipt,) = proof["receipts"]
    assert receipt["passed"]
    assert [each["name"] for each in receipt["answers"]][:2] == ["mended.example", "_dmarc.mended.example"]
    assert any("DKIM" in warning for warning in proof["warnings"])
    refused = call(system.folder, "resend", id, "--to", "x@in.example", *STATE, code=1)
    assert refused == "mailrelay: x@in.example is not among the recipients: m@in.example\n"


def test_check_of_a_domain_that_is_right(system: LocalSystem) -> None:
    assert "Yes: all is right." in call(system.folder, "check", USER, "--domain", "proved.example", *STATE)
    assert (
        "nothing"
        in subprocess.run(
            [mailrelay(), "check", USER, "--domain", "unproved.example", *STATE],
            cwd=system.folder,
            capture_output=True,
            text=True,
        ).stdout
    )


def test_check_by_the_rules_and_the_memory_of_the_relay(system: LocalSystem) -> None:
    """By its stack: the parameters come from there."""
    id = system.submit("news@proved.example", ["r@in.example"], message("remembered"))
    recorded(system, id, "delivered")
    environment = {
        "AWS_ENDPOINT_URL": system.state["aws_endpoint"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    stack = ["--stack", "mailrelay", "--region", system.state["region"], "--dns", system.state["dns"]]
    said = json.loads(call(system.folder, "check", USER, "--domain", "proved.example", "--json", *stack, **environment))
    assert said["relay"]["standing"] == "passed"
    assert "answers" not in said["relay"]
    text = call(system.folder, "check", USER, "--domain", "proved.example", "--receipt", *STATE)
    assert "The relay's own last verdict: passed\n" in text
    assert "    v=DMARC1; p=none\n" in text.partition("What DNS said:")[2]
    assert max(map(len, text.splitlines())) <= 80


def test_the_same_system_by_its_stack(system: LocalSystem) -> None:
    """As a deployed one is: by CloudFormation's outputs, with the caller's own credentials."""
    environment = {
        "AWS_ENDPOINT_URL": system.state["aws_endpoint"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    stack = ["--stack", "mailrelay", "--region", system.state["region"]]
    status = json.loads(call(system.folder, "status", "--json", *stack, **environment))
    assert status["gateway"] is None
    assert [each["queue"] for each in status["queues"]] == ["validate", "deliver", "record"]
    id = system.submit("news@proved.example", ["full@in.example", "nobody-2@in.example"], message("by stack"))
    recorded(system, id, "deferred", "bounced")
    again = json.loads(call(system.folder, "resend", id, "--json", *stack, **environment))
    assert again["recipients"] == ["nobody-2@in.example"]
    assert call(system.folder, "dlq", "redrive", *stack, **environment) == "There is nothing to put back.\n"
    assert "bounced" in call(system.folder, "trace", id, *stack, **environment)


def test_dead_letters_and_status(system: LocalSystem) -> None:
    """Put straight onto the dead-letter queue: the way there takes minutes (test_whole_way.py goes it)."""
    url = system.state["queues"]["ValidateDeadLetterQueue"]
    poison = json.dumps({"v": 1, "kind": "submission", "id": "poisoned", "content": {"base64": "secret"}})
    system.client("sqs").send_message(QueueUrl=url, MessageBody=poison)
    status = json.loads(call(system.folder, "status", "--json", *STATE))
    assert status["gateway"]["greeting"].startswith("220 ")
    assert [each["dead"] for each in status["queues"]] == [1, 0, 0]
    assert status["last_hour"]["delivered"] >= 1
    validate, *others = json.loads(call(system.folder, "dlq", "list", "--json", *STATE))
    assert not any(each["count"] for each in others)
    (letter,) = validate["messages"]
    assert letter["id"] == "poisoned"
    assert letter["why"].startswith("unreadable submission")
    shown = call(system.folder, "dlq", "show", "poisoned", *STATE)
    assert letter["message_id"] in shown
    assert "secret" not in shown
    system.client("sqs").send_message(  # beside it one that is well
        QueueUrl=url,
        MessageBody=encode_submission(
            Submission(
                "01931e3c-8f6e-7c1a-9b6e-6f0c3f0d9a10",
                USER,
                "news@proved.example",
                ("redriven@in.example",),
                time.time(),
                Inline(message("redriven")),
            )
        ),
        MessageGroupId=USER,
    )
    assert call(system.folder, "dlq", "redrive", "validate", *STATE) == "validate: 2 messages put back\n"
    wait_for("the good one", lambda: ("redriven", "redriven@in.example") in marks(system.sunk()))
    assert system.depth("ValidateDeadLetterQueue") == 0
    text = call(system.folder, "status", *STATE)
    assert max(map(len, text.splitlines())) <= 80


def test_a_system_that_has_gone(system: LocalSystem, tmp_path: Path) -> None:
    state = {**system.state, "aws_endpoint": "http://127.0.0.1:1"}
    (tmp_path / "state.json").write_text(json.dumps(state))
    said = call(tmp_path, "messages", "--account", USER, "--state-file", "state.json", code=1)
    assert said.startswith("mailrelay: the local system of state.json does not answer: ")
    assert said.endswith("; is `mailrelay local` still running?\n")


def test_the_demo(tmp_path: Path) -> None:
    said = call(tmp_path, "demo")
    for words in (
        "SMS to +46701234567",
        "elastx-mrs=",
        "451 4.7.1 Greylisted",
        "550 5.1.1 No such user here",
        "the DKIM\nsignature verifies",
        "    run: mailrelay check app@corp.example --domain partner.example\n",
        "8 of 8 messages ended as they should.",
    ):
        assert words in said
    assert max(map(len, said.splitlines())) <= 80
    assert sorted(path.name for path in (tmp_path / ".local" / "demo").iterdir()) == ["demo.zone", "state-files"]
