"""DKIM's two tag lists, read and judged by themselves: a signature (RFC 6376 §3.5) and a key record (§3.6.1)."""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from relay.address import AddressError, parse_domain
from relay.header import Field

MIN_BITS: Final = 1_024  # RFC 8301 §3.2
MAX_BITS: Final = 4_096  # §3.2: no receiver need check more
MAX_EXPONENT_BITS: Final = 33  # ours, as the time it takes grows with it; all but always it is 65537, of 17
CLOCK_SKEW: Final = 300.0  # seconds that a signer's clock may be ahead
_MAX_DOMAIN: Final = 1_024  # octets of what is parsed as a domain, in UTF-8

_FWS: Final = b" \t\r\n"
_TAG_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")  # §3.2
_NUMBER: Final = re.compile(rb"[0-9]{1,12}")  # §3.5 t=, x=; l= may be longer, but no body is
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"  # "_" is in no sub-domain of §3.1, but in use
_SELECTOR: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_NEEDED: Final = (b"v", b"a", b"b", b"bh", b"d", b"h", b"s")

Tags = Mapping[bytes, bytes]


class Problem(Exception):  # noqa: N818 - what comes of a signature, not an error of ours
    """Why a signature is no good: a clause for people. unknown: it may be good, but that isn't checked here.
    later: DNS didn't answer, so it may be known later."""

    def __init__(self, why: str, *, unknown: bool = False, later: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.unknown = unknown
        self.later = later


def parse_tags(text: bytes) -> dict[bytes, bytes] | None:
    """A tag-list (§3.2) in its order; None if it is none."""
    tags: dict[bytes, bytes] = {}
    for part in text.strip(_FWS).removesuffix(b";").split(b";"):
        name, equals, value = part.partition(b"=")
        name = name.strip(_FWS)
        if not equals or name in tags or not _TAG_NAME.fullmatch(name):
            return None
        tags[name] = value.strip(_FWS)
    return tags


# --- a signature: §3.5, §6.1.1 ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature that is well-formed. field: where it stands. identity: the domain of i=. names: of h=, in lower
    case. length: l=, or None."""

    field: Field
    domain: str
    selector: str
    identity: str
    relaxed_header: bool
    relaxed_body: bool
    names: tuple[bytes, ...]
    length: int | None
    body_hash: bytes
    signature: bytes

    @property
    def key_name(self) -> str:
        return f"{self.selector}._domainkey.{self.domain}"


def read_domain(tags: Tags) -> str:
    """d= in A-labels and lower case."""
    return _domain(_needed(tags, b"d"), "d=")


def read_selector(tags: Tags, domain: str) -> str:
    text = _needed(tags, b"s")
    if text.isascii() and _SELECTOR.fullmatch(selector := text.decode("ascii").lower()):
        return selector
    return _domain(text + b"." + domain.encode(), "s=").removesuffix(f".{domain}")  # RFC 8616 §5: U-labels


def read_claim(tags: Tags, field: Field, domain: str, selector: str, *, authors: int, now: float) -> Claim:
    """domain, selector: as read from `tags`. authors: how many From fields there are. now: epoch seconds."""
    for name in _NEEDED:
        _needed(tags, name)
    _check_algorithm(tags)
    _check_times(tags, now)
    relaxed_header, relaxed_body = _canonicalizations(tags.get(b"c", b"simple/simple"))
    names = tuple(name.lower() for name in _list(tags[b"h"]))
    if b"from" not in names:
        raise Problem("no From in h=")  # §5.4
    if names.count(b"from") < authors:  # a receiver may show the one that isn't signed (§8.15)
        raise Problem("it does not cover every From field")
    return Claim(
        field=field,
        domain=domain,
        selector=selector,
        identity=_identity(tags.get(b"i"), domain),
        relaxed_header=relaxed_header,
        relaxed_body=relaxed_body,
        names=names,
        length=_number(tags, b"l"),
        body_hash=_base64(tags[b"bh"], "bh="),
        signature=_base64(tags[b"b"], "b="),
    )


def _needed(tags: Tags, name: bytes) -> bytes:
    if not tags.get(name):
        raise Problem(f"it has no {name.decode()}=")
    return tags[name]


def _check_algorithm(tags: Tags) -> None:
    if tags[b"v"] != b"1":
        raise Problem("its version is not 1 (v=)")
    if b"dns/txt" not in _list(tags.get(b"q", b"dns/txt")):
        raise Problem("its key is not in DNS (q=)")
    match tags[b"a"]:
        case b"rsa-sha256":
            pass
        case b"rsa-sha1":  # RFC 8301 §3.1: never to be taken for valid
            raise Problem("rsa-sha1 is too weak, rsa-sha256 is needed")
        case b"ed25519-sha256":
            raise Problem("Ed25519 is not checked here", unknown=True)
        case _:
            raise Problem("its algorithm is not known (a=)")


def _check_times(tags: Tags, now: float) -> None:
    signed, expires = _number(tags, b"t"), _number(tags, b"x")
    if signed is not None and signed > now + CLOCK_SKEW:
        raise Problem("signed in the future (t=)")
    if expires is None:
        return
    if signed is not None and expires <= signed:
        raise Problem("it expires before it was signed (x=, t=)")
    if expires < now:
        raise Problem(f"expired at {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(expires))}")


def _number(tags: Tags, name: bytes) -> int | None:
    text = tags.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Problem(f"{name.decode()}= is not a number")
    return int(text)


def _domain(text: bytes, tag: str) -> str:
    try:
        if len(text) > _MAX_DOMAIN:
            raise AddressError("the domain is too long")
        return parse_domain(text.decode("utf-8"))
    except (AddressError, UnicodeDecodeError):
        raise Problem(f"{tag} is not a domain name") from None


def _identity(text: bytes | None, domain: str) -> str:
    if text is None:
        return domain
    identity = _domain(text.rpartition(b"@")[2], "what follows the @ of i=")
    if identity != domain and not identity.endswith(f".{domain}"):
        raise Problem("the domain of i= is neither d= nor below it")
    return identity


def _canonicalizations(text: bytes) -> tuple[bool, bool]:
    """Whether header and body are relaxed; the body is simple unless said."""
    parts = text.split(b"/")
    if len(parts) > 2 or not set(parts) <= {b"simple", b"relaxed"}:
        raise Problem("its canonicalization is not known (c=)")
    return parts[0] == b"relaxed", parts[1:] == [b"relaxed"]


def _base64(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(text.translate(None, _FWS), validate=True)
    except ValueError:
        raise Problem(f"{what} is not base64") from None


def _list(text: bytes) -> list[bytes]:
    return [part.strip(_FWS) for part in text.split(b":")]


# --- a key record: §3.6.1, §6.1.2 ------------------------------------------------------------------


class Key(NamedTuple):
    """public: modulus and publicExponent. testing: t=y."""

    public: dict[str, int]
    testing: bool


def is_key(tags: Tags) -> bool:
    """v= may be left out; else it comes first."""
    return b"p" in tags and (b"v" not in tags or next(iter(tags.items())) == (b"v", b"DKIM1"))


def read_key(tags: Tags, claim: Claim) -> Key:
    """The key, if it is one for the signature `claim`."""
    flags = _list(tags.get(b"t", b""))
    if tags.get(b"k", b"rsa") != b"rsa":
        raise Problem("the key is not an RSA key (k=)")
    if b"h" in tags and b"sha256" not in _list(tags[b"h"]):
        raise Problem("the key is not for sha256 (h=)")
    if not {b"*", b"email"} & set(_list(tags.get(b"s", b"*"))):
        raise Problem("the key is not for e-mail (s=)")
    if b"s" in flags and claim.identity != claim.domain:
        raise Problem("the key is not for subdomains (t=s), and i= has one")
    if not tags[b"p"]:
        raise Problem("the key is revoked")
    return Key(_public_key(_base64(tags[b"p"], "p= of the key")), b"y" in flags)


def _public_key(der: bytes) -> dict[str, int]:
    from dkim import crypto  # here, because it loads dnspython, too, which not every path needs

    try:
        key: dict[str, int] = crypto.parse_public_key(der)
    except Exception:  # noqa: BLE001 - dkimpy has many for DER that is no key: AssertionError, TypeError ...
        raise Problem("the key cannot be read") from None
    bits = key["modulus"].bit_length()
    if bits < MIN_BITS:
        raise Problem(f"the key has {bits} bits, at least {MIN_BITS} are needed")
    if bits > MAX_BITS or key["publicExponent"].bit_length() > MAX_EXPONENT_BITS:
        raise Problem("the key is larger than is checked here", unknown=True)
    return key
