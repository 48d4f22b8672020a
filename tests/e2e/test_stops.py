"""What is not sent, through the whole local system: dead addresses, cancelled messages, disabled accounts."""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from relay.encoding import encode_submission
from relay.ids import new_id
from relay.submission import Inline, Submission
from tests.system import USER, LocalSystem, local_system, mailrelay, message, wait_for


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system("--clock-speed", "100") as running:
        yield running


def call(system: LocalSystem, *argv: str, code: int = 0) -> str:
    done = subprocess.run(
        [mailrelay(), *argv, "--state-file", "state.json"],
        cwd=system.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def newest(system: LocalSystem, id: str) -> dict[str, str]:
    rows = sorted((row for row in system.rows() if row["id"] == id), key=lambda row: float(row["time"]))
    return {row["recipient"]: row["state"] for row in rows}


def becomes(system: LocalSystem, id: str, states: dict[str, str]) -> None:
    wait_for(f"{id} to be {states}", lambda: newest(system, id) == states)


def test_a_disabled_account_s_mail_waits_until_it_is_enabled(system: LocalSystem) -> None:
    """First of all: deliver remembers nothing of the account yet."""

    def disabled(value: bool) -> None:
        system.client("dynamodb").update_item(
            TableName=system.state["tables"]["AccountsTable"],
            Key={"user": {"S": USER.lower()}},
            UpdateExpression="SET disabled = :value",
            ExpressionAttributeValues={":value": {"BOOL": value}},
        )

    disabled(True)
    id = system.enqueue("news@proved.example", ["waits@in.example"], message("waits"))
    becomes(system, id, {"waits@in.example": "deferred"})
    (row, *_) = (row for row in system.rows() if row["id"] == id)
    assert (row["enhanced"], row["failure"]) == ("4.7.13", "policy")
    disabled(False)
    becomes(system, id, {"waits@in.example": "delivered"})


def test_a_dead_address_costs_its_server_one_question(system: LocalSystem) -> None:
    first = system.submit("news@proved.example", ["nobody-s@in.example", "ok-s@in.example"], message("first"))
    becomes(system, first, {"nobody-s@in.example": "bounced", "ok-s@in.example": "delivered"})
    (listed,) = json.loads(call(system, "suppressions", "list", "--account", USER, "--json"))
    assert (listed["address"], listed["by"], listed["id"]) == ("nobody-s@in.example", "server", first)
    second = system.submit("news@proved.example", ["Nobody-s@in.example", "ok-s@in.example"], message("second"))
    becomes(system, second, {"Nobody-s@in.example": "suppressed", "ok-s@in.example": "delivered"})
    (row,) = (row for row in system.rows() if row["id"] == second and row["state"] == "suppressed")
    assert (row["failure"], row["remote"]) == ("address", "")

    def told() -> bool:
        return any(b"No server was asked" in mail.content for mail in system.sunk() if not mail.mail_from)

    wait_for("the notice", told)
    call(system, "suppressions", "remove", "nobody-s@in.example", "--account", USER)
    third = system.submit("news@proved.example", ["nobody-s@in.example"], message("third"))
    becomes(system, third, {"nobody-s@in.example": "bounced"})


def test_a_message_cancelled_before_its_first_attempt(system: LocalSystem) -> None:
    now = time.time()
    id = new_id(now, USER)
    assert "if it was sent just now, it ends when its turn comes" in call(system, "cancel", id, code=1)
    submission = Submission(id, USER, "news@proved.example", ("a@in.example",), now, Inline(message("never")))
    url = system.state["queues"]["ValidateQueue"]
    system.client("sqs").send_message(QueueUrl=url, MessageBody=encode_submission(submission), MessageGroupId=USER)
    becomes(system, id, {"a@in.example": "cancelled"})
    assert "never" not in str([mail.content for mail in system.sunk()])
