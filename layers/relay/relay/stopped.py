"""Whether an account's mail may go on: not while the account is disabled, nor once it is deleted."""

import asyncio
from typing import Any, Final

from relay.account import Accounts
from relay.ports import Clock

SECONDS: Final = 60.0  # that an answer is remembered: so long may mail still go out after `accounts disable`
MOST: Final = 10_000  # accounts remembered


class Enabled:
    """Remembers each answer for a minute (divided by `speed`), one question in flight for each account."""

    def __init__(self, accounts: Accounts, clock: Clock, speed: float = 1.0) -> None:
        self._accounts = accounts
        self._clock = clock
        self._seconds = SECONDS / speed
        self._known: dict[str, tuple[float, asyncio.Task[bool]]] = {}

    async def __call__(self, account: str) -> bool:
        """account: the user name in lower case. Raises what Accounts.find does, and asks again then."""
        now = self._clock.now()
        until, task = self._known.get(account, (0.0, None))
        if task is None or until <= now or _failed(task):
            if len(self._known) >= MOST:
                self._known.clear()
            task = asyncio.ensure_future(self._find(account))
            task.add_done_callback(_failed)  # looked at, even if nobody waits for it any more
            self._known[account] = now + self._seconds, task
        return await asyncio.shield(task)

    async def _find(self, account: str) -> bool:
        found = await self._accounts.find(account)
        return found is not None and not found.disabled


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
