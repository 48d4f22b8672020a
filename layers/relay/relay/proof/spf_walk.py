"""The evaluation of SPF records (RFC 7208 §4.6): terms in order, includes and redirects, and the limits.

What makes a mechanism match is for those who ask (`relay.proof.spf`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.ports import AddressAnswer, TxtAnswer
from relay.proof.lookup import Lookup
from relay.proof.spf_macro import host_name, is_domain, is_name
from relay.proof.spf_record import Directive, Mechanism, Qualifier, Record, SpfPermError, parse_record, select, shown

MAX_LOOKUPS: Final = 10  # §4.6.4
MAX_VOIDS: Final = 2  # §4.6.4
MAX_HOSTS: Final = 10  # §4.6.4: of one MX answer; of one PTR answer that are looked at
_COSTLY: Final = frozenset({Mechanism.INCLUDE, Mechanism.A, Mechanism.MX, Mechanism.PTR, Mechanism.EXISTS})


class Result(StrEnum):
    """§2.6"""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - the RFC's word
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_RESULTS: Final = {
    Qualifier.PASS: Result.PASS,
    Qualifier.FAIL: Result.FAIL,
    Qualifier.SOFTFAIL: Result.SOFTFAIL,
    Qualifier.NEUTRAL: Result.NEUTRAL,
}


@dataclass(frozen=True, slots=True)
class Decided:
    """directive: that matched; None if none did. record, domain: where it stands, through redirects."""

    result: Result
    directive: Directive | None
    record: Record
    domain: str


class Walk:
    """One evaluation; what matches is for those below. Domains are in lower case, without the last dot."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self._lookups = 0
        self._voids = 0
        self._path: list[str] = []

    async def evaluate(self, domain: str, record: Record) -> Decided:
        """§4.6.2: the first directive that matches decides; then redirect (§6.1); then it is neutral (§4.7)."""
        self._path.append(domain)
        try:
            for directive in record.directives:
                if directive.mechanism in _COSTLY:
                    self.count()
                if directive.mechanism is Mechanism.ALL or await self._matches(directive, domain):
                    return Decided(self.result(directive), directive, record, domain)
            if record.redirect:
                self.count()
                if decided := await self.follow(f"redirect={record.redirect}", record.redirect, domain):
                    return decided
            return Decided(Result.NEUTRAL, None, record, domain)
        finally:
            self._path.pop()

    def result(self, directive: Directive) -> Result:
        return _RESULTS[directive.qualifier]

    async def matches(self, directive: Directive, domain: str) -> bool:
        """Of every mechanism but all and include."""
        raise NotImplementedError

    async def target(self, spec: str, domain: str) -> str:
        """What a domain-spec in `domain`'s record stands for."""
        raise NotImplementedError

    def arrived(self, target: str) -> Decided | None:  # noqa: ARG002 - _ByInclude's
        """Whether the evaluation ends at this name."""
        return None

    async def follow(self, term: str, spec: str, domain: str) -> Decided | None:
        """What the record at `spec` says, None if that counts for nothing; to have none there is a permanent error
        (§5.2, §6.1)."""
        target = (await self.target(spec, domain)).lower()
        if decided := self.arrived(target):
            return decided
        if target in self._path:  # there it would be evaluated in the same way, until the limit of lookups
            raise SpfPermError(f'"{shown(term)}" leads back to where it came from')
        answer = await self.lookup.txt(target) if is_domain(target) else None
        try:
            record = _record(answer)
        except SpfPermError as error:
            raise SpfPermError(f'at "{shown(term)}" {error.safe}') from None
        return await self.evaluate(target, record)

    async def addresses(self, ask: Callable[[str], Awaitable[AddressAnswer]], name: str) -> tuple[str, ...]:
        """What a term itself asks for: to find none is a void lookup. A name that DNS can't hold has none (§4.8)."""
        if not is_name(name):
            return ()
        answer = await ask(name)
        self.count_void(void=not answer.addresses)
        return answer.addresses

    async def mail_hosts(self, directive: Directive, name: str) -> list[str]:
        """Of an mx term, the most preferred first. To ask for the addresses of more than ten is an error (§4.6.4),
        whichever of them would match: equally preferred ones come in any order."""
        if not is_name(name):
            return []
        answer = await self.lookup.mx(name)
        self.count_void(void=not answer.records)
        if len(answer.records) > MAX_HOSTS:
            raise SpfPermError(f'"{shown(str(directive))}" has more than {MAX_HOSTS} hosts')
        return [host_name(host) for _, host in sorted(answer.records) if host]  # not the null MX (RFC 7505)

    def count(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise SpfPermError(f"it takes more than {MAX_LOOKUPS} DNS lookups")

    def count_void(self, *, void: bool) -> None:
        """One for a term: the RFC counts terms, not queries."""
        self._voids += void
        if self._voids > MAX_VOIDS:
            raise SpfPermError(f"more than {MAX_VOIDS} of its DNS lookups find nothing")

    async def _matches(self, directive: Directive, domain: str) -> bool:
        if directive.mechanism is not Mechanism.INCLUDE:
            return await self.matches(directive, domain)
        decided = await self.follow(f"include:{directive.domain}", directive.domain, domain)
        return decided is not None and decided.result is Result.PASS  # §5.2


def _record(answer: TxtAnswer | None) -> Record:
    text = select(answer) if answer else None
    if text is None:
        raise SpfPermError("there is no SPF record")
    return parse_record(text)
