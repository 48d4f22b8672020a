"""What SES is not given: the message's signature would break, or SES would refuse it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ses_fit import LARGEST, unfit

MESSAGES = Path(__file__).parents[1] / "messages"
SENDER = "s@a.example"
PLAIN = b"From: s@a.example\r\nDate: x\r\nMessage-ID: <1@a.example>\r\nSubject: x\r\n\r\nhello\r\n"


def signed(h: str, content: bytes = PLAIN) -> bytes:
    return (
        f"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k;\r\n\th={h};\r\n\tbh=YQ==; b=YQ==\r\n".encode() + content
    )


FIT = {
    "plain": PLAIN,
    "8-bit and not signed": PLAIN + "hällo\r\n".encode(),
    "several Received": b"Received: by a; x\r\nReceived: by b; x\r\n" + PLAIN,
    "a signature of what stays": signed("from:to:subject:mime-version"),
    "such a field is there, not signed": signed("From : Subject"),
    "oversigned": signed("from:from:subject:subject:to:to"),
    "a signature that cannot be read": b"DKIM-Signature: none\r\n" + PLAIN,
    "the longest line": PLAIN + b"x" * 998 + b"\r\n",
    "header only": b"From: s@a.example\r\n",
}
UNFIT = {
    "signed Date": (signed("from:date"), "5.6.2", "the DKIM signature covers Date, which SES changes"),
    "signed Message-ID": (signed("from:message-id"), "5.6.2", "covers Message-ID,"),
    "both, folded, in any case": (signed("From:\r\n\t DATE :\r\n\tMessage-Id"), "5.6.2", "covers Date, Message-ID,"),
    "signed and absent": (signed("from:date", b"From: s@a.example\r\n\r\nx\r\n"), "5.6.2", "covers Date,"),
    "signed Return-Path": (signed("from:return-path"), "5.6.2", "covers Return-Path,"),
    "signed against another signature": (signed("from:dkim-signature"), "5.6.2", "covers DKIM-Signature,"),
    "a signed order to SES": (signed("from:x-ses-source-arn"), "5.6.2", "covers X-Ses-Source-Arn,"),
    "signed 8-bit": (signed("from", PLAIN + b"h\xe4llo\r\n"), "5.6.2", "8-bit content"),
    "two signatures": (signed("from", signed("from")), "5.6.0", "more than one DKIM-Signature"),
    "two Subjects": (b"Subject: y\r\n" + PLAIN, "5.6.0", "more than one Subject"),
    "two in different case": (b"LIST-ID: a\r\nList-Id: b\r\n" + PLAIN, "5.6.0", "more than one List-Id"),
    "a long line": (PLAIN + b"x" * 999 + b"\r\n", "5.6.0", "lines of more than 998 octets"),
    "no header": (b"no field\r\n\r\n", "5.6.0", "line 1 of the header is not a header field"),
    "too large": (PLAIN + b"x\r\n" * (LARGEST // 4), "5.3.4", f"SES takes {LARGEST}"),
}


@pytest.mark.parametrize("content", FIT.values(), ids=FIT)
def test_fit(content: bytes) -> None:
    assert unfit(SENDER, content) is None


@pytest.mark.parametrize(("content", "enhanced", "words"), UNFIT.values(), ids=UNFIT)
def test_unfit(content: bytes, enhanced: str, words: str) -> None:
    found = unfit(SENDER, content)
    assert found is not None
    assert found.enhanced == enhanced
    assert words in found.why
    assert 500 <= found.code < 600


def test_who_sends() -> None:
    assert unfit("", PLAIN).enhanced == "5.3.3"  # type: ignore[union-attr]
    assert unfit("ü@a.example", PLAIN).enhanced == "5.6.7"  # type: ignore[union-attr]
    utf8 = PLAIN.replace(b"Subject: x", "Subject: ü".encode())
    assert unfit(SENDER, utf8, smtputf8=True).enhanced == "5.6.7"  # type: ignore[union-attr]
    assert unfit(SENDER, utf8) is None


@pytest.mark.parametrize("name", ["opendkim", "dkimpy-simple", "dkimpy-relaxed", "nodemailer-dkim", "perl-dkim-mixed"])
def test_what_usual_signers_make_is_not_for_ses(name: str) -> None:
    """They sign the Date. (One message has two signatures, which SES refuses.)"""
    found = unfit(SENDER, (MESSAGES / f"{name}.eml").read_bytes())
    assert found is not None
    assert "covers Date" in found.why or "more than one DKIM-Signature" in found.why


@given(st.lists(st.integers(0, 1_100), max_size=8))
def test_a_line_is_long_or_not(lengths: list[int]) -> None:
    found = unfit(SENDER, PLAIN + b"".join(b"x" * length + b"\r\n" for length in lengths))
    assert (found is not None) == (max(lengths, default=0) > 998)


@given(st.binary(max_size=300))
def test_any_content_is_judged(content: bytes) -> None:
    unfit(SENDER, content)
    unfit(SENDER, b"DKIM-Signature: v=1; h=" + content + b"\r\n" + PLAIN)
