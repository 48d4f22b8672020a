"""Where a domain's mail goes: RFC 5321 §5.1, RFC 7505 (null MX). Only ever to the public internet (reach)."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.errors import PermanentError, TemporaryError
from relay.ports import AddressAnswer, DnsStatus, Resolver
from relay.smtp.memory import LONGEST_MEMORY, Memory
from relay.smtp.reach import Reach
from relay.smtp.replies import Reply

NULL_MX: Final = Reply.ours(556, "5.1.10", "the domain does not take mail (null MX)")
NO_DOMAIN: Final = Reply.ours(550, "5.1.2", "the domain does not exist")
NO_ROUTE: Final = Reply.ours(550, "5.4.4", "no mail server of the domain has an address")
LOOP: Final = Reply.ours(550, "5.4.6", "the domain's best mail server is this relay itself")
INSIDE: Final = Reply.ours(550, "5.4.4", "no mail server of the domain has an address on the public internet")
DNS_AWAY: Final = Reply.ours(451, "4.4.3", "DNS gave no answer")
OUR_DNS_AWAY: Final = Reply.ours(451, "4.3.0", "the relay's own DNS resolver gives no answers")
ALWAYS_THERE: Final = "a.root-servers.net"  # a name that every working resolver has something to say about


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

    def only(self, wanted: Callable[[str], bool]) -> "Route":
        """This route with the hosts that are `wanted`; there may be none."""
        records = tuple(each for each in self.records if wanted(each[1]))
        return Route(records, tuple(host for host in self.site if wanted(host)))


class Routes:
    """Looks routes up; remembers answers for their TTL (at most 5 minutes), one question in flight for each.

    name: our own as a mail server. reach: which addresses count.
    """

    def __init__(self, resolver: Resolver, name: str, reach: Reach) -> None:
        self._resolver = resolver
        self._name = name.lower()
        self._reach = reach
        self._routes: Memory[Route] = Memory()
        self._addresses: Memory[tuple[str, ...]] = Memory()
        self._works: Memory[None] = Memory()

    def known(self, domain: str) -> Route | None:
        """`find`'s answer if it is remembered."""
        known = self._routes.known(domain)
        return known[0] if known else None

    async def find(self, domain: str) -> Route:
        """NoRouteError if there is none."""
        return await self._routes.get(domain, lambda: self._find(domain))

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Those that may be connected to. IPv4 first: it is what our own name's PTR record is about. NoRouteError if
        there is none.

        That all are inside is as permanent as that there are none: a domain's records say so, and its sender is
        better told at once than after days. A DNS server that failed to give one kind of address leaves it open.
        """
        return await self._addresses.get(host, lambda: self._resolve(host))

    async def _find(self, domain: str) -> tuple[Route, float]:
        try:
            answer = await self._resolver.mx(domain)
        except TemporaryError:
            raise NoRouteError(await self._away()) from None
        except PermanentError:
            raise NoRouteError(NO_DOMAIN) from None
        if answer.status is DnsStatus.NO_NAME:
            raise NoRouteError(NO_DOMAIN)
        records = tuple(sorted((preference, host) for preference, host in answer.records if host))
        if answer.records and not records:
            raise NoRouteError(NULL_MX)
        records = records or ((0, domain),)  # §5.1: the domain itself, as if it were its own MX
        # §5.1: with ourselves on the list, neither we nor whom the domain likes less than us: it would come back.
        mine = min((preference for preference, host in records if host == self._name), default=None)
        if mine is not None:
            records = tuple(each for each in records if each[0] < mine)
            if not records:
                raise NoRouteError(LOOP)
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
        outside = tuple(filter(self._reach.allows, found))
        if not outside:
            raise NoRouteError(await self._away() if away else INSIDE if found else NO_ROUTE)
        return outside, 0.0 if away else ttl

    async def _away(self) -> Reply:
        """Whose DNS is away: theirs, which may expire the mail; or our own, which never does."""
        try:
            await self._works.get(ALWAYS_THERE, self._look)
        except TemporaryError:
            return OUR_DNS_AWAY
        return DNS_AWAY

    async def _look(self) -> tuple[None, float]:
        return None, (await self._resolver.a(ALWAYS_THERE)).ttl
