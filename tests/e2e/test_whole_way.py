"""From an app's SMTP session to a recorded outcome, through the real template, handlers and sockets."""

import json
import os
import signal
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest

from tests.system import (
    PASSWORD,
    USER,
    LocalSystem,
    Mail,
    local_system,
    mailrelay,
    marks,
    message,
    submit_on,
    wait_for,
)


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system("--clock-speed", "150") as running:
        put_poison(running)
        yield running


def put_poison(system: LocalSystem) -> None:
    with system.connect() as client:
        for number in range(10):
            if number == 5:
                url = system.state["queues"]["ValidateQueue"]
                system.client("sqs").send_message(QueueUrl=url, MessageBody="not ours")
            submit_on(client, "news@proved.example", [f"h{number}@in.example"], message(f"beside-poison-{number}"))


def states(system: LocalSystem, id: str, recipients: int = 1) -> dict[str, str]:
    """{recipient: its newest state} as `mailrelay trace` tells it, once there are as many and every one is final."""
    newest: dict[str, str] = {}
    for row in sorted((row for row in system.rows() if row["id"] == id), key=lambda row: float(row["time"])):
        newest[row["recipient"]] = row["state"]
    return newest if len(newest) >= recipients and "deferred" not in newest.values() else {}


def notices(system: LocalSystem, to: str) -> list[Mail]:
    return [mail for mail in system.sunk() if mail.mail_from == "" and mail.rcpt_to == [to]]


def test_delivered_byte_for_byte_below_the_trace_header(system: LocalSystem) -> None:
    content = message(
        "bytes", body=".leading dot\r\n..two\r\n \ttrailing blank \r\n\xe5\xe4\xf6\r\n\r\nno line end after this:"
    )
    id = system.submit("news@proved.example", ["a@in.example", "b@other.example"], content)
    assert wait_for("final states", lambda: states(system, id, 2)) == {
        "a@in.example": "delivered",
        "b@other.example": "delivered",
    }
    taken = [mail for mail in system.sunk() if mail.parsed["X-Mark"] == "bytes"]
    assert sorted(mail.rcpt_to for mail in taken) == [["a@in.example"], ["b@other.example"]]
    for mail in taken:
        trace, _, rest = mail.content.partition(b"\r\nFrom: ")
        assert trace.startswith(b"Received: ")
        assert id.encode() in trace
        assert b"From: " + rest in (content, content + b"\r\n")  # SMTP ends every message with CRLF


def test_greylisted_then_delivered(system: LocalSystem) -> None:
    id = system.submit("news@proved.example", ["greylist-1@in.example"], message("grey"))
    assert wait_for("final states", lambda: states(system, id)) == {"greylist-1@in.example": "delivered"}
    assert marks(system.sunk())["grey", "greylist-1@in.example"] == 1
    rows = [row for row in system.rows() if row["id"] == id]
    assert sorted(row["state"] for row in rows) == ["deferred", "delivered"]


def test_bounced_and_told_once(system: LocalSystem) -> None:
    id = system.submit("news@proved.example", ["nobody-1@in.example", "c@in.example"], message("bounce"))
    assert wait_for("final states", lambda: states(system, id, 2)) == {
        "nobody-1@in.example": "bounced",
        "c@in.example": "delivered",
    }
    (notice,) = wait_for("the notice", lambda: notices(system, "news@proved.example"))
    assert notice.parsed.get_content_type() == "multipart/report"
    assert b"nobody-1@in.example" in notice.content
    assert b"550" in notice.content
    wait_for("empty queues", lambda: system.depth("DeliverQueue") + system.depth("RecordQueue") == 0)
    assert len(notices(system, "news@proved.example")) == 1


