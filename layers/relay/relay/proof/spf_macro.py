"""SPF macros: RFC 7208 §7, pure. Which letters may stand where is the grammar's matter (`relay.proof.spf_record`)."""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

MAX_NAME: Final = 253  # §7.3

_MACRO: Final = re.compile(r"%(?:\{([a-z])([0-9]*)(r?)([.\-+,/_=]*)\}|([%_-]))", re.IGNORECASE)
_SIGNS: Final = {"%": "%", "_": " ", "-": "%20"}  # §7.2
_OF_SENDER: Final = frozenset("sl")  # o is the domain that is asked about, h the relay's own name


def letters(text: str) -> frozenset[str]:
    """The macro letters in it, in lower case."""
    return frozenset(match[1].lower() for match in _MACRO.finditer(text) if match[1])


def depends_on_sender(text: str) -> bool:
    """Whether two senders of one domain may get different expansions."""
    return not letters(text).isdisjoint(_OF_SENDER)


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with its macros expanded (§7.3). values: of each letter that it has, in lower case."""
    return _MACRO.sub(lambda match: _expanded(match, values), text) if "%" in text else text


def _expanded(match: re.Match[str], values: Mapping[str, str]) -> str:
    letter, digits, reverse, delimiters, sign = match.groups()
    if sign:
        return _SIGNS[sign]
    value = values[letter.lower()]
    if digits or reverse or delimiters:
        parts = re.split(f"[{re.escape(delimiters or '.')}]", value)
        if reverse:
            parts.reverse()
        value = ".".join(parts[-int(digits) :] if digits else parts)
    return quote(value, safe="") if letter.isupper() else value  # unreserved of RFC 3986 §2.3 stay


def target_name(text: str, values: Mapping[str, str]) -> str:
    """A domain-spec as the name to ask about: without the last dot, cut from the left to MAX_NAME octets (§7.3)."""
    name = expand(text, values).removesuffix(".")
    while len(name) > MAX_NAME and "." in name:
        name = name.partition(".")[2]
    return name


def dotted(ip: IPv4Address | IPv6Address) -> str:
    """%{i}: an IPv4 address as usual, an IPv6 one as its nibbles."""
    return str(ip) if ip.version == 4 else ".".join(ip.exploded.replace(":", ""))


def validated_name(names: Iterable[str], domain: str) -> str:
    """%{p}: of validated names `domain` itself, else one below it, else any, else "unknown" (§7.3)."""
    found = sorted(names, key=lambda name: (name != domain, not name.endswith(f".{domain}")))
    return found[0] if found else "unknown"
