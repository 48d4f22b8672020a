"""The keys that the relay signs a domain's mail with, and how one follows another.

    enable   -> a key that waits until DNS shows it; the first time it is seen there, it signs
    rotate   -> one more that waits; the one before goes on signing until it is seen
    disable  -> none signs any more; the private parts are forgotten

A private key exists in the clear only in the memory of what makes it and of what signs; it is stored sealed (by KMS).
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from relay.header import Header
from relay.ports import DnsStatus, TxtAnswer
from relay.proof.dkim_tags import is_key, parse_tags
from relay.proof.token import DnsRecord

BITS: Final = 2_048  # RFC 8301 §3.2
DAY: Final = 86_400.0
# An old key stays published so long: mail that it signed may wait for its retries and in a dead-letter queue until then
KEPT_DAYS: Final = 21


class KeyState(StrEnum):
    WAITING = "waiting"  # for DNS
    SIGNING = "signing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class DkimKey:
    """public: SubjectPublicKeyInfo, DER. sealed: the private part (PKCS #8, DER) under KMS, b"" once forgotten.
    created; seen: first in DNS; ended: signing; epoch seconds, 0.0 if not yet."""

    selector: str
    public: bytes
    sealed: bytes
    created: float
    seen: float = 0.0
    ended: float = 0.0

    @property
    def state(self) -> KeyState:
        if self.ended:
            return KeyState.ENDED
        return KeyState.SIGNING if self.seen else KeyState.WAITING

    def record(self, domain: str) -> DnsRecord:
        """RFC 6376 §3.6.1, §3.6.2.1."""
        value = f"v=DKIM1; k=rsa; p={base64.b64encode(self.public).decode('ascii')}"
        return DnsRecord(f"{self.selector}._domainkey.{domain}", "TXT", value)


@dataclass(frozen=True, slots=True)
class DomainKeys:
    """keys: newest first. version: counts the writes."""

    domain: str
    enabled: bool
    keys: tuple[DkimKey, ...]
    version: int = 1

    def with_new(self, key: DkimKey, now: float) -> "DomainKeys":
        """One more that waits. Of the others only the one that signs keeps its private part."""
        before = next((each for each in self.keys if each.state is KeyState.SIGNING), None)
        others = (each if each is before else _forgotten(each, now) for each in self.keys)
        kept = (each for each in others if not each.ended or each.ended + KEPT_DAYS * DAY > now)
        return replace(self, enabled=True, keys=(key, *kept), version=self.version + 1)

    def with_seen(self, selector: str, now: float) -> "DomainKeys":
        """The key is in DNS, so it signs from now on. The ones before keep their private parts for who doesn't see it
        yet; they are forgotten with the next new key."""
        keys = tuple(
            replace(each, seen=each.seen or now)
            if each.selector == selector
            else replace(each, ended=each.ended or now)
            for each in self.keys
        )
        return replace(self, keys=keys, version=self.version + 1)

    def disabled(self, now: float) -> "DomainKeys":
        keys = tuple(_forgotten(each, now) for each in self.keys)
        return replace(self, enabled=False, keys=keys, version=self.version + 1)


def _forgotten(key: DkimKey, now: float) -> DkimKey:
    return replace(key, sealed=b"", ended=key.ended or now)


class KeyPair(NamedTuple):
    """DER: SubjectPublicKeyInfo, and PKCS #8 in the clear."""

    public: bytes
    private: bytes

    def __repr__(self) -> str:
        return "KeyPair(...)"  # a traceback's or log's words never hold it


def make_key_pair() -> KeyPair:
    """Takes a tenth of a second or two."""
    from cryptography.hazmat.primitives import serialization  # here, because few that know the keys make one
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = rsa.generate_private_key(public_exponent=65_537, key_size=BITS)
    return KeyPair(
        made.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        made.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


class DkimKeys(Protocol):
    """Errors as of relay.ports."""

    async def find(self, domain: str) -> DomainKeys | None: ...

    async def put(self, keys: DomainKeys, before: DomainKeys | None) -> bool:
        """Write it if what is stored is still `before` (None: if there is nothing); whether it did."""
        ...


class Sealer(Protocol):
    """Errors as of relay.ports. What one domain and selector sealed no other opens."""

    async def seal(self, private: bytes, *, domain: str, selector: str) -> bytes: ...

    async def open(self, sealed: bytes, *, domain: str, selector: str) -> bytes: ...


class Ready(NamedTuple):
    """A domain that has asked for signing. key: that signs now, None if DNS shows none; why: a clause for people,
    "" if one signs."""

    domain: str
    key: DkimKey | None
    why: str = ""


class Signing(Protocol):
    """TemporaryError where a part of ours is away: then it isn't known, or can't be done now."""

    async def ready(self, domains: Collection[str]) -> Mapping[str, Ready]:
        """Those of `domains` that have asked for signing."""
        ...

    async def sign(self, content: bytes, header: Header, ready: Sequence[Ready]) -> bytes:
        """Whole DKIM-Signature fields, to stand above `content`: one for each of `ready` that has a key."""
        ...


class Shown(StrEnum):
    """What DNS has at a key's name."""

    RIGHT = "right"
    MISSING = "missing"
    OTHER = "other"  # than this key, or more than it


def shown(answer: TxtAnswer, public: bytes) -> Shown:
    """RIGHT only if every receiver will take it for `public`: several records may be read in any order (RFC 6376
    §6.1.2), and tags may restrict a key (§3.6.1)."""
    if answer.status is not DnsStatus.OK or not answer.records:
        return Shown.MISSING
    tags = parse_tags(answer.records[0]) if len(answer.records) == 1 else None
    if tags is None or not is_key(tags):
        return Shown.OTHER
    listed = {name: {part.strip() for part in tags[name].split(b":")} for name in (b"h", b"s") if name in tags}
    usable = (
        tags.get(b"k", b"rsa") == b"rsa"
        and b"sha256" in listed.get(b"h", {b"sha256"})
        and listed.get(b"s", {b"*"}) & {b"*", b"email"}
    )
    same = tags[b"p"].translate(None, b" \t\r\n") == base64.b64encode(public)
    return Shown.RIGHT if usable and same else Shown.OTHER
