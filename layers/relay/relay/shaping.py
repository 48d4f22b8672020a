"""How fast a destination may be sent to, and which of its replies mean "slow down": the table in shaping.toml. Pure.

A site is a set of MX hosts: all domains that name the same ones share its limits, and so do all sites whose hosts
are of one provider. Only if all of them are: else a domain could name a provider's host beside its own, and have
what its own says held against the provider.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from relay.address import AddressError, parse_domain
from relay.failure_rules import Stage
from relay.ports import RecipientReply

FILE: Final = Path(__file__).with_name("shaping.toml")
LONGEST_KEY: Final = 500  # characters; DynamoDB's is 2,048 octets
SECONDS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
MOST: Final = {"connections": 10_000, "messages_per_connection": 100_000}
KEYS: Final = frozenset({*MOST, "rate", "slow_down"})
CLOSING: Final = 421  # RFC 5321 §3.8
# X.1 and X.2 are about an address or its mailbox (RFC 3463 §3.2, §3.3); greylisting is about one sender and recipient.
_ABOUT_ONE: Final = re.compile(r"\d{3} \d\.[12]\.\d+ |\d{3} \S+ .*gr[ea]y[- ]?list", re.IGNORECASE | re.DOTALL)
_NO_TLS: Final = "4.7.5"  # what we say where a policy's TLS can't be had: the domain's matter, not the site's
_OUR_WORD: Final = "4.4."  # RFC 3463 §3.5, the way there: no answer of the server's


class ShapingError(Exception):
    """Says which row and key of the table is wrong, its value, and what it should be."""


class Heard(Enum):
    """What one attempt's replies say of the site. WELL: it speaks to us. SLOW: it wants less. AWAY: no host of it
    can be talked to."""

    WELL = "well"
    SLOW = "slow"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one site or provider. connections: at once. messages_per_connection. rate: messages a second, 0.0 for any.
    slow_down: found in "code enhanced text" of a temporary reply, or one that should have been. provider: "" for a
    site that is of none."""

    connections: int
    messages_per_connection: int
    rate: float = 0.0
    slow_down: tuple[re.Pattern[str], ...] = ()
    provider: str = ""

    def share(self, workers: int) -> "Shape":
        """What one of so many workers may use by itself. One connection at least: with more workers than connections,
        it is one each."""
        return replace(self, connections=max(1, self.connections // workers), rate=self.rate / workers)


class Table:
    """default: for sites that are of no provider. hosts: host, or "." and a domain, -> the provider's shape."""

    def __init__(self, default: Shape, hosts: Mapping[str, Shape]) -> None:
        self._default = default
        self._hosts = hosts

    @classmethod
    def load(cls, path: Path = FILE) -> "Table":
        """ShapingError says what is wrong."""
        try:
            return cls.parse(path.read_text("utf-8"))
        except ShapingError as error:
            raise ShapingError(f"{path.name}: {error}") from None

    @classmethod
    def parse(cls, text: str) -> "Table":
        """The text of shaping.toml. ShapingError says what is wrong."""
        try:
            rows = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ShapingError(f"not TOML: {error}") from None
        if unknown := sorted(rows.keys() - {"default", "provider"}):
            raise ShapingError(f"[{unknown[0]}] is neither [default] nor [provider.NAME]")
        default = _shape("default", rows.get("default", {}), None)
        hosts: dict[str, Shape] = {}
        for name, row in _mapping("provider", rows.get("provider", {})).items():
            where = f"provider.{name}"
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
                raise ShapingError(f"[{where}]: a provider's name is of a-z, 0-9, - and _")
            row = dict(_mapping(where, row))
            named = row.pop("hosts", None)
            shape = replace(_shape(where, row, default), provider=name)
            for host in _hosts(where, named):
                if host in hosts:
                    raise ShapingError(f"[{where}] hosts: {host!r} is [provider.{hosts[host].provider}]'s already")
                hosts[host] = shape
        return cls(default, hosts)

    def of(self, site: Sequence[str]) -> Shape:
        """site: its hosts, in lower case."""
        found = {shape.provider: shape for shape in map(self._of_host, site)}
        return next(iter(found.values())) if len(found) == 1 else self._default

    def _of_host(self, host: str) -> Shape:
        """The longest name in the table counts."""
        if host in self._hosts:
            return self._hosts[host]
        while host:
            _, _, host = host.partition(".")
            if f".{host}" in self._hosts:
                return self._hosts[f".{host}"]
        return self._default


def site_key(shape: Shape, site: Sequence[str]) -> str:
    """What pauses are kept under: the provider, or the hosts."""
    if shape.provider:
        return f"provider:{shape.provider}"
    key = ",".join(site)
    return key if len(key) <= LONGEST_KEY else f"{site[0]},+{hashlib.sha256(key.encode()).hexdigest()}"


def judge(replies: Sequence[RecipientReply], shape: Shape) -> tuple[Heard, RecipientReply] | None:
    """What the replies of one attempt say of the site, and the one that says so; None if they say nothing of it."""
    for reply in replies:
        if _is_slow_down(reply, shape):
            return Heard.SLOW, reply
    if all(_is_away(reply) for reply in replies):
        return Heard.AWAY, replies[0]
    for reply in replies:
        if reply.ok or (reply.stage in (Stage.RCPT, Stage.DOT) and not reply.enhanced.startswith(_OUR_WORD)):
            return Heard.WELL, reply
    return None


def _is_slow_down(reply: RecipientReply, shape: Shape) -> bool:
    if reply.ok or not reply.remote or reply.enhanced == _NO_TLS:
        return False
    line = f"{reply.code} {reply.enhanced} {reply.text}"
    if _ABOUT_ONE.match(line):
        return False
    if reply.code == CLOSING:
        return True
    before_rcpt = reply.stage in (Stage.CONNECT, Stage.EHLO, Stage.MAIL)
    if before_rcpt and not reply.permanent and reply.enhanced.startswith("4.7."):
        return True
    return any(pattern.search(line) for pattern in shape.slow_down)


def _is_away(reply: RecipientReply) -> bool:
    return (
        not reply.ok
        and not reply.permanent
        and bool(reply.remote)
        and reply.stage in (Stage.CONNECT, Stage.EHLO)
        and reply.enhanced != _NO_TLS
    )


# --- reading a row -----------------------------------------------------------------------------


def _shape(where: str, row: object, default: Shape | None) -> Shape:
    """A row without what isn't a shape's. What a provider doesn't say is as the default has it."""
    row = _mapping(where, row)
    if unknown := sorted(row.keys() - KEYS):
        raise ShapingError(f"[{where}] {unknown[0]}: there is no such key; there are {', '.join(sorted(KEYS))}")
    if default is None and (missing := sorted(MOST.keys() - row.keys())):
        raise ShapingError(f"[{where}] {missing[0]} is missing")
    base = default or Shape(1, 1)
    numbers = {name: _number(where, name, row[name]) for name in MOST if name in row}
    return replace(
        base,
        connections=numbers.get("connections", base.connections),
        messages_per_connection=numbers.get("messages_per_connection", base.messages_per_connection),
        rate=_rate(where, row["rate"]) if "rate" in row else base.rate,
        slow_down=base.slow_down + _patterns(where, row.get("slow_down", [])),
    )


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ShapingError(f"{where} = {value!r} is no table such as [{where}]")
    return value


def _number(where: str, name: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= MOST[name]:
        raise ShapingError(f"[{where}] {name} = {value!r} is no whole number from 1 to {MOST[name]}")
    return value


def _rate(where: str, value: object) -> float:
    found = re.fullmatch(r"([1-9][0-9]{0,8})/(second|minute|hour)", value) if isinstance(value, str) else None
    if found is None:
        raise ShapingError(f"[{where}] rate = {value!r} is not as '600/minute' (second, minute or hour)")
    return int(found[1]) / SECONDS[found[2]]


def _patterns(where: str, value: object) -> tuple[re.Pattern[str], ...]:
    patterns = []
    for each in _texts(where, "slow_down", value):
        try:
            patterns.append(re.compile(each, re.IGNORECASE))
        except re.error as error:
            raise ShapingError(f"[{where}] slow_down: {each!r} is no regular expression: {error}") from None
        if patterns[-1].search(""):
            raise ShapingError(f"[{where}] slow_down: {each!r} fits every reply")
    return tuple(patterns)


def _hosts(where: str, value: object) -> tuple[str, ...]:
    if not value:
        raise ShapingError(f"[{where}] hosts is missing: ['.mx.example'] for all below, ['mx.example'] for that one")
    found = []
    for each in _texts(where, "hosts", value):
        try:
            found.append(each[: each.startswith(".")] + parse_domain(each.removeprefix(".")))
        except AddressError as error:
            raise ShapingError(f"[{where}] hosts: {each!r} is no host name: {error.safe}") from None
    return tuple(found)


def _texts(where: str, name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ShapingError(f"[{where}] {name} = {value!r} is no list of texts")
    return value
