"""The code paths of all functions and the gateway, on a local system whose AWS asks each caller's role."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import boto3

from bench.writes import moto
from local.stack import REGION, STACK_NAME
from tests.iam.gate import Gate
from tests.iam.roles import Roles
from tests.system import USER, LocalSystem, local_system, mailrelay, message, wait_for, zone

LIFE = "life@login.example"
SIGNED = "proved.example"


@contextmanager
def gated() -> Iterator[tuple[LocalSystem, Gate, Roles]]:
    """The system, the gate with every role in force, and the roles."""
    with moto() as (endpoint, _):
        where = urlsplit(endpoint)
        gate = Gate((where.hostname or "", where.port or 0))
        try:
            options = ["--aws-endpoint", gate.url, "--clock-speed", "100"]
            options += ["--parameter", "BouncePauseLeast=2", "--parameter", "BouncePausePercent=50"]
            with local_system(*options) as system:
                roles = Roles(resources(endpoint))
                gate.roles = roles.statements()
                try:
                    yield system, gate, roles
                except AssertionError as error:  # which says only what never came, not why
                    for key, action, resource in sorted(gate.denied):
                        error.add_note(f"denied: {key} {action} on {roles.name_of(resource)}")
                    raise
        finally:
            gate.close()


def resources(endpoint: str) -> dict[str, tuple[str, str]]:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("cloudformation", region_name=REGION, endpoint_url=endpoint, **keys)
    found = client.list_stack_resources(StackName=STACK_NAME)["StackResourceSummaries"]
    named = (each for each in found if each["LogicalResourceId"])
    return {each["LogicalResourceId"]: (each["ResourceType"], each["PhysicalResourceId"]) for each in named}


def everything(system: LocalSystem) -> None:
    """Each thing that the relay does, once."""
    _mail(system)
    _accounts(system)
    _signing(system)
    _refusals(system)
    _pause(system)


def call(system: LocalSystem, *argv: str) -> str:
    command = [mailrelay(), *argv, "--state-file", str(system.folder / "state.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _states(system: LocalSystem, id: str) -> set[str]:
    return {row["state"] for row in system.rows() if row["id"] == id}


def _mail(system: LocalSystem) -> None:
    """Delivered, put off, bounced, large, cancelled."""
    to = ["ok@in.example", "full@in.example", "nobody@in.example"]
    first = system.submit(f"news@{SIGNED}", to, message("first"))
    large = system.submit(f"news@{SIGNED}", ["ok@in.example"], message("large", body="A line of noise.\r\n" * 200_000))
    wait_for("three fates", lambda: {"delivered", "deferred", "bounced"} <= _states(system, first))
    wait_for("the large one", lambda: "delivered" in _states(system, large))
    call(system, "cancel", first)
    wait_for("the notice", lambda: [mail for mail in system.sunk() if not mail.mail_from])


def _accounts(system: LocalSystem) -> None:
    call(system, "accounts", "create", LIFE, "--phone", "+46701234567")
    for action in ("show", "rotate", "disable", "enable", "resume", "delete"):
        call(system, "accounts", action, LIFE)
    call(system, "accounts", "limits", USER, "--per-day", "100000")
    call(system, "accounts", "list")


def _signing(system: LocalSystem) -> None:
    record = call(system, "dkim", "enable", SIGNED, "--zone")
    fresh = Path(system.folder / "zone.new")
    fresh.write_text(zone() + record)
    fresh.replace(system.folder / "zone")

    def signed() -> bool:
        system.submit(f"news@{SIGNED}", ["ok@in.example"], message("signed"))
        return any(b"DKIM-Signature" in mail.content for mail in system.sunk())

    wait_for("a signature", signed)
    call(system, "dkim", "disable", SIGNED)


def _refusals(system: LocalSystem) -> None:
    """What validate refuses, the sender being unknown to DNS when it is asked."""
    id = system.enqueue("news@unproved.example", ["ok@in.example"], message("refused", sender="news@unproved.example"))
    wait_for("the refusal", lambda: "rejected" in _states(system, id))


def _pause(system: LocalSystem) -> None:
    gone = [f"nobody-{number}@in.example" for number in range(60)]
    system.submit(f"news@{SIGNED}", gone, message("gone"))
    wait_for("the pause", lambda: json.loads(call(system, "accounts", "show", USER, "--json"))["paused"])
    wait_for("the letter", lambda: [mail for mail in system.sunk() if b"Your mail waits" in mail.content])
    call(system, "accounts", "resume", USER)
