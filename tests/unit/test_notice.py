"""relay.notice: what is built is parsed back with the standard library's e-mail package."""

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import notice
from relay.failure import FailureClass
from relay.notice import Facts
from relay.outcome import Outcome, Report, State
from relay.ports import Turn
from relay.submission import Dsn, Stored

NOW = 1_800_000_300.0
HEADER = b"Received: from app\r\n\tby relay\r\nFrom: app@shop.example\r\nSubject: Your\r\n order\r\n"

BOUNCED = Outcome(
    recipient="nobody@there.example",
    state=State.BOUNCED,
    time=1_800_000_200.0,
    attempt=1,
    code=550,
    enhanced="5.1.1",
    text="No such user here",
    remote="mx.there.example[192.0.2.7]",
    tls="TLSv1.3",
)
REPORT = Report(
    id="0192f0c4-0000-7000-8000-000000000001",
    account="user@mailbox.example",
    mail_from="app@shop.example",
    domain="there.example",
    chunk=0,
    received=1_800_000_000.0,
    stage="deliver",
    outcomes=(BOUNCED,),
    content=Stored("k", 10),
)
TOKEN = "elastx-mrs=" + "0" * 64
PUBLISH = (
    f'sender not authorised by DNS: shop.example has no token; publish: shop.example. TXT "{TOKEN}".'
    ' shop.example has no SPF record; publish: shop.example. TXT "v=spf1 include:long.example " "\\"-all".'
    " And 1 more problem."
)
REFUSED = BOUNCED._replace(state=State.REJECTED, code=550, enhanced="5.7.1", text=PUBLISH, remote="", tls="")


DEFERRED = BOUNCED._replace(
    state=State.DEFERRED, attempt=6, code=452, enhanced="4.2.2", text="Mailbox full", next_due=NOW + 14_400
)
RELAYED = BOUNCED._replace(state=State.DELIVERED, code=250, enhanced="2.0.0", text="queued as 42")
COUNTED = Turn(more=12, since=1_800_000_000.0)


def built(
    *told: Outcome,
    report: Report = REPORT,
    to: str = "app@shop.example",
    header: bytes = HEADER,
    original: bytes = b"",
    turn: Turn = notice.NOTHING_COUNTED,
) -> bytes:
    facts = Facts("smtp.relay.example", until=1_800_000_000.0 + 172_800, turn=turn)
    return notice.build(report, told, facts, id="n-1", to=to, now=NOW, header=header, original=original)


def words_of(raw: bytes) -> str:
    part: Any = parsed(raw).get_payload(0)
    return str(part.get_content()).replace("\r\n", "\n")


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def status_blocks(message: EmailMessage) -> list[Any]:
    status: Any = message.get_payload(1)
    assert status.get_content_type() == "message/delivery-status"
    return list(status.get_payload())


def test_a_program_reads_every_field() -> None:
    message = parsed(built(BOUNCED))
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@smtp.relay.example"
    assert message["From"].addresses[0].display_name == "Mail Delivery System"
    assert message["To"].addresses[0].addr_spec == "app@shop.example"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<n-1@smtp.relay.example>"
    assert message["Date"].datetime.timestamp() == NOW
    assert message["Subject"] == "Undelivered mail to nobody@there.example"
    whole, each = status_blocks(message)
    assert dict(whole.items()) == {
        "Reporting-MTA": "dns; smtp.relay.example",
        "Arrival-Date": "Fri, 15 Jan 2027 08:00:00 +0000",
    }
    assert dict(each.items()) == {
        "Final-Recipient": "rfc822; nobody@there.example",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.there.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such user here",
        "Last-Attempt-Date": "Fri, 15 Jan 2027 08:03:20 +0000",
        "Final-Log-ID": REPORT.id,
    }
    headers: Any = message.get_payload(2)
    assert headers.get_content_type() == "text/rfc822-headers"
    assert headers.get_payload(decode=True).rstrip(b"\r\n") == HEADER.rstrip(b"\r\n")


