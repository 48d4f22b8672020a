"""docs/log.md lists each event with its fields, each metric, and nothing else. And what never gets into the log."""

import asyncio
import base64
import inspect
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from relay.errors import TemporaryError
from smtp_gateway import replies
from smtp_gateway.log import Log
from smtp_gateway.metrics import Count, Reason, Time
from smtp_gateway.replies import Reply
from tests.fakes import FakeClock
from tests.gateway import Gateway, Wire, running

DOC = Path(__file__).parents[3] / "docs" / "log.md"
ROW = re.compile(r"\| `(\w+)` \|([^|]*)\|([^|]*)\|")
ALWAYS = {"event", "time"}
SAMPLES: dict[object, object] = {
    str: "x",
    int: 1,
    int | None: 1,
    float: 1.5,
    Reply: replies.LOOP,
    OSError: OSError(12, "Cannot allocate memory"),
    BaseException: TemporaryError("away", detail="AWS.Word"),
}
METHODS = [name for name, _ in inspect.getmembers(Log, inspect.isfunction) if not name.startswith("_")]


def section(title: str) -> list[tuple[str, str, str]]:
    text = DOC.read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return ROW.findall(text)


def logged(method: str) -> dict[str, Any]:
    """What it writes when it is given something for each of its parameters."""
    lines: list[str] = []
    call = getattr(Log(FakeClock(), lines.append), method)
    call(**{name: SAMPLES[kind] for name, kind in get_type_hints(call).items() if name != "return"})
    (line,) = lines
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    event: dict[str, Any] = json.loads(line)
    return event


@pytest.mark.parametrize("method", METHODS)
def test_each_event_is_listed_with_its_fields(method: str) -> None:
    event = logged(method)
    fields = {name: re.findall(r"`(\w+)`", cell) for name, cell, _ in section("Events")}
    if event["event"] == "metrics":
        assert fields["metrics"] == ["_aws", "service"]
    else:
        assert fields[event["event"]] == [name for name in event if name not in ALWAYS]


def test_nothing_else_is_listed() -> None:
    assert [name for name, _, _ in section("Events")] == list(dict.fromkeys(name for name, _, _ in section("Events")))
    assert {name for name, _, _ in section("Events")} == {logged(method)["event"] for method in METHODS}


def test_each_metric_is_listed_with_its_unit_and_nothing_else() -> None:
    log = Log(FakeClock(), [].append)
    for what in Time:
        log.metrics.time(what, 1.0)
    (directive,) = log.metrics.take(1.0, 0)["_aws"]["CloudWatchMetrics"]
    made = {each["Name"]: each["Unit"] for each in directive["Metrics"]}
    rows = {
        name: cell.strip() for name, cell, _ in section("Metrics") if cell.strip() in {"Count", "Bytes", "Milliseconds"}
    }
    assert rows == made
    text = DOC.read_text("utf-8")
    assert set(re.findall(r"\| `(Refusals\w+)` \|", text)) == {Count.REFUSALS + why for why in Reason}


def encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())


SECRETS = {
    "password": "wrong-horse",
    "name": "typed-my-password-here",
    "login password": "login-horse",
    "recipient": "private-recipient",
    "refused recipient": "strange-recipient",
    "sender": "private-sender",
    "subject": "private-subject",
    "body": "private-body",
    "bad command": "private-command",
    "hello": "janes-laptop",
}


async def talk(gateway: Gateway) -> None:
    """What goes well, what is refused, and what nobody understands."""
    wire = await Wire.open(gateway.tls_port, tls=True)
    await wire.reply()
    await wire.ask(b"EHLO janes-laptop.example")
    await wire.ask(b"AUTH PLAIN " + encoded(f"\0{SECRETS['name']}\0{SECRETS['password']}"))
    await wire.ask(b"AUTH LOGIN")
    await wire.ask(encoded(SECRETS["name"]))
    await wire.ask(encoded(SECRETS["login password"]))
    await wire.ask(b"QUIT")
    wire = await Wire.logged_in(gateway)
    await wire.ask(b"private-command AND private-body")
    for header in (b"Subject: private-subject\r\nFrom: private-sender@example.com", b"private-subject: no From"):
        await wire.ask(b"MAIL FROM:<private-sender@example.com>")
        await wire.ask(b"RCPT TO:<private-recipient@b.example>")
        await wire.ask(b"RCPT TO:<strange-recipient@@b.example>")
        await wire.ask(b"DATA")
        await wire.ask(header + b"\r\n\r\nprivate-body\r\n.")
    await wire.ask(b"QUIT")


def test_no_secret_and_no_content_is_logged() -> None:
    async def main() -> list[str]:
        async with running(Gateway()) as gateway:
            await talk(gateway)
        gateway.site.log.measured(open_sessions=0)
        return gateway.lines

    lines = asyncio.run(main())
    events = [json.loads(line)["event"] for line in lines]
    assert (events.count("auth_failed"), events.count("submitted"), events.count("refused")) == (2, 1, 4)
    log = "".join(lines)
    for secret in SECRETS.values():
        assert secret not in log
        assert encoded(secret).decode().rstrip("=") not in log


def test_sessions_and_times_are_counted() -> None:
    async def main() -> dict[str, Any]:
        async with running(Gateway()) as gateway:
            await talk(gateway)
        return gateway.site.log.metrics.take(1.0, 0)

    taken = asyncio.run(main())
    assert (taken["Sessions"], taken["Logins"], taken["FailedLogins"], taken["Messages"]) == (2, 1, 2, 1)
    assert (taken["TimeTo250"]["Count"], taken["QueueLatency"]["Count"]) == (1, 1)
    assert taken["TimeTo250"]["Min"] >= taken["QueueLatency"]["Min"]
    assert (taken["Refusals"], taken["RefusalsAddress"], taken["RefusalsProtocol"], taken["RefusalsContent"]) == (
        4,
        2,
        1,
        1,
    )
