"""Room for stored content: what would be too much at once waits for what is there."""

import asyncio
from typing import Final

MEMORY: Final = 192 * 1024 * 1024  # octets of stored content held at once, in a function of 512 MB
COPIES: Final = 3  # of content in memory: loaded, dot-stuffed, in the socket's buffer


class Room:
    """octets: of stored content that may be held at once."""

    def __init__(self, octets: int) -> None:
        self._all = octets
        self._left = octets
        self._waiting: set[asyncio.Future[None]] = set()

    async def take(self, size: int) -> int:
        """What content of `size` octets needs, once it is there; `give` it back."""
        need = min(size * COPIES, self._all)
        while self._left < need:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.add(turn)
            try:
                await turn
            finally:
                self._waiting.discard(turn)
        self._left -= need
        return need

    def give(self, held: int) -> None:
        self._left += held
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
