"""The ports: what the stages need of the world. Adapters live in `relay.aws`, `relay.smtp`, `relay.dns`.

Every method raises TemporaryError when the other side is away, slow or throttling (OutageError where that
is a part of our own), unless it says more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from relay.outcome import Outcome
from relay.submission import NOTHING_PROVED, Delivery, DeliveryKey, Proved


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...


class Queue(Protocol):
    async def send(self, body: str, *, group: str, delay: float = 0.0) -> None:
        """Put `body` on the queue; returns only once the queue has acknowledged it.

        group: the message group (the account). delay: seconds, cut to the queue's longest (900).
        """
        ...


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages on a queue, about: waiting, in flight (received, not yet done), delayed."""

    waiting: int
    in_flight: int
    delayed: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message as a dead-letter queue has it. receipt: for `remove`, of this `take` only. sent: when it was put
    on the queue it came from, epoch seconds. receives: how often it was received, there and here."""

    message_id: str
    receipt: str
    body: str
    group: str
    sent: float
    receives: int


class DeadLetters(Protocol):
    """A queue for operators."""

    async def depth(self) -> Depth: ...

    async def oldest(self, now: float) -> float | None:
        """Seconds that the oldest message has waited; None if nobody knows."""
        ...

    async def take(self, hold: float) -> tuple[DeadLetter, ...]:
        """Some of the messages, () if there are none to be had; nobody else gets them for `hold` seconds."""
        ...

    async def give_back(self, letters: Sequence[DeadLetter]) -> None:
        """Let others have what was taken, at once."""
        ...

    async def remove(self, letter: DeadLetter) -> None: ...


class ContentStore(Protocol):
    async def put(self, key: str, data: bytes) -> None: ...

    async def get(self, key: str, most: int | None = None) -> bytes:
        """The whole content, or its first `most` octets. PermanentError if there is none under `key`."""
        ...


# --- DNS ---------------------------------------------------------------------------------------


class DnsStatus(Enum):
    OK = "ok"
    NO_DATA = "no data"  # the name exists, this type doesn't
    NO_NAME = "no such name"  # NXDOMAIN


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """records: each TXT record's strings joined without a space (RFC 7208 §3.3), as bytes."""

    status: DnsStatus
    records: tuple[bytes, ...] = ()
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """records: (preference, host name in lower case without the last dot; "" for the null MX's ".")."""

    status: DnsStatus
    records: tuple[tuple[int, str], ...] = ()
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """addresses: textual IPv4 (A) or IPv6 (AAAA) addresses."""

    status: DnsStatus
    addresses: tuple[str, ...] = ()
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class PtrAnswer:
    """names: host names in lower case without the last dot."""

    status: DnsStatus
    names: tuple[str, ...] = ()
    ttl: int = 0


class Resolver(Protocol):
    """Time-outs, SERVFAIL and answers that make no sense raise TemporaryError; names that cannot be
    looked up at all (too long, empty label) raise PermanentError."""

    async def txt(self, name: str) -> TxtAnswer: ...

    async def mx(self, name: str) -> MxAnswer: ...

    async def a(self, name: str) -> AddressAnswer: ...

    async def aaaa(self, name: str) -> AddressAnswer: ...

    async def ptr(self, name: str) -> PtrAnswer:
        """name: below in-addr.arpa or ip6.arpa, as `ipaddress` has it in `reverse_pointer`."""
        ...


# --- the ledger --------------------------------------------------------------------------------


class LedgerEntry(NamedTuple):
    """One delivery's truth. outcomes: the last one of each recipient that has one.

    attempt: the attempt that is under way or due next. final: every recipient's outcome is final.
    """

    key: DeliveryKey
    attempt: int
    due: float = 0.0
    owner: str = ""
    claimed_until: float = 0.0
    final: bool = False
    outcomes: Mapping[str, Outcome] = MappingProxyType({})

    @property
    def refused(self) -> bool:
        """Final without ever having been claimed: what `settle` makes final bears its owner for good."""
        return self.final and not self.owner


class Claimed(NamedTuple):
    """The claim is ours (entry.owner is who we said we are): send to the recipients not final in `entry`."""

    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else's claim lives until `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The delivery is final: pass `entry.outcomes` on again and end."""

    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class Superseded:
    """The ledger has moved on to a later attempt: the message may be dropped."""

    entry: LedgerEntry


Claim = Claimed | Held | Finished | Superseded


