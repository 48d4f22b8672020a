"""Notices as Perl's readers of bounces understand them: MIME::Parser and Mail::DeliveryStatus::BounceParser."""

import subprocess
from functools import cache
from pathlib import Path

import pytest

from relay import notice
from relay.notice import Facts
from relay.outcome import Outcome, Report, State
from relay.submission import Dsn

SCRIPT = Path(__file__).parent / "read_notice.pl"
HEADER = b"From: app@shop.example\r\nSubject: Your order\r\nMessage-ID: <order-42@shop.example>\r\n"
FULL = HEADER + b"\r\nThe body.\r\n"
HEADERS = ["text/plain", "message/delivery-status", "text/rfc822-headers"]
WHOLE = ["text/plain", "message/delivery-status", "message/rfc822"]

UNKNOWN = Outcome(
    "nobody@there.example", State.BOUNCED, 1_800_000_200.0, 1, 550, "5.1.1", "No such user", "mx.there.example[::1]"
)
FULL_BOX = UNKNOWN._replace(recipient="full@there.example", code=552, enhanced="5.2.2", text="Mailbox full")
DELAYED = FULL_BOX._replace(state=State.DEFERRED, code=452, enhanced="4.2.2", next_due=1_800_014_400.0)
RELAYED = UNKNOWN._replace(state=State.DELIVERED, code=250, enhanced="2.0.0", text="OK")
EVIL = UNKNOWN._replace(text="no\r\n\r\nFinal-Recipient: rfc822; other@x.example\r\nAction: failed\x1b[2J" + "!" * 2000)


@cache
def absent() -> str:
    """Why the test can't be run, "" if it can."""
    modules = ["-MMIME::Parser", "-MMail::DeliveryStatus::BounceParser"]
    try:
        done = subprocess.run(["perl", *modules, "-e", "1"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no perl"
    return "" if done.returncode == 0 else f"Perl's parsers: {done.stderr.partition(' (')[0]}"


def read(*told: Outcome, original: bytes = b"") -> dict[str, list[str]]:
    """What the script printed, by its lines' first word."""
    if why := absent():
        pytest.skip(why)
    report = Report(
        id="0192f0c4-0000-7000-8000-000000000001",
        account="user@mailbox.example",
        mail_from="app@shop.example",
        domain="there.example",
        chunk=0,
        received=1_800_000_000.0,
        stage="deliver",
        outcomes=told,
        envid="order+2B42",
        dsn={UNKNOWN.recipient: Dsn("", "rfc822;nobody@there.example")},
    )
    facts = Facts("smtp.relay.example", until=1_800_172_800.0)
    raw = notice.build(
        report, told, facts, id="n-1", to="app@shop.example", now=1_800_000_300.0, header=HEADER, original=original
    )
    done = subprocess.run(["perl", str(SCRIPT)], input=raw, capture_output=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.decode().splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    return found


@pytest.mark.parametrize(
    ("told", "original", "parts", "action", "reports"),
    [
        pytest.param(
            (UNKNOWN, FULL_BOX),
            b"",
            HEADERS,
            "failed",
            ["nobody@there.example user_unknown 550", "full@there.example over_quota 552"],
            id="failed",
        ),
        pytest.param((UNKNOWN,), FULL, WHOLE, "failed", ["nobody@there.example user_unknown 550"], id="whole"),
        pytest.param((DELAYED,), b"", HEADERS, "delayed", [], id="delayed"),
        pytest.param((RELAYED,), b"", HEADERS, "relayed", [], id="relayed"),
    ],
)
def test_perl_understands(
    told: tuple[Outcome, ...], original: bytes, parts: list[str], action: str, reports: list[str]
) -> None:
    found = read(*told, original=original)
    assert found["type"] == ["multipart/report"]
    assert found["part"] == parts
    assert found["field"][0] == "Original-Envelope-Id: order+42"
    assert [field for field in found["field"] if field.startswith("Action:")] == [f"Action: {action}"] * len(told)
    assert found["bounce"] == [str(int(bool(reports)))]
    assert found.get("report", []) == reports
    assert found["message-id"] == ["<order-42@shop.example>"]


def test_perl_is_not_fooled_by_a_remote() -> None:
    found = read(EVIL)
    assert found["part"] == HEADERS
    assert found["report"] == ["nobody@there.example user_unknown 550"]
    assert not [field for field in found["field"] if field.startswith("Final-Recipient: rfc822; other")]
    assert max(len(field) for field in found["field"]) < 600
