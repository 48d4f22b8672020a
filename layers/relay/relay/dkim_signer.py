"""Signing by the relay: which of a domain's keys signs now, and the signature (proof.message.Signing).

What is known of a domain is asked for again after a minute, DNS included (TTLs count up to five, see
relay.proof.remembered): so long at most does `disable` take to be obeyed. An opened private key is kept for five.
Without the Keys table or KMS nothing is said: the message waits for them, rather than to leave unsigned.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from relay.dkim_keys import DkimKey, DkimKeys, DomainKeys, Ready, Sealer, Shown, shown
from relay.errors import FaultError, PermanentError, TemporaryError
from relay.header import Header
from relay.ports import Clock, Resolver
from relay.proof.dkim import IN_THE_LOOP
from relay.proof.dkim_sign import SigningKey, sign
from relay.smtp.memory import Memory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

FRESH: Final = 60.0  # seconds for which a domain isn't looked at again
OPENED: Final = 300.0  # seconds for which an opened key is kept
DNS_SECONDS: Final = 5.0  # for all keys of a domain


class DkimSigner:
    """resolver: one that remembers TXT answers. speed: divides how long what is known serves. warn: told once a minute
    of a domain whose mail leaves unsigned."""

    def __init__(
        self,
        *,
        keys: DkimKeys,
        sealer: Sealer,
        resolver: Resolver,
        clock: Clock,
        speed: float = 1.0,
        warn: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._keys = keys
        self._sealer = sealer
        self._resolver = resolver
        self._clock = clock
        self._speed = speed
        self._warn = warn
        self._known: Memory[Ready | None] = Memory()
        self._opened: Memory[RSAPrivateKey] = Memory()

    async def ready(self, domains: Collection[str]) -> dict[str, Ready]:
        """Those of `domains` that have asked for signing. TemporaryError if the table is away."""
        found = await asyncio.gather(*(self._known.get(each, partial(self._look, each)) for each in domains))
        return {each.domain: each for each in found if each is not None}

    async def sign(self, content: bytes, header: Header, ready: Sequence[Ready]) -> bytes:
        """A signature by the key of each of `ready`. TemporaryError if KMS is away."""
        keys = [await self._open(each.domain, each.key) for each in ready if each.key]
        now = self._clock.now()
        if len(content) > IN_THE_LOOP:
            return await asyncio.to_thread(sign, content, header, keys, now=now)
        return sign(content, header, keys, now=now)

    async def _look(self, domain: str) -> tuple[Ready | None, float]:
        known = await self._keys.find(domain)
        found = await self._choose(known) if known and known.enabled else None
        if found and not found.key:
            self._warn(domain, found.why)
        return found, FRESH / self._speed

    async def _choose(self, known: DomainKeys) -> Ready:
        """The newest that DNS shows; where it doesn't answer, the newest that it has shown before."""
        able = [each for each in known.keys if each.sealed]
        answers = await asyncio.gather(*(self._ask(each, known.domain) for each in able))
        for key, answer in zip(able, answers, strict=True):
            if answer is Shown.RIGHT or (answer is None and key.seen):
                if answer is Shown.RIGHT and not key.seen:
                    await self._note(known, key)
                return Ready(known.domain, key)
        name = able[0].record(known.domain).name if able else "any selector"
        return Ready(known.domain, None, f"{_found(answers[0] if able else Shown.MISSING)} at {name}")

    async def _ask(self, key: DkimKey, domain: str) -> Shown | None:
        """None if DNS doesn't answer."""
        try:
            async with asyncio.timeout(DNS_SECONDS):
                return shown(await self._resolver.txt(key.record(domain).name), key.public)
        except (TemporaryError, TimeoutError):
            return None
        except PermanentError:  # a name that no DNS can hold
            return Shown.MISSING

    async def _note(self, known: DomainKeys, key: DkimKey) -> None:
        """If that fails, or somebody else was quicker, it is seen again in a minute."""
        try:
            await self._keys.put(known.with_seen(key.selector, self._clock.now()), known)
        except TemporaryError:
            pass

    async def _open(self, domain: str, key: DkimKey) -> SigningKey:
        async def ask() -> "tuple[RSAPrivateKey, float]":
            private = await self._sealer.open(key.sealed, domain=domain, selector=key.selector)
            return _read(private, f"{key.selector}._domainkey.{domain}"), OPENED / self._speed

        return SigningKey(domain, key.selector, await self._opened.get(f"{key.selector} {domain}", ask))


def _read(private: bytes, name: str) -> "RSAPrivateKey":
    """Nothing of the key is in an error."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        key = load_der_private_key(private, None)
    except Exception:  # noqa: BLE001 - cryptography has several, whose words and tracebacks may hold what was read
        raise FaultError("a signing key cannot be read", name) from None
    if not isinstance(key, RSAPrivateKey):
        raise FaultError("a signing key cannot be read", f"{name}: no RSA key")
    return key


def _found(answer: Shown | None) -> str:
    match answer:
        case Shown.OTHER:
            return "DNS has another record than the key"
        case None:
            return "DNS does not answer for the key"
    return "DNS does not have the key"
