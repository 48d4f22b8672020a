"""What a sender domain's DNS has, record by record, and what the relay makes of it: the work of `mailrelay check`."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from relay.errors import OutageError, TemporaryError
from relay.ports import Resolver
from relay.proof import dmarc, token
from relay.proof.hint_spf import is_spf, spf_hints, supposing
from relay.proof.hint_text import Hint
from relay.proof.hints import Hints, misplaced, near_misses, places
from relay.proof.lookup import Lookup
from relay.proof.receipt import Known
from relay.proof.spf_cost import unasked
from relay.proof.token import DnsRecord, records_to_publish
from relay.proof.verdict import Problem, Proof, Verdict, judge
from relayctl import receipts
from relayctl.context import Cloud, Service

PUBLISH: Final = re.compile(r"(\S+)\. ([A-Z]+) (.*)", re.DOTALL)  # a Problem's, as a master file has it
STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
MOST_COST_LOOKUPS: Final = 40  # to find out what an SPF record costs that costs too much


@dataclass(frozen=True, slots=True)
class Asked:
    """What about. sender: the address in question, "" for any of the domain. service: by whose rules."""

    user: str
    domain: str
    sender: str
    service: Service


@dataclass(frozen=True, slots=True)
class Found:
    """Of one proof. name: where it is, or belongs. records: what is there, right or wrong. problem: None if it passes.
    wanted: the record to publish; if nothing is wrong the usual one. hints: sentences about near misses. unknown: why
    DNS could not tell, "" if it could."""

    name: str
    records: tuple[str, ...]
    problem: Problem | None
    wanted: DnsRecord
    hints: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def ok(self) -> bool:
        return self.problem is None and not self.unknown


@dataclass(frozen=True, slots=True)
class Report:
    """now: when it was asked, epoch seconds. account: whether the relay has it and it is enabled, None if there is no
    relay to ask. known: the relay's own memory of that domain and user. verdict: None if DNS could not tell, `error`
    then says why; ours: it is the relay's own records that fail. notes: sentences."""

    asked: Asked
    now: float
    account: bool | None = None
    known: Known | None = None
    verdict: Verdict | None = None
    found: Mapping[Proof, Found] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str = ""
    ours: bool = False

    @property
    def ttl(self) -> int:
        """Seconds for which DNS's answers hold; 0 if there are none."""
        return self.verdict.ttl if self.verdict else 0

    @property
    def right(self) -> bool:
        """Whether there is nothing to mend."""
        return self.account is not False and self.verdict is not None and self.verdict.passed

    @property
    def no_until(self) -> float:
        """Until when the relay goes by a no that it remembers, whatever DNS says now, epoch seconds; 0.0 if by none."""
        known = self.known
        return known.until if known and not known.verdict.passed and known.until > self.now else 0.0

    @property
    def good_until(self) -> float:
        """Until when the relay goes by its last good verdict while DNS does not answer, epoch seconds; 0.0 if it has
        none that serves, or DNS answers."""
        known = self.known
        if self.verdict or known is None or not known.verdict.passed:
            return 0.0
        if known.verdict.per_sender and known.verdict.sender != self.asked.sender:
            return 0.0
        until = max(known.until, known.good_at + self.asked.service.patience.stale)
        return until if until > self.now else 0.0

    @property
    def accepted(self) -> bool:
        """Whether mail would be, now."""
        if self.verdict is None:
            return self.account is not False and self.good_until > 0
        return self.right and not self.no_until


async def inquire(asked: Asked, resolver: Resolver, cloud: Cloud | None, now: float) -> Report:
    """Asks DNS, and the relay if there is one; the name as registered is the relay's. now: epoch seconds."""
    account, known = None, None
    if cloud:
        registered = await cloud.users.find(asked.user)
        account = registered is not None and not registered.disabled
        if registered:  # the token may be the hash of the name as it was registered
            asked = Asked(registered.user, asked.domain, asked.sender, asked.service)
        known = await cloud.receipts.find(asked.domain, asked.user.lower())
    lookup = Lookup(resolver)
    try:
        verdict = await judge(
            asked.domain, asked.user, terms=asked.service.terms, resolver=lookup, now=now, sender=asked.sender
        )
    except TemporaryError as error:
        return Report(asked, now, account, known, error=error.safe, ours=isinstance(error, OutageError))
    await _ask_further(asked, verdict, lookup)
    names = {"token_name": asked.service.token_name, "spf_domain": asked.service.spf_domain}
    near = near_misses(asked.domain, asked.user, answers=lookup.answers, **names)
    far = misplaced(asked.domain, asked.user, answers=lookup.answers, **names)
    found = await _found(asked, verdict, lookup, near, far)
    caution = near.caution if found[Proof.SPF].ok else ""
    return Report(asked, now, account, known, verdict, found, _notes(asked, verdict, caution))


