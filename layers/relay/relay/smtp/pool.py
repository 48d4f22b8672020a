"""Connections kept for the next message, and how many a site has at once."""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Final

from relay.smtp.client import Connection
from relay.smtp.limits import Limits

MOST_DISORDERED: Final = 10_000


class BusyError(Exception):
    """No connection to the site came free in time."""


class _Site:
    def __init__(self, connections: int) -> None:
        self.free = connections
        self.waiting: deque[tuple[float, asyncio.Future[bool | Connection]]] = deque()  # until (loop time); a slot, if
        # need be with its connection; False: time is up
        self._timer: asyncio.TimerHandle | None = None
        self.users = 0  # holding a slot or waiting for one
        self.idle: list[tuple[float, Connection]] = []  # (loop time since when, connection)

    async def acquire(self, until: float) -> Connection | None:
        """First come, first served; the connection of who had the slot before, if it comes with one; BusyError."""
        if self.free:
            self.free -= 1
            return None
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self.waiting.append((until, turn))
        if self._timer is None or self._timer.when() > until:
            self._wake_at(until)
        try:
            given = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and (given := turn.result()):
                self._not_taken(given)
            raise
        if not given:
            raise BusyError
        return given if isinstance(given, Connection) else None

    def release(self) -> None:
        if not self.give(True):
            self.free += 1

    def give(self, slot: bool | Connection) -> bool:
        """Whether somebody has waited for it."""
        given = False
        while self.waiting and not given:
            given = _answer(self.waiting.popleft()[1], slot)
        if self._timer is not None and not self.waiting:
            self._timer.cancel()
            self._timer = None
        return given

    def _not_taken(self, given: bool | Connection) -> None:
        if isinstance(given, Connection):
            given.close()
        self.release()

    def _wake_at(self, when: float) -> None:
        """One timer serves all who wait."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for until, turn in self.waiting:
            if until <= now:
                _answer(turn, False)
        self.waiting = deque(each for each in self.waiting if not each[1].done())
        if self.waiting:
            self._wake_at(min(until for until, _ in self.waiting))


def _answer(turn: "asyncio.Future[bool | Connection]", slot: bool | Connection) -> bool:
    """Whether somebody still waits for it."""
    if turn.done():
        return False
    turn.set_result(slot)
    return True


class Pool:
    """Slots per site, so that no site ever waits for another; idle connections close after a while."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sites: dict[Hashable, _Site] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self.disordered: set[Hashable] = set()  # sites that did not stand a handing over

    def slot(self, site: Hashable, *, until: float, connections: int = 0) -> "Slot":
        """The right to use one connection to `site`, for `async with`, which raises BusyError if none is free by
        `until` (loop time). connections: how many the site has; 0 for the pool's own limit."""
        here = self._sites.get(site)
        if here is None:
            here = self._sites[site] = _Site(connections or self._limits.connections_per_site)
        return Slot(self, site, here, until)

    def keep(self, here: _Site, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        here.idle.append((loop.time(), connection))
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._limits.idle, self._sweep, loop)

    def close(self) -> None:
        """Close what is idle."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for here in self._sites.values():
            while here.idle:
                here.idle.pop()[1].close()
        self._sites = {site: here for site, here in self._sites.items() if here.users}

    def idle(self, site: Hashable) -> int:
        """How many are open and not in use."""
        here = self._sites.get(site)
        return len(here.idle) if here else 0

    def close_one(self, site: Hashable) -> None:
        """Close the connection that has been idle for longest."""
        here = self._sites[site]
        here.idle.pop(0)[1].close()
        self.drop_unused(site, here)

    def take(self, here: _Site) -> Connection | None:
        """The idle connection used last, which the remote is least likely to have closed."""
        now = asyncio.get_running_loop().time()
        while here.idle:
            since, connection = here.idle.pop()
            if connection.fit and now - since < self._limits.idle:
                return connection
            connection.close()
        return None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        old = loop.time() - self._limits.idle
        for site, here in list(self._sites.items()):
            for since, connection in here.idle:
                if since <= old or not connection.fit:
                    connection.close()
            here.idle = [each for each in here.idle if each[0] > old and each[1].fit]
            self.drop_unused(site, here)
        if any(here.idle for here in self._sites.values()):
            self._sweeper = loop.call_later(self._limits.idle, self._sweep, loop)

    def drop_unused(self, site: Hashable, here: _Site) -> None:
        if not here.users and not here.idle:
            self._sites.pop(site, None)


class Slot:
    """One of a site's connections."""

    __slots__ = ("_given", "_gone", "_here", "_pool", "_site", "_until")

    def __init__(self, pool: Pool, site: Hashable, here: _Site, until: float) -> None:
        self._pool = pool
        self._site = site
        self._here = here
        self._until = until
        self._given: Connection | None = None
        self._gone = False  # to another user, with its connection
        here.users += 1  # from now on, so that the site stays the one that others find

    async def __aenter__(self) -> "Slot":
        try:
            self._given = await self._here.acquire(self._until)
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._given is not None:
            self._given.close()
        if not self._gone:
            self._here.release()
        self._leave()

    def reuse(self) -> Connection | None:
        """A connection that is open already, or None. It may wait yet for the answer to another's content."""
        given, self._given = self._given, None
        return given or self._pool.take(self._here)

    def hand_over(self, connection: Connection) -> bool:
        """Give the slot with its `connection` to who waits for one; whether there is somebody, who then begins in the
        loop's next turn."""
        if not self._gone and self._site not in self._pool.disordered and connection.lasts:
            self._gone = self._here.give(connection)
        return self._gone

    def distrust(self) -> None:
        """No connection to the site is handed over from now on."""
        if len(self._pool.disordered) >= MOST_DISORDERED:
            self._pool.disordered.clear()
        self._pool.disordered.add(self._site)

    def keep(self, connection: Connection) -> None:
        """Leave `connection` for whoever has the next slot."""
        if self._gone:
            return
        if connection.fit:
            self._pool.keep(self._here, connection)
        else:
            connection.close()

    def _leave(self) -> None:
        self._here.users -= 1
        self._pool.drop_unused(self._site, self._here)