def test_a_person_reads_who_why_and_what_to_do() -> None:
    words: Any = parsed(built(BOUNCED)).get_payload(0)
    assert (
        words.get_content().replace("\r\n", "\n")
        == f"""\
The mail relay smtp.relay.example could not deliver this message to the
recipients below, and has given up.

    From:     app@shop.example
    Subject:  Your order
    Accepted: Fri, 15 Jan 2027 08:00:00 +0000
    Id:       {REPORT.id}

nobody@there.example
  mx.there.example[192.0.2.7] said:
    550 No such user here
  What to do: Check the address; this mailbox does not exist there.
"""
    )


def test_a_refusal_names_the_record_to_publish_unbroken() -> None:
    message = parsed(built(REFUSED, report=REPORT._replace(stage="validate"), to="user@mailbox.example"))
    assert message["Subject"] == "Not sent: your mail from shop.example"
    assert message["To"].addresses[0].addr_spec == "user@mailbox.example"
    words: Any = message.get_payload(0)
    text = words.get_content().replace("\r\n", "\n")
    assert (
        f"""Why:
  sender not authorised by DNS: shop.example has no token. Publish:
    shop.example  TXT
    {TOKEN}
  shop.example has no SPF record. Publish:
    shop.example  TXT
    v=spf1 include:long.example "-all
  And 1 more problem.

It was meant for:
  nobody@there.example
"""
        in text
    )
    assert "nobody got it" in text
    assert max(map(len, text.splitlines())) <= 79
    fields = status_blocks(message)[1]
    assert fields["Diagnostic-Code"] == f"x-mailrelay; 5.7.1 {PUBLISH}"
    assert "Remote-MTA" not in fields


def test_a_delay_is_told_as_one() -> None:
    raw = built(DEFERRED)
    assert parsed(raw)["Subject"] == "Delayed mail to nobody@there.example"
    words = words_of(raw)
    assert "keeps trying; you need not send it again" in words
    assert (
        """
nobody@there.example
  mx.there.example[192.0.2.7] said:
    452 Mailbox full
  Next try: Fri, 15 Jan 2027 12:05:00 +0000
  Given up: Sun, 17 Jan 2027 08:00:00 +0000
"""
        in words
    )
    fields = status_blocks(parsed(raw))[1]
    assert (fields["Action"], fields["Status"]) == ("delayed", "4.2.2")
    assert fields["Will-Retry-Until"] == "Sun, 17 Jan 2027 08:00:00 +0000"


def test_a_success_is_told_as_handed_over() -> None:
    raw = built(RELAYED)
    assert parsed(raw)["Subject"] == "Relayed mail to nobody@there.example"
    assert "has handed this message over" in words_of(raw)
    fields = status_blocks(parsed(raw))[1]
    assert (fields["Action"], fields["Status"]) == ("relayed", "2.0.0")
    assert fields["Diagnostic-Code"] == "smtp; 250 2.0.0 queued as 42"
    assert "Will-Retry-Until" not in fields


@pytest.mark.parametrize(
    ("orcpt", "field"),
    [
        pytest.param("rfc822;a+2Bb@old.example", "rfc822; a+b@old.example", id="xtext"),
        pytest.param("x.400;/c+3Dse/", "x.400; /c=se/", id="another type"),
        pytest.param(r"utf-8;\x{E5}@old.example", r"utf-8; \x{E5}@old.example", id="utf-8"),
        pytest.param("rfc822;a+0D+0AAction:+20x", "rfc822; a??Action: x", id="never a line end"),
        pytest.param("", None, id="none"),
    ],
)
def test_what_the_sender_named_comes_back(orcpt: str, field: str | None) -> None:
    report = REPORT._replace(envid="order+2B42+20x", dsn={BOUNCED.recipient: Dsn("", orcpt)} if orcpt else {})
    whole, each = status_blocks(parsed(built(BOUNCED, report=report)))
    assert whole["Original-Envelope-Id"] == "order+42 x"
    assert each["Original-Recipient"] == field


