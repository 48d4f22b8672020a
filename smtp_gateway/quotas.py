"""What one address and one account may use, counted by one process; how many messages accounts may send
is counted by smtp_gateway.leases, over all of them. Time is passed in, in seconds of any one clock that
never goes back. An IPv6 client's address is its /64: whoever has one of its addresses has them all (RFC 6177 §2)."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf
from typing import Final, Generic, NamedTuple, TypeVar

from smtp_gateway import replies
from smtp_gateway.replies import Reply

SIZE: Final = 20_000  # addresses, or names, that a table remembers
FREE: Final = 4  # failed logins without a delay; then it is 1 second, and twice as long each time
LONGEST: Final = 10.0  # seconds of delay
TRUST: Final = 7 * 86_400.0  # seconds for which a login makes an account known at its address
_OLDEST: Final = 8
_ROUNDING: Final = 1e-4  # seconds

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, then one each seconds/count: in no stretch of `seconds` more than twice `count`."""

    count: int
    seconds: float


FAILED_OF_ADDRESS: Final = Rate(20, 1800.0)
FAILED_OF_ACCOUNT: Final = Rate(12, 3600.0)
CUT_OFF: Final = Rate(30, 300.0)  # sessions of an address that ended for what it had said


@dataclass(frozen=True, slots=True)
class Allowance:
    """Of one process. address_sessions, account_sessions: open at once. address_connections: in a minute.
    account_octets: in an hour, of messages that were taken."""

    address_sessions: int = 500
    address_connections: int = 3000
    account_sessions: int = 500
    account_octets: int = 100_000_000_000


class Meter(Generic[Key]):
    """What each key has used of a rate (the generic cell rate algorithm, ITU-T I.371): the one number kept is the time
    at which nothing of it will count any more.

    size: keys remembered. Of the keys unused for longest, the one that has used least is forgotten then, so that who
    turns up under ever new keys doesn't make it forget who has used much.
    """

    __slots__ = ("_clear", "_each", "_seconds", "_size")

    def __init__(self, rate: Rate, size: int = SIZE) -> None:
        self._each = rate.seconds / rate.count
        self._seconds = rate.seconds
        self._size = size
        self._clear: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clear)

    def used(self, key: Key, now: float) -> float:
        return max(0.0, self._clear.get(key, now) - now) / self._each

    def wait(self, key: Key, now: float) -> float:
        """Seconds until one more may be used; 0 if now."""
        wait = self._clear.get(key, now) - now + self._each - self._seconds
        return wait if wait > _ROUNDING else 0.0

    def add(self, key: Key, now: float, count: float = 1.0) -> None:
        """Whether or not so many may be used. count < 0 gives back."""
        clear = max(now, self._clear.get(key, now)) + count * self._each
        if clear <= now:
            self._clear.pop(key, None)
            return
        self._clear[key] = clear
        self._clear.move_to_end(key)
        if len(self._clear) > self._size:
            self._forget_one()

    def _forget_one(self) -> None:
        oldest = sorted(islice(self._clear, _OLDEST), key=self._clear.__getitem__)
        del self._clear[oldest[0]]
        for key in oldest[1:]:
            self._clear.move_to_end(key)


def _whole(wait: float) -> int:
    """Seconds to wait, as told; what floats add to a whole number is not one more."""
    return ceil(wait - _ROUNDING)


class Attempt(NamedTuple):
    """A login to come. delay: seconds before its password is checked. retry: if not 0, it isn't checked at all, and may
    be tried again after so many seconds. known: the account is known at this address."""

    account: str
    address: str
    delay: float
    retry: int
    known: bool


