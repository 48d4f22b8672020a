"""Every reply, named once: code (RFC 5321 §4.2), enhanced code (RFC 2034, RFC 3463), text."""

import re
from dataclasses import dataclass, field
from typing import Final

MAX_TEXT: Final = 400  # RFC 5321 §4.5.3.1.5: a reply line is at most 512 octets
MAX_LINES: Final = 12  # of a reply that explains; more than people read
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_USUAL: Final = re.compile(rf"[ -~]{{1,{MAX_TEXT}}}")


@dataclass(frozen=True, slots=True)
class Reply:
    """enhanced: "" where RFC 2034 §4 has none (EHLO, 354, 334). text: made printable ASCII, and cut.

    counts: it counts towards the errors after which a connection is closed. more: further lines, as text.
    """

    code: int
    enhanced: str
    text: str
    counts: bool = False
    more: tuple[str, ...] = ()
    wire: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.enhanced and not self.more and _USUAL.fullmatch(self.text):
            wire = f"{self.code} {self.enhanced} {self.text}\r\n".encode("ascii")
        else:
            shown = (_UNPRINTABLE.sub("?", line[:MAX_TEXT]) for line in (self.text, *self.more))
            lines = tuple(" ".join(filter(None, (self.enhanced, line))) for line in shown)  # in each line: RFC 2034 §4
            wire = several(self.code, lines)
        object.__setattr__(self, "wire", wire)

    @property
    def ok(self) -> bool:
        return self.code < 400


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """Carries the reply to a command that is not carried out."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


def several(code: int, lines: tuple[str, ...]) -> bytes:
    """A reply of one line or more (RFC 5321 §4.2.1)."""
    head = "".join(f"{code}-{line}\r\n" for line in lines[:-1])
    return f"{head}{code} {lines[-1]}\r\n".encode("ascii")


def greeting(host_name: str) -> Reply:
    return Reply(220, "", f"{host_name} ESMTP")


def challenge(text: str) -> Reply:
    """text: base64 (RFC 4954 §4)."""
    return Reply(334, "", text)


def queued(id: str) -> Reply:
    return Reply(250, "2.0.0", f"queued as {id}")


def bad_sender(why: str) -> Reply:
    return Reply(553, "5.1.7", f"Bad sender address: {why}")


def bad_recipient(why: str) -> Reply:
    return Reply(553, "5.1.3", f"Bad recipient address: {why}")


def bad_content(why: str) -> Reply:
    return Reply(554, "5.6.0", f"Message refused: {why}")


def sender_refused(lines: tuple[str, ...], last: str) -> Reply:
    """lines: why, the most important first. last: where to read more; it is never cut off."""
    return Reply(550, "5.7.1", lines[0], more=(*lines[1 : MAX_LINES - 1], last))


def sender_held(lines: tuple[str, ...], last: str) -> Reply:
    """As `sender_refused`, but it may pass by itself."""
    return Reply(451, "4.7.1", lines[0], more=(*lines[1 : MAX_LINES - 1], last))


def too_big(limit: int) -> Reply:
    return Reply(552, "5.3.4", f"Message refused: it is larger than {limit} octets")


# Over quota; seconds: after which to try again. 4.7.0 as there is no detail that says it (RFC 3463 §3.8).


def too_fast(seconds: int) -> Reply:
    return Reply(421, "4.7.0", f"Too many connections a minute from your address; try again in {seconds} seconds")


def too_many_cut_off(seconds: int) -> Reply:
    return Reply(421, "4.7.0", f"Too many sessions of your address ended in errors; try again in {seconds} seconds")


def too_many_failed_logins(seconds: int) -> Reply:
    return Reply(421, "4.7.0", f"Too many failed logins from your address; try again in {seconds} seconds")


def too_many_a_second(limit: int, seconds: int) -> Reply:
    return Reply(451, "4.7.0", f"Over {limit} messages a second of this account; try again in {seconds} seconds")


def too_many_octets(seconds: int) -> Reply:
    return Reply(451, "4.7.0", f"Too many octets of this account; try again in {seconds} seconds")


def too_many_today(limit: int, seconds: int) -> Reply:
    return Reply(451, "4.7.0", f"{limit} messages of this account today (UTC) are all; try again in {seconds} seconds")


def paused(bounced: int, finished: int) -> Reply:
    """4.7.13: user account disabled (RFC 5248, IANA)."""
    why = f"{bounced} of {finished} recipients bounced today"
    return Reply(451, "4.7.13", f"This account is paused: {why}; ask the operator to resume it")


# --- done -------------------------------------------------------------------------------------

START_TLS: Final = Reply(220, "2.0.0", "Start TLS now")
BYE: Final = Reply(221, "2.0.0", "Bye")
AUTHENTICATED: Final = Reply(235, "2.7.0", "Authenticated")
OK: Final = Reply(250, "2.0.0", "OK")
SENDER_OK: Final = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient OK")
CANNOT_VERIFY: Final = Reply(252, "2.5.0", "Cannot verify; send to it, and its server will say")
GO_AHEAD: Final = Reply(354, "", "Send the message; end it with <CRLF>.<CRLF>")

# --- our fault, or not now ---------------------------------------------------------------------

SHUTTING_DOWN: Final = Reply(421, "4.3.2", "Shutting down; try again")
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.3.2", "Too many connections; try again in 30 seconds")
TOO_MANY_OF_ADDRESS: Final = Reply(
    421, "4.7.0", "Too many sessions of your address are open; close some, or try again in 60 seconds"
)
TOO_MANY_OF_ACCOUNT: Final = Reply(
    421, "4.7.0", "Too many sessions of this account are open; close some, or try again in 60 seconds"
)
LOGIN_ENDED: Final = Reply(421, "4.7.0", "Account disabled or password changed; log in again")
INTERNAL_CLOSE: Final = Reply(421, "4.3.0", "Internal error; try again later")
IDLE: Final = Reply(421, "4.4.2", "Time-out: nothing came for too long")
TOO_SLOW: Final = Reply(421, "4.4.2", "Time-out: the message took too long")
SLOW_LINE: Final = Reply(421, "4.4.2", "Time-out: the command line took too long")
SLOW_ENVELOPE: Final = Reply(421, "4.4.2", "Time-out: no DATA in time after MAIL")
NO_MESSAGE: Final = Reply(421, "4.4.2", "Time-out: no message for too long")
NO_READER: Final = Reply(421, "4.4.2", "Time-out: replies were not read")
NO_LOGIN: Final = Reply(421, "4.7.0", "Time-out: no authentication in time")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors")
TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", "Too many commands and no message; connect again when there is one")
LONG_SESSION: Final = Reply(421, "4.7.0", "Enough for one session; connect again now and go on")
TOO_MANY_FAILED_LOGINS: Final = Reply(421, "4.7.0", "Too many failed authentications")
NOT_STORED: Final = Reply(451, "4.3.0", "Message not stored; try again later")
NO_ROOM: Final = Reply(452, "4.3.1", "No room for a large message now; try again in 30 seconds")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients; send the rest in another message")
CANNOT_CHECK_LOGIN: Final = Reply(454, "4.7.0", "Authentication cannot be checked now; try again later")

# --- the client's fault ------------------------------------------------------------------------

LINE_TOO_LONG: Final = Reply(500, "5.5.2", "Line too long", counts=True)
AUTH_LINE_TOO_LONG: Final = Reply(500, "5.5.6", "Line too long", counts=True)  # RFC 4954 §6
BAD_LINE: Final = Reply(500, "5.5.2", "Lines end in CRLF and hold no other CR, LF or NUL", counts=True)
LINE_HAS_NO_END: Final = Reply(521, "5.5.2", "Lines end in CRLF, not in LF", counts=True)
NOT_SMTP: Final = Reply(521, "5.5.1", "This is SMTP, not HTTP; and TLS begins with STARTTLS here")
NOT_ASCII: Final = Reply(500, "5.5.2", "Not ASCII and not UTF-8", counts=True)
UNKNOWN_COMMAND: Final = Reply(500, "5.5.2", "Unknown command", counts=True)
BAD_HELLO: Final = Reply(501, "5.5.4", "Give a host name or an address literal", counts=True)
BAD_ARGUMENT: Final = Reply(501, "5.5.4", "This command takes no argument", counts=True)
MISSING_ARGUMENT: Final = Reply(501, "5.5.4", "This command needs an argument", counts=True)
BAD_MAIL: Final = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [SIZE=n] [BODY=8BITMIME] [SMTPUTF8]", counts=True)
BAD_RCPT: Final = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>", counts=True)
BAD_SIZE: Final = Reply(501, "5.5.4", "SIZE takes a number of octets", counts=True)
BAD_BODY: Final = Reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME", counts=True)
BAD_SMTPUTF8: Final = Reply(501, "5.5.4", "SMTPUTF8 takes no value", counts=True)
BAD_AUTH_PARAMETER: Final = Reply(501, "5.5.4", "AUTH takes xtext or <>", counts=True)
BAD_RET: Final = Reply(501, "5.5.4", "RET is FULL or HDRS", counts=True)
BAD_ENVID: Final = Reply(501, "5.5.4", "ENVID takes xtext, at most 100 characters of it", counts=True)
BAD_NOTIFY: Final = Reply(501, "5.5.4", "NOTIFY is NEVER, or of SUCCESS,FAILURE,DELAY", counts=True)
BAD_ORCPT: Final = Reply(501, "5.5.4", "ORCPT takes type;address as xtext, at most 500 characters of it", counts=True)
BAD_PARAMETER: Final = Reply(501, "5.5.4", "A parameter is KEYWORD or KEYWORD=value", counts=True)
REPEATED_PARAMETER: Final = Reply(501, "5.5.4", "A parameter is given twice", counts=True)
BAD_AUTH: Final = Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]", counts=True)
BAD_BASE64: Final = Reply(501, "5.5.2", "Not the base64 that the mechanism asks for", counts=True)
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "Authentication cancelled", counts=True)
NOT_OFFERED: Final = Reply(502, "5.5.1", "Command not offered", counts=True)
HELLO_FIRST: Final = Reply(503, "5.5.1", "Say EHLO first")
MAIL_FIRST: Final = Reply(503, "5.5.1", "Say MAIL first")
IN_TRANSACTION: Final = Reply(503, "5.5.1", "A message is begun already; finish it, or say RSET")
ALREADY_TLS: Final = Reply(503, "5.5.1", "TLS is on already")
ALREADY_AUTHENTICATED: Final = Reply(503, "5.5.1", "Authenticated already")
UNKNOWN_MECHANISM: Final = Reply(504, "5.5.4", "Mechanisms offered: PLAIN LOGIN", counts=True)
TLS_FIRST: Final = Reply(530, "5.7.0", "Say STARTTLS first", counts=True)
AUTH_FIRST: Final = Reply(530, "5.7.0", "Authentication required", counts=True)
WRONG_LOGIN: Final = Reply(535, "5.7.8", "User name or password wrong")
AUTH_NEEDS_TLS: Final = Reply(538, "5.7.11", "Say STARTTLS first: authentication needs encryption", counts=True)
NO_LOCAL_MAILBOX: Final = Reply(553, "5.1.3", "Bad recipient address: Postmaster needs a domain; no mailbox is here")
NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "An address that is not ASCII needs the SMTPUTF8 parameter at MAIL")
LOOP: Final = Reply(554, "5.4.6", "Message refused: too many Received fields; it seems to go round in a loop")
NO_RECIPIENTS: Final = Reply(554, "5.5.1", "No valid recipients")
UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", "Parameter not offered", counts=True)
