"""The system's clock, as the Clock port has it."""

import time


class SystemClock:
    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()
