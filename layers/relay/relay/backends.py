"""Back ends: the ways mail can leave by, and which of them a message's domains are to have, in which order. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.address import AddressError, parse_domain

NULL_SENDER: Final = "<>"  # in a rule: mail with the null reverse-path, such as the relay's own notices
SUBDOMAINS: Final = "*."
SYNTAX: Final = "such as 'from a.example = ses, mx; to *.b.example = smarthost'"


class BackEnd(StrEnum):
    """MX: the recipients' own servers. SMARTHOST: the operator's SMTP server. SES: Amazon SES, by its API."""

    MX = "mx"
    SMARTHOST = "smarthost"
    SES = "ses"


@dataclass(frozen=True, slots=True)
class Rule:
    """of_sender: it is about the envelope sender's domain, else about the recipients'. domain: in A-labels and lower
    case; "*.b.example" for all below b.example, "" for the null reverse-path."""

    of_sender: bool
    domain: str
    back_ends: tuple[BackEnd, ...]

    def fits(self, sender: str, recipient: str) -> bool:
        """sender, recipient: domains in A-labels and lower case."""
        domain = sender if self.of_sender else recipient
        return domain.endswith(self.domain[1:]) if self.domain.startswith(SUBDOMAINS) else domain == self.domain


@dataclass(frozen=True, slots=True)
class BackEnds:
    """default: in order of preference. rules: the first that fits goes before it."""

    default: tuple[BackEnd, ...] = (BackEnd.MX,)
    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, default: str, rules: str = "") -> "BackEnds":
        """default: "ses, mx". rules: "from a.example = ses, mx; to *.b.example = smarthost"; "" for none.
        ValueError says what is wrong."""
        return cls(_list(default), tuple(_rule(each.strip()) for each in rules.split(";") if each.strip()))

    @property
    def used(self) -> frozenset[BackEnd]:
        return frozenset(self.default).union(*(rule.back_ends for rule in self.rules))

    def of(self, sender: str, recipient: str) -> tuple[BackEnd, ...]:
        """Those that a message may leave by, in order. sender: the envelope sender's domain, "" for the null
        reverse-path; recipient: the recipients'."""
        return next((rule.back_ends for rule in self.rules if rule.fits(sender, recipient)), self.default)


def _list(text: str) -> tuple[BackEnd, ...]:
    names = [each.strip().lower() for each in text.split(",")]
    known = [each.value for each in BackEnd]
    if unknown := [each for each in names if each not in known]:
        raise ValueError(f"{unknown[0]!r} is none of {_words(known)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{text.strip()!r} names a back end twice")
    return tuple(map(BackEnd, names))


def _rule(text: str) -> Rule:
    what, equals, back_ends = text.partition("=")
    match what.lower().split(), bool(equals):
        case [("from" | "to") as side, domain], True:
            return Rule(side == "from", _domain(side, domain), _list(back_ends))
    raise ValueError(f"{text!r} is no rule {SYNTAX}")


def _domain(side: str, text: str) -> str:
    if text == NULL_SENDER and side == "from":
        return ""
    above = SUBDOMAINS if text.startswith(SUBDOMAINS) else ""
    try:
        return above + parse_domain(text.removeprefix(SUBDOMAINS))
    except AddressError as error:
        raise ValueError(f"{text!r} is no domain: {error.safe}") from None


def _words(names: Iterable[str]) -> str:
    return ", ".join(names)
