"""Where a domain's mail goes: RFC 5321 §5.1, RFC 7505 (null MX)."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from relay.errors import PermanentError, TemporaryError
from relay.ports import AddressAnswer, DnsStatus, Resolver
from relay.smtp.replies import Reply

V = TypeVar("V")

LONGEST_MEMORY: Final = 300.0  # seconds that a DNS answer is used, whatever its TTL
MOST_REMEMBERED: Final = 4096

NULL_MX: Final = Reply.ours(556, "5.1.10", "the domain does not take mail (null MX)")
NO_DOMAIN: Final = Reply.ours(550, "5.1.2", "the domain does not exist")
NO_ROUTE: Final = Reply.ours(550, "5.4.4", "no mail server of the domain has an address")
DNS_AWAY: Final = Reply.ours(451, "4.4.3", "DNS gave no answer")


class NoRouteError(Exception):
    """`reply` says why, and whether trying again may help."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Route:
    """records: (preference, host), best first. site: the hosts, whatever their order; who shares them
    shares connections."""

    records: tuple[tuple[int, str], ...]
    site: tuple[str, ...]

    def hosts(self, chance: random.Random) -> tuple[str, ...]:
        """By preference, at random among equals (RFC 5321 §5.1), so that their load is shared."""
        order = sorted((preference, chance.random(), host) for preference, host in self.records)
        return tuple(dict.fromkeys(host for _, _, host in order))


class Routes:
    """Looks routes up; remembers answers for their TTL (at most 5 minutes), one question in flight for each."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._routes: _Memory[Route] = _Memory()
        self._addresses: _Memory[tuple[str, ...]] = _Memory()

    async def find(self, domain: str) -> Route:
        """NoRouteError if there is none."""
        return await self._routes.get(domain, lambda: self._find(domain))

    async def addresses(self, host: str) -> tuple[str, ...]:
        """IPv4 first: it is what our own name's PTR record is about. NoRouteError if there is none."""
        return await self._addresses.get(host, lambda: self._resolve(host))

    async def _find(self, domain: str) -> tuple[Route, float]:
        try:
            answer = await self._resolver.mx(domain)
        except TemporaryError:
            raise NoRouteError(DNS_AWAY) from None
        except PermanentError:
            raise NoRouteError(NO_DOMAIN) from None
        if answer.status is DnsStatus.NO_NAME:
            raise NoRouteError(NO_DOMAIN)
        records = tuple(sorted((preference, host) for preference, host in answer.records if host))
        if answer.records and not records:
            raise NoRouteError(NULL_MX)
        records = records or ((0, domain),)  # §5.1: the domain itself, as if it were its own MX
        return Route(records, tuple(sorted({host for _, host in records}))), answer.ttl

    async def _resolve(self, host: str) -> tuple[tuple[str, ...], float]:
        answers = await asyncio.gather(self._resolver.a(host), self._resolver.aaaa(host), return_exceptions=True)
        found: list[str] = []
        ttl = LONGEST_MEMORY
        away = False
        for answer in answers:
            match answer:
                case AddressAnswer():
                    found += answer.addresses
                    ttl = min(ttl, answer.ttl)
                case TemporaryError():
                    away = True
                case PermanentError():
                    pass
                case BaseException():
                    raise answer
        if not found:
            raise NoRouteError(DNS_AWAY if away else NO_ROUTE)
        return tuple(found), 0.0 if away else ttl


class _Memory(Generic[V]):
    """Values by key until they expire; who asks while an answer is on its way waits for the same one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, V]] = {}
        self._asked: dict[str, asyncio.Task[V]] = {}

    async def get(self, key: str, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """ask: -> (value, seconds to remember it)."""
        known = self._known.get(key)
        if known is not None and known[0] > asyncio.get_running_loop().time():
            return known[1]
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
