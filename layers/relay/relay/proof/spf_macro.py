"""SPF macros: RFC 7208 §7, and what names are made of them; pure. Which letters may stand where is the grammar's
matter (`relay.proof.spf_record`)."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

MAX_NAME: Final = 253  # octets without the last dot, §7.3

_MACRO: Final = re.compile(r"%(?:\{([a-z])([0-9]*)(r?)([.\-+,/_=]*)\}|([%_-]))", re.IGNORECASE)
_SIGNS: Final = {"%": "%", "_": " ", "-": "%20"}  # §7.2
_NAME: Final = re.compile(r"[\x00-\x2d\x2f-\x7f]{1,63}(?:\.[\x00-\x2d\x2f-\x7f]{1,63})*")
_DECIMAL: Final = re.compile(r"\\([0-9]{3})")


def letters(text: str) -> frozenset[str]:
    """The macro letters in it, in lower case."""
    return frozenset(match[1].lower() for match in _MACRO.finditer(text) if match[1])


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
        digits = digits.lstrip("0")
        if digits and len(digits) < 6:  # nothing has more parts than that
            parts = parts[-int(digits) :]
        value = ".".join(parts)
    return quote(value, safe="", errors="replace") if letter.isupper() else value  # RFC 3986 §2.3: unreserved stays


def dotted(ip: IPv4Address | IPv6Address) -> str:
    """%{i}: an IPv4 address as usual, an IPv6 one as its nibbles."""
    return str(ip) if ip.version == 4 else ".".join(f"{int(ip):032X}")


def target_name(text: str, values: Mapping[str, str]) -> str:
    """A domain-spec as the name to ask about: without the last dot, cut from the left to MAX_NAME octets (§7.3). It
    may still be no name (`is_name`)."""
    name = expand(text, values).removesuffix(".")
    if len(name) <= MAX_NAME:
        return name
    return name[name.find(".", len(name) - MAX_NAME - 1) + 1 :]


def is_name(text: str) -> bool:
    """Whether DNS can hold it: labels of 1 to 63 octets, whatever they are, at most 253 with the dots, none last."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Whether check_host() looks for a record there (§4.3): of several labels, and no address literal."""
    return "." in text and not text.startswith("[") and is_name(text)


def host_name(text: str) -> str:
    """A name out of an MX or PTR answer as a query has it, without decimal escapes (RFC 4343 §2.1). "" for one with a
    dot inside of a label, which can't be asked about."""
    if "\\" not in text:
        return text
    return "" if "\\046" in text else _DECIMAL.sub(lambda match: chr(int(match[1])), text)
