"""The parameters for notices (RFC 3461): whatever comes, what is taken can go on to another server as it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.commands import LONGEST_ORCPT, Rcpt, parse_mail, parse_rcpt
from smtp_gateway.replies import Refused

VALUE = re.compile(r"[!-<>-~]*")  # esmtp-value (RFC 5321 §4.1.2)
PIECES = [
    "+2B",
    "+0D",
    "+",
    "=",
    ",",
    ";",
    "\\x{E5}",
    "\\x{",
    "}",
    "\u00e5",
    " ",
    "\x7f",
    "\x85",
    "a",
    "FAILURE",
    "NEVER",
]
values = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=20)
types = st.sampled_from(["rfc822;", "utf-8;", "UTF-8;", "x;", ""])


@given(notify=values, type=types, address=values | st.just("\u00e5" * 99), smtputf8=st.booleans())
def test_what_rcpt_takes_is_safe_to_pass_on(notify: str, type: str, address: str, smtputf8: bool) -> None:
    line = f"TO:<a@b.example> NOTIFY={notify} ORCPT={type}{address}".encode("utf-8", "surrogatepass")
    try:
        rcpt = parse_rcpt(line, smtputf8=smtputf8)
    except Refused:
        pass
    else:
        assert VALUE.fullmatch(rcpt.orcpt)
        assert len(rcpt.orcpt) <= LONGEST_ORCPT
        assert rcpt.notify in ("", "NEVER") or set(rcpt.notify.split(",")) <= {"SUCCESS", "FAILURE", "DELAY"}
        again = f"TO:<a@b.example> NOTIFY={rcpt.notify} ORCPT={rcpt.orcpt}".encode("ascii")
        assert parse_rcpt(again, smtputf8=False) == rcpt


@given(ret=values, envid=values)
def test_what_mail_takes_is_safe_to_pass_on(ret: str, envid: str) -> None:
    try:
        mail = parse_mail(f"FROM:<> RET={ret} ENVID={envid}".encode("utf-8", "surrogatepass"))
    except Refused:
        pass
    else:
        assert mail.ret in ("", "FULL", "HDRS")
        assert VALUE.fullmatch(mail.envid)


@pytest.mark.parametrize(
    ("asked", "notify", "orcpt"),
    [
        (b"", "", ""),
        (b" NOTIFY=NEVER", "NEVER", ""),
        (b" NOTIFY=delay,FAILURE,delay", "FAILURE,DELAY", ""),
        (b" ORCPT=rfc822;a+2Bb@c.example", "", "rfc822;a+2Bb@c.example"),
        (b" ORCPT=rfc822;" + b"x" * 493, "", "rfc822;" + "x" * 493),
        (" ORCPT=utf-8;\u00e5@c.example".encode(), "", r"utf-8;\x{E5}@c.example"),
    ],
)
def test_rcpt(asked: bytes, notify: str, orcpt: str) -> None:
    rcpt = parse_rcpt(b"TO:<a@b.example>" + asked, smtputf8=True)
    assert rcpt == Rcpt(rcpt.recipient, notify, orcpt)
    assert str(rcpt.recipient) == "a@b.example"
