"""The verdict: do the domain's own records want this user's mail sent through this relay?

It is a receipt, too: it holds what was asked, what was answered and by which rules, so that the decision can be
made again from it alone (`replay`). The same code serves validate and `mailrelay check`; what a refused sender reads
is written here. `relay.proof.judge` remembers verdicts.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from relay.errors import OutageError, TemporaryError
from relay.ports import DnsStatus, Resolver
from relay.proof import dmarc, spf, token
from relay.proof.lookup import Answer, Lookup, Question, Replay, timeless
from relay.proof.spf import Reach, Result
from relay.proof.spf_record import shown
from relay.proof.token import DnsRecord, records_to_publish

if TYPE_CHECKING:
    from relay.proof.hint_text import Hint

TOTAL_SECONDS: Final = 20.0  # one verdict, all lookups
LONGEST_LINE: Final = 390  # of a reply; RFC 5321 §4.5.3.1.5 has 512 octets with the codes


class Proof(StrEnum):
    TOKEN = "token"  # noqa: S105 - a name
    SPF = "spf"
    DMARC = "dmarc"


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides besides DNS: the relay's own parameters.

    egress: IP addresses that mail leaves from; with none, SPF has to reach spf_domain. helo: what the relay says in
    EHLO. dmarc_required: a domain without a DMARC policy is refused, else warned.
    """

    token_name: str
    spf_domain: str
    egress: tuple[str, ...] = ()
    helo: str = ""
    dmarc_required: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """what: one sentence without a full stop. publish: the exact record that mends it, as a master file has it. hint:
    a sentence about what was published instead, "" if nobody can tell (relay.proof.hints)."""

    proof: Proof
    what: str
    publish: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """The DMARC policy that covers the domain, as far as receivers' decisions depend on it. organisation: the
    Organizational Domain (RFC 9989 §4.10.2). rejects: mail that fails is refused (p, sp or np)."""

    organisation: str = ""
    strict_spf: bool = False
    strict_dkim: bool = False
    rejects: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """decided: epoch seconds. user: as registered. sender: the address that SPF was asked about.

    problems: none if it passed. warnings: sentences. rules: for each proof, what decided it. answers: all of DNS that
    it rests on. unanswered: of the proofs that DNS said nothing about, why; only where another one is a no, which
    decides. ttl: seconds for which the answers hold, the shortest of them. per_sender: another sender of the
    domain may get another verdict (RFC 7208 §7: macros).
    """

    domain: str
    user: str = ""
    sender: str = ""
    decided: float = 0.0
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    rules: Mapping[Proof, str] = field(default_factory=dict)
    policy: Policy = Policy()
    answers: Mapping[Question, Answer] = field(default_factory=dict)
    unanswered: tuple[str, ...] = ()
    ttl: int = 0
    per_sender: bool = False
    terms: Terms = Terms("", "")

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def name(self) -> str:
        """Names the receipt of this verdict: `domain@milliseconds`."""
        return f"{self.domain}@{int(self.decided * 1000)}"

    def says_as(self, other: "Verdict") -> bool:
        """Whether both have the same records to the same effect; TTLs run down and times differ."""
        return _timeless(self) == _timeless(other)


def _timeless(verdict: Verdict) -> Verdict:
    """Servers send a name's records in any order."""
    answers = {question: timeless(answer) for question, answer in verdict.answers.items()}
    return replace(verdict, decided=0.0, ttl=0, answers=answers)


@dataclass(frozen=True, slots=True)
class _Finding:
    """Of one proof. rule: what decided, "" with a problem."""

    proof: Proof
    rule: str = ""
    problem: Problem | None = None
    warnings: tuple[str, ...] = ()
    policy: Policy = Policy()
    per_sender: bool = False


@dataclass(frozen=True, slots=True)
class _Case:
    domain: str
    user: str
    sender: str
    terms: Terms
    lookup: Lookup

    @property
    def to_publish(self) -> tuple[DnsRecord, ...]:
        return records_to_publish(self.domain, self.user, self.terms.token_name, self.terms.spf_domain)

    def no(self, proof: Proof, what: str, record: DnsRecord, *, per_sender: bool = False) -> _Finding:
        return _Finding(proof, problem=Problem(proof, what, str(record)), per_sender=per_sender)


