"""DMARC: parsing a policy record and finding the one that covers a domain (RFC 9989 §4.7, §4.10)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.errors import PermanentError
from relay.ports import TxtAnswer
from relay.proof.lookup import Lookup

MAX_QUERIES: Final = 8  # §4.10: of one tree walk

_VERSION: Final = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[^ \t,;]+", re.IGNORECASE)


class Disposition(StrEnum):
    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class DmarcError(PermanentError):
    """The record is no valid policy; `safe` says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """strict_spf, strict_dkim: aspf=s, adkim=s. psd: "y", "n" or "u". testing: t=y."""

    p: Disposition
    sp: Disposition
    np: Disposition
    strict_spf: bool = False
    strict_dkim: bool = False
    psd: str = "u"
    testing: bool = False


@dataclass(frozen=True, slots=True)
class Discovery:
    """policy: None if there is no valid one. name: where it was found. misplaced: at the domain itself, where
    receivers don't look. broken: (name, what is wrong) of the first record that should have been one."""

    policy: Policy | None = None
    name: str = ""
    misplaced: bool = False
    broken: tuple[str, str] | None = None


def is_dmarc(text: bytes) -> bool:
    """Whether it starts with the version tag, so that a receiver takes it for a policy record (§4.7)."""
    return _VERSION.match(text) is not None


def parse_record(text: bytes) -> Policy:
    """DmarcError if it isn't a policy. Unknown tags, and bad values of tags that don't decide, are ignored (§4.7)."""
    if not is_dmarc(text):
        raise DmarcError("it does not start with v=DMARC1;")
    tags: dict[str, str] = {}
    for part in text.decode("utf-8", "replace").split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    p, bad = _dispositions(tags)
    if bad:  # §4.7: reports are wanted, so it is a policy of "none"; else it is no policy
        if not any(_URI.fullmatch(each.strip()) for each in tags.get("rua", "").split(",")):
            raise DmarcError(f"{bad}= is none of none, quarantine, reject")
        p = {}
    own = p.get("p", Disposition.NONE)
    sub = p.get("sp", own)
    return Policy(
        p=own,
        sp=sub,
        np=p.get("np", sub),
        strict_spf=tags.get("aspf", "").lower() == "s",
        strict_dkim=tags.get("adkim", "").lower() == "s",
        psd=tags.get("psd", "").lower() if tags.get("psd", "").lower() in ("y", "n") else "u",
        testing=tags.get("t", "").lower() == "y",
    )


async def discover(domain: str, lookup: Lookup) -> Discovery:
    """The policy for mail from `domain`: its own, else one of the tree above it, else one misplaced at the domain.

    A registry's record (psd=y) above the domain isn't the sender's. TemporaryError if DNS doesn't answer.
    """
    broken: tuple[str, str] | None = None
    for parent in tree(domain):
        name = f"_dmarc.{parent}"
        policy, problem = _only_policy(await lookup.txt(name))
        if policy and (parent == domain or policy.psd != "y"):
            return Discovery(policy, name)
        if problem:
            broken = broken or (name, problem)
        if policy and policy.psd != "u":
            break  # §4.10: what says where the organisation ends, ends the walk
    policy, problem = _only_policy(await lookup.txt(domain))
    if policy:
        return Discovery(policy, domain, misplaced=True, broken=broken)
    return Discovery(broken=broken or ((domain, problem) if problem else None))


def tree(domain: str) -> tuple[str, ...]:
    """The names a tree walk asks about, longest first, at most 8 (§4.10): with more labels than that it goes
    from the full name straight to seven."""
    labels = domain.split(".")
    parents = labels[1:] if len(labels) <= MAX_QUERIES else labels[-(MAX_QUERIES - 1) :]
    return (domain, *(".".join(parents[start:]) for start in range(len(parents))))


def _only_policy(answer: TxtAnswer) -> tuple[Policy | None, str]:
    """(policy, "") or (None, what is wrong), or (None, "") where there is no record."""
    found = [each for each in answer.records if is_dmarc(each)]
    if len(found) > 1:
        return None, f"there are {len(found)} DMARC records where one is allowed"
    try:
        return (parse_record(found[0]), "") if found else (None, "")
    except DmarcError as error:
        return None, error.safe


def _dispositions(tags: dict[str, str]) -> tuple[dict[str, Disposition], str]:
    """The valid ones of p, sp and np, and the name of the first that isn't."""
    valid: dict[str, Disposition] = {}
    bad = ""
    for name in ("p", "sp", "np"):
        if name in tags:
            try:
                valid[name] = Disposition(tags[name].lower())
            except ValueError:
                bad = bad or name
    return valid, bad
