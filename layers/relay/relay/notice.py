"""Notices of failure: RFC 3464 delivery status notifications in the multipart/report of RFC 6522.

A person reads the first part, programs the second; the third is the original's header. Whatever a remote
server said, and whatever the original's header holds, comes out as harmless text: without control
characters, bounded, in lines that SMTP can carry, 7-bit throughout (but for a non-ASCII address in To,
which needs SMTPUTF8 anyway).
"""

import binascii
import hashlib
import re
import textwrap
import unicodedata
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import format_datetime
from typing import Final

from relay.outcome import Outcome, Report, State

MAX_HEADER: Final = 16_384  # octets of the original's header that a notice quotes
MAX_WORDS: Final = 500  # characters of a remote's words; our own are short
MAX_REASON: Final = 1_000  # characters of our own reason, which holds the DNS record to publish
MAX_LINE: Final = 998  # RFC 5322 §2.1.1, without CRLF
_CRLF: Final = "\r\n"

_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")  # RFC 3463 §2
_SUBJECT: Final = re.compile(rb"^Subject:[ \t]*((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
# "; publish: NAME. TYPE "STRING" ...." in relay.proof.verdict.explain, the record as RFC 1035 §5.1 has it
_PUBLISH: Final = re.compile(r'; publish: (\S+)\. ([A-Z]+) ("(?:[^"\\]|\\.)*"(?: "(?:[^"\\]|\\.)*")*)\. ?')
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NOT_XTEXT: Final = re.compile(r"[^!-*,-<>-\[\]-~]")  # RFC 6533 §3, QCHAR

# What a person can do, by the subject and detail of RFC 3463's status.
_ADVICE: Final = (
    (("1.1", "1.3", "1.6", "1.10"), "Check the address; this mailbox does not exist there."),
    (("1.2", "4.4"), "Check the part after the @: no mail server is known for it."),
    (("2.2",), "The mailbox is full: tell the recipient another way, or send it again later."),
    (("2.3", "3.4"), "Send a smaller message, or a link to the attachment."),
    (("6.3", "6.7"), "Their server can't take a message of this kind: send it in plain ASCII form."),
    (("7.",), "Their server refuses it by its own rules; its words say why, and often whom to ask."),
)
_ADVICE_EXPIRED: Final = "Their server did not take the message in all this time: send it again later."
_ADVICE_OTHERWISE: Final = "Mend what their server names, or reach the recipient another way."


def build(
    report: Report, failed: tuple[Outcome, ...], *, id: str, to: str, host_name: str, now: float, header: bytes = b""
) -> bytes:
    """A notice about the recipients in `failed`, CRLF line ends.

    id: the notice's own, for its Message-ID. to: whom it is for, `local@a-label-domain`. now: epoch seconds,
    for its Date. header: the original's, from `header_of`; b"" leaves that part out.
    """
    parts = [
        _part("text/plain; charset=utf-8", _words(report, failed, host_name, header).encode()),
        _part("message/delivery-status", _status(report, failed, host_name).encode("ascii")),
    ]
    if header:
        parts.append(_part("text/rfc822-headers", header))
    # A boundary that depends on every part cannot be in one of them.
    boundary = "=_" + hashlib.sha256(b"".join(parts)).hexdigest()[:32]
    top = [
        f'From: "Mail Delivery System" <MAILER-DAEMON@{host_name}>',
        f"To: <{to}>",
        f"Subject: {_subject(report, failed)}",
        f"Date: {_date(now)}",
        f"Message-ID: <{id}@{host_name}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 §5
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;{_CRLF}\tboundary="{boundary}"',
        "",
        "This is a delivery status notification in MIME format (RFC 3464).",
        "",
    ]
    delimiter = f"--{boundary}{_CRLF}".encode()
    body = b"".join(delimiter + part + b"\r\n" for part in parts)
    return _CRLF.join(top).encode() + body + f"--{boundary}--{_CRLF}".encode()


def header_of(content: bytes) -> bytes:
    """The header of a whole message, whole lines of it, at most MAX_HEADER octets."""
    header, blank, _ = content[: MAX_HEADER + 4].partition(b"\r\n\r\n")
    if blank and len(header) + 2 <= MAX_HEADER:
        return header + b"\r\n"
    return header[: header.rfind(b"\r\n", 0, MAX_HEADER) + 2] if b"\r\n" in header else b""


def clean(text: str, limit: int) -> str:
    """`text` on one line, without control, format and other invisible characters, at most `limit` characters."""
    visible = "".join(" " if unicodedata.category(each)[0] == "C" or each in "\u2028\u2029" else each for each in text)
    words = " ".join(visible.split())
    return words if len(words) <= limit else words[: limit - 3].rstrip() + "..."


def _subject(report: Report, failed: tuple[Outcome, ...]) -> str:
    if report.stage == "validate":
        return f"Not sent: your mail from {report.mail_from.rpartition('@')[2]}"
    if len(failed) == 1 and failed[0].recipient.isascii():
        return f"Undelivered mail to {failed[0].recipient}"
    return f"Undelivered mail to {report.domain}"


# --- for a person ------------------------------------------------------------------------------


def _words(report: Report, failed: tuple[Outcome, ...], host_name: str, header: bytes) -> str:
    about = [f"    From:     {report.mail_from}"]
    if subject := _original_subject(header):
        about.append(f"    Subject:  {subject}")
    about += [f"    Accepted: {_date(report.received)}", f"    Id:       {report.id}"]
    alike: dict[tuple[State, str, int, str, str], list[Outcome]] = {}
    for each in failed:
        alike.setdefault((each.state, each.remote, each.code, each.enhanced, each.text), []).append(each)
    if report.stage == "validate":
        lines = [f"The mail relay {host_name} refused this message; nobody got it.", "", *about]
        for group in alike.values():
            lines += ["", "Why:", *_refusal(clean(group[0].text, MAX_REASON)), "", "It was meant for:"]
            lines += [f"  {each.recipient}" for each in group]
        lines += ["", "Once that is put right, send the message again."]
    else:
        lines = [
            f"The mail relay {host_name} could not deliver this message to the",
            "recipients below, and has given up.",
        ]
        lines += ["", *about]
        for group in alike.values():
            lines += ["", *(each.recipient for each in group), *_reason(group[0])]
    return _CRLF.join([*lines, ""])


def _refusal(text: str) -> list[str]:
    """validate's reason, each record to publish on lines of its own, whole, as a DNS console wants it."""
    lines: list[str] = []
    start = 0
    for found in _PUBLISH.finditer(text):
        name, type, strings = found.groups()
        value = "".join(re.sub(r"\\(.)", r"\1", each) for each in _STRING.findall(strings))
        lines += [*_indented(f"{text[start : found.start()]}. Publish:"), f"    {name}  {type}", f"    {value}"]
        start = found.end()
    return lines + _indented(text[start:])


def _reason(outcome: Outcome) -> list[str]:
    said = clean(outcome.text, MAX_WORDS)
    if outcome.remote:
        intro = f"{clean(outcome.remote, 300)} said:"
        said = f"{outcome.code} {said}" if outcome.code else said
    else:
        intro = "No server took it:"
    return [f"  {intro}", *_indented(said, 4), f"  What to do: {_advice(outcome)}"]


def _advice(outcome: Outcome) -> str:
    if outcome.state is State.EXPIRED:
        return _ADVICE_EXPIRED
    detail = outcome.enhanced.partition(".")[2]
    for details, advice in _ADVICE:
        if any(detail == each or (each.endswith(".") and detail.startswith(each)) for each in details):
            return advice
    return _ADVICE_OTHERWISE


def _indented(text: str, by: int = 2) -> list[str]:
    blank = " " * by
    return textwrap.wrap(
        text, 76, initial_indent=blank, subsequent_indent=blank, break_long_words=False, break_on_hyphens=False
    )


def _original_subject(header: bytes) -> str:
    found = _SUBJECT.search(header)
    if not found:
        return ""
    raw = found[1].decode("utf-8", "replace")
    try:
        return clean(str(make_header(decode_header(raw))), 200)
    except (HeaderParseError, LookupError, ValueError):  # broken base64, an unknown charset, wrong octets
        return clean(raw, 200)


# --- for programs ------------------------------------------------------------------------------


def _status(report: Report, failed: tuple[Outcome, ...], host_name: str) -> str:
    """The body of message/delivery-status: RFC 3464 §2.1, fields of §2.2 and §2.3."""
    blocks = [[f"Reporting-MTA: dns; {host_name}", f"Arrival-Date: {_date(report.received)}"]]
    blocks += [_recipient_fields(each, report.id) for each in failed]
    return _CRLF.join(_CRLF.join([*block, ""]) for block in blocks)


def _recipient_fields(outcome: Outcome, id: str) -> list[str]:
    status = outcome.enhanced if _STATUS.fullmatch(outcome.enhanced) else "5.0.0"
    fields = [f"Final-Recipient: {_typed_address(outcome.recipient)}", "Action: failed", f"Status: {status}"]
    said = f"{outcome.enhanced} {outcome.text}"
    if outcome.remote:
        fields.append(f"Remote-MTA: dns; {_ascii(outcome.remote.partition('[')[0], 255)}")
    if outcome.remote and outcome.code:
        fields.append(_fold(f"Diagnostic-Code: smtp; {outcome.code} {_ascii(said, MAX_WORDS)}"))
    else:  # not a remote server's reply: RFC 3464 §2.3.6 wants another type then
        fields.append(_fold(f"Diagnostic-Code: x-mailrelay; {_ascii(said, MAX_REASON - 100)}"))
    return [*fields, f"Last-Attempt-Date: {_date(outcome.time)}", f"Final-Log-ID: {id}"]


def _typed_address(address: str) -> str:
    if address.isascii():
        return f"rfc822; {address}"
    # RFC 6533 §3: in a 7-bit message/delivery-status the address type is utf-8, in xtext form
    return "utf-8; " + _NOT_XTEXT.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", address)


def _ascii(text: str, limit: int) -> str:
    return clean(clean(text, limit).encode("ascii", "backslashreplace").decode("ascii"), limit)


def _fold(field: str) -> str:
    return _CRLF.join(textwrap.wrap(field, 76, subsequent_indent=" ", break_long_words=False, break_on_hyphens=False))


def _date(time: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(time), UTC))


def _part(type: str, body: bytes) -> bytes:
    """One part of the multipart; quoted-printable where its octets or line lengths need it (RFC 2045 §6.7)."""
    encoding = "7bit"
    if not body.isascii() or b"\0" in body or any(len(line) > MAX_LINE for line in body.split(b"\r\n")):
        encoding = "quoted-printable"
        body = b"\r\n".join(_quoted_printable(line) for line in body.split(b"\r\n"))
    return f"Content-Type: {type}{_CRLF}Content-Transfer-Encoding: {encoding}{_CRLF}{_CRLF}".encode() + body


def _quoted_printable(line: bytes) -> bytes:
    return binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n")
