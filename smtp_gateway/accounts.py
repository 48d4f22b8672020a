"""AUTH against the Accounts table: cached, one question in flight for each name, bounded."""

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import Final

from relay.account import Account, Accounts
from relay.errors import TemporaryError
from relay.password import verify
from relay.ports import Clock
from smtp_gateway.auth import Credentials

TRUST: Final = 25.0  # seconds that a yes rests on a record: so long a disabled account may still log in
DISTRUST: Final = 5.0  # seconds that a no rests on one: so long a new password may still be wrong
SIZE: Final = 10_000  # names remembered
PATIENCE: Final = 10.0  # seconds
# Seconds. A no is told when a whole number of these has passed, and up to a fifth of one more: a table takes longer to
# find a record than to find none, and what differs after that (timers tick in ms) is lost in the chance.
STEP: Final = 0.1
MAX_NAME: Final = 254


@dataclass(frozen=True, slots=True)
class _Known:
    account: Account | None
    since: float


class Authenticator:
    """Remembers records, not verdicts: a password is verified every time, which costs one hash."""

    def __init__(
        self, accounts: Accounts, clock: Clock, *, size: int = SIZE, patience: float = PATIENCE, step: float = STEP
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._size = size
        self._patience = patience
        self._step = step
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Account | None]] = {}

    async def __call__(self, credentials: Credentials) -> Account | None:
        """The account as the password opened it, or None for a wrong name or password, or a disabled one.

        Same work whichever of them is wrong: a no is always from a record younger than DISTRUST, so a name
        that exists is asked for as often as one that doesn't; and same time, in steps. TemporaryError if the table
        can't say.
        """
        started = monotonic()
        account = await self._check(credentials)
        if account is None and self._step:
            left = self._step - (monotonic() - started) % self._step
            await asyncio.sleep(left + random.random() * self._step / 5)  # noqa: S311 - noise
        return account

    async def _check(self, credentials: Credentials) -> Account | None:
        name = credentials.user.lower()
        if not _plausible(name):
            return verify(None, credentials.password, self._clock.now())
        known = self._known.get(name)
        age = self._clock.now() - known.since if known else TRUST
        if known and age < TRUST:
            verdict = verify(known.account, credentials.password, self._clock.now())
            if verdict or age < DISTRUST:
                return verdict
        return verify(await self.read(name), credentials.password, self._clock.now())

    async def read(self, name: str) -> Account | None:
        """The record as it is now, for an account's name in lower case. TemporaryError as above."""
        task = self._asking.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._find(name))
            self._asking[name] = task
            task.add_done_callback(lambda task: self._answered(name, task))
        return await asyncio.shield(task)  # who goes away doesn't take the answer from the others

    def _answered(self, name: str, task: asyncio.Task[Account | None]) -> None:
        del self._asking[name]
        if not task.cancelled():
            task.exception()  # looked at, should everybody have gone away

    async def _find(self, name: str) -> Account | None:
        try:
            async with asyncio.timeout(self._patience):
                account = await self._accounts.find(name)
        except TimeoutError as error:
            raise TemporaryError("accounts cannot be read now", "no answer in time") from error
        self._known[name] = _Known(account, self._clock.now())
        self._known.move_to_end(name)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return account


def _plausible(name: str) -> bool:
    """Could be the name of an account: DESIGN §5, user names are ASCII addresses."""
    return name.isascii() and name.isprintable() and "@" in name and len(name) <= MAX_NAME
