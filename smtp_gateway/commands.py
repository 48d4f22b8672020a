"""A command line into a frozen command; the ABNF stands beside each pattern (RFC 5321 §4.1.1)."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from relay.address import Address, AddressError, parse_address
from smtp_gateway import replies
from smtp_gateway.replies import Refused


class Verb(Enum):
    EHLO = b"EHLO"
    HELO = b"HELO"
    STARTTLS = b"STARTTLS"
    AUTH = b"AUTH"
    MAIL = b"MAIL"
    RCPT = b"RCPT"
    DATA = b"DATA"
    RSET = b"RSET"
    NOOP = b"NOOP"
    VRFY = b"VRFY"
    QUIT = b"QUIT"
    BDAT = b"BDAT"  # known so that it can be refused: octets, not lines, follow it (RFC 3030 §2)

    __hash__ = object.__hash__  # as states.State


_VERBS: Final = {verb.value: verb for verb in Verb}
_NOT_OFFERED: Final = frozenset({b"EXPN", b"HELP", b"TURN", b"ETRN", b"ATRN", b"SEND", b"SOML", b"SAML", b"BURL"})
# How other protocols begin: a TLS handshake (RFC 8446 §5.1), HTTP (RFC 9110 §9, 5789, 9113 §3.4). What a browser sends
# after that may be commands that a web page chose.
FOREIGN: Final = re.compile(rb"\x16|(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI) ")

# Octets of a line with its CRLF: RFC 5321 §4.5.3.1.4, and what each extension offered adds to MAIL:
# SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152 §2), SMTPUTF8 10 (RFC 6531 §3.1), AUTH 500 (RFC 4954 §5),
# RET 9 and ENVID 107; and to RCPT: NOTIFY 29 and ORCPT 507 (RFC 3461 §4.1-4.4, with the spaces before them).
COMMAND_LIMIT: Final = 512
AUTH_LIMIT: Final = 12_288  # RFC 4954 §4
_LIMITS: Final = {
    Verb.MAIL: COMMAND_LIMIT + 26 + 17 + 10 + 500 + 9 + 107,
    Verb.RCPT: COMMAND_LIMIT + 29 + 507,
    Verb.AUTH: AUTH_LIMIT,
}


class Mail(NamedTuple):
    """sender: None for the null reverse-path `<>`. size: octets as announced, 0 if not.
    ret: "FULL", "HDRS" or ""; envid: as xtext, or ""."""

    sender: Address | None
    size: int = 0
    eightbit: bool = False
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


class Rcpt(NamedTuple):
    """notify: "NEVER", or of "SUCCESS,FAILURE,DELAY" in this order, or ""; orcpt: type;xtext, or ""."""

    recipient: Address
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Auth:
    """mechanism: upper case. initial: None without an initial response; b"=" is an empty one."""

    mechanism: str
    initial: bytes | None


def split(line: bytes) -> tuple[Verb, bytes]:
    """A line without its CRLF -> its verb and its argument. Refused if there is no such command."""
    word, _, argument = line.partition(b" ")
    verb = _VERBS.get(word) or _VERBS.get(word.upper())
    if verb is None:
        raise Refused(replies.NOT_OFFERED if word.upper() in _NOT_OFFERED else replies.UNKNOWN_COMMAND)
    if len(line) + 2 > _LIMITS.get(verb, COMMAND_LIMIT):
        raise Refused(replies.LINE_TOO_LONG)
    return verb, argument.strip(b" ")  # RFC 5321 §4.1.1: trailing white space is tolerated


# Domain / address-literal, in the characters that either may have; "_" because many hosts have it.
# Nothing here can end or open anything in the trace header, where the name goes.
_HOST: Final = re.compile(rb"[A-Za-z0-9._-]{1,255}|\[[A-Za-z0-9.:-]{1,253}\]")


def parse_hello(argument: bytes) -> str:
    """ehlo = "EHLO" SP ( Domain / address-literal ) CRLF; helo the same."""
    if not _HOST.fullmatch(argument):
        raise Refused(replies.BAD_HELLO)
    return argument.decode("ascii")


# mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF; rcpt = "RCPT TO:" Forward-path ...
# Clients put a space after the colon often enough to let it pass. The path ends at the first ">" outside quotes.
_PATH: Final = rb' ?<([^"<>]*(?:"(?:[^"\\]|\\.)*"[^"<>]*)*)>(?: +(.*))?'
_FROM: Final = re.compile(rb"FROM:" + _PATH, re.IGNORECASE | re.DOTALL)
_TO: Final = re.compile(rb"TO:" + _PATH, re.IGNORECASE | re.DOTALL)
# esmtp-param = esmtp-keyword ["=" esmtp-value]; xtext (RFC 3461 §4) is within esmtp-value's characters
# and UTF-8, which RFC 6533 §3 lets into ORCPT
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\ud7ff\ue000-\U0010ffff]+))?")
_SIZE: Final = re.compile(r"[0-9]{1,20}")  # size-value, RFC 1870 §3
_XTEXT: Final = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"  # RFC 3461 §4
_AUTH_VALUE: Final = re.compile(f"<>|{_XTEXT}")  # RFC 4954 §5
# RFC 3461 §4.4 has only printable ASCII and space in it, once decoded; so has §4.2 in an address that isn't utf-8's
_PRINTABLE: Final = r"(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+"
_ENVID: Final = re.compile(f"(?=.{{1,100}}$){_PRINTABLE}")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*/?^_`{|}~-]+"  # addr-type; its "+" and "=" would be xtext's
# utf-8-addr-xtext, with the characters themselves where the client may write them (RFC 6533 §3)
_UTF8_ADDRESS: Final = r"(?i:utf-8);(?:[!-*,-<>-\[\]-~]|\\x\{[0-9A-F]{2,6}\}|[\x80-\ud7ff\ue000-\U0010ffff])+"
_ORCPT: Final = re.compile(rf"{_UTF8_ADDRESS}|(?!(?i:utf-8);){_ATOM};{_PRINTABLE}")
LONGEST_ORCPT: Final = 500  # RFC 3461 §4.2
_EVENTS: Final = ("SUCCESS", "FAILURE", "DELAY")


def parse_mail(argument: bytes) -> Mail:
    match = _FROM.fullmatch(argument)
    if not match:
        raise Refused(replies.BAD_MAIL)
    parameters = _parameters(match[2])
    ret, envid = parameters.pop("RET", ""), parameters.pop("ENVID", "")
    size, body = parameters.pop("SIZE", "0"), parameters.pop("BODY", "7BIT")
    smtputf8 = "SMTPUTF8" in parameters
    if parameters.pop("SMTPUTF8", None) is not None:
        raise Refused(replies.BAD_SMTPUTF8)
    # RFC 4954 §5: whoever doesn't trust the client reads AUTH= as AUTH=<>, and says nothing
    if not _AUTH_VALUE.fullmatch(parameters.pop("AUTH", "<>") or ""):
        raise Refused(replies.BAD_AUTH_PARAMETER)
    if parameters:
        raise Refused(replies.UNKNOWN_PARAMETER)
    if not _SIZE.fullmatch(size or ""):
        raise Refused(replies.BAD_SIZE)
    if (body or "").upper() not in ("7BIT", "8BITMIME"):
        raise Refused(replies.BAD_BODY)
    if ret is None or ret.upper() not in ("", "FULL", "HDRS"):
        raise Refused(replies.BAD_RET)
    if envid is None or (envid and not _ENVID.fullmatch(envid)):
        raise Refused(replies.BAD_ENVID)
    try:
        sender = parse_address(_text(match[1], smtputf8)) if match[1] else None
    except AddressError as error:
        raise Refused(replies.bad_sender(error.safe)) from error
    return Mail(sender, int(size or 0), (body or "").upper() == "8BITMIME", smtputf8, ret.upper(), envid)


def parse_rcpt(argument: bytes, *, smtputf8: bool) -> Rcpt:
    match = _TO.fullmatch(argument)
    if not match:
        raise Refused(replies.BAD_RCPT)
    parameters = _parameters(match[2])
    notify, orcpt = parameters.pop("NOTIFY", ""), parameters.pop("ORCPT", "")
    if parameters:
        raise Refused(replies.UNKNOWN_PARAMETER)
    if match[1].lower() == b"postmaster":  # RFC 5321 §4.1.1.3 means a local mailbox; a relay has none
        raise Refused(replies.NO_LOCAL_MAILBOX)
    try:
        recipient = parse_address(_text(match[1], smtputf8))
    except AddressError as error:
        raise Refused(replies.bad_recipient(error.safe)) from error
    return Rcpt(recipient, _notify(notify), _orcpt(orcpt, smtputf8))


def _notify(value: str | None) -> str:
    """notify-esmtp-value = "NEVER" / 1#notify-list-element (RFC 3461 §4.1)."""
    if value == "":
        return ""
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return "NEVER"
    if not set(words) <= set(_EVENTS):
        raise Refused(replies.BAD_NOTIFY)
    return ",".join(event for event in _EVENTS if event in words)


