"""The verdict: do the domain's own records want this user's mail sent through this relay?

The same code serves validate and `mailrelay check`; what a refused sender reads is written here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.errors import TemporaryError
from relay.ports import Accounts, Clock, DnsStatus, Resolver
from relay.proof import dmarc, spf, token
from relay.proof.lookup import Lookup
from relay.proof.spf import Reach
from relay.proof.spf_record import shown
from relay.proof.token import DnsRecord, records_to_publish

TOTAL_SECONDS: Final = 20.0  # one verdict, all lookups
SHORTEST_YES: Final = 30.0  # seconds that a verdict is kept, whatever the TTLs
LONGEST_YES: Final = 300.0
NO: Final = 5.0  # somebody is mending their records and trying again
MAX_VERDICTS: Final = 10_000  # kept at once


class Proof(StrEnum):
    TOKEN = "token"  # noqa: S105 - a name
    SPF = "spf"
    DMARC = "dmarc"


@dataclass(frozen=True, slots=True)
class Problem:
    """what: one sentence without a full stop. publish: the exact record that mends it, as a master file has it."""

    proof: Proof
    what: str
    publish: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """passed: no problems. warnings: sentences. ttl: seconds for which the answers hold, the shortest of them."""

    domain: str
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    ttl: int = 0

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class _Case:
    domain: str
    user: str
    token_name: str
    spf_domain: str
    lookup: Lookup

    @property
    def to_publish(self) -> tuple[DnsRecord, ...]:
        return records_to_publish(self.domain, self.user, self.token_name, self.spf_domain)


async def judge(domain: str, user: str, *, resolver: Resolver, token_name: str, spf_domain: str) -> Verdict:
    """Look the three records up, all at once. domain: A-labels. user: as registered (lower case counts, too).

    TemporaryError if DNS doesn't answer, which is neither a yes nor a no.
    """
    case = _Case(domain, user, token_name, spf_domain.lower(), Lookup(resolver))
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            found = await asyncio.gather(_token(case), _spf(case), _dmarc(case), return_exceptions=True)
    except TimeoutError:
        raise TemporaryError(f"DNS of {domain} takes longer than {TOTAL_SECONDS:.0f} s") from None
    problems: list[Problem] = []
    warnings: list[str] = []
    for each in found:
        match each:
            case BaseException():
                raise each
            case Problem():
                problems.append(each)
            case str():
                warnings.append(each)
    return Verdict(domain, tuple(problems), tuple(warnings), case.lookup.ttl)


async def _token(case: _Case) -> Problem | None:
    answer = await case.lookup.txt(case.domain)
    if any(token.matches(record, case.user, case.token_name) for record in answer.records):
        return None
    others = sum(token.is_token(record, case.token_name) for record in answer.records)
    if answer.status is DnsStatus.NO_NAME:
        what = f"{case.domain} does not exist in DNS, so it has no {case.token_name} record"
    elif others:
        what = f"{case.domain} has {others} {case.token_name} record{'s' * (others > 1)}, none of them for {case.user}"
    else:
        what = f"{case.domain} has no {case.token_name} record for {case.user}"
    return Problem(Proof.TOKEN, what, str(case.to_publish[0]))


async def _spf(case: _Case) -> Problem | None:
    found = await spf.reaches(case.domain, case.spf_domain, case.lookup)
    fresh = case.to_publish[1]
    match found.reach:
        case Reach.REACHED:
            return None
        case Reach.NO_RECORD:
            return Problem(Proof.SPF, f"{case.domain} has no SPF record", str(fresh))
        case Reach.NOT_REACHED:
            mended = DnsRecord(case.domain, "TXT", spf.with_include(found.record, case.spf_domain))
            return Problem(Proof.SPF, f"the SPF record of {case.domain} {found.why}", str(mended))
        case Reach.BROKEN:
            return Problem(Proof.SPF, f"the SPF record of {case.domain} {found.why}", str(fresh))


async def _dmarc(case: _Case) -> Problem | str | None:
    found = await dmarc.discover(case.domain, case.lookup)
    proper = str(case.to_publish[2])
    if found.policy is None:
        what = f"{case.domain} has no DMARC record"
        if found.broken:
            what = f"the DMARC record at {found.broken[0]} is invalid: {found.broken[1]}"
        return Problem(Proof.DMARC, what, proper)
    if found.misplaced:
        return f"the DMARC record of {case.domain} is at the domain itself; receivers only look at _dmarc.{case.domain}"
    return None


def explain(verdicts: tuple[Verdict, ...], longest: int = 1000) -> str:
    """All problems of the refused domains in one text for people, at most `longest` characters, printable ASCII."""
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    text = "sender not authorised by DNS:"
    for index, problem in enumerate(problems):
        sentence = f" {problem.what}; publish: {shown(problem.publish, 400)}."
        left = len(problems) - index
        if len(text) + len(sentence) > longest - len(" And 1000 more problems.") and index:
            return f"{text} And {left} more problem{'s' * (left > 1)}."
        text += sentence
    return shown(text, longest)


@dataclass(frozen=True, slots=True)
class _Kept:
    verdict: Verdict
    until: float


class Judge:
    """Verdicts with a memory: one question in flight for each domain and account, answers kept by their TTLs.

    accounts: to learn the name as registered, because Submission has it in lower case.
    Its coroutines belong to one event loop.
    """

    def __init__(
        self, *, resolver: Resolver, accounts: Accounts, clock: Clock, token_name: str, spf_domain: str
    ) -> None:
        self._resolver = resolver
        self._accounts = accounts
        self._clock = clock
        self._token_name = token_name
        self._spf_domain = spf_domain
        self._kept: dict[tuple[str, str], _Kept] = {}  # oldest first
        self._asked: dict[tuple[str, str], asyncio.Task[Verdict]] = {}

    async def __call__(self, domain: str, account: str) -> Verdict:
        """account: in lower case. TemporaryError as `judge`, which is not kept."""
        key = domain, account
        kept = self._kept.get(key)
        if kept and kept.until > self._clock.now():
            return kept.verdict
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._ask(domain, account))
            task.add_done_callback(self._forget(key))
        return await asyncio.shield(task)  # one message's time-out isn't the others'

    async def _ask(self, domain: str, account: str) -> Verdict:
        registered = await self._accounts.find(account)
        verdict = await judge(
            domain,
            registered.user if registered else account,
            resolver=self._resolver,
            token_name=self._token_name,
            spf_domain=self._spf_domain,
        )
        seconds = min(max(verdict.ttl, SHORTEST_YES), LONGEST_YES) if verdict.passed else NO
        self._kept.pop((domain, account), None)
        while len(self._kept) >= MAX_VERDICTS:
            del self._kept[next(iter(self._kept))]
        self._kept[domain, account] = _Kept(verdict, self._clock.now() + seconds)
        return verdict

    def _forget(self, key: tuple[str, str]) -> Callable[[asyncio.Task[Verdict]], None]:
        def done(task: asyncio.Task[Verdict]) -> None:
            self._asked.pop(key, None)
            if not task.cancelled():
                task.exception()  # seen, even if everybody who asked is gone

        return done


Verdicts = Callable[[str, str], Awaitable[Verdict]]  # (domain, account); a Judge is one
