"""All that we ever change of a message (DESIGN promise 4), pure: the trace header on top, Bcc out, and, only where
nothing is signed, a missing Date or Message-ID. And whom it says it is from, besides its envelope."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from relay.errors import PermanentError
from relay.header import IDENTITY_FIELDS, MAX_DOMAINS, MAX_FIELDS, MAX_HEADER, Field, Header, HeaderError

MAX_RECEIVED: Final = 50  # so many are a loop (RFC 5321 §6.3 has 100, for mail that may have come a long way)
# One address as most From fields have it, without quotes, comments or encoded words. It only spares relay.header what
# nobody can read otherwise. "*+": were spaces given back, a name could begin at each, and 64 KiB of them cost seconds.
_PLAIN_FROM: Final = re.compile(rb"[ \t]*+(?:[A-Za-z0-9 _.'-]*<)?[A-Za-z0-9._+-]+@([A-Za-z0-9.-]+)(>?)[ \t]*")
ADDED_FIELDS: Final = 3  # Received, Date, Message-ID
ADDED_OCTETS: Final = 2048  # of them, at most: two host names of 255 octets are the longest part
_BLIND: Final = (b"bcc", b"resent-bcc")
_SIGNED_FIELDS: Final = re.compile(rb"(?:\A|;)[ \t\r\n]*h[ \t\r\n]*=([^;]*)")  # RFC 6376 §3.5


class LoopError(PermanentError):
    """The message has been through too many servers."""


class Shown(StrEnum):
    """What the trace header tells of the client: its name, as it says, and address; the address; nothing."""

    FULL = "full"
    ADDRESS = "address"
    NONE = "none"


class Trace(NamedTuple):
    """What the trace header tells. peer: the client's IP address. tls: the cipher suite, as IANA names it.
    received: epoch seconds. shown: of helo and peer."""

    id: str
    host_name: str
    helo: str
    peer: str
    tls: str
    smtputf8: bool
    received: float
    shown: Shown = Shown.NONE

    @property
    def date(self) -> str:
        """RFC 5322 §3.3 date-time."""
        return _date(int(self.received))

    def header(self) -> bytes:
        """Time-stamp-line of RFC 5321 §4.4; protocol names of RFC 3848 and RFC 6531 §4.3, "tls" of RFC 8314 §4.3.

        The user name is left out: recipients have no business with it. Without a "from" it is what RFC 5322 §3.6.7
        has, and what others write for mail that didn't come from a server (docs/decisions.md).
        """
        protocol = "UTF8SMTPSA" if self.smtputf8 else "ESMTPSA"
        return (
            f"Received: {self._client()}by {self.host_name} with {protocol} id {self.id}\r\n"
            f"\ttls {self.tls}; {self.date}\r\n"
        ).encode("ascii")

    def _client(self) -> str:
        literal = f"[IPv6:{self.peer}]" if ":" in self.peer else f"[{self.peer}]"
        match self.shown:
            case Shown.FULL:
                return f"from {self.helo} ({literal})\r\n\t"
            case Shown.ADDRESS:
                return f"from {literal} ({literal})\r\n\t"
            case Shown.NONE:
                return ""


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def other_domains(header: Header, sender: str) -> tuple[str, ...]:
    """The sender domains that the header shows, but for that of the envelope `sender` ("" if it is null).

    Raises HeaderError where they can't be read without doubt, PermanentError if there are too many.
    """
    envelope = sender.rpartition("@")[2]
    if envelope and _is_plainly_from(header, envelope.encode("ascii")):
        return ()
    others = tuple(domain for domain in header.senders() if domain != envelope)
    count = len(others) + bool(envelope)
    if count > MAX_DOMAINS:
        raise PermanentError(f"the message names {count} sender domains; at most {MAX_DOMAINS} are allowed")
    return others


def _is_plainly_from(header: Header, domain: bytes) -> bool:
    names = [each.name for each in header.fields]
    if sum(map(names.count, IDENTITY_FIELDS)) != 1 or b"from" not in names:
        return False
    only = header.fields[names.index(b"from")]
    plain = _PLAIN_FROM.fullmatch(header.content, only.value_start, only.end - 2)
    return plain is not None and bool(plain[2]) == (b"<" in plain[0]) and plain[1].lower() == domain


def prepare(header: Header, trace: Trace) -> bytes:
    """The content that goes onto the queue.

    Raises PermanentError where the message can't go out at all: a Bcc that is signed, a header too large once ours is
    on top; LoopError (one of them) for too many Received fields.
    """
    content = header.content
    names = [each.name for each in header.fields]
    # What we add counts: validate reads the header again, and must not refuse what was accepted.
    if len(names) + ADDED_FIELDS > MAX_FIELDS:
        raise HeaderError(f"the header has more than {MAX_FIELDS} fields")
    if header.end + ADDED_OCTETS > MAX_HEADER:
        raise HeaderError(f"the header is longer than {MAX_HEADER} octets")
    if names.count(b"received") >= MAX_RECEIVED:
        raise LoopError(f"{MAX_RECEIVED} Received fields or more; it seems to go round in a loop")
    signed = b"dkim-signature" in names
    added = b"" if signed else _missing(names, trace)
    blind = [each for each in header.fields if each.name in _BLIND]
    if not blind:
        return trace.header() + added + content
    if signed:
        _check_unsigned(header, blind)
    return trace.header() + added + _without(content, blind)


def _missing(names: list[bytes], trace: Trace) -> bytes:
    """RFC 6409 §8.2, §8.3: a submission server may add them."""
    date = "" if b"date" in names else f"Date: {trace.date}\r\n"
    message_id = "" if b"message-id" in names else f"Message-ID: <{trace.id}@{trace.host_name}>\r\n"
    return (date + message_id).encode("ascii")


def _check_unsigned(header: Header, blind: list[Field]) -> None:
    covered: set[bytes] = set()
    for signature in header.values(b"dkim-signature"):
        for names in _SIGNED_FIELDS.findall(signature):
            covered.update(re.sub(rb"[ \t\r\n]+", b"", names).lower().split(b":"))
    for each in blind:
        if each.name in covered:
            name = each.name.decode("ascii").title()
            raise PermanentError(f"its DKIM signature covers {name}, which must not be sent on; sign without it")


def _without(content: bytes, fields: list[Field]) -> bytes:
    kept, position = [], 0
    for each in fields:
        kept.append(content[position : each.start])
        position = each.end
    kept.append(content[position:])
    return b"".join(kept)