def record_of(publish: str) -> DnsRecord:
    """The record that a Problem says to publish, out of its master-file form."""
    found = PUBLISH.fullmatch(publish)
    if not found:
        raise ValueError(f"{publish!r} is no record")
    value = "".join(re.sub(r"\\(.)", r"\1", each) for each in STRING.findall(found[3]))
    return DnsRecord(found[1], found[2], value)


async def _ask_further(asked: Asked, verdict: Verdict, lookup: Lookup) -> None:
    """What a verdict doesn't need, but a person who is to mend it: records at other names, the costs of includes."""
    failed = {each.proof for each in verdict.problems}
    if not failed:
        return
    await _ask(lookup, (each.name for each in places(asked.domain, asked.service.token_name)))
    publish = spf_hints(asked.domain, asked.service.spf_domain, lookup.answers).publish
    left = MOST_COST_LOOKUPS if Proof.SPF in failed and publish else 0
    while left > 0 and (names := _unasked(asked.domain, publish, lookup)[:left]):
        left -= len(names)
        if not await _ask(lookup, names):
            return


def _unasked(domain: str, publish: str, lookup: Lookup) -> tuple[str, ...]:
    """What to ask to know the costs of the record that is there, and of the one to publish."""
    then = unasked(domain, supposing(domain, publish, lookup.answers))
    return tuple(dict.fromkeys((*unasked(domain, lookup.answers), *then)))


async def _ask(lookup: Lookup, names: Iterable[str]) -> bool:
    """Whether all was answered; what isn't is only a hint less."""
    found = await asyncio.gather(*(lookup.txt(each) for each in names), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, TemporaryError):
            raise each
    return not any(isinstance(each, BaseException) for each in found)


async def _found(asked: Asked, verdict: Verdict, lookup: Lookup, near: Hints, far: Hints) -> dict[Proof, Found]:
    there = await _there(asked, lookup, near)
    problems = {each.proof: each for each in verdict.problems}
    unknown = receipts.unanswered(verdict)
    usual = records_to_publish(asked.domain, asked.user, asked.service.token_name, asked.service.spf_domain)
    found = {}
    for proof, fresh, one, other in zip(Proof, usual, near.proofs, far.proofs, strict=True):
        problem, (at, exact, almost) = problems.get(proof), there[proof]
        wanted = record_of(problem.publish) if problem else fresh
        if problem and other.publish and not one.publish:  # their own record, moved to where it belongs
            wanted = DnsRecord(wanted.name, wanted.type, other.publish)
        explained = problem or not (exact or proof in unknown)
        hints = (*one.says, *other.says) if explained else ()
        records = _texts((*exact, *almost) if explained else exact)
        found[proof] = Found(at, records, problem, wanted, hints, unknown.get(proof, ""))
    return found


class _There(NamedTuple):
    """Where a proof's record is, or belongs; what is there of its kind; what was meant to be."""

    name: str
    exact: tuple[bytes, ...]
    almost: tuple[bytes, ...]


async def _there(asked: Asked, lookup: Lookup, near: Hints) -> dict[Proof, _There]:
    domain, label = asked.domain, asked.service.token_name
    here = await _records(domain, lookup)
    try:
        policy = await dmarc.discover(domain, lookup)
    except TemporaryError:
        policy = dmarc.Discovery()
    at = policy.name or (policy.broken[0] if policy.broken else f"_dmarc.{domain}")
    policies = _of_kind(at, await _records(at, lookup), dmarc.is_dmarc, near.dmarc)
    if not policies.exact and not policies.almost:
        misplaced = _of_kind(domain, here, dmarc.is_dmarc, near.dmarc)
        policies = misplaced if misplaced.almost else policies
    return {
        Proof.TOKEN: _of_kind(domain, here, lambda record: token.is_token(record, label), near.token),
        Proof.SPF: _of_kind(domain, here, is_spf, near.spf),
        Proof.DMARC: policies,
    }


def _of_kind(name: str, records: tuple[bytes, ...], is_kind: Callable[[bytes], bool], hint: Hint) -> _There:
    exact = tuple(each for each in records if is_kind(each))
    return _There(name, exact, tuple(each for each in records if each in hint.about and each not in exact))


async def _records(name: str, lookup: Lookup) -> tuple[bytes, ...]:
    """() also if DNS didn't answer, which the verdict tells."""
    try:
        return (await lookup.txt(name)).records
    except TemporaryError:
        return ()


def _notes(asked: Asked, verdict: Verdict, caution: str) -> tuple[str, ...]:
    """What doesn't decide, or can't be seen here."""
    sender = f"the SPF record depends on the sender's address; this is about {verdict.sender}"
    signature = "the relay also wants a DKIM signature of the From domain on each message, which is not seen here"
    notes = (
        *verdict.warnings,
        caution,
        sender if verdict.per_sender else "",
        signature if asked.service.dkim == "require" else "",
    )
    return tuple(filter(None, notes))


def _texts(records: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(record.decode("utf-8", "replace") for record in sorted(records))  # DNS gives them in any order