def _orcpt(value: str | None, smtputf8: bool) -> str:
    """ORCPT = original-recipient-address = addr-type ";" xtext (RFC 3461 §4.2), in ASCII whatever it came in."""
    if value == "":
        return ""
    if not value or not _ORCPT.fullmatch(value) or not (smtputf8 or value.isascii()):
        raise Refused(replies.BAD_ORCPT)
    ascii_value = "".join(each if each.isascii() else f"\\x{{{ord(each):X}}}" for each in value)
    if len(ascii_value) > LONGEST_ORCPT:
        raise Refused(replies.BAD_ORCPT)
    return ascii_value


def parse_auth(argument: bytes) -> Auth:
    """auth-command = "AUTH" SP sasl-mech [SP initial-response] CRLF (RFC 4954 §8)."""
    words = argument.split(b" ")
    if len(words) > 2 or not words[0]:
        raise Refused(replies.BAD_AUTH)
    return Auth(words[0].decode("ascii", "replace").upper(), words[1] if len(words) == 2 else None)


def no_argument(argument: bytes) -> None:
    if argument:
        raise Refused(replies.BAD_ARGUMENT)


def some_argument(argument: bytes) -> None:
    if not argument:
        raise Refused(replies.MISSING_ARGUMENT)


def _parameters(text: bytes | None) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    if not text:
        return found
    for word in filter(None, text.decode("utf-8", "surrogateescape").split(" ")):
        match = _PARAMETER.fullmatch(word)
        if not match:
            raise Refused(replies.BAD_PARAMETER)
        if match[1].upper() in found:
            raise Refused(replies.REPEATED_PARAMETER)
        found[match[1].upper()] = match[2]
    return found


def _text(path: bytes, smtputf8: bool) -> str:
    """RFC 6531 §3.3: UTF-8 in a path only after SMTPUTF8 at MAIL."""
    if path.isascii():
        return path.decode("ascii")
    if not smtputf8:
        raise Refused(replies.NEEDS_SMTPUTF8)
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(replies.NOT_ASCII) from None
