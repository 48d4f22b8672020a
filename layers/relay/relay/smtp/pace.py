"""How many recipients a server is asked about at once, and when to stop asking: so that one that takes its time over
each still gets the message for some in every attempt."""

from collections.abc import Callable
from typing import Final

FIRST: Final = 5  # recipients whose answers nobody has timed yet
SHARE: Final = 0.75  # of the time there is, for the envelope; the rest is for DATA


class Pace:
    """time: a clock, in seconds. until: when the content has to be on its way."""

    def __init__(self, time: Callable[[], float], until: float) -> None:
        self._time = time
        self._began = time()
        self._stop = self._began + SHARE * (until - self._began)

    def __call__(self, answered: int) -> int:
        """How many more may be asked about before the next answer is waited for; 0: no more.

        After the first ones as many as would, answered like those so far, take half of what is left.
        """
        if not answered:
            return FIRST
        now = self._time()
        if now >= self._stop:
            return 0
        each = max(1e-6, (now - self._began) / answered)
        return max(1, int((self._stop - now) / each / 2))
