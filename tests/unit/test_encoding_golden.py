"""Mail in flight while versions change: tests/golden has what each version queued; none is ever changed or removed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay import encoding
from relay.failure_rules import FailureClass
from relay.outcome import Outcome, Report, State
from relay.submission import Delivery, Dsn, Inline, Proved, Stored, Submission

GOLDEN = Path(__file__).parents[1] / "golden"
ID = "0199aaaa-0000-7000-8000-000000000001"
COMMON: dict[str, Any] = {"id": ID, "account": "app@login.example", "received": 1763892000.25}
ASKED: dict[str, Any] = {"tried": 1763892300.5, "ret": "HDRS", "envid": "QQ314159"}
PROVED = Proved(("proved.example@1800000000250",), ("a warning",))
REMOTE = "mx.in.example[192.0.2.1]"

# Each optional field is set in one of its kind. When the encoder writes another form, add a file and a line here.
WRITTEN: dict[str, Submission | Delivery | Report] = {
    "submission-3": Submission(
        **COMMON,
        **ASKED,
        mail_from="news@corp.example",
        rcpt_to=("a@in.example", "b@other.example"),
        content=Stored(f"content/{ID}", 123456),
        eightbit=True,
        smtputf8=True,
        attempt=2,
        due=1763892300.5,
        dsn={"b@other.example": Dsn("SUCCESS,FAILURE", "rfc822;B+2Bx@other.example")},
    ),
    "delivery-5": Delivery(
        **COMMON,
        **ASKED,
        mail_from="",
        domain="in.example",
        chunk=1,
        rcpt_to=("a@in.example",),
        content=Inline(b"From: x\r\n\r\nhi\r\n"),
        eightbit=True,
        smtputf8=True,
        attempt=3,
        due=1763892900.0,
        notice=True,
        dsn={"a@in.example": Dsn("NEVER", "")},
        proved=PROVED,
        signature="DKIM-Signature: v=1; d=proved.example;\r\n\tb=AAAA\r\n",
    ),
    "report-6": Report(
        **COMMON,
        **ASKED,
        mail_from="",
        domain="in.example",
        chunk=1,
        stage="deliver",
        outcomes=(
            Outcome("a@in.example", State.DELIVERED, 1763892001.0, 1, 250, "2.0.0", "OK", REMOTE, "TLSv1.3", dsn=True),
            Outcome("b@in.example", State.DEFERRED, 1763892001.0, 1, 451, "4.7.1", "Later", REMOTE, "", 1763892301.0),
            Outcome(
                "c@in.example",
                State.BOUNCED,
                1763892001.0,
                1,
                550,
                "5.1.1",
                "No such user",
                failure=FailureClass("address"),
                dead=True,
                via="ses",
            ),
        ),
        notice=True,
        dsn={"a@in.example": Dsn("SUCCESS", "rfc822;a@old.example")},
        proved=PROVED,
    ),
}
ENCODE: dict[str, Callable[[Any], str]] = {
    "submission": encoding.encode_submission,
    "delivery": encoding.encode_delivery,
    "report": encoding.encode_report,
}
DECODE: dict[str, Callable[[str], Any]] = {
    "submission": encoding.decode_submission,
    "delivery": encoding.decode_delivery,
    "report": encoding.decode_report,
}


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.json").read_text().strip()


def kind(name: str) -> str:
    return name.partition("-")[0]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_golden_message_decodes_whole(name: str) -> None:
    assert DECODE[kind(name)](golden(name)) == WRITTEN[name]


@pytest.mark.parametrize("name", WRITTEN)
def test_the_form_that_is_written_is_golden(name: str) -> None:
    """Fails when the encoder writes another form: add a golden file beside the old one."""
    assert ENCODE[kind(name)](WRITTEN[name]) == golden(name)


@pytest.mark.parametrize("type_", [Submission, Delivery, Report], ids=lambda each: each.__name__)
def test_every_optional_field_is_in_a_golden_message(type_: Any) -> None:
    """Fails when a field is new: add it to a golden message."""
    written = [each for each in WRITTEN.values() if type(each) is type_]
    defaults = type_._field_defaults
    missing = {name for name in defaults if all(getattr(each, name) == defaults[name] for each in written)}
    assert missing <= {"content"}  # of a report: None where no notice needs it; report-5 has it


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_a_field_of_a_newer_version_is_left_out(name: str) -> None:
    """After a rollback what the newer version queued is still read."""
    fields = json.loads(golden(name))
    known = DECODE[kind(name)](golden(name))
    for outcome in fields.get("outcomes", []):
        outcome["later"] = 1
    assert DECODE[kind(name)](json.dumps(fields | {"later": {"more": [1]}})) == known
