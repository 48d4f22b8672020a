"""The client's side of SMTP (RFC 5321), sans-IO.

An exchange is a generator: it yields an Ask (what to write, then which reply to wait for), is sent that
Reply, and returns its result. `relay.smtp.client` drives it over a connection; a test, over a list.
"""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from relay.smtp.replies import ProtocolError, Reply
from relay.submission import Dsn

T = TypeVar("T")


class Phase(StrEnum):
    """What a reply answers. CONTENT: the final dot; from its first octet on the remote may have the message."""

    CONNECT = "connect"
    GREETING = "greeting"
    HELLO = "EHLO"
    TLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "the final dot"
    RESET = "RSET"


class Ask(NamedTuple):
    """Write `data` (if any), then wait for the next reply, which answers `phase`. last: nothing more is written
    for this exchange, so that the next one's envelope may follow at once (RFC 2920 §3.1)."""

    data: bytes
    phase: Phase
    last: bool = False


Exchange = Generator[Ask, Reply, T]


class RefusedError(Exception):
    """The remote won't have a session with us: `reply` to greeting or EHLO says why."""

    def __init__(self, phase: Phase, reply: Reply) -> None:
        super().__init__(f"{phase.value}: {reply.code} {reply.text}")
        self.phase = phase
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What EHLO offered. size: octets, 0 for no stated limit (RFC 1870 §3), None if SIZE is not offered.
    auth: SASL mechanisms, in upper case."""

    pipelining: bool = False
    starttls: bool = False
    eightbitmime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    size: int | None = None
    auth: tuple[bytes, ...] = ()


class Message(NamedTuple):
    """An envelope's message, ready to send. stuffed: content dot-stuffed, with the final dot.

    size: octets of the content itself. eightbit: it has octets above 127. utf8: its header or sender has.
    ret, envid, dsn: as in Delivery.
    """

    mail_from: str
    stuffed: bytes
    size: int
    eightbit: bool
    utf8: bool
    ret: str
    envid: str
    dsn: Mapping[str, Dsn]

    @classmethod
    def prepare(
        cls,
        mail_from: str,
        content: bytes,
        *,
        smtputf8: bool,
        ret: str = "",
        envid: str = "",
        dsn: Mapping[str, Dsn] | None = None,
    ) -> "Message":
        """smtputf8: it was submitted with SMTPUTF8; without it, 8-bit octets in a header are just 8BITMIME's."""
        eightbit = not content.isascii()
        utf8 = not mail_from.isascii() or (smtputf8 and eightbit and not _header(content).isascii())
        return cls(mail_from, dot_stuff(content), len(content), eightbit, utf8, ret, envid, dsn or {})


class Answer(NamedTuple):
    """One recipient's: `phase` is the command that `reply` decided it at."""

    reply: Reply
    phase: Phase


class Result(NamedTuple):
    """answers: one per recipient, in order. reset: RSET is needed before the next transaction.
    usable: the connection may be used again."""

    answers: tuple[Answer, ...]
    reset: bool
    usable: bool


NO_8BITMIME: Final = Reply.ours(554, "5.6.3", "the remote server does not take 8-bit content (8BITMIME)")
NO_SMTPUTF8: Final = Reply.ours(553, "5.6.7", "the remote server does not take internationalized mail (SMTPUTF8)")
NO_TIME: Final = Reply.ours(451, "4.4.7", "no time left in this attempt")  # also for who wasn't asked about
CLOSING: Final = 421
_NEXT_RCPT: Final = Ask(b"", Phase.RCPT)
_NOT_ASKED: Final = Answer(NO_TIME, Phase.RCPT)
_NEXT_DATA: Final = Ask(b"", Phase.DATA)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")


def greeting() -> Exchange[None]:
    """RefusedError unless the remote greets with 220 (RFC 5321 §3.1)."""
    reply = yield Ask(b"", Phase.GREETING)
    if reply.code != 220:
        raise RefusedError(Phase.GREETING, reply)


def hello(name: str) -> Exchange[Capabilities]:
    """EHLO, or HELO for a server that does not know EHLO (RFC 5321 §3.2). RefusedError if neither is taken."""
    reply = yield Ask(b"EHLO %b\r\n" % name.encode("ascii"), Phase.HELLO)
    if reply.ok:
        return _capabilities(reply)
    if reply.permanent:
        reply = yield Ask(b"HELO %b\r\n" % name.encode("ascii"), Phase.HELLO)
    if not reply.ok:
        raise RefusedError(Phase.HELLO, reply)
    return Capabilities()


