"""DMARC: parsing a policy record, finding the one that covers a domain, and alignment (RFC 9989 §4.4, §4.7, §4.10)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from relay.errors import PermanentError, TemporaryError
from relay.ports import DnsStatus, Resolver

MAX_QUERIES: Final = 8  # §4.10: of one tree walk

# §4.8 dmarc-version: the tag's name in any case, its value in this one (RFC 7405's %s)
_VERSION: Final = re.compile(rb"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
# §4.8 dmarc-uri: a URI of RFC 3986 without "," and "!", but for the obsolete size at its end, which is ignored
_URI: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+=-]|%[0-9A-Fa-f]{2})+)(?:![0-9]+[kmgtKMGT]?)?"
)
_WSP: Final = " \t"


class Disposition(StrEnum):
    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class DmarcError(PermanentError):
    """The record is no valid policy; `safe` says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """sp, np: as they apply, so p where the record has none. strict_spf, strict_dkim: aspf=s, adkim=s. psd: "y", "n"
    or "u". testing: t=y. rua, ruf: the valid URIs among those listed. fo: of "0", "1", "d", "s"."""

    p: Disposition
    sp: Disposition
    np: Disposition
    strict_spf: bool = False
    strict_dkim: bool = False
    psd: str = "u"
    testing: bool = False
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    fo: tuple[str, ...] = ("0",)


@dataclass(frozen=True, slots=True)
class Discovery:
    """policy: None if there is no valid one. name: where it was found. organizational_domain: "" if DNS didn't
    answer for the names above a policy that the domain has itself. effective: what the policy asks for mail from the
    domain (its p, sp or np; t=y not taken off). misplaced: at the domain itself, where receivers don't look.
    broken: (name, what is wrong) of the first record that should have been a policy."""

    policy: Policy | None = None
    name: str = ""
    organizational_domain: str = ""
    effective: Disposition = Disposition.NONE
    misplaced: bool = False
    broken: tuple[str, str] | None = None


def is_dmarc(text: bytes) -> bool:
    """Whether it starts with the version tag, so that a receiver takes it for a policy record (§4.7)."""
    return _VERSION.match(text) is not None


def parse_record(text: bytes) -> Policy:
    """DmarcError if it isn't a policy. Unknown tags, and bad values of tags that don't decide, are ignored (§4.8)."""
    if not is_dmarc(text):
        raise DmarcError("it does not start with v=DMARC1;")
    return _policy(_tags(text))


async def discover(domain: str, resolver: Resolver) -> Discovery:
    """The policy for mail from `domain`: its own, else its Organizational Domain's (§4.10.1), else one misplaced.

    A registry's policy (psd=y) above the domain isn't the sender's. A record that is no valid policy where the
    policy belongs hides those above it, as for a receiver. TemporaryError if DNS doesn't answer.
    """
    domain = _plain(domain)
    own, *parents = tree(domain)
    places = [await _look(own, f"_dmarc.{own}", resolver)]
    try:
        await _walk(places, parents, resolver)
    except TemporaryError:
        if (policy := places[0].policy) is None:
            raise
        return Discovery(policy, places[0].name, effective=policy.p)  # it applies, whatever is above
    organisation = _organizational_domain(domain, places)
    broken = next(((place.name, place.problem) for place in places if place.problem), None)
    applied = places[0] if places[0].found else next((each for each in places if each.domain == organisation), None)
    if applied and applied.policy:
        effective = await _effective(applied.policy, applied.domain == domain, domain, resolver)
        return Discovery(applied.policy, applied.name, organisation, effective, broken=broken)
    here = await _look(domain, domain, resolver)
    if here.policy:
        return Discovery(here.policy, here.name, organisation, here.policy.p, misplaced=True, broken=broken)
    return Discovery(
        organizational_domain=organisation, broken=broken or ((here.name, here.problem) if here.problem else None)
    )


async def organizational_domain(domain: str, resolver: Resolver) -> str:
    """What `domain` is a part of, by a tree walk (§4.10.2); itself if nothing says otherwise.

    TemporaryError if DNS doesn't answer.
    """
    domain = _plain(domain)
    places: list[_Place] = []
    await _walk(places, tree(domain), resolver)
    return _organizational_domain(domain, places)


async def aligned(identifier: str, author: str, *, strict: bool, resolver: Resolver) -> bool:
    """Whether a domain that SPF or DKIM proved stands for the Author Domain (§4.4): it is the same, or, unless
    `strict`, of the same organisation. TemporaryError if DNS doesn't answer."""
    identifier, author = _plain(identifier), _plain(author)
    if identifier == author:
        return True
    if strict:
        return False
    organisation = await organizational_domain(author, resolver)
    if identifier != organisation and not identifier.endswith(f".{organisation}"):
        return False  # without its walk: an Organizational Domain is the domain itself or above it
    return await organizational_domain(identifier, resolver) == organisation