class Ledger(Protocol):
    """One item a delivery. Each write is conditional; a failed condition is settled by reading the item:
    if the owner is us, our write took effect and only its answer was lost."""

    async def claim(self, delivery: Delivery, *, owner: str, now: float, until: float) -> Claim:
        """Claim this attempt. `owner` is unique to this try at claiming."""
        ...

    async def settle(self, key: DeliveryKey, *, owner: str, outcomes: tuple[Outcome, ...], final: bool) -> None:
        """Write these recipients' outcomes under our claim, BEFORE they are passed on. `final`: all of the
        delivery's recipients are final now; the claim ends. PermanentError("claim lost") if it isn't ours."""
        ...

    async def advance(self, key: DeliveryKey, *, owner: str, attempt: int, due: float) -> None:
        """Move on to `attempt`, due then; the claim ends. Called AFTER that attempt's message was queued.
        A lost claim is no error here: whoever holds it goes on."""
        ...

    async def refuse(self, key: DeliveryKey, *, attempt: int, outcomes: tuple[Outcome, ...]) -> LedgerEntry:
        """Make a delivery final that was never sent (validate's refusal). The first decision stands: if the
        item exists already, nothing is changed. Returns the item as it is now."""
        ...

    async def of_id(self, id: str) -> tuple[LedgerEntry, ...]:
        """Every delivery of one message that was tried or refused, by domain and chunk."""
        ...

    async def cancel(self, read: LedgerEntry, *, owner: str, now: float, outcomes: tuple[Outcome, ...]) -> LedgerEntry:
        """Make `read` (from `of_id`) final with `outcomes` for its recipients that aren't, unless a claim lives or
        the item has moved on since. Returns the item as it is now: it is ours if its owner is `owner`, which is
        unique to this try. PermanentError if there is no such item."""
        ...


# --- what is not to be sent --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that gets no mail of an account. account, address: in lower case. since, until: epoch seconds.
    reason: words. id: of the message that found it dead, "" if an operator added it."""

    account: str
    address: str
    since: float
    until: float
    reason: str
    id: str = ""

    @property
    def by_hand(self) -> bool:
        return not self.id


class Checked(NamedTuple):
    """cancelled: the whole message is. known: by address, also such as is not in force any more."""

    cancelled: bool = False
    known: Mapping[str, Suppression] = MappingProxyType({})


class Suppressions(Protocol):
    async def check(self, id: str, account: str, addresses: Sequence[str]) -> Checked:
        """All that stops mail of message `id` to `addresses` (lower case, 100 at most). What was written a moment
        ago may be missing."""
        ...

    async def put(self, suppression: Suppression, before: Suppression | None) -> Suppression | None:
        """Write it if the item is still `before` (None: if there is none); else what there is instead. None: done."""
        ...

    async def set(self, suppression: Suppression) -> None:
        """Write it, whatever there is."""
        ...

    async def remove(self, account: str, address: str, *, ended: float | None = None) -> bool:
        """Whether it was there. ended: only if it ended by then (epoch seconds)."""
        ...

    async def all(self, account: str | None = None) -> tuple[Suppression, ...]:
        """By account and address, also such as is not in force any more. account: of this one only."""
        ...

    async def cancel(self, id: str, *, now: float) -> None:
        """From now on `check` finds message `id` cancelled, as long as anything of it can be on a queue."""
        ...


# --- sending -----------------------------------------------------------------------------------


class RecipientReply(NamedTuple):
    """The answer for one recipient. ok: taken. permanent: if not ok, a 5xx (or its like) rather than
    a 4xx. code, enhanced, text, remote, tls, dsn as in Outcome. stage: the relay.failure_rules.Stage that decided,
    "" if that isn't known. via: the relay.backends.BackEnd that it came by, "" if none was asked. put_off: no server
    was asked, and none is to be before that (epoch seconds)."""

    recipient: str
    ok: bool
    permanent: bool
    code: int
    enhanced: str
    text: str
    remote: str = ""
    tls: str = ""
    dsn: bool = False
    stage: str = ""
    via: str = ""
    put_off: float = 0.0


class Transport(Protocol):
    async def send(
        self, delivery: Delivery, recipients: tuple[str, ...], content: bytes, *, deadline: float
    ) -> tuple[RecipientReply, ...]:
        """Send to the domain's server, or one that passes it on; one reply for each of `recipients`, same order. Never
        raises for what a remote or DNS does. deadline: epoch seconds by which it has returned; no DATA is started
        unless the wait for its answer still fits."""
        ...


# --- SMS and rows -------------------------------------------------------------------------------


class Sms(Protocol):
    async def send(self, phone: str, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt at one recipient, as the Messages table keeps it for search."""

    id: str
    account: str
    mail_from: str
    domain: str
    received: float
    stage: str
    outcome: Outcome
    notice: bool = False
    proved: Proved = NOTHING_PROVED


class Operator(Protocol):
    async def tell(self, subject: str, text: str) -> None:
        """subject: ASCII, at most 100 characters (AWS: SNS API reference, Publish)."""
        ...


class Messages(Protocol):
    async def put(self, rows: tuple[Row, ...]) -> None:
        """Write the rows; the same row again changes nothing."""
        ...

    async def of_id(self, id: str) -> tuple[Row, ...]:
        """Every row of one message, by recipient and attempt."""
        ...

    async def of_account(self, account: str, *, since: float = 0.0, limit: int = 1000) -> tuple[Row, ...]:
        """An account's rows, newest message first."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """more: recipients refused in the same way since the notice before, which was at `since` (epoch seconds)
    and said nothing of them."""

    more: int = 0
    since: float = 0.0


class Notices(Protocol):
    async def turn(self, refusal: str, *, by: str, count: int, now: float, until: float) -> Turn | None:
        """Whether the report named `by` is the one to tell of `refusal` in the time up to `until`; None if
        another has told, and then its `count` recipients are counted for the next notice.

        Of one report twice the answer is the same, and while its turn lasts the same Turn; what is not told
        is counted once more, so the count is exact but for reports that come twice.
        """
        ...
