"""The MTA-STS policy that holds for a domain (RFC 8461 §5.1): found, kept as long as it says, renewed.

Who can make DNS or HTTPS fail must not get rid of a policy that is known: so it is kept in a store that all
processes share, and neither a missing record nor a failed fetch ends it before its max_age.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from relay.errors import PermanentError, TemporaryError
from relay.ports import Clock, Resolver
from relay.smtp.https import FetchError
from relay.smtp.memory import LONGEST_MEMORY, MOST_REMEMBERED, Memory
from relay.smtp.sts import Policy, PolicyError, announced, parse

WELL_KNOWN: Final = "/.well-known/mta-sts.txt"  # RFC 8461 §3.3
RENEWED: Final = 86_400.0  # seconds after which a policy is fetched again, RFC 8461 §3.3
AGAIN: Final = LONGEST_MEMORY  # seconds until a fetch that failed is tried again: five minutes at least, §3.3
LEAST_MEMORY: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Known:
    """A policy as it was fetched at `fetched` (epoch seconds), when the TXT record had `id`."""

    id: str
    policy: Policy
    fetched: float

    @property
    def expires(self) -> float:
        return self.fetched + self.policy.max_age


class PolicyStore(Protocol):
    """What all processes know. Shared, and of ours: TemporaryError when it is away."""

    async def find(self, domain: str) -> Known | None:
        """The one kept last; it may have expired."""
        ...

    async def put(self, domain: str, known: Known) -> None:
        """Keep `known`, unless one that was fetched later is there."""
        ...


def _unobserved(_domain: str, _what: str) -> None: ...


class Policies:
    """fetch: (host, path) -> body, or FetchError. observe: told (domain, what is wrong), for the log: what a domain
    announces and doesn't provide is for its operators and ours to know (§3.3, §10.2)."""

    def __init__(
        self,
        resolver: Resolver,
        store: PolicyStore,
        fetch: Callable[[str, str], Awaitable[bytes]],
        clock: Clock,
        observe: Callable[[str, str], None] = _unobserved,
    ) -> None:
        self._resolver = resolver
        self._store = store
        self._fetch = fetch
        self._clock = clock
        self._observe = observe
        self._memory: Memory[Policy | None] = Memory()
        self._known: dict[str, Known] = {}

    def known(self, domain: str) -> tuple[Policy | None] | None:
        """`find`'s answer, in a tuple, if it is remembered."""
        return self._memory.known(domain)

    async def find(self, domain: str) -> Policy | None:
        """The policy in force, None without one. TemporaryError if the store doesn't say and nothing else does."""
        return await self._memory.get(domain, lambda: self._find(domain))

    async def _find(self, domain: str) -> tuple[Policy | None, float]:
        id, ttl = await self._announced(domain)
        known, away = await self._kept(domain, id)
        now = self._clock.now()
        if known is not None and now >= known.expires:
            known = None
        if id is not None and (known is None or known.id != id or now - known.fetched >= _renewed(known)):
            fresh = await self._fetched(domain, id)
            if fresh is None:
                ttl = AGAIN
            known = fresh or known
        if known is None:
            if away is not None:
                raise away
            return None, ttl
        self._remember(domain, known)
        return known.policy, min(ttl, max(0.0, known.expires - self._clock.now()))

    async def _announced(self, domain: str) -> tuple[str | None, float]:
        """The id, None if there is none or DNS doesn't say; seconds that this may be remembered."""
        try:
            answer = await self._resolver.txt(f"_mta-sts.{domain}")
        except TemporaryError:  # §5.1: what is known goes on; a domain seen first has no policy yet
            return None, LEAST_MEMORY
        except PermanentError:  # too long with this label before it
            return None, LONGEST_MEMORY
        return announced(answer.records), max(LEAST_MEMORY, answer.ttl)

    async def _kept(self, domain: str, id: str | None) -> tuple[Known | None, TemporaryError | None]:
        """What was fetched last, as far as it is known here or in the store; the error if the store is away."""
        here = self._known.get(domain)
        if here is not None and here.id == id:
            return here, None
        try:
            stored = await self._store.find(domain)
        except TemporaryError as error:
            return here, error
        return max(filter(None, (here, stored)), key=lambda known: known.fetched, default=None), None

    async def _fetched(self, domain: str, id: str) -> Known | None:
        try:
            body = await self._fetch(f"mta-sts.{domain}", WELL_KNOWN)
            known = Known(id, parse(body), self._clock.now())
        except (FetchError, PolicyError) as error:
            self._observe(domain, str(error))
            return None
        try:
            await self._store.put(domain, known)
        except TemporaryError as error:  # it holds here and now; the next process fetches it again
            self._observe(domain, f"not kept: {error.safe}")
        return known

    def _remember(self, domain: str, known: Known) -> None:
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[domain] = known


def _renewed(known: Known) -> float:
    """Its age when it is to be fetched again: before it expires, so that it never lapses while a fetch fails."""
    return min(RENEWED, known.policy.max_age / 2)
