"""The demo's messages and its judgement; tests/e2e/test_command.py runs the whole."""

import email
import email.policy
from pathlib import Path

import dkim
import pytest

from local import demo
from local.demo_messages import INBOX, Mail, large, messages, new_key, sign
from relay.header import read_header
from relay.outcome import Outcome, State
from relay.ports import Row

KEY = new_key()


@pytest.mark.parametrize("mail", messages(KEY), ids=lambda mail: mail.name)
def test_each_message_is_whole_and_legal(mail: Mail) -> None:
    lines = mail.content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert max(map(len, lines)) <= 998
    parsed = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert not [defect for part in parsed.walk() for defect in part.defects]
    assert parsed["Date"]
    assert parsed["Message-ID"]
    header = read_header(mail.content)
    assert set(header.senders()) == {mail.sender.rpartition("@")[2]}
    assert all(recipient.endswith(f"@{INBOX}") for recipient in mail.fates)
    assert all(fate[-1].final for fate in mail.fates.values())


def test_the_kinds_of_message_that_the_demo_promises() -> None:
    contents = {mail.name: mail.content for mail in messages(KEY)}
    kinds = {
        name: [part.get_content_type() for part in email.message_from_bytes(content).walk()]
        for name, content in contents.items()
    }
    assert kinds["HTML, attachment"] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/csv",
    ]
    assert not contents["8-bit text"].isascii()
    assert 4_900_000 < len(large()) < 5_200_000
    assert b"\r\n." in contents["plain text"]


def test_the_signature_verifies_and_forgives_nothing() -> None:
    signed = sign(b"From: a@corp.example\r\nSubject: x\r\n\r\nbody \r\n", KEY)
    record = KEY.record.value.encode()
    assert dkim.verify(signed, dnsfunc=lambda *_, **__: record)
    assert not dkim.verify(signed.replace(b"body ", b"body"), dnsfunc=lambda *_, **__: record)


def sent(*states: State) -> demo.Sent:
    outcome = Outcome("a@in.example", State.DELIVERED, 1.0, 1, 250, "2.0.0", "OK")
    rows = tuple(
        Row(
            "id",
            "u@x.example",
            "s@x.example",
            "in.example",
            1.0,
            "deliver",
            outcome._replace(state=state, attempt=attempt),
        )
        for attempt, state in enumerate(states, 1)
    )
    expected = (State.DEFERRED, State.DELIVERED)
    return demo.Sent(Mail("greylisted", "s@x.example", b"", {"a@in.example": expected}), "id", rows)


@pytest.mark.parametrize(
    ("states", "missed"),
    [
        ((State.DEFERRED, State.DELIVERED), []),
        ((State.DEFERRED, State.DEFERRED, State.DELIVERED), []),
        ((State.DELIVERED,), ["greylisted: a@in.example is delivered, not deferred, delivered"]),
        ((State.DEFERRED,), ["greylisted: a@in.example is deferred, not deferred, delivered"]),
        ((), ["greylisted: a@in.example is unknown, not deferred, delivered"]),
    ],
)
def test_a_fate_that_is_not_as_expected_is_named(states: tuple[State, ...], missed: list[str]) -> None:
    each = sent(*states)
    assert list(demo.fates_missed(each)) == missed
    assert each.settled == (State.DELIVERED in states)


def test_what_the_sink_keeps_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(b"x")
    (tmp_path / "1.json").write_text('{"mail_from": "", "rcpt_to": ["a@b.example"]}')
    (tmp_path / "2.eml").write_bytes(b"not whole yet")
    assert list(demo.sunk(tmp_path)) == [demo.Sunk(b"x", "", ["a@b.example"])]


RECORD = f'partner.example. TXT "elastx-mrs={"0" * 64}"'
REPLY = f"550 5.7.1 sender not authorised by DNS: it has no token\n  publish: {RECORD}\n  run: this"


@pytest.mark.parametrize(
    ("refused", "refusal", "missed"),
    [
        pytest.param(True, REPLY, "", id="as it should"),
        pytest.param(True, "", "not signed up: it was not refused in the session", id="accepted"),
        pytest.param(
            True,
            "550 5.7.1 no",
            "not signed up: the reply does not name the record to publish: 550 5.7.1 no",
            id="other",
        ),
        pytest.param(False, "", "", id="one to be accepted"),
    ],
)
def test_a_refusal_that_is_not_as_expected_is_named(refused: bool, refusal: str, missed: str) -> None:
    mail = Mail("not signed up", "s@x.example", b"", {"a@in.example": (State.REJECTED,)}, refused)
    sent = demo.Sent(mail, refusal=refusal)
    assert "".join(demo.refusals_missed([sent])) == missed
    assert sent.settled == bool(refusal)
    if refusal:
        assert not list(demo.fates_missed(sent))
