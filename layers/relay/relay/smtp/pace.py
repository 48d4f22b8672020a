"""How many recipients a server is asked about at once, and when to stop asking: so that one that takes its time over
each still gets the message for some in every attempt."""

from collections.abc import Callable
from typing import Final

FIRST: Final = 5  # recipients whose answers nobody has timed yet
SHARE: Final = 0.75  # of the time there is, for the envelope; the rest is for DATA


class Pace:
    """Of one session. time: a clock, in seconds. until: when the content has to be on its way."""

    def __init__(self, time: Callable[[], float], until: float) -> None:
        self._time = time
        self._until = until
        self._each = 0.0  # seconds that an answer takes, once that is known
        self.begin()

    def begin(self) -> None:
        """Another transaction."""
        self._began = self._time()
        self._stop = self._began + SHARE * (self._until - self._began)

    def __call__(self, answered: int) -> int:
        """How many more may be asked about before the next answer is waited for; 0: no more.

        As many as would, answered like those before, take half of what is left; of the first nobody knows.
        """
        now = self._time()
        if answered:
            self._each = max(1e-6, (now - self._began) / answered)
        elif not self._each:
            return FIRST
        if now >= self._stop:
            return 0
        return max(1 if answered else 0, int((self._stop - now) / self._each / 2))
