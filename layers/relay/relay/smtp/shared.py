"""Slots of a pool, counted together where several sites are one provider's: its limit is for all of them."""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from relay.smtp.limits import Limits
from relay.smtp.pool import Pool, Slot
from relay.smtp.shaping import Shaped


class _Provider:
    def __init__(self) -> None:
        self.active = 0
        self.sites: dict[Hashable, None] = {}  # that may have idle connections, the one used last at the end


class Shared:
    """pool: whose slots they are, and whose connections stay open for the next delivery to the same site."""

    def __init__(self, pool: Pool, limits: Limits) -> None:
        self._pool = pool
        self._turns = Pool(limits)  # of providers; it never has connections
        self._providers: dict[str, _Provider] = {}

    @asynccontextmanager
    async def slot(self, site: Hashable, shaped: Shaped, *, until: float) -> AsyncIterator[Slot]:
        """As Pool.slot, BusyError included."""
        connections = shaped.limits.connections_per_site
        if not shaped.shape.provider:
            async with self._pool.slot(site, until=until, connections=connections) as slot:
                yield slot
            return
        async with self._turns.slot(shaped.key, until=until, connections=connections):
            here = self._providers.setdefault(shaped.key, _Provider())
            here.active += 1
            here.sites.pop(site, None)
            here.sites[site] = None
            try:
                self._make_room(here, site, connections)
                async with self._pool.slot(site, until=until, connections=connections) as slot:
                    yield slot
            finally:
                here.active -= 1

    def _make_room(self, here: _Provider, site: Hashable, connections: int) -> None:
        """Close idle connections to the provider's other sites if ours would be one too many."""
        idle = {each: self._pool.idle(each) for each in here.sites}
        here.sites = {each: None for each, count in idle.items() if count or each == site}
        to_open = 0 if idle[site] else 1
        most = connections - (here.active - 1) - to_open
        for each in [each for each, count in idle.items() if each != site for _ in range(count)]:
            if sum(idle.values()) <= most:
                break
            self._pool.close_one(each)
            idle[each] -= 1
