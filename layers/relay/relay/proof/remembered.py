"""A Resolver that remembers TXT answers between messages: the keys of DKIM signatures, mostly."""

import asyncio
from collections import OrderedDict
from typing import Final

from relay.ports import AddressAnswer, Clock, DnsStatus, MxAnswer, PtrAnswer, Resolver, TxtAnswer

LONGEST: Final = 300.0  # seconds that an answer is kept at most; so long a withdrawn key may still count
MAX_ANSWERS: Final = 1_000


class Remembered:
    """What exists is kept by its TTL, what doesn't isn't; failures aren't either. One question in flight for each
    name. Its coroutines belong to one event loop."""

    def __init__(self, resolver: Resolver, clock: Clock) -> None:
        self._resolver = resolver
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, TxtAnswer]] = OrderedDict()  # oldest first
        self._asked: dict[str, asyncio.Task[TxtAnswer]] = {}

    async def txt(self, name: str) -> TxtAnswer:
        until, answer = self._kept.get(name, (0.0, None))
        if answer and until > self._clock.now():
            return answer
        task = self._asked.get(name)
        if task is None:
            task = self._asked[name] = asyncio.ensure_future(self._resolver.txt(name))
            task.add_done_callback(lambda task: self._answered(name, task))
        return await asyncio.shield(task)

    async def mx(self, name: str) -> MxAnswer:
        return await self._resolver.mx(name)

    async def a(self, name: str) -> AddressAnswer:
        return await self._resolver.a(name)

    async def aaaa(self, name: str) -> AddressAnswer:
        return await self._resolver.aaaa(name)

    async def ptr(self, name: str) -> PtrAnswer:
        return await self._resolver.ptr(name)

    def _answered(self, name: str, task: "asyncio.Task[TxtAnswer]") -> None:
        del self._asked[name]
        if task.cancelled() or task.exception():
            return
        answer = task.result()
        if answer.status is DnsStatus.OK:
            self._kept.pop(name, None)
            if len(self._kept) >= MAX_ANSWERS:
                self._kept.popitem(last=False)
            self._kept[name] = self._clock.now() + min(answer.ttl, LONGEST), answer
