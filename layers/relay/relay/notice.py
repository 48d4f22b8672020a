"""Notices: RFC 3464 delivery status notifications in the multipart/report of RFC 6522.

A notice tells of outcomes of one kind: failed, delayed (DEFERRED), or relayed (DELIVERED to a server that won't
tell of success itself, RFC 3461 §5.2.2).

A person reads the first part, programs the second; the third is the original's header, or all of it where the
sender asked for that. Whatever a remote
server said, and whatever the original's header holds, comes out as harmless text: without control
characters, bounded, in lines that SMTP can carry, 7-bit throughout (but for a non-ASCII address in To,
which needs SMTPUTF8 anyway).
"""

import binascii
import hashlib
import re
import textwrap
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import format_datetime
from typing import Final

from relay.failure import FailureClass, advice
from relay.outcome import Outcome, Report, State
from relay.ports import Turn
from relay.submission import NOTHING_ASKED

MAX_HEADER: Final = 16_384  # octets of the original's header that a notice quotes
MAX_ORIGINAL: Final = 1_048_576  # octets of an original that is quoted whole
MAX_WORDS: Final = 500  # characters of a remote's words; our own are short
MAX_REASON: Final = 1_000  # characters of our own reason, which holds the DNS record to publish
MAX_ADDRESS: Final = 320  # characters; RFC 5321 §4.5.3.1
MAX_LINE: Final = 998  # RFC 5322 §2.1.1, without CRLF
NOTHING_COUNTED: Final = Turn()
_CRLF: Final = "\r\n"

