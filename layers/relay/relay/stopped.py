"""Why an account's mail waits: it is disabled, deleted or paused."""

import asyncio
from typing import Any, Final

from relay.account import Account, Accounts
from relay.ports import Clock

SECONDS: Final = 60.0  # that an answer is remembered: so long may mail still go out after `accounts disable`
MOST: Final = 10_000  # accounts remembered
DISABLED: Final = "the account is disabled or deleted; its mail goes out if it is enabled before the message expires"
PAUSED: Final = (
    "the account is paused, as {0.bounced} of {0.finished} recipients bounced; its mail goes out if it is resumed"
    " before the message expires"
)


class Stopped:
    """Remembers each answer for a minute (divided by `speed`), one question in flight for each account."""

    def __init__(self, accounts: Accounts, clock: Clock, speed: float = 1.0) -> None:
        self._accounts = accounts
        self._clock = clock
        self._seconds = SECONDS / speed
        self._known: dict[str, tuple[float, asyncio.Task[str]]] = {}

    async def __call__(self, account: str) -> str:
        """account: the user name in lower case. "" if its mail goes on. Raises what Accounts.find does, and asks again
        then."""
        now = self._clock.now()
        until, task = self._known.get(account, (0.0, None))
        if task is None or until <= now or _failed(task):
            if len(self._known) >= MOST:
                self._known.clear()
            task = asyncio.ensure_future(self._find(account))
            task.add_done_callback(_failed)  # looked at, even if nobody waits for it any more
            self._known[account] = now + self._seconds, task
        return await asyncio.shield(task)

    async def _find(self, account: str) -> str:
        return why(await self._accounts.find(account))


def why(account: Account | None) -> str:
    if account is None or account.disabled:
        return DISABLED
    return PAUSED.format(account.pause) if account.pause else ""


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