@pytest.mark.parametrize("body", [b"hello\r\n", "h\u00e9\r\n".encode()], ids=["7bit", "8bit"])
def test_the_whole_original(body: bytes) -> None:
    original = HEADER + b"\r\n" + body
    raw = built(BOUNCED, original=notice.whole(original))
    part: Any = parsed(raw).get_payload(2)
    assert part.get_content_type() == "message/rfc822"
    assert original in raw
    assert part.get_payload(0).get_payload(decode=True).rstrip() == body.rstrip()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"A: b\r\n\r\n" + b"x" * 900 * 1200, id="one endless line"),
        pytest.param(b"A: b\r\n\r\n" + b"xxxxxx\r\n" * 140_000, id="too large"),
        pytest.param("A: \u00e9\r\n\r\nx\r\n".encode(), id="UTF-8 in the header"),
        pytest.param(b"A: b\r\n\r\n\0\r\n", id="NUL"),
    ],
)
def test_what_cannot_be_quoted_whole(content: bytes) -> None:
    assert notice.whole(content) == b""


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (notice.NOTHING_COUNTED, []),
        (COUNTED, ["mail to 12 more recipients met the same."]),
        (replace(COUNTED, more=1), ["mail to 1 more recipient met the same."]),
    ],
    ids=["none", "12", "1"],
)
def test_a_refusal_tells_how_many_more_there_were(turn: Turn, said: list[str]) -> None:
    words = words_of(built(REFUSED, report=REPORT._replace(stage="validate"), turn=turn))
    assert [line for line in words.splitlines() if "more recip" in line] == said
    assert words.endswith("The same within the next hour is counted, and told of in the next notice.\n")
    assert "next hour" not in words_of(built(BOUNCED, turn=turn))


def test_a_validation_that_is_put_off_is_no_refusal() -> None:
    late = DEFERRED._replace(code=451, enhanced="4.4.3", text="DNS of shop.example has not answered", remote="")
    raw = built(late, report=REPORT._replace(stage="validate"))
    assert parsed(raw)["Subject"] == "Not sent yet: your mail from shop.example"
    assert "DNS of shop.example has not answered" in words_of(raw)
    assert status_blocks(parsed(raw))[1]["Action"] == "delayed"


def test_recipients_with_the_same_answer_share_one_paragraph() -> None:
    others = [BOUNCED._replace(recipient=f"r{number}@there.example") for number in range(3)]
    message = parsed(built(*others))
    words: Any = message.get_payload(0)
    assert words.get_content().count("No such user here") == 1
    assert [block["Final-Recipient"] for block in status_blocks(message)[1:]] == [
        f"rfc822; r{number}@there.example" for number in range(3)
    ]
    assert message["Subject"] == "Undelivered mail to there.example"


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        pytest.param({"enhanced": "5.1.2"}, "Check the part after the @", id="bad domain"),
        pytest.param({"enhanced": "5.2.2"}, "The mailbox is full", id="full"),
        pytest.param({"enhanced": "5.3.4"}, "Send a smaller message", id="too large"),
        pytest.param({"enhanced": "5.6.7"}, "plain ASCII", id="no SMTPUTF8"),
        pytest.param({"enhanced": "5.7.26"}, "by its own rules", id="policy"),
        pytest.param({"enhanced": "5.0.0"}, "Mend what their server names", id="unknown"),
        pytest.param({"enhanced": "4.4.1", "state": State.EXPIRED}, "send it again later", id="expired"),
    ],
)
def test_advice(change: dict[str, Any], advice: str) -> None:
    words: Any = parsed(built(BOUNCED._replace(**change))).get_payload(0)
    assert advice in " ".join(words.get_content().split())