def starttls() -> Exchange[bool]:
    """Whether the TLS handshake may begin (RFC 3207 §4)."""
    reply = yield Ask(b"STARTTLS\r\n", Phase.TLS)
    return reply.code == 220


def reset() -> Exchange[bool]:
    """Whether the connection is ready for the next transaction."""
    reply = yield Ask(b"RSET\r\n", Phase.RESET)
    return reply.ok


def transaction(
    offered: Capabilities, message: Message, recipients: tuple[str, ...], pace: Callable[[int], int] = lambda _: 100
) -> Exchange[Result]:
    """Send `message` to `recipients` (at least one). ProtocolError for replies that make no sense.

    pace: answers so far -> how many more recipients may be asked about at once. At 0 the message goes to those
    accepted by then, and the others' answer is NO_TIME. What the remote doesn't offer (phase HELLO) is a permanent
    refusal of our own: nothing is ever converted.
    """
    refusal = _unmet(offered, message)
    if refusal is not None:
        return Result((Answer(refusal, Phase.HELLO),) * len(recipients), reset=False, usable=True)
    plain = "".join(recipients).isascii()
    taken = recipients if plain or offered.smtputf8 else tuple(filter(str.isascii, recipients))
    if not taken:
        return Result((Answer(NO_SMTPUTF8, Phase.HELLO),) * len(recipients), reset=False, usable=True)
    utf8 = message.utf8 or (offered.smtputf8 and not plain)
    lines = [_mail(offered, message, utf8=utf8), *[_rcpt(offered, message, recipient) for recipient in taken]]
    envelope = _pipelined(lines, pace) if offered.pipelining else _step_by_step(lines, pace)
    replies, data = yield from envelope
    answers, closing = _envelope_answers(replies, len(taken))
    taking = [answer.reply.ok for answer in answers]
    accepted, done = True in taking, False
    if data is not None and not closing:
        if data.code == 354:
            # A pipelined DATA may be taken although no recipient was: RFC 2920 §3.1 has us send the dot alone.
            last = False not in taking  # else another transaction may be for the rest
            decided = yield Ask(message.stuffed, Phase.CONTENT, last) if accepted else Ask(b".\r\n", Phase.DATA)
            phase, done = Phase.CONTENT, accepted
        else:
            decided, phase = data, Phase.DATA
        if decided.code // 100 == 3 or (decided.ok and phase is Phase.DATA):
            raise ProtocolError(f"reply {decided.code} to {phase.value} makes no sense")
        final = Answer(decided, phase)
        answers = [final if ok else answer for ok, answer in zip(taking, answers, strict=True)]
        closing = decided.code == CLOSING
    if len(taken) < len(recipients):
        by_recipient = dict(zip(taken, answers, strict=True))
        unsent = Answer(NO_SMTPUTF8, Phase.HELLO)
        answers = [by_recipient.get(recipient, unsent) for recipient in recipients]
    return Result(tuple(answers), not done, not closing)


def dot_stuff(content: bytes) -> bytes:
    """RFC 5321 §4.5.2, and the final dot. Content ends with CRLF already, or gets one."""
    end = b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n"
    first = b"." if content.startswith(b".") else b""
    return first + content.replace(b"\r\n.", b"\r\n..") + end


def _pipelined(lines: list[bytes], pace: Callable[[int], int]) -> Exchange[tuple[list[Reply], Reply | None]]:
    """The whole envelope in one write (RFC 2920 §3.1), or what pace allows of it."""
    replies: list[Reply] = []
    asked = 0
    while asked < len(lines):
        more = pace(max(0, len(replies) - 1))
        if asked and not more:
            break
        upto = min(len(lines), max(1, asked) + max(1, more))  # time that ran out just now is noticed after one
        data = b"".join(lines[asked:upto]) + (b"DATA\r\n" if upto == len(lines) else b"")
        asked = upto
        while len(replies) < asked:
            reply = yield Ask(data, Phase.RCPT if replies else Phase.MAIL) if data else _NEXT_RCPT
            replies.append(reply)
            data = b""
            if reply.code == CLOSING:
                return replies, None
        if not replies[0].ok and asked < len(lines):
            return replies, None
    if asked == len(lines):
        return replies, (yield _NEXT_DATA)
    return replies, (yield from _data(replies))