class Attempts:
    """Failed logins. An attempt counts as failed until it has succeeded, so that many at once gain nothing.

    A stranger's count for its address and for the account. Where the account has logged in before, they count for this
    pair alone: whoever attacks the account, or from the same address, delays nobody who is known. The account alone
    refuses nobody, or an attacker could keep out who is new to us; passwords are too long to guess (relay.password).
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._of_address: Meter[str] = Meter(FAILED_OF_ADDRESS, size)
        self._of_account: Meter[str] = Meter(FAILED_OF_ACCOUNT, size)
        self._of_pair: Meter[tuple[str, str]] = Meter(FAILED_OF_ACCOUNT, size)
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()  # since
        self._addresses: OrderedDict[str, float] = OrderedDict()  # of these pairs: since

    def knows(self, address: str, now: float) -> bool:
        """Whether some account is known there."""
        return now - self._addresses.get(address, -inf) < TRUST

    def begin(self, account: str, address: str, now: float) -> Attempt:
        """account: the name given, in lower case, whether or not there is one."""
        pair = (account, address)
        if now - self._known.get(pair, -inf) < TRUST:
            delay = _delay(self._of_pair.used(pair, now))
            _count(self._of_pair, pair, now)
            return Attempt(account, address, delay, 0, known=True)
        if wait := self._of_address.wait(address, now):
            return Attempt(account, address, 0.0, _whole(wait), known=False)
        delay = _delay(max(self._of_address.used(address, now), self._of_account.used(account, now)))
        _count(self._of_address, address, now)
        _count(self._of_account, account, now)
        return Attempt(account, address, delay, 0, known=False)

    def succeeded(self, attempt: Attempt, now: float) -> None:
        self.unchecked(attempt, now)
        _remember(self._known, (attempt.account, attempt.address), now, self._size)
        _remember(self._addresses, attempt.address, now, self._size)

    def unchecked(self, attempt: Attempt, now: float) -> None:
        """It was neither right nor wrong: it doesn't count."""
        if attempt.known:
            self._of_pair.add((attempt.account, attempt.address), now, -1.0)
        else:
            self._of_address.add(attempt.address, now, -1.0)
            self._of_account.add(attempt.account, now, -1.0)


def _remember(table: OrderedDict[Key, float], key: Key, now: float, size: int) -> None:
    table[key] = now
    table.move_to_end(key)
    if len(table) > size:
        table.popitem(last=False)


def _delay(failures: float) -> float:
    return min(LONGEST, 2.0 ** min(failures - FREE, 9.0)) if failures >= FREE else 0.0


def _count(meter: Meter[Key], key: Key, now: float) -> None:
    """No further than the rate goes: after an attack the delay ends with what the rate allows to forget."""
    if not meter.wait(key, now):
        meter.add(key, now)


class Quotas:
    """Each question is answered with the reply that refuses; None if nothing speaks against it."""

    def __init__(self, allowance: Allowance, size: int = SIZE) -> None:
        self.attempts = Attempts(size)
        self._allowance = allowance
        self._open: Counter[str] = Counter()
        self._arrivals: Meter[str] = Meter(Rate(allowance.address_connections, 60.0), size)
        self._cut_off: Meter[str] = Meter(CUT_OFF, size)
        self._octets: Meter[str] = Meter(Rate(allowance.account_octets, 3600.0), size)

    def arrived(self, address: str, now: float) -> Reply | None:
        """A connection from `address`, of which `left` is told at its end, however this is answered."""
        self._open[address] += 1
        if self._open[address] > self._allowance.address_sessions:
            return replies.TOO_MANY_OF_ADDRESS
        wait = self._cut_off.wait(address, now)
        if wait and not self.attempts.knows(address, now):  # many may share it: who is known is not kept out by others
            return replies.too_many_cut_off(_whole(wait))
        if wait := self._arrivals.wait(address, now):
            return replies.too_fast(_whole(wait))
        self._arrivals.add(address, now)
        return None

    def left(self, address: str) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def cut_off(self, address: str, now: float) -> None:
        """A session of `address` ended for what it had said."""
        self._cut_off.add(address, now)

    def may_log_in(self, sessions: int) -> Reply | None:
        """sessions: of the account, open already."""
        return replies.TOO_MANY_OF_ACCOUNT if sessions >= self._allowance.account_sessions else None

    def may_send(self, account: str, now: float) -> Reply | None:
        """One more message. Some more than allowed pass if they are sent at the same time: they count when taken."""
        wait = self._octets.wait(account, now)
        return replies.too_many_octets(_whole(wait)) if wait else None

    def taken(self, account: str, octets: int, now: float) -> None:
        """A message of so many octets was."""
        self._octets.add(account, now, octets)


def network(address: str) -> str:
    """An IP address in text -> what is counted: itself, or an IPv6 one's /64."""
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((address, 64), strict=False))
