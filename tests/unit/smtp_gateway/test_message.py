import pytest

from relay.errors import PermanentError
from smtp_gateway.message import MAX_RECEIVED, LoopError, Trace, prepare

TRACE = Trace("0190-id", "gw.example", "app.example", "192.0.2.1", "TLSv1.3", False, 1_800_000_000.9)
RECEIVED = (
    b"Received: from app.example ([192.0.2.1])\r\n\tby gw.example with ESMTPSA (TLSv1.3)\r\n"
    b"\tid 0190-id; Fri, 15 Jan 2027 08:00:00 +0000\r\n"
)
DATE = b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"
MESSAGE_ID = b"Message-ID: <0190-id@gw.example>\r\n"
SIGNED = b"DKIM-Signature: v=1; h=from : to:\r\n subject; b=x\r\n"
COVERED = b"DKIM-Signature: v=1; h=from:\r\n\tBCC :to; b=x\r\n"

KEPT = {
    "all there": (b"date: x\r\nMESSAGE-ID: y\r\nFrom: a\r\n\r\nb\r\n", b""),
    "no date": (b"Message-ID: y\r\n\r\n", DATE),
    "no message-id": (b"Date: y\r\n\r\n", MESSAGE_ID),
    "neither": (b"From: a\r\n\r\nDate: in the body\r\n", DATE + MESSAGE_ID),
    "signed": (SIGNED + b"From: a\r\n\r\nb\r\n", b""),
    "signed, bcc covered but absent": (COVERED + b"From: a\r\n\r\nb\r\n", b""),
    "no header": (b"\r\nb\r\n", DATE + MESSAGE_ID),
    "only a header": (b"From: a\r\n", DATE + MESSAGE_ID),
    "bcc in the body": (b"Date: x\r\nMessage-ID: y\r\n\r\nBcc: a@b.example\r\n", b""),
}


@pytest.mark.parametrize(("content", "added"), KEPT.values(), ids=KEPT)
def test_below_the_trace_nothing_else_changes(content: bytes, added: bytes) -> None:
    assert prepare(content, TRACE) == RECEIVED + added + content


BLIND = {
    "first": (b"Bcc: a@b.example\r\nFrom: a\r\n\r\nb\r\n", b"From: a\r\n\r\nb\r\n"),
    "last": (b"From: a\r\nbCC: a@b.example\r\n\r\nb\r\n", b"From: a\r\n\r\nb\r\n"),
    "folded": (b"From: a\r\nBcc: a,\r\n\tb@b.example\r\nTo: c\r\n\r\n", b"From: a\r\nTo: c\r\n\r\n"),
    "twice": (b"Bcc: a\r\nFrom: a\r\nBcc : b\r\n\r\n", b"From: a\r\n\r\n"),
    "resent": (b"Resent-Bcc: a\r\nFrom: a\r\n\r\n", b"From: a\r\n\r\n"),
}


@pytest.mark.parametrize(("content", "left"), BLIND.values(), ids=BLIND)
def test_bcc_is_taken_out(content: bytes, left: bytes) -> None:
    assert prepare(content, TRACE) == RECEIVED + DATE + MESSAGE_ID + left
    assert prepare(SIGNED + content, TRACE) == RECEIVED + SIGNED + left


def test_a_signed_bcc_is_refused() -> None:
    with pytest.raises(PermanentError) as caught:
        prepare(SIGNED + COVERED + b"Bcc: a\r\n\r\n", TRACE)
    assert "covers Bcc" in caught.value.safe


def test_a_loop_is_refused() -> None:
    hops = b"Received: from a by b; x\r\n" * MAX_RECEIVED
    assert prepare(hops + b"\r\n", TRACE)
    with pytest.raises(LoopError):
        prepare(b"Received: x\r\n" + hops + b"\r\n", TRACE)


@pytest.mark.parametrize("content", [b"no colon\r\n\r\n", b"From: a\r\n body without a blank line\r\nx\r\n"])
def test_an_unreadable_header_is_refused(content: bytes) -> None:
    with pytest.raises(PermanentError):
        prepare(content, TRACE)


def test_trace_of_ipv6_and_smtputf8() -> None:
    trace = Trace("i", "gw.example", "[IPv6:::1]", "2001:db8::1", "TLSv1.2", True, 0.0)
    assert trace.header() == (
        b"Received: from [IPv6:::1] ([IPv6:2001:db8::1])\r\n\tby gw.example with UTF8SMTPSA (TLSv1.2)\r\n"
        b"\tid i; Thu, 01 Jan 1970 00:00:00 +0000\r\n"
    )