def test_refused_for_dns_with_the_record_to_publish(system: LocalSystem) -> None:
    """By the queue; test_session_verdicts.py has the session's refusal."""
    id = system.enqueue("news@unproved.example", ["d@in.example"], message("refused", sender="news@unproved.example"))
    assert wait_for("final states", lambda: states(system, id)) == {"d@in.example": "rejected"}
    (row,) = [row for row in system.rows() if row["id"] == id]
    assert "elastx-mrs=" in row["text"]
    assert "v=spf1 include:" in row["text"]
    assert ("refused", "d@in.example") not in marks(system.sunk())
    (notice,) = wait_for("the notice", lambda: notices(system, USER))  # to the login, not to the unproved address
    assert b"elastx-mrs=" in notice.content


def test_a_signature_survives(system: LocalSystem) -> None:
    signed = (Path(__file__).parents[1] / "messages" / "dkim.eml").read_bytes()
    record = (Path(__file__).parents[1] / "messages" / "dkim.txt").read_bytes().strip()
    id = system.submit("news@proved.example", ["e@in.example"], signed)
    wait_for("final states", lambda: states(system, id))
    (mail,) = [mail for mail in system.sunk() if mail.rcpt_to == ["e@in.example"]]
    assert dkim.verify(mail.content, dnsfunc=lambda *_, **__: record)


def test_large_content_goes_by_reference(system: LocalSystem) -> None:
    content = message("large", body="0123456789abcdef" * 4 * 80_000 + "\r\n")
    content = content[:600] + b"".join(
        content[start : start + 900] + b"\r\n" for start in range(600, len(content), 900)
    )
    id = system.submit("news@proved.example", ["f@in.example"], content)
    assert wait_for("final states", lambda: states(system, id)) == {"f@in.example": "delivered"}
    (mail,) = [mail for mail in system.sunk() if mail.rcpt_to == ["f@in.example"]]
    assert mail.content.endswith(content)


def test_trace_and_messages_tell_the_fate(system: LocalSystem) -> None:
    id = system.submit("news@proved.example", ["g@in.example"], message("told"))
    wait_for("final states", lambda: states(system, id))
    assert "delivered" in str(system.trace(id))
    shown = subprocess.run(
        [mailrelay(), "messages", "--account", USER, "--state", "delivered"]
        + ["--state-file", str(system.folder / "state.json")],
        env={"COLUMNS": "80", "PATH": "/usr/bin:/bin"},
        cwd=system.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "g@in.example" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("user", "password"),
    [(USER, "wrong"), ("nobody@login.example", PASSWORD), (USER.upper(), "wrong")],
    ids=["wrong password", "unknown user", "wrong password, other case"],
)
def test_wrong_credentials_get_one_answer(system: LocalSystem, user: str, password: str) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        system.connect(user, password)
    assert caught.value.smtp_code == 535
    assert caught.value.smtp_error == b"5.7.8 User name or password wrong"


def test_an_unreadable_message_ends_in_the_dead_letter_queue(system: LocalSystem) -> None:
    """It was put among ten others before the other tests ran (fixture `system`); they are unharmed."""
    beside = {(f"beside-poison-{number}", f"h{number}@in.example") for number in range(10)}
    wait_for("the rest of the batch", lambda: beside <= marks(system.sunk()).keys())
    wait_for("the dead letter", lambda: system.depth("ValidateDeadLetterQueue") == 1, 200)
    dlq = [mailrelay(), "dlq", "redrive", "--json", "--state-file", str(system.folder / "state.json")]
    done = subprocess.run(dlq, capture_output=True, text=True, check=True)
    assert {each["queue"]: each["moved"] for each in json.loads(done.stdout)} == {
        "validate": 1,
        "deliver": 0,
        "record": 0,
    }
    assert (system.depth("ValidateQueue"), system.depth("ValidateDeadLetterQueue")) == (1, 0)


def test_nothing_is_left_behind() -> None:
    with local_system() as running:
        pids = list(running.state["pids"].values())
        endpoint = running.state["aws_endpoint"]
        assert pids
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) is not None
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert endpoint
