"""How many messages accounts may send (relay.quota): this process's part of it, a lease for each account that sends.

Where the table is away mail goes on: each process lets through what the rate allows, and owes it to the table.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from typing import Final

from relay.account import Account
from relay.errors import TemporaryError
from relay.ports import Clock
from relay.quota import LARGEST, LEASE, NOTHING_USED, Lease, Limits, Over, Usage, UsageTable, day_of, lease
from smtp_gateway import replies
from smtp_gateway.log import Log
from smtp_gateway.replies import Reply

EVERY: Final = 5.0  # seconds between looks at what can be given back
PATIENCE: Final = 2.0  # seconds for the table
TRIES: Final = 20  # at a write that other processes' get in the way of
BUSY: Final = Over(1.0, of_day=False)  # after as many
TRUST: Final = 30.0  # seconds for which "over" holds without asking again: others may have given back
AT_ONCE: Final = 8  # accounts whose leases are given back
IDLE: Final = 600.0  # seconds after which an account that sends nothing is forgotten


@dataclass(slots=True)
class _Held:
    """left: messages of the lease that may be sent from `at` until `until`; free: not leased, the table was away. owed:
    to the table: messages that it doesn't know of; below 0 it counts some that weren't sent. usage: as it was last seen
    there. size: of the next lease. over: as it was answered, at `asked`, for `limits`."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    left: int = 0
    at: float = 0.0
    until: float = 0.0
    free: bool = False
    owed: int = 0
    day: str = ""
    usage: Usage = NOTHING_USED
    size: int = 1
    over: Over | None = None
    asked: float = 0.0
    limits: Limits | None = None


class Leases:
    """defaults: of accounts without limits of their own. patience: seconds for the table. sleep: asyncio.sleep."""

    def __init__(
        self,
        table: UsageTable,
        clock: Clock,
        log: Log,
        defaults: Limits,
        *,
        patience: float = PATIENCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._table = table
        self._clock = clock
        self._log = log
        self._defaults = defaults
        self._patience = patience
        self._sleep = sleep
        self._held: dict[str, _Held] = {}
        self._name = secrets.token_hex(6)
        self._writes = count()

    def limits(self, account: Account) -> Limits:
        return account.limits.over(self._defaults)

    def may_send(self, account: Account) -> Reply | None:
        """The reply that refuses a message to come, if it is known that none may be sent now. Nothing is counted."""
        if account.pause:
            return replies.paused(account.pause.bounced, account.pause.finished)
        held = self._held.get(account.user.lower())
        return self._refusal(held, account) if held else None

    async def take(self, account: Account) -> Reply | None:
        """One message, once the rate allows it; or the reply that refuses it."""
        if account.pause:
            return replies.paused(account.pause.bounced, account.pause.finished)
        name = account.user.lower()
        held = self._held.setdefault(name, _Held())
        if not self._is_usable(held):
            held.waiting += 1
            try:
                async with held.lock:
                    if self._is_usable(held):
                        pass  # somebody else has renewed it
                    elif refusal := self._refusal(held, account) or await self._renew(name, held, account):
                        return refusal
            finally:
                held.waiting -= 1
        held.left -= 1
        held.owed += held.free
        if (wait := held.at - self._clock.now()) > 0:
            await self._sleep(wait)
        return None

    def give_back(self, account: Account) -> None:
        """One message that was taken here and not sent."""
        if held := self._held.get(account.user.lower()):
            held.left += 1
            held.owed -= held.free

    async def watch(self, every: float = EVERY) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(every)
            await self.settle()

    async def settle(self, *, all: bool = False) -> None:
        """Give back what is left of leases that have ended, or of `all`; forget who sends no more."""
        now = self._clock.now()
        found = (each for each in tuple(self._held.items()) if all or now >= each[1].until)
        await asyncio.gather(*(self._settle(found) for _ in range(AT_ONCE)))
        for name, held in tuple(self._held.items()):
            if not held.left and not held.owed and not held.waiting and now >= held.until + IDLE:
                del self._held[name]

    async def _settle(self, found: Iterator[tuple[str, _Held]]) -> None:
        for name, held in found:
            if not held.lock.locked():  # else it is being renewed, what is left with it
                async with held.lock:
                    await self._give_back(name, held)

    def _is_usable(self, held: _Held) -> bool:
        return held.left > 0 and self._clock.now() < held.until

    def _refusal(self, held: _Held, account: Account) -> Reply | None:
        if held.over is None:
            return None
        since, limits = self._clock.now() - held.asked, self.limits(account)
        if since < min(held.over.seconds, TRUST) and limits == held.limits:
            return _told(held.over._replace(seconds=held.over.seconds - since), limits)
        held.over = None
        return None

    async def _renew(self, name: str, held: _Held, account: Account) -> Reply | None:
        """A new lease; or the reply that refuses a message."""
        now, limits = self._clock.now(), self.limits(account)
        self._size_up(held, now)
        self._end(held)
        if held.day != (day := day_of(now)):
            await self._give_back(name, held)
            held.day, held.usage, held.owed = day, NOTHING_USED, 0
        try:
            async with asyncio.timeout(self._patience):
                match await self._lease(name, held, limits, now):
                    case Over() as over:
                        held.over, held.asked, held.limits = over, now, limits
                        return _told(over, limits)
                    case Lease(messages, at):
                        held.left, held.at, held.until, held.owed = messages, at, now + LEASE, 0
        except (TemporaryError, TimeoutError) as error:
            self._log.usage_away(account=name, error=error)
            held.left, held.at, held.until, held.free = ceil(limits.per_second * LEASE), now, now + LEASE, True
        return None

    def _size_up(self, held: _Held, now: float) -> None:
        """As much as is used in about half a lease's time."""
        if held.left:
            held.size = max(1, held.size // 2)
        elif now < held.until - LEASE / 2:
            held.size = min(LARGEST, held.size * 2)

    async def _lease(self, name: str, held: _Held, limits: Limits, now: float) -> Lease | Over:
        usage, sure = held.usage, False
        for _ in range(TRIES):
            owing = usage._replace(messages=max(0, usage.messages + held.owed))
            answer = lease(owing, limits, now, max(held.size, held.waiting))
            if isinstance(answer, Lease):
                after = self._signed(answer.usage)
                found = await self._table.replace(name, held.day, usage, after)
                if found == after:
                    held.usage = found
                    return answer
            elif sure:
                held.usage = usage
                return answer
            else:  # others may have given back since we saw it
                found = await self._table.find(name, held.day)
            usage, sure = found, True
        return BUSY

    def _signed(self, usage: Usage) -> Usage:
        return usage._replace(by=f"{self._name}-{next(self._writes)}")

    @staticmethod
    def _end(held: _Held) -> None:
        """No more of the lease is used."""
        if not held.free:
            held.owed -= held.left
        held.left, held.free = 0, False

    async def _give_back(self, name: str, held: _Held) -> None:
        """What can't be is owed still."""
        self._end(held)
        usage = held.usage
        try:
            async with asyncio.timeout(self._patience):
                for _ in range(TRIES):
                    if not held.owed:
                        return
                    after = self._signed(usage._replace(messages=max(0, usage.messages + held.owed)))
                    usage = await self._table.replace(name, held.day, usage, after)
                    if usage == after:
                        held.usage, held.owed = after, 0
        except (TemporaryError, TimeoutError) as error:
            self._log.usage_away(account=name, error=error)


def _told(over: Over, limits: Limits) -> Reply:
    seconds = ceil(over.seconds)
    if over.of_day:
        return replies.too_many_today(limits.per_day, seconds)
    return replies.too_many_a_second(limits.per_second, seconds)