async def judge(
    domain: str, user: str, *, terms: Terms, resolver: Resolver, now: float = 0.0, sender: str = ""
) -> Verdict:
    """Look the records up, all at once. domain: A-labels. user: as registered (lower case counts, too). sender: an
    address of the domain, if there is one in question. now: epoch seconds.

    TemporaryError if DNS doesn't answer, which is neither a yes nor a no, unless what it did answer is a no.
    OutageError if it is the relay's own records that fail.
    """
    sender = sender or f"postmaster@{domain}"  # RFC 7208 §4.3
    case = _Case(domain, user, sender, terms, Lookup(resolver))
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            found = await asyncio.gather(_token(case), _spf(case), _dmarc(case), return_exceptions=True)
    except TimeoutError:
        raise TemporaryError(f"DNS of {domain} takes longer than {TOTAL_SECONDS:.0f} s") from None
    findings: list[_Finding] = []
    failures: list[TemporaryError] = []
    for each in found:
        match each:
            case OutageError():
                raise each
            case TemporaryError():
                failures.append(each)
            case BaseException():
                raise each
            case _:
                findings.append(each)
    problems = tuple(each.problem for each in findings if each.problem)
    if failures and not problems:
        raise failures[0]
    return Verdict(
        domain,
        user,
        sender if any(each.per_sender for each in findings) else "",
        now,
        problems=_hinted(case, problems) if problems else (),
        warnings=tuple(warning for each in findings for warning in each.warnings),
        rules={each.proof: each.rule for each in findings if each.rule},
        policy=findings[-1].policy,
        answers=case.lookup.answers,
        unanswered=tuple(each.safe for each in failures),
        ttl=case.lookup.ttl,
        per_sender=any(each.per_sender for each in findings),
        terms=terms,
    )


