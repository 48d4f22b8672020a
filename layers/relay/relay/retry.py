"""When next, and when to give up: pure (DESIGN: the clock is ours, not the queue's).

5 m, 15 m, 30 m, 1 h, 2 h, 4 h, then every 4 h, to 48 h, with jitter; RFC 5321 §4.5.4.1 asks for
at least 30 minutes on average and for giving up after 4-5 days at the latest.
"""

from dataclasses import dataclass
from typing import Final

DELAYS: Final = (300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
LIFETIME: Final = 48 * 3600.0
JITTER: Final = 0.1  # of the delay, upwards: a destination's backlog doesn't come back at once
LEAST: Final = 5  # attempts by deliver, in about two hours: a message that our own outage made old isn't ended by it
PUT_OFF: Final = 3600.0  # an attempt that is put off for so long counts as made
LATE: Final = 4 * 3600.0  # then the sender is told that it is not delivered yet
NEARLY: Final = 900.0  # the attempt at 3 h 50 counts: the next one would be at 8 h
LONGEST_HOP: Final = 900.0  # SQS DelaySeconds is at most 15 minutes


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """speed: every duration is divided by it (for the local system and tests; 1 in the cloud)."""

    speed: float = 1.0

    def next_due(self, *, received: float, attempt: int, now: float, chance: float, least: int = 0) -> float | None:
        """When the attempt after `attempt` (1, 2, ...) is due, or None if the message expires.

        chance: uniform in [0, 1), for the jitter. least: so many attempts are made, however old the message is.
        All times are epoch seconds.
        """
        expiry, due = self.expiry(received), self.later(attempt=attempt, now=now, chance=chance)
        if now >= expiry:
            return due if attempt < least else None
        return min(due, expiry)  # the last attempt is made at the expiry itself

    def later(self, *, attempt: int, now: float, chance: float) -> float:
        """When the attempt after `attempt` is due if the message never expires."""
        return now + DELAYS[min(attempt, len(DELAYS)) - 1] * (1 + JITTER * chance) / self.speed

    def expiry(self, received: float) -> float:
        """When the last attempt is made."""
        return received + LIFETIME / self.speed

    def may_be_put_off(self, *, received: float, due: float, now: float) -> bool:
        """Whether an attempt due at `due` (0.0: when it was received) may come later without counting as made."""
        return now < min(self.expiry(received), max(received, due) + PUT_OFF / self.speed)

    def is_late(self, *, received: float, tried: float, now: float, late: float = LATE) -> bool:
        """Whether the attempt at `now` is the first after `late` seconds. tried: when the one before was."""
        mark = received + max(0.0, late - NEARLY) / self.speed
        return tried < mark <= now


def hop(due: float, now: float) -> float:
    """Seconds to delay the queue message so that it comes at `due`, or as near as one hop gets (>= 0)."""
    return max(0.0, min(due - now, LONGEST_HOP))