def test_a_remote_cannot_forge_fields_or_parts() -> None:
    evil = "no\r\nAction: delivered\r\n\r\n--=_x\r\nContent-Type: text/html\r\n\x1b[31m\u202ered\u2028x\0"
    message = parsed(built(BOUNCED._replace(text=evil, remote="mx\r\nX: y[1]", enhanced="5.1.1\r\nX: y")))
    assert len(message.get_payload()) == 3
    assert [block.get_all("Action") for block in status_blocks(message)] == [None, ["failed"]]
    assert status_blocks(message)[1]["Status"] == "5.0.0"
    assert "X" not in status_blocks(message)[1]
    words: Any = message.get_payload(0)
    assert not set("\x1b\u202e\u2028\0") & set(words.get_content())


def test_a_notice_to_a_non_ascii_address_is_otherwise_seven_bit() -> None:
    failed = BOUNCED._replace(recipient="öland+a@there.example", text="okänd användare")
    raw = built(failed, to="jürgen@shop.example")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert "To: <jürgen@shop.example>".encode() in head
    assert body.isascii()
    fields = status_blocks(parsed(raw))[1]
    assert fields["Final-Recipient"] == r"utf-8; \x{F6}land\x{2B}a@there.example"
    assert fields["Diagnostic-Code"] == r"smtp; 550 5.1.1 ok\xe4nd anv\xe4ndare"
    words: Any = parsed(raw).get_payload(0)
    assert "okänd användare" in words.get_content()


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        pytest.param(b"subject: plain\r\n", "plain", id="plain"),
        pytest.param(b"Subject: =?utf-8?q?H=C3=A4lsning?=\r\n", "Hälsning", id="encoded word"),
        pytest.param(b"Subject: =?x-none?q?a?=\r\n", "=?x-none?q?a?=", id="unknown charset"),
        pytest.param(b"Subject: =?utf-8?b?A?=\r\n", "=?utf-8?b?A?=", id="broken base64"),
        pytest.param("Subject: rå\r\n".encode(), "rå", id="raw UTF-8"),
        pytest.param(b"Subject: \xff\r\n", "\ufffd", id="raw octets"),
        pytest.param(b"Subject: =?utf-8?q?a=0D=0AX:_y?=\r\n", "a X: y", id="line end in an encoded word"),
    ],
)
def test_the_original_subject(header: bytes, subject: str) -> None:
    words: Any = parsed(built(BOUNCED, header=header)).get_payload(0)
    assert f"    Subject:  {subject}\n" in words.get_content().replace("\r\n", "\n")


def test_without_the_original_header_its_part_is_left_out() -> None:
    assert len(parsed(built(BOUNCED, header=b"")).get_payload()) == 2


@pytest.mark.parametrize(
    ("content", "header"),
    [
        pytest.param(b"A: b\r\nC: d\r\n\r\nbody\r\n\r\nmore", b"A: b\r\nC: d\r\n", id="usual"),
        pytest.param(b"A: b\r\n", b"A: b\r\n", id="no body"),
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"x" * 20_000, b"", id="one endless line"),
        pytest.param(b"A: b\r\nC: " + b"x" * 20_000, b"A: b\r\n", id="cut at a line end"),
        pytest.param(b"A: b\r\n" * 10_000, b"A: b\r\n" * 2730, id="bounded"),
    ],
)
def test_header_of(content: bytes, header: bytes) -> None:
    assert notice.header_of(content) == header