_CONTROL: Final = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")  # a terminal may act on these
_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")  # RFC 3463 §2
_SUBJECT: Final = re.compile(rb"^Subject:[ \t]*((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
# "; publish: NAME. TYPE "STRING" ...." in relay.proof.verdict.explain, the record as RFC 1035 §5.1 has it
_PUBLISH: Final = re.compile(r'; publish: (\S+)\. ([A-Z]+) ("(?:[^"\\]|\\.)*"(?: "(?:[^"\\]|\\.)*")*)\. ?')
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_HEXCHAR: Final = re.compile(r"\+([0-9A-F]{2})")  # RFC 3461 §4
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
_ADVICE_SUPPRESSED: Final = "Check the address; if it is right after all, the relay's operator can let mail through."
_ADVICE_EXPIRED: Final = "Their server did not take the message in all this time: send it again later."
_ADVICE_OTHERWISE: Final = "Mend what their server names, or reach the recipient another way."


@dataclass(frozen=True, slots=True)
class Facts:
    """host_name: ours. until: when a delayed message is given up, epoch seconds. turn: what was refused in the
    same way without a notice."""

    host_name: str
    until: float = 0.0
    turn: Turn = NOTHING_COUNTED


def build(
    report: Report,
    told: tuple[Outcome, ...],
    facts: Facts,
    *,
    id: str,
    to: str,
    now: float,
    header: bytes = b"",
    original: bytes = b"",
) -> bytes:
    """A notice about the recipients in `told`, which are of one kind, with CRLF line ends.

    id: the notice's own, for its Message-ID. to: whom it is for, `local@a-label-domain`. now: epoch seconds,
    for its Date. header: the original's, from `header_of`; b"" leaves that part out. original: all of it, from
    `whole`, instead of the header; with 8-bit octets it makes the notice 8BITMIME's.
    """
    parts = [
        _part("text/plain; charset=utf-8", _words(report, told, facts, header).encode()),
        _part("message/delivery-status", _status(report, told, facts).encode("ascii")),
    ]
    if original:  # RFC 2046 §5.2.1: never in quoted-printable
        encoding = "7bit" if original.isascii() else "8bit"
        head = f"Content-Type: message/rfc822{_CRLF}Content-Transfer-Encoding: {encoding}{_CRLF}{_CRLF}"
        parts.append(head.encode() + original)
    elif header:
        parts.append(_part("text/rfc822-headers", header))
    # A boundary that depends on every part cannot be in one of them.
    boundary = "=_" + hashlib.sha256(b"".join(parts)).hexdigest()[:32]
    top = [
        f'From: "Mail Delivery System" <MAILER-DAEMON@{facts.host_name}>',
        f"To: <{to}>",
        f"Subject: {_subject(report, told)}",
        f"Date: {_date(now)}",
        f"Message-ID: <{id}@{facts.host_name}>",
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


def whole(content: bytes) -> bytes:
    """`content` if a notice can quote all of it: not too large, no UTF-8 in its header (that would be
    message/global, RFC 6533 §3, which few read), nothing that SMTP doesn't carry; else b""."""
    header, _, _ = content.partition(b"\r\n\r\n")
    fits = len(content) <= MAX_ORIGINAL and header.isascii() and b"\0" not in content
    return content if fits and all(len(line) <= MAX_LINE for line in content.split(b"\r\n")) else b""


def clean(text: str, limit: int) -> str:
    """`text` on one line, without control, format and other invisible characters, at most `limit` characters."""
    visible = "".join(" " if unicodedata.category(each)[0] == "C" or each in "\u2028\u2029" else each for each in text)
    words = " ".join(visible.split())
    return words if len(words) <= limit else words[: limit - 3].rstrip() + "..."


_KINDS: Final = {  # of a state: the subject's first word, and RFC 3464 §2.3.3's action; all others have failed
    State.DEFERRED: ("Delayed", "delayed"),
    State.DELIVERED: ("Relayed", "relayed"),
}
_FAILED: Final = ("Undelivered", "failed")


def _subject(report: Report, told: tuple[Outcome, ...]) -> str:
    word, action = _KINDS.get(told[0].state, _FAILED)
    if report.stage == "validate":
        kind = "Not sent" if action == "failed" else "Not sent yet"
        return f"{kind}: your mail from {report.mail_from.rpartition('@')[2]}"
    if len(told) == 1 and told[0].recipient.isascii():
        return f"{word} mail to {told[0].recipient}"
    return f"{word} mail to {report.domain}"


# --- for a person ------------------------------------------------------------------------------


def _words(report: Report, told: tuple[Outcome, ...], facts: Facts, header: bytes) -> str:
    about = [f"    From:     {clean(report.mail_from, MAX_ADDRESS)}"]
    if subject := _original_subject(header):
        about.append(f"    Subject:  {subject}")
    about += [f"    Accepted: {_date(report.received)}", f"    Id:       {report.id}"]
    alike: dict[tuple[State, str, int, str, str], list[Outcome]] = {}
    for each in told:
        alike.setdefault((each.state, each.remote, each.code, each.enhanced, each.text), []).append(each)
    refused = report.stage == "validate" and told[0].state is not State.DEFERRED
    lines = [*_introduction(told[0].state, facts, refused=refused), "", *about]
    for group in alike.values():
        if refused:
            lines += ["", "Why:", *_refusal(clean(group[0].text, MAX_REASON)), "", "It was meant for:"]
            lines += [f"  {clean(each.recipient, MAX_ADDRESS)}" for each in group]
        else:
            lines += ["", *(clean(each.recipient, MAX_ADDRESS) for each in group), *_reason(group[0], facts)]
    if refused:
        lines += ["", "Once that is put right, send the message again."]
    if report.stage == "validate":
        lines += ["", *_counted(facts.turn)]
    return _CRLF.join([*lines, ""])


def _introduction(state: State, facts: Facts, *, refused: bool) -> list[str]:
    match state:
        case State.DEFERRED:
            return [
                f"The mail relay {facts.host_name} could not pass this message on to the",
                "recipients below yet. It keeps trying; you need not send it again.",
            ]
        case State.DELIVERED:
            return [
                f"The mail relay {facts.host_name} has handed this message over to the mail",
                "server of the recipients below. That server sends no notices of success, so",
                "this is the last you hear if all goes well.",
            ]
    if refused:
        return [f"The mail relay {facts.host_name} refused this message; nobody got it."]
    return [
        f"The mail relay {facts.host_name} could not deliver this message to the",
        "recipients below, and has given up.",
    ]


def _counted(turn: Turn) -> list[str]:
    lines = []
    if turn.more:
        people = "recipient" if turn.more == 1 else "recipients"
        lines += [f"Since {_date(turn.since)}, without a notice:"]
        lines += [f"mail to {turn.more} more {people} met the same.", ""]
    return [*lines, "The same within the next hour is counted, and told of in the next notice."]


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


def _reason(outcome: Outcome, facts: Facts) -> list[str]:
    said = clean(outcome.text, MAX_WORDS)
    if outcome.remote:
        intro = f"{clean(outcome.remote, 300)} said:"
        said = f"{outcome.code} {said}" if outcome.code else said
    else:
        intro = "No server was asked:" if outcome.state is State.SUPPRESSED else "No server took it:"
    lines = [f"  {intro}", *_indented(said, 4)]
    match outcome.state:
        case State.DELIVERED:
            return lines
        case State.DEFERRED:
            return [*lines, f"  Next try: {_date(outcome.next_due)}", f"  Given up: {_date(facts.until)}"]
    return [*lines, *_indented(f"What to do: {_advice(outcome)}")]


def _advice(outcome: Outcome) -> str:
    if outcome.state is State.SUPPRESSED:
        return _ADVICE_SUPPRESSED
    if outcome.state is State.EXPIRED and outcome.failure not in (FailureClass.FULL, FailureClass.OURS):
        return _ADVICE_EXPIRED
    by_class, detail = advice(outcome.failure), outcome.enhanced.partition(".")[2]
    # Of addresses and content the status says more, unless it is one of policy, which then isn't meant.
    if by_class and (outcome.failure not in (FailureClass.ADDRESS, FailureClass.CONTENT) or detail.startswith("7.")):
        return by_class
    for details, words in _ADVICE:
        if any(detail == each or (each.endswith(".") and detail.startswith(each)) for each in details):
            return words
    return by_class or _ADVICE_OTHERWISE


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


def _status(report: Report, told: tuple[Outcome, ...], facts: Facts) -> str:
    """The body of message/delivery-status: RFC 3464 §2.1, fields of §2.2 and §2.3."""
    envelope = [f"Original-Envelope-Id: {_decoded(report.envid)}"] if report.envid else []
    blocks = [[*envelope, f"Reporting-MTA: dns; {facts.host_name}", f"Arrival-Date: {_date(report.received)}"]]
    blocks += [
        _recipient_fields(each, report.id, report.dsn.get(each.recipient, NOTHING_ASKED).orcpt, facts) for each in told
    ]
    return _CRLF.join(_CRLF.join([*block, ""]) for block in blocks)


def _recipient_fields(outcome: Outcome, id: str, orcpt: str, facts: Facts) -> list[str]:
    _, action = _KINDS.get(outcome.state, _FAILED)
    otherwise = {"delayed": "4.0.0", "relayed": "2.0.0"}.get(action, "5.0.0")
    status = outcome.enhanced if _STATUS.fullmatch(outcome.enhanced) else otherwise
    if outcome.state is State.DEFERRED:  # a 5xx, too, may be tried again (relay.failure)
        status = f"4{status[1:]}"
    fields = [f"Original-Recipient: {_original_recipient(orcpt)}"] if orcpt else []
    fields += [f"Final-Recipient: {_typed_address(outcome.recipient)}", f"Action: {action}", f"Status: {status}"]
    said = f"{outcome.enhanced} {outcome.text}"
    if outcome.remote:
        fields.append(f"Remote-MTA: dns; {_ascii(outcome.remote.partition('[')[0], 255)}")
    if outcome.remote and outcome.code:
        fields.append(_fold(f"Diagnostic-Code: smtp; {outcome.code} {_ascii(said, MAX_WORDS)}"))
    else:  # not a remote server's reply: RFC 3464 §2.3.6 wants another type then
        fields.append(_fold(f"Diagnostic-Code: x-mailrelay; {_ascii(said, MAX_REASON - 100)}"))
    fields += [f"Last-Attempt-Date: {_date(outcome.time)}", f"Final-Log-ID: {id}"]
    return [*fields, f"Will-Retry-Until: {_date(facts.until)}"] if outcome.state is State.DEFERRED else fields


def _original_recipient(orcpt: str) -> str:
    """RFC 3464 §2.3.1: ORCPT decoded; but utf-8's is in the form for a 7-bit notice already (RFC 6533 §3)."""
    type, _, address = orcpt.partition(";")
    return f"{type}; {address if type.lower() == 'utf-8' else _decoded(address)}"


def _decoded(xtext: str) -> str:
    """RFC 3461 §4; what is not printable ASCII, which the gateway doesn't let in, becomes "?"."""
    text = _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), xtext)
    return "".join(each if " " <= each <= "~" else "?" for each in text)


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
    if not body.isascii() or _CONTROL.search(body) or any(len(line) > MAX_LINE for line in body.split(b"\r\n")):
        encoding = "quoted-printable"
        body = b"\r\n".join(_quoted_printable(line) for line in body.split(b"\r\n"))
    return f"Content-Type: {type}{_CRLF}Content-Transfer-Encoding: {encoding}{_CRLF}{_CRLF}".encode() + body


def _quoted_printable(line: bytes) -> bytes:
    return binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n")
