"""What an account may send, through the whole local system: limits over two gateway processes, and the pause."""

import json
import smtplib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system import (
    USER,
    LocalSystem,
    gateway_environment,
    local_system,
    mailrelay,
    message,
    submit_on,
    wait_for,
)

BOTH = 2  # gateways
LIMIT = 12
GONE = 4  # recipients that bounce until the account is paused


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    parameters = {"BouncePauseLeast": str(GONE), "BouncePausePercent": "50"}
    options = [word for name, value in parameters.items() for word in ("--parameter", f"{name}={value}")]
    with local_system("--clock-speed", "100", *options) as running:
        yield running


@pytest.fixture(scope="module")
def ports(system: LocalSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Of the system's gateway, and of another one beside it."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    environment = {
        **gateway_environment(system),
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_TLS_LISTEN": "127.0.0.1:0",
        "GATEWAY_WORKERS": "1",
    }
    with log.open("wb") as out:
        import sys

        second = subprocess.Popen([sys.executable, "-m", "smtp_gateway"], env=environment, stdout=out, stderr=out)

    def listening() -> dict[str, Any] | None:
        events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"event":"listening"')]
        return events[0] if events else None

    try:
        yield [system.state["port"], wait_for("the second gateway", listening)["port"]]
    finally:
        second.terminate()
        second.wait(30)


def call(system: LocalSystem, *argv: str) -> str:
    done = subprocess.run(
        [mailrelay(), *argv, "--state-file", "state.json"],
        cwd=system.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(client: smtplib.SMTP) -> str:
    """What MAIL is answered, and the transaction ended."""
    code, text = client.mail("news@proved.example")
    client.rset()
    return f"{code} {text.decode()}"


def test_a_day_s_messages_over_two_gateways(system: LocalSystem, ports: list[int]) -> None:
    call(system, "accounts", "limits", USER, "--per-day", str(LIMIT))
    taken, refused = 0, []
    with system.connect(port=ports[0]) as first, system.connect(port=ports[1]) as second:
        for number in range(2 * LIMIT):
            client = (first, second)[number % BOTH]
            try:
                submit_on(client, "news@proved.example", [f"ok-{number}@in.example"], message(f"quota-{number}"))
                taken += 1
            except AssertionError as error:
                refused.append(str(error))
                client.rset()
    assert taken == LIMIT
    assert len(refused) == LIMIT
    with system.connect(port=ports[1]) as client:
        assert told(client).startswith(f"451 4.7.0 {LIMIT} messages of this account today (UTC) are all; try again in ")

    def used() -> bool:  # what is left of leases has been given back
        (today,) = json.loads(call(system, "usage", USER, "--json"))
        return (today["messages"], today["limit"]) == (LIMIT, LIMIT)

    wait_for("the count", used)
    wait_for(
        "the mail", lambda: len([mail for mail in system.sunk() if "quota-" in (mail.parsed["X-Mark"] or "")]) == LIMIT
    )
    call(system, "accounts", "limits", USER, "--per-day", "default")


def test_an_account_whose_mail_bounces_is_paused_and_resumed(system: LocalSystem, ports: list[int]) -> None:
    topic = next(
        each["TopicArn"] for each in system.client("sns").list_topics()["Topics"] if "OperatorTopic" in each["TopicArn"]
    )
    sqs = system.client("sqs")
    url = sqs.create_queue(QueueName="operator")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    system.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    # the messages of the other test were delivered today, too: half of all is more than these
    gone = [f"nobody-{number}@in.example" for number in range(LIMIT + GONE)]

    def unlimited() -> str:
        try:
            return system.submit("news@proved.example", gone, message("gone"))
        except AssertionError:  # this worker doesn't know of the higher limit yet
            return ""

    wait_for("the higher limit", unlimited, 100.0)

    def paused() -> dict[str, Any] | None:
        shown = json.loads(call(system, "accounts", "show", USER, "--json"))
        return dict(shown["paused"]) if shown["paused"] else None

    pause = wait_for("the pause", paused)
    assert GONE <= pause["bounced"] <= pause["finished"] <= 2 * pause["bounced"]

    def letter() -> str:
        bodies = [each["Body"] for each in sqs.receive_message(QueueUrl=url).get("Messages", ())]
        return "".join(json.loads(body)["Message"] for body in bodies)

    assert f"mailrelay accounts resume {USER}" in wait_for("the operator's message", letter)
    assert "1 of them paused" in call(system, "status")
    (entry,) = [each for each in json.loads(call(system, "audit", USER, "--json")) if each["action"] == "pause"]
    assert entry["actor"] == "the relay"

    waiting = system.enqueue("news@proved.example", ["ok-waits@in.example"], message("waits"))

    def states() -> set[str]:
        return {f"{row['state']} {row['enhanced']}" for row in system.rows() if row["id"] == waiting}

    wait_for("the mail to wait", lambda: "deferred 4.7.13" in states(), 100.0)

    def refused() -> bool:
        with system.connect(port=ports[1]) as client:
            return told(client).startswith("451 4.7.13 This account is paused: ")

    wait_for("the gateway to know", refused, 100.0)

    call(system, "accounts", "resume", USER)
    wait_for("the mail to go on", lambda: "delivered 2.0.0" in states(), 100.0)

    def resumed() -> bool:
        with system.connect(port=ports[1]) as client:
            return told(client).startswith("250")

    wait_for("the gateway to know of that", resumed, 100.0)