def tree(domain: str) -> tuple[str, ...]:
    """The names a tree walk asks about, longest first, at most 8 (§4.10): with more labels than that it goes
    from the full name straight to seven."""
    labels = domain.split(".")
    parents = labels[1:] if len(labels) <= MAX_QUERIES else labels[-(MAX_QUERIES - 1) :]
    return (domain, *(".".join(parents[start:]) for start in range(len(parents))))


# --- the tree walk: §4.10 --------------------------------------------------------------------------


class _Place(NamedTuple):
    """One name of the walk. found: it has a record, and only one; whether its tags are right is another question,
    because the walk discards records by their version and number alone (steps 2 and 6)."""

    domain: str
    name: str
    found: bool = False
    psd: str = "u"
    policy: Policy | None = None
    problem: str = ""


async def _look(domain: str, name: str, resolver: Resolver) -> _Place:
    try:
        records = [each for each in (await resolver.txt(name)).records if is_dmarc(each)]
    except PermanentError:  # no name that DNS can hold
        records = []
    if not records:
        return _Place(domain, name)
    if len(records) > 1:
        problem = f"there are {len(records)} DMARC records where one is allowed"
        return _Place(domain, name, problem=problem)
    tags = _tags(records[0])
    try:
        return _Place(domain, name, True, _psd(tags), _policy(tags))
    except DmarcError as error:
        return _Place(domain, name, True, _psd(tags), problem=error.safe)


async def _walk(places: list[_Place], domains: Sequence[str], resolver: Resolver) -> None:
    """Looks at the names one by one, on from `places`, until one says where the organisation ends (steps 2 and 6)."""
    for domain in domains:
        if places and places[-1].psd != "u":
            return
        places.append(await _look(domain, f"_dmarc.{domain}", resolver))


def _organizational_domain(start: str, places: Sequence[_Place]) -> str:
    """§4.10.2. places: of a walk from `start`; only the last one can have a psd of "y" or "n"."""
    found = [place.domain for place in places if place.found]
    last = places[-1]
    if last.psd == "y" and last.domain != start:  # the name one label below it, which the walk may have skipped
        labels = start.split(".")
        return ".".join(labels[-last.domain.count(".") - 2 :])
    return found[-1] if found else start


async def _effective(policy: Policy, own: bool, domain: str, resolver: Resolver) -> Disposition:
    """§4.10.1: p for the domain of the record, sp for one below it, np for one that doesn't exist (§3.2.13)."""
    if own:
        return policy.p
    if policy.np is policy.sp:
        return policy.sp
    try:
        exists = (await resolver.txt(domain)).status is not DnsStatus.NO_NAME
    except PermanentError:
        exists = False
    return policy.sp if exists else policy.np


def _plain(domain: str) -> str:
    return domain.lower().removesuffix(".")


# --- the record: §4.7, §4.8 ------------------------------------------------------------------------


def _tags(text: bytes) -> dict[str, str]:
    """By name in lower case. A second one of a name, and what is no tag at all, is a syntax error: ignored (§4.8)."""
    tags: dict[str, str] = {}
    for part in text.decode("utf-8", "replace").split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip(_WSP).lower(), value.strip(_WSP))
    return tags


def _policy(tags: dict[str, str]) -> Policy:
    valid, bad = _dispositions(tags)
    rua, ruf = _uris(tags.get("rua", "")), _uris(tags.get("ruf", ""))
    if bad:  # §4.10.1: reports are wanted, so it is a policy of "none"; else it is no policy
        if not rua:
            raise DmarcError(f"{bad}= is none of none, quarantine, reject")
        valid = {}
    own = valid.get("p", Disposition.NONE)
    sub = valid.get("sp", own)
    return Policy(
        p=own,
        sp=sub,
        np=valid.get("np", sub),
        strict_spf=tags.get("aspf", "").lower() == "s",
        strict_dkim=tags.get("adkim", "").lower() == "s",
        psd=_psd(tags),
        testing=tags.get("t", "").lower() == "y",
        rua=rua,
        ruf=ruf,
        fo=_failure_options(tags.get("fo", "")) if ruf else ("0",),  # §4.7 fo: means nothing without ruf
    )


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


def _psd(tags: dict[str, str]) -> str:
    value = tags.get("psd", "").lower()
    return value if value in ("y", "n") else "u"


def _uris(value: str) -> tuple[str, ...]:
    found = (_URI.fullmatch(each.strip(_WSP)) for each in value.split(","))
    return tuple(each[1] for each in found if each)


def _failure_options(value: str) -> tuple[str, ...]:
    """§4.8 dmarc-fo: each at most once, not 0 with 1; in any order (§4.7)."""
    options = value.lower().split(":")
    right = len(set(options)) == len(options) and set(options) <= set("01ds") and not {"0", "1"} <= set(options)
    return tuple(options) if right else ("0",)
