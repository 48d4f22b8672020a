"""What an account may send, over all gateways: so many messages a second and a day, counted in one item a day (UTC).

A gateway asks for several messages at a time, a lease, so that not every message is a write. What it hasn't used of one
in LEASE seconds it gives back. Leases are small where little is left of the day, so that the last message of the day is
taken wherever it comes.

The day is exact: never more than the limit. The second is a rate (the generic cell rate algorithm, ITU-T I.371) with
BURST seconds' worth at once; what comes faster is held back for up to HELD seconds, then refused.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Final, NamedTuple, Protocol

LEASE: Final = 10.0  # seconds that a lease may be used
LARGEST: Final = 1000  # messages of one
BURST: Final = 1.0  # seconds
HELD: Final = 5.0  # seconds
DAY: Final = 86_400.0
_SHARE_OF_SECOND: Final = 4  # a lease is at most this part of what a second allows, so that others get some, too
_SHARE_OF_DAY: Final = 20  # and this part of what is left of the day
_ROUNDING: Final = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one account: per_second, per_day: messages; recipients: of a message; size: octets of a message.
    In an Account 0 is: as the default."""

    per_second: int = 0
    per_day: int = 0
    recipients: int = 0
    size: int = 0

    def over(self, defaults: "Limits") -> "Limits":
        """These where they are set, and the defaults elsewhere."""
        return Limits(
            self.per_second or defaults.per_second,
            self.per_day or defaults.per_day,
            self.recipients or defaults.recipients,
            self.size or defaults.size,
        )


LARGEST_LIMITS: Final = Limits(per_second=100_000, per_day=1_000_000_000, recipients=1000, size=41_943_040)
SMALLEST_LIMITS: Final = Limits(per_second=1, per_day=1, recipients=1, size=65_536)  # size: RFC 5321 §4.5.3.1.7
DEFAULT_LIMITS: Final = Limits(per_second=100, per_day=200_000, recipients=1000, size=41_943_040)


class Usage(NamedTuple):
    """Of an account on a day. messages: taken, or leased. clear: epoch seconds at which the rate would have let all of
    them through. by: another for each write, so that one is told from another's that says the same."""

    messages: int = 0
    clear: float = 0.0
    by: str = ""


class Lease(NamedTuple):
    """So many messages, from `at` on (epoch seconds); usage: with them, and no `by` yet."""

    messages: int
    at: float
    usage: Usage


class Over(NamedTuple):
    """No message now; one may be in so many seconds. of_day: because of the limit of the day."""

    seconds: float
    of_day: bool


NOTHING_USED: Final = Usage()


class UsageTable(Protocol):
    """account: the user name in lower case. TemporaryError when the table is away."""

    async def find(self, account: str, day: str) -> Usage: ...

    async def replace(self, account: str, day: str, before: Usage, after: Usage) -> Usage:
        """Write `after` in place of `before`. What is there now: `after`, or if that wasn't `before`, what was."""
        ...


class Bounces(NamedTuple):
    """Recipients of an account on a day: delivered to or bounced, and bounced."""

    finished: int = 0
    bounced: int = 0


@dataclass(frozen=True, slots=True)
class Threshold:
    """percent: of the finished recipients. least: bounced recipients of a day below which nobody is paused."""

    percent: float
    least: int

    def passed(self, bounces: Bounces) -> bool:
        return bounces.bounced >= self.least and 100 * bounces.bounced >= self.percent * bounces.finished


def lease(usage: Usage, limits: Limits, now: float, wanted: int) -> Lease | Over:
    """wanted: messages, at least 1; a lease may be of fewer, but has one."""
    left = limits.per_day - usage.messages
    if left <= 0:
        return Over(DAY - now % DAY, of_day=True)
    rate, clear = limits.per_second, max(usage.clear, now)
    at_once = floor((now + BURST - clear + _ROUNDING) * rate)
    count = max(1, min(wanted, at_once, -(-rate // _SHARE_OF_SECOND), left // _SHARE_OF_DAY, LARGEST))
    clear += count / rate
    at = max(now, clear - BURST - _ROUNDING)
    if at - now > HELD:
        return Over(at - now, of_day=False)
    return Lease(count, at, Usage(usage.messages + count, clear))


def day_of(now: float) -> str:
    """epoch seconds -> "2026-01-31", in UTC: the sort key of Usage."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def start_of(day: str) -> int:
    """day: as of day_of -> epoch seconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
