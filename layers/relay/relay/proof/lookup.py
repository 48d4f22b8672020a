"""TXT lookups of one verdict: each name asked once, and names that no DNS can hold are names that don't exist."""

import asyncio

from relay.errors import PermanentError
from relay.ports import DnsStatus, Resolver, TxtAnswer


class Lookup:
    """Remembers the answers for as long as one verdict takes; `ttl` is the shortest among them."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._asked: dict[str, asyncio.Task[TxtAnswer]] = {}

    @property
    def ttl(self) -> int:
        done = [each.result() for each in self._asked.values() if each.done() and not each.exception()]
        return min((answer.ttl for answer in done), default=0)

    async def txt(self, name: str) -> TxtAnswer:
        """TemporaryError as `Resolver.txt`."""
        key = name.lower().removesuffix(".")
        if key not in self._asked:
            self._asked[key] = asyncio.ensure_future(self._txt(key))
        return await self._asked[key]

    async def _txt(self, name: str) -> TxtAnswer:
        try:
            return await self.resolver.txt(name)
        except PermanentError:
            return TxtAnswer(DnsStatus.NO_NAME)
