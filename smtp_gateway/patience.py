"""asyncio.timeout for many waits of the same length: one timer for all of them, where each would set and cancel its own
(a fortieth of what a message costs)."""

import asyncio


class Patience:
    """seconds: how long each wait may take. `with` it in a task, one wait at a time; TimeoutError when it is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[asyncio.Task[object], tuple[float, int]] = {}  # until (loop time), cancellations asked for
        # before; first come first
        self._over: dict[asyncio.Task[object], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._waits[task] = loop.time() + self._seconds, task.cancelling()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._tick, loop)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._waits.pop(task, None) is not None:
            return
        before = self._over.pop(task)
        # as asyncio.timeout: if somebody else cancelled it, too, that counts
        if task.uncancel() <= before and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._waits:
            task, (until, before) = next(iter(self._waits.items()))
            if until > now:
                self._timer = loop.call_at(until, self._tick, loop)
                return
            del self._waits[task]
            self._over[task] = before
            task.cancel()
