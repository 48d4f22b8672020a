"""SPF records: the grammar of RFC 7208 §12, pure. `relay.proof.spf` evaluates what is parsed here."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from relay.errors import PermanentError
from relay.ports import TxtAnswer

VERSION: Final = b"v=spf1"


class Qualifier(StrEnum):
    PASS = "+"  # noqa: S105 - the RFC's word
    FAIL = "-"
    SOFTFAIL = "~"
    NEUTRAL = "?"


class Mechanism(StrEnum):
    ALL = "all"
    INCLUDE = "include"
    A = "a"
    MX = "mx"
    PTR = "ptr"
    IP4 = "ip4"
    IP6 = "ip6"
    EXISTS = "exists"


class SpfPermError(PermanentError):
    """RFC 7208 §2.6.7: the records as published can't be interpreted; `safe` says why."""


@dataclass(frozen=True, slots=True)
class Directive:
    """domain: the domain-spec as written, macros and all; "" where there is none. network: of ip4 and ip6.
    cidr4, cidr6: prefix lengths of a and mx. text: the whole as written."""

    qualifier: Qualifier
    mechanism: Mechanism
    domain: str = ""
    network: IPv4Network | IPv6Network | None = None
    cidr4: int = 32
    cidr6: int = 128
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Record:
    """redirect, exp: domain-specs, "" where there is none. Unknown modifiers are checked and dropped (§6)."""

    directives: tuple[Directive, ...] = ()
    redirect: str = ""
    exp: str = ""


_QUALIFIERS: Final = {"": Qualifier.PASS, **{each.value: each for each in Qualifier}}
_MECHANISMS: Final = {each.value: each for each in Mechanism}

_EXPAND: Final = r"%(?:\{{[{letters}](?:0*[1-9][0-9]*)?r?[.\-+,/_=]*\}}|[%_-])"  # §7.1, and §7.3: digits aren't 0
_LITERAL: Final = r"[!-$&-~]"
_TOPLABEL: Final = r"(?:[0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])"
_MACRO: Final = _EXPAND.format(letters="slodiphv")  # §7.2: c, r and t only in an explanation's text
_ANY_MACRO: Final = _EXPAND.format(letters="slodiphcrtv")
_DOMAIN_SPEC: Final = re.compile(rf"(?:{_MACRO}|{_LITERAL})*(?:\.{_TOPLABEL}\.?|{_MACRO})", re.IGNORECASE)
_MACRO_STRING: Final = re.compile(rf"(?:{_ANY_MACRO}|{_LITERAL})*", re.IGNORECASE)

EXPLANATION: Final = re.compile(rf"(?:{_ANY_MACRO}|{_LITERAL}| )*", re.IGNORECASE)  # explain-string

_MODIFIER: Final = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
_DIRECTIVE: Final = re.compile(r"([+?~-]?)([a-z0-9]+)(?:([:/])(.*))?", re.IGNORECASE)
_DUAL_CIDR: Final = re.compile(r"(.*?)(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?")
_NETWORK: Final = re.compile(r"([0-9a-f:.]+)(?:/(?:0|[1-9][0-9]{0,2}))?", re.IGNORECASE)


def select(answer: TxtAnswer) -> bytes | None:
    """The one SPF record among a name's TXT records, None if there is none (§4.5). SpfPermError for several."""
    found = [each for each in answer.records if _is_spf(each)]
    if len(found) > 1:
        raise SpfPermError(f"there are {len(found)} SPF records where one is allowed")
    return found[0] if found else None


def parse_record(text: bytes) -> Record:
    """A whole record, `v=spf1` first. SpfPermError for a syntax error anywhere in it (§4.6)."""
    if not _is_spf(text):
        raise SpfPermError("it does not start with v=spf1")
    try:
        terms = text[len(VERSION) :].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise SpfPermError("it has characters outside ASCII") from None
    directives: list[Directive] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, terms):
        modifier = _MODIFIER.fullmatch(term)
        if not modifier:
            directives.append(_directive(term))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name in ("redirect", "exp"):
            if name in modifiers:
                raise SpfPermError(f"{name}= stands in it twice")  # §6
            modifiers[name] = _domain_spec(term, value)
        elif not _MACRO_STRING.fullmatch(value):
            raise _syntax(term)
    return Record(tuple(directives), modifiers.get("redirect", ""), modifiers.get("exp", ""))


def _is_spf(text: bytes) -> bool:
    return text[: len(VERSION)].lower() == VERSION and text[len(VERSION) : len(VERSION) + 1] in (b"", b" ")


def _directive(term: str) -> Directive:
    match = _DIRECTIVE.fullmatch(term)
    if not match:
        raise _syntax(term)
    qualifier, mechanism = _QUALIFIERS[match[1]], _MECHANISMS.get(match[2].lower())
    delimiter, value = match[3] or "", match[4] or ""
    match mechanism, delimiter:
        case None, _:
            raise SpfPermError(f'"{shown(term)}" is no mechanism of SPF')
        case Mechanism.ALL, "":
            return Directive(qualifier, mechanism, text=term)
        case ((Mechanism.IP4 | Mechanism.IP6), ":"):
            return Directive(qualifier, mechanism, network=_network(term, mechanism, value), text=term)
        case ((Mechanism.INCLUDE | Mechanism.EXISTS), ":"):
            return Directive(qualifier, mechanism, _domain_spec(term, value), text=term)
        case Mechanism.PTR, ("" | ":"):
            return Directive(qualifier, mechanism, _domain_spec(term, value) if delimiter else "", text=term)
        case ((Mechanism.A | Mechanism.MX), _):
            return _addresses(term, qualifier, mechanism, delimiter, value)
    raise _syntax(term)


def _addresses(term: str, qualifier: Qualifier, mechanism: Mechanism, delimiter: str, value: str) -> Directive:
    """`a` and `mx`: [":" domain-spec] [dual-cidr-length]; a domain-spec's end never looks like a length."""
    match = _DUAL_CIDR.fullmatch(f"/{value}" if delimiter == "/" else value)
    if not match or bool(match[1]) != (delimiter == ":"):
        raise _syntax(term)
    cidr4, cidr6 = int(match[2] or 32), int(match[3] or 128)
    if cidr4 > 32 or cidr6 > 128:
        raise _syntax(term)
    domain = _domain_spec(term, match[1]) if delimiter == ":" else ""
    return Directive(qualifier, mechanism, domain, cidr4=cidr4, cidr6=cidr6, text=term)


def _network(term: str, mechanism: Mechanism, value: str) -> IPv4Network | IPv6Network:
    if not _NETWORK.fullmatch(value):  # ip_network also knows netmasks and IPv6 zones
        raise _syntax(term)
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise _syntax(term) from None
    if (network.version == 4) != (mechanism is Mechanism.IP4):
        raise _syntax(term)
    return network


def _domain_spec(term: str, value: str) -> str:
    if not _DOMAIN_SPEC.fullmatch(value):
        raise _syntax(term)
    return value


def _syntax(term: str) -> SpfPermError:
    return SpfPermError(f'"{shown(term)}" has a syntax error')


def shown(text: str, longest: int = 100) -> str:
    """Text from DNS for a person's eyes: printable ASCII, at most `longest` characters."""
    clean = "".join(each if " " <= each <= "~" else "?" for each in text)
    return clean if len(clean) <= longest else clean[: longest - 3] + "..."
