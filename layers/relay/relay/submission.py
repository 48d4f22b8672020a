"""What travels on ValidateQueue and DeliverQueue: Submission and Delivery (docs/flow.md).

Pure data; `relay.encoding` turns it into queue messages and back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

MAX_RECIPIENTS_PER_DELIVERY: Final = 100  # RFC 5321 §4.5.3.1.8: every server takes at least 100


@dataclass(frozen=True, slots=True)
class Inline:
    """Content that travels in the queue message itself: the whole message as bytes, CRLF line ends."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """Content in the content store (S3): its key and its size in octets."""

    key: str
    size: int


Content = Inline | Stored


class Dsn(NamedTuple):
    """What RCPT asked about notices (RFC 3461 §4.1, §4.2).

    notify: "" if not given, "NEVER", or of SUCCESS, FAILURE, DELAY with commas between, in this order.
    orcpt: "type;address" as on the wire (xtext), "" if not given.
    """

    notify: str = ""
    orcpt: str = ""

    def wants(self, event: str) -> bool:
        """event: "SUCCESS", "FAILURE" or "DELAY". Where nothing was said: of failure and delay, not of success."""
        return event in self.notify.split(",") if self.notify else event != "SUCCESS"


NOTHING_ASKED: Final = Dsn()
NO_DSN: Final[Mapping[str, Dsn]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Proved:
    """What validation found. receipts: names of the verdicts it rests on (relay.proof.verdict.Verdict.name).
    warnings: sentences about the message; it was accepted in spite of them."""

    receipts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


NOTHING_PROVED: Final = Proved()


class Submission(NamedTuple):
    """A message that the gateway accepted.

    id: UUIDv7 that the gateway made. account: the user name in lower case.
    mail_from: envelope sender `local@a-label-domain`, "" for the null reverse-path.
    rcpt_to: envelope recipients, same form, in the order given, without repeats.
    received: when it was accepted, epoch seconds. content: with our trace header on top.
    eightbit: BODY=8BITMIME was given at MAIL, or the content has octets over 127. smtputf8: SMTPUTF8 was given.
    attempt: 1 for the first try at validation; due: not before this time, epoch seconds.
    tried: when the attempt before was, epoch seconds; 0.0 if there was none.
    ret: "", "FULL" or "HDRS"; envid: xtext as on the wire, "" if not given (RFC 3461 §4.3, §4.4).
    dsn: of each recipient that had NOTIFY or ORCPT.
    """

    id: str
    account: str
    mail_from: str
    rcpt_to: tuple[str, ...]
    received: float
    content: Content
    eightbit: bool = False
    smtputf8: bool = False
    attempt: int = 1
    due: float = 0.0
    tried: float = 0.0
    ret: str = ""
    envid: str = ""
    dsn: Mapping[str, Dsn] = NO_DSN


class Delivery(NamedTuple):
    """One message to at most 100 recipients of one domain; fields as in Submission.

    domain: the recipients' domain (A-labels, lower case). chunk: 0, 1, ... within the domain,
    numbered the same way however often validation is run.
    notice: it is a notice (RFC 3464), for which no further notice is ever sent.
    proved: what validation found. signature: header fields of the relay's that leave above the content, whole with
    their CRLF: not in it, which stays the sender's, to be sent again or quoted.
    """

    id: str
    account: str
    mail_from: str
    domain: str
    chunk: int
    rcpt_to: tuple[str, ...]
    received: float
    content: Content
    eightbit: bool = False
    smtputf8: bool = False
    attempt: int = 1
    due: float = 0.0
    notice: bool = False
    tried: float = 0.0
    ret: str = ""
    envid: str = ""
    dsn: Mapping[str, Dsn] = NO_DSN
    proved: Proved = NOTHING_PROVED
    signature: str = ""

    @property
    def key(self) -> "DeliveryKey":
        return DeliveryKey(self.id, self.domain, self.chunk)


class DeliveryKey(NamedTuple):
    """The ledger's key: our id + domain + chunk."""

    id: str
    domain: str
    chunk: int

    @property
    def part(self) -> str:
        """`domain#chunk`, the ledger's sort key."""
        return f"{self.domain}#{self.chunk}"


def content_key(id: str) -> str:
    """Where the content of the message `id` is in the content store, once it is there."""
    return f"content/{id}"


def recipients_by_part(rcpt_to: tuple[str, ...]) -> dict[tuple[str, int], tuple[str, ...]]:
    """Recipients grouped into deliveries: {(domain, chunk): recipients}.

    The same input gives the same numbering, always: the ledger's keys rely on it.
    """
    domains: dict[str, list[str]] = {}
    for recipient in rcpt_to:
        domains.setdefault(recipient.rpartition("@")[2], []).append(recipient)
    return {
        (domain, start // MAX_RECIPIENTS_PER_DELIVERY): tuple(all_[start : start + MAX_RECIPIENTS_PER_DELIVERY])
        for domain, all_ in domains.items()
        for start in range(0, len(all_), MAX_RECIPIENTS_PER_DELIVERY)
    }


def dsn_of(dsn: Mapping[str, Dsn], recipients: Iterable[str]) -> dict[str, Dsn]:
    """The part of `dsn` that is about `recipients`."""
    return {recipient: dsn[recipient] for recipient in recipients if recipient in dsn}