def _step_by_step(lines: list[bytes], pace: Callable[[int], int]) -> Exchange[tuple[list[Reply], Reply | None]]:
    """One command at a time; DATA only if somebody is to have the message."""
    replies: list[Reply] = []
    for line in lines:
        if replies and not pace(len(replies) - 1):
            break
        reply = yield Ask(line, Phase.RCPT if replies else Phase.MAIL)
        replies.append(reply)
        if reply.code == CLOSING or not replies[0].ok:
            return replies, None
    return replies, (yield from _data(replies))


def _data(replies: list[Reply]) -> Exchange[Reply | None]:
    if not any(reply.ok for reply in replies[1:]):
        return None
    return (yield Ask(b"DATA\r\n", Phase.DATA))


def _envelope_answers(replies: list[Reply], recipients: int) -> tuple[list[Answer], bool]:
    """Each recipient's answer so far, and whether the remote is closing. A reply that ended the envelope
    early (MAIL refused, 421) answers all that follow; pace's end, nobody."""
    closing = False
    for reply in replies:
        if reply.code // 100 == 3:
            raise ProtocolError(f"reply {reply.code} to the envelope makes no sense")
        closing = closing or reply.code == CLOSING
    mail, *rest = replies
    if not mail.ok:
        return [Answer(mail, Phase.MAIL)] * recipients, closing
    answers = [Answer(reply, Phase.RCPT) for reply in rest]
    last = _NOT_ASKED
    if closing:
        # Nobody gets the message in this session, so "ok" so far is none.
        last = Answer(replies[-1], Phase.RCPT)
        answers = [last if answer.reply.ok else answer for answer in answers]
    return answers + [last] * (recipients - len(answers)), closing


def _unmet(offered: Capabilities, message: Message) -> Reply | None:
    if offered.size and message.size > offered.size:  # RFC 1870 §6.1: (1)
        return Reply.ours(552, "5.3.4", f"message of {message.size} octets; the remote server takes {offered.size}")
    if message.utf8 and not offered.smtputf8:
        return NO_SMTPUTF8
    if message.eightbit and not offered.eightbitmime:  # RFC 6152 §3
        return NO_8BITMIME
    return None


def _mail(offered: Capabilities, message: Message, *, utf8: bool) -> bytes:
    line = b"MAIL FROM:<%b>" % _path(message.mail_from)
    if offered.size is not None:
        line += b" SIZE=%d" % message.size
    if message.eightbit:
        line += b" BODY=8BITMIME"
    if utf8:
        line += b" SMTPUTF8"
    if offered.dsn:
        line += _parameter("RET", message.ret) + _parameter("ENVID", message.envid)
    return line + b"\r\n"


def _rcpt(offered: Capabilities, message: Message, recipient: str) -> bytes:
    """RFC 3461 §5.2.1: NOTIFY and ORCPT go on as they came, and none is added."""
    line = b"RCPT TO:<%b>" % _path(recipient)
    if offered.dsn and (asked := message.dsn.get(recipient)):
        line += _parameter("NOTIFY", asked.notify) + _parameter("ORCPT", asked.orcpt)
    return line + b"\r\n"


def _parameter(name: str, value: str) -> bytes:
    return b" %b=%b" % (name.encode("ascii"), _path(value)) if value else b""


def _path(address: str) -> bytes:
    """ValueError for what would end the command early: the gateway let it in, so it is our bug."""
    if not address.isprintable() and _CONTROL.search(address):
        raise ValueError("control character in an envelope address")
    return address.encode("utf-8")


def _capabilities(reply: Reply) -> Capabilities:
    """RFC 5321 §4.1.1.1: keyword and parameters on each line after the first."""
    words = [line.upper().split() for line in reply.lines[1:]]
    keywords = {each[0]: each[1:] for each in words if each}
    size = keywords.get(b"SIZE")
    number = size[0] if size else b""
    return Capabilities(
        pipelining=b"PIPELINING" in keywords,
        starttls=b"STARTTLS" in keywords,
        eightbitmime=b"8BITMIME" in keywords,
        smtputf8=b"SMTPUTF8" in keywords,
        dsn=b"DSN" in keywords,
        auth=tuple(keywords.get(b"AUTH", ())),
        size=None if size is None else int(number) if number.isdigit() and len(number) <= 20 else 0,
    )


def _header(content: bytes) -> bytes:
    end = content.find(b"\r\n\r\n")
    return content if end < 0 else content[:end]
