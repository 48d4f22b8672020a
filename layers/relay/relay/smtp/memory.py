"""Answers that are remembered for a while, and asked for once at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

V = TypeVar("V")

LONGEST_MEMORY: Final = 300.0  # seconds that an answer is used, whatever its TTL
MOST_REMEMBERED: Final = 4096


class Memory(Generic[V]):
    """Values by key until they expire; who asks while an answer is on its way waits for the same one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, V]] = {}
        self._asked: dict[str, asyncio.Task[V]] = {}

    def known(self, key: str) -> tuple[V] | None:
        """What is remembered, in a tuple since it may be None."""
        known = self._known.get(key)
        return (known[1],) if known is not None and known[0] > asyncio.get_running_loop().time() else None

    async def get(self, key: str, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """ask: -> (value, seconds to remember it). What it raises is not remembered."""
        if known := self.known(key):
            return known[0]
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._learn(key, ask))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def _learn(self, key: str, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        value, seconds = await ask()
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = asyncio.get_running_loop().time() + min(seconds, LONGEST_MEMORY), value
        return value

    def _forget(self, key: str, task: "asyncio.Task[Any]") -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever still waits has it; nobody may be waiting