def _hinted(case: _Case, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """With what seems to have gone wrong, and the record as it was probably meant."""
    from relay.proof.hints import near_misses  # good domains, nearly all of them, don't need it

    names = {"token_name": case.terms.token_name, "spf_domain": case.terms.spf_domain.lower()}
    near = near_misses(case.domain, case.user, answers=case.lookup.answers, **names)
    of = dict(zip(Proof, near.proofs, strict=True))
    return tuple(_with_hint(case, each, of[each.proof]) for each in problems)


def _with_hint(case: _Case, problem: Problem, hint: "Hint") -> Problem:
    publish = problem.publish
    if hint.publish:
        name = case.to_publish[list(Proof).index(problem.proof)].name
        publish = str(DnsRecord(name, "TXT", hint.publish))
    return replace(problem, hint=hint.says[0] if hint.says else "", publish=publish)


async def replay(verdict: Verdict) -> Verdict:
    """The same verdict, made again from what it holds. UnaskedError if that comes to ask what isn't in it."""
    again = await judge(
        verdict.domain,
        verdict.user,
        terms=verdict.terms,
        resolver=Replay(verdict.answers),
        now=verdict.decided,
        sender=verdict.sender,
    )
    as_many = len(again.unanswered) == len(verdict.unanswered)
    unanswered = verdict.unanswered if as_many else again.unanswered  # why, only DNS knew
    return replace(again, answers=verdict.answers, unanswered=unanswered)  # in the order of then


async def _token(case: _Case) -> _Finding:
    name = case.terms.token_name
    answer = await case.lookup.txt(case.domain)
    if any(token.matches(record, case.user, name) for record in answer.records):
        return _Finding(Proof.TOKEN, f"a TXT record of {case.domain} is the {name} token of {case.user}")
    others = sum(token.is_token(record, name) for record in answer.records)
    if answer.status is DnsStatus.NO_NAME:
        what = f"{case.domain} does not exist in DNS, so it has no {name} record"
    elif others:
        what = f"{case.domain} has {others} {name} record{'s' * (others > 1)}, none of them for {case.user}"
    else:
        what = f"{case.domain} has no {name} record for {case.user}"
    return case.no(Proof.TOKEN, what, case.to_publish[0])


async def _spf(case: _Case) -> _Finding:
    return await (_spf_by_address(case) if case.terms.egress else _spf_by_include(case))


async def _spf_by_include(case: _Case) -> _Finding:
    relay = case.terms.spf_domain.lower()
    found = await spf.reaches(case.domain, relay, case.lookup)
    fresh = case.to_publish[1]
    match found.reach:
        case Reach.REACHED:
            return _Finding(Proof.SPF, f"the SPF record of {case.domain} reaches {relay} with a pass")
        case Reach.NO_RECORD:
            return case.no(Proof.SPF, f"{case.domain} has no SPF record", fresh)
        case Reach.NOT_REACHED:
            mended = DnsRecord(case.domain, "TXT", spf.with_include(found.record, relay))
            return case.no(Proof.SPF, f"the SPF record of {case.domain} {found.why}", mended)
        case Reach.BROKEN:
            return case.no(Proof.SPF, f"the SPF record of {case.domain} {found.why}", fresh)


async def _spf_by_address(case: _Case) -> _Finding:
    """Every address that mail may leave from has to pass: which of them it will be, nobody knows beforehand."""
    terms, domain = case.terms, case.domain
    checks = (spf.check_host(each, domain, case.sender, terms.helo, case.lookup) for each in terms.egress)
    found = await asyncio.gather(*checks)
    per_sender = any(each.per_sender for each in found)
    for ip, result in zip(terms.egress, found, strict=True):
        record = case.to_publish[1]
        match result.result:
            case Result.PASS:
                continue
            case Result.TEMPERROR:
                raise TemporaryError(f"the SPF record of {domain} {result.why}")
            case Result.NONE:
                what = f"{domain} has no SPF record"
            case Result.PERMERROR:
                await _ours(case, ip)
                what = f"the SPF record of {domain} {result.why}"
            case other:  # fail, softfail, neutral: not what makes receivers trust a server
                await _ours(case, ip)
                what = f'the SPF record of {domain} gives "{other}" to the relay\'s address {ip}: it {result.why}'
                record = DnsRecord(domain, "TXT", spf.with_include(result.record, terms.spf_domain.lower()))
        return case.no(Proof.SPF, what, record, per_sender=per_sender)
    addresses = ", ".join(terms.egress)
    return _Finding(Proof.SPF, f"the SPF record of {domain} passes {addresses}", per_sender=per_sender)


async def _ours(case: _Case, ip: str) -> None:
    """OutageError if the domain's record is as the relay asks, and only the relay's own is wrong."""
    relay = case.terms.spf_domain.lower()
    if (await spf.check_host(ip, relay, f"postmaster@{relay}", case.terms.helo, case.lookup)).result is Result.PASS:
        return
    if (await spf.reaches(case.domain, relay, case.lookup)).reach is Reach.REACHED:
        raise OutageError("the relay's own SPF record is wrong", f"{relay} does not pass the egress address {ip}")


async def _dmarc(case: _Case) -> _Finding:
    found = await dmarc.discover(case.domain, case.lookup)
    policy = Policy(found.organizational_domain or case.domain)
    if found.policy is None:
        what = f"{case.domain} has no DMARC record"
        if found.broken:
            what = f"the DMARC record at {found.broken[0]} is invalid: {found.broken[1]}"
        if case.terms.dmarc_required:
            return replace(case.no(Proof.DMARC, what, case.to_publish[2]), policy=policy)
        return _Finding(Proof.DMARC, "no DMARC policy is required", warnings=(what,), policy=policy)
    policy = Policy(
        policy.organisation,
        found.policy.strict_spf,
        found.policy.strict_dkim,
        found.effective is dmarc.Disposition.REJECT and not found.policy.testing,
    )
    rule = f"the DMARC record at {found.name} has a policy of {found.effective}"
    if not found.misplaced:
        return _Finding(Proof.DMARC, rule, policy=policy)
    warning = f"the DMARC record of {case.domain} is at the domain itself; receivers only look at _dmarc.{case.domain}"
    return _Finding(Proof.DMARC, rule, warnings=(warning,), policy=policy)


def explain(verdicts: Iterable[Verdict], longest: int = 1000) -> str:
    """All problems of the refused domains in one text for people, at most `longest` characters, printable ASCII."""
    problems = [(problem, verdict) for verdict in verdicts for problem in verdict.problems]
    text = "sender not authorised by DNS:"
    for index, (problem, verdict) in enumerate(problems):
        hint = f" ({problem.hint})" if problem.hint else ""
        sentence = f" {problem.what}{hint}; {to_publish(problem, verdict)}."
        left = len(problems) - index
        if len(text) + len(sentence) > longest - len(" And 1000 more problems.") and index:
            return f"{text} And {left} more problem{'s' * (left > 1)}."
        text += sentence
    return shown(text, longest)


def lines(verdict: Verdict) -> tuple[str, ...]:
    """The same line by line, for a reply: each problem, what seems to have gone wrong, the record to publish."""
    found: list[str] = []
    for problem in verdict.problems:
        said = f"sender not authorised by DNS: {problem.what}"
        found += [said, problem.hint, to_publish(problem, verdict)]
    return tuple(shown(line, LONGEST_LINE) for line in found if line)


def to_publish(problem: Problem, verdict: Verdict) -> str:
    """The record to publish, whole; of one that is too long for a line, or has several strings, what to do: a part
    of a record would be worse than none."""
    whole = f"publish: {problem.publish}"
    if len(whole) <= LONGEST_LINE and '" "' not in whole:
        return shown(whole, LONGEST_LINE)
    if problem.proof is Proof.SPF:
        return f'put include:{verdict.terms.spf_domain} right behind "v=spf1"; mailrelay check prints the whole record'
    return "mailrelay check prints the record to publish"
