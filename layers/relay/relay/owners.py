"""Names for who claims a delivery, a new one for each claim (DESIGN.md, the ledger)."""

import secrets
import time
from itertools import count


class Owners:
    """Unique among all processes. The random part is drawn once, since the kernel takes longer for it than a small
    message takes to encode; the time tells processes apart that were started from one snapshot of memory."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(6)
        self._number = count()

    def __call__(self) -> str:
        return f"{self._process}.{time.time_ns():x}.{next(self._number):x}"
