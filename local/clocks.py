"""How the local system's clocks run at --clock-speed N: the delays of retries are divided by N, and these
with them, down to what a real delivery still needs. Always time-out < claim < visibility (DESIGN §2); the
claim is the deliver function's own affair: max(claim / N, 15 s)."""

import math
from collections.abc import Mapping
from typing import Final

LEAST_TIMEOUT: Final = 20.0  # seconds for an invocation: the worker and the stages keep 15 s in reserve
LEAST_TIMEOUTS: Final[Mapping[str, float]] = {"DeliverFunction": 14.0}  # it divides its reserves by N, too
LEAST_VISIBILITY: Final = 25.0


def timeout(function: str, seconds: float, speed: float) -> float:
    """A function's time-out. function: its logical name."""
    return max(seconds / speed, min(seconds, LEAST_TIMEOUTS.get(function, LEAST_TIMEOUT)))


def visibility(seconds: float, speed: float) -> int:
    """A queue's visibility time-out, as a receive takes it."""
    return math.ceil(max(seconds / speed, min(seconds, LEAST_VISIBILITY)))


def window(seconds: float, speed: float) -> float:
    """A mapping's batching window."""
    return seconds / speed
