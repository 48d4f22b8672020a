"""What became of a recipient: Outcome, its State, and the Report that carries outcomes to record."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from relay.failure_rules import FailureClass
from relay.submission import NO_DSN, NOTHING_PROVED, Content, Dsn, Proved

HELD: Final = "4.7.1"  # RFC 3463 X.7.1: put off, because the sender domain's records fail that were good before


class State(StrEnum):
    """DEFERRED is the one state that is not final; every recipient ends in exactly one of the others."""

    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self is not State.DEFERRED


class Outcome(NamedTuple):  # there are several for each message: a frozen dataclass takes three times as long to make
    """What became of one recipient in one attempt.

    state; time: epoch seconds; attempt: 1, 2, ...
    code: the remote's (or our own equivalent) SMTP reply code, 0 if there was none.
    enhanced: RFC 3463 status such as "5.1.1", always present. text: the words, free of control
    characters, at most 1,000 octets of UTF-8. remote: "mx.example[192.0.2.1]", "" if none was reached.
    tls: "TLSv1.3", "TLSv1.3 verified", "HTTPS" or "" for plaintext. next_due: time of the next attempt, 0.0 when final.
    dsn: the remote offered DSN: notices of success are its to send (RFC 3461 §5.2.1).
    failure: the class of what is no success and was met by deliver (docs/failures.md). dead: the address does not
    exist, by the word of its own server. via: the relay.backends.BackEnd that brought the answer, "" if none was asked.
    """

    recipient: str
    state: State
    time: float
    attempt: int
    code: int
    enhanced: str
    text: str
    remote: str = ""
    tls: str = ""
    next_due: float = 0.0
    dsn: bool = False
    failure: FailureClass | None = None
    dead: bool = False
    via: str = ""


def cancelled(recipient: str, *, attempt: int, now: float) -> Outcome:
    """attempt: the one that isn't made any more."""
    return Outcome(recipient, State.CANCELLED, now, attempt, 0, "5.0.0", "cancelled by the operator")


class Report(NamedTuple):
    """Outcomes of one delivery (or of one refused submission's part), as RecordQueue carries them.

    Fields as in Delivery. content: Stored whenever an outcome is no success, so that a notice can quote
    the original; Inline and cut, for its headers, where a success is to be told; else None.
    stage: "validate" or "deliver", the one that decided.
    """

    id: str
    account: str
    mail_from: str
    domain: str
    chunk: int
    received: float
    stage: str
    outcomes: tuple[Outcome, ...]
    content: Content | None = None
    notice: bool = False
    tried: float = 0.0
    ret: str = ""
    envid: str = ""
    dsn: Mapping[str, Dsn] = NO_DSN
    proved: Proved = NOTHING_PROVED
