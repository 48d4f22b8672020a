"""How the local system's clocks run at --clock-speed N: the delays of retries are divided by N, and these
with them, down to what a delivery still needs on a busy machine. Always time-out < claim < visibility
(docs/flow.md); the claim is the deliver function's own affair: max(claim / N, 25 s)."""

import math
from typing import Final

LEAST_TIMEOUT: Final = 20.0  # seconds for an invocation: the worker and the stages keep 15 s in reserve
LEAST_VISIBILITY: Final = 28.0


def timeout(seconds: float, speed: float) -> float:
    """A function's time-out."""
    return max(seconds / speed, min(seconds, LEAST_TIMEOUT))


def visibility(seconds: float, speed: float) -> int:
    """A queue's visibility time-out, as a receive takes it."""
    return math.ceil(max(seconds / speed, min(seconds, LEAST_VISIBILITY)))


def window(seconds: float, speed: float) -> float:
    """A mapping's batching window."""
    return seconds / speed
