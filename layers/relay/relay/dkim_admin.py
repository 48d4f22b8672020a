"""enable, rotate, disable, show: what an operator does about the relay's signing for a domain.

Each may be repeated after a failure: what is done already is found, and said as it was the first time. A key is stored
only whole: made, sealed, then written in one conditional write.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.address import AddressError, parse_domain
from relay.dkim_keys import DkimKey, DkimKeys, DomainKeys, KeyPair, KeyState, Sealer, Shown, make_key_pair, shown
from relay.errors import PermanentError, TemporaryError
from relay.ports import Clock, Resolver

LONGEST_NAME: Final = 253  # RFC 1035 §2.3.4, as text
TRIES: Final = 3  # at a write that somebody else's gets in the way of
CHANGED: Final = "somebody else changes the keys of this domain at the same moment: try again"


@dataclass(frozen=True, slots=True)
class Report:
    """keys: the domain's. changed: whether this made a difference. dns: what DNS has at the name of each key, by
    selector; None if it doesn't answer."""

    keys: DomainKeys
    changed: bool
    dns: dict[str, Shown | None]


class DkimAdmin:
    """make: a new key pair. name: the new key's selector, from epoch seconds."""

    def __init__(
        self,
        *,
        keys: DkimKeys,
        sealer: Sealer,
        resolver: Resolver,
        clock: Clock,
        make: Callable[[], KeyPair] = make_key_pair,
        name: Callable[[float], str] | None = None,
    ) -> None:
        self._keys = keys
        self._sealer = sealer
        self._resolver = resolver
        self._clock = clock
        self._make = make
        self._name = name or _selector

    async def enable(self, domain: str) -> Report:
        """A key that waits, unless there is one; PermanentError for what is no domain, as the others."""
        domain = _domain(domain)
        for _ in range(TRIES):
            known = await self._keys.find(domain)
            if known and known.enabled:
                return await self._report(known, changed=False)
            if made := await self._with_new(domain, known):
                return await self._report(made, changed=True)
        raise TemporaryError(CHANGED)

    async def rotate(self, domain: str) -> Report:
        """One more key; none while the newest still waits."""
        domain = _domain(domain)
        for _ in range(TRIES):
            known = await self._enabled(domain)
            if known.keys[0].state is KeyState.WAITING:
                return await self._report(known, changed=False)
            if made := await self._with_new(domain, known):
                return await self._report(made, changed=True)
        raise TemporaryError(CHANGED)

    async def disable(self, domain: str) -> Report:
        domain = _domain(domain)
        for _ in range(TRIES):
            known = await self._known(domain)
            if not known.enabled:
                return await self._report(known, changed=False)
            after = known.disabled(self._clock.now())
            if await self._keys.put(after, known):
                return await self._report(after, changed=True)
        raise TemporaryError(CHANGED)

    async def show(self, domain: str) -> Report:
        return await self._report(await self._known(_domain(domain)), changed=False)

    async def _known(self, domain: str) -> DomainKeys:
        known = await self._keys.find(domain)
        if known is None:
            raise PermanentError(f"the relay has no DKIM key of {domain}: mailrelay dkim enable {domain}")
        return known

    async def _enabled(self, domain: str) -> DomainKeys:
        known = await self._known(domain)
        if not known.enabled:
            raise PermanentError(f"signing for {domain} is disabled: mailrelay dkim enable {domain}")
        return known

    async def _with_new(self, domain: str, known: DomainKeys | None) -> DomainKeys | None:
        """None if somebody else was quicker."""
        now = self._clock.now()
        selector = self._name(now)
        pair = self._make()
        sealed = await self._sealer.seal(pair.private, domain=domain, selector=selector)
        key = DkimKey(selector, pair.public, sealed, created=now)
        after = known.with_new(key, now) if known else DomainKeys(domain, enabled=True, keys=(key,))
        return after if await self._keys.put(after, known) else None

    async def _report(self, keys: DomainKeys, *, changed: bool) -> Report:
        return Report(keys, changed, {each.selector: await self._ask(each, keys.domain) for each in keys.keys})

    async def _ask(self, key: DkimKey, domain: str) -> Shown | None:
        try:
            return shown(await self._resolver.txt(key.record(domain).name), key.public)
        except TemporaryError:
            return None


def _domain(text: str) -> str:
    try:
        domain = parse_domain(text.strip().removesuffix("."))
    except AddressError as error:
        raise PermanentError(f"{text!r}: {error.safe}") from None
    longest = LONGEST_NAME - len(f"{_selector(0.0)}._domainkey.")
    if len(domain) > longest:
        raise PermanentError(
            f"{domain} is too long: DNS has no name for a key of it; {longest} characters are the most"
        )
    return domain


def _selector(now: float) -> str:
    """Another than any that the domain has, whoever gave it that."""
    return f"mr{time.strftime('%Y%m%d', time.gmtime(now))}-{secrets.token_hex(2)}"