@given(
    text=st.text(max_size=1500),
    remote=st.text(max_size=300),
    header=st.binary(max_size=2000),
    state=st.sampled_from([State.BOUNCED, State.DEFERRED, State.DELIVERED]),
    asked=st.text(max_size=100),
)
@settings(max_examples=150, deadline=None)
def test_whatever_was_said_the_notice_is_legal_mail(
    text: str, remote: str, header: bytes, state: State, asked: str
) -> None:
    header = notice.header_of(header.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n")
    report = REPORT._replace(envid=asked, dsn={BOUNCED.recipient: Dsn("", f"rfc822;{asked}")})
    raw = built(BOUNCED._replace(text=text, remote=remote, state=state), report=report, header=header)
    assert raw.isascii()
    assert b"\0" not in raw
    lines = raw.split(b"\r\n")
    assert max(len(line) for line in lines) <= 998
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    message = parsed(raw)
    assert len(status_blocks(message)) == 2
    if header:
        quoted: Any = message.get_payload(2)
        assert quoted.get_payload(decode=True).rstrip(b"\r\n") == header.rstrip(b"\r\n")


@pytest.mark.parametrize("enhanced", ["5.1.1", "5.1.2", "5.2.2", "5.3.4", "5.6.7", "5.7.1", "5.5.0"])
def test_a_person_s_lines_fit_into_80_columns(enhanced: str) -> None:
    lines = words_of(built(BOUNCED._replace(enhanced=enhanced, text="Refused by policy; " * 20))).splitlines()
    assert [line for line in lines if len(line) > 78] == []


def test_no_invisible_character_of_an_address_reaches_a_person() -> None:
    for stage, told in (("deliver", BOUNCED), ("validate", REFUSED)):
        report = REPORT._replace(mail_from="a\u202eb@shop.example", stage=stage)
        words = words_of(built(told._replace(recipient="x\u202ey@there.example"), report=report))
        assert "\u202e" not in words
        assert "a b@shop.example" in words
        assert "x y@there.example" in words


def test_a_terminal_has_nothing_to_obey_in_the_quoted_header() -> None:
    header = HEADER + b"X-Name: \x1b[31mred\x07\x7f\r\n"
    raw = built(BOUNCED, header=header)
    assert not set(raw) & {0x07, 0x1B, 0x7F}
    part: Any = parsed(raw).get_payload(2)
    assert part.get_payload(decode=True) == header  # programs read it as it was


# --- advice by class ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "enhanced", "failure", "words"),
    [
        (State.BOUNCED, "5.1.1", FailureClass.ADDRESS, "this mailbox does not exist there"),
        (State.BOUNCED, "5.0.0", FailureClass.ADDRESS, "their server takes no mail for it"),
        (State.BOUNCED, "5.1.1", FailureClass.POLICY, "refuses it by its own rules"),
        (State.BOUNCED, "5.7.1", FailureClass.POLICY, "refuses it by its own rules"),
        (State.BOUNCED, "5.3.4", FailureClass.CONTENT, "Send a smaller message"),
        (State.BOUNCED, "5.7.1", FailureClass.CONTENT, "for what is in it"),
        (State.BOUNCED, "5.0.0", FailureClass.FULL, "The mailbox is full"),
        (State.EXPIRED, "4.2.2", FailureClass.FULL, "The mailbox is full"),
        (State.EXPIRED, "5.7.25", FailureClass.OURS, "show this to its operator"),
        (State.EXPIRED, "4.7.1", FailureClass.RATE, "did not take the message in all this time"),
        (State.SUPPRESSED, "5.1.1", FailureClass.ADDRESS, "the relay's operator can let mail through"),
    ],
    ids=str,
)
def test_advice_goes_by_class_and_status(state: State, enhanced: str, failure: FailureClass, words: str) -> None:
    text = built(BOUNCED._replace(state=state, enhanced=enhanced, failure=failure)).decode()
    assert words in " ".join(text.replace("=\r\n", "").split())


def test_what_is_delayed_has_a_temporary_status_whatever_the_server_said() -> None:
    """RFC 3464 §2.3.4 and RFC 3463 §2: 5 is for what is never tried again."""
    text = built(DEFERRED._replace(code=550, enhanced="5.7.1", failure=FailureClass.RATE)).decode()
    assert "\r\nStatus: 4.7.1\r\n" in text
    assert "550 5.7.1" in text
