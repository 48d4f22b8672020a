"""The evaluation of SPF records (RFC 7208 §4.6): terms in order, includes and redirects, and the limits.

What makes a mechanism match is for those who ask (`relay.proof.spf`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.proof.lookup import Lookup
from relay.proof.spf_record import Directive, Mechanism, Qualifier, Record, SpfPermError, parse_record, select, shown

MAX_LOOKUPS: Final = 10  # §4.6.4
MAX_VOIDS: Final = 2  # §4.6.4
_COSTLY: Final = (Mechanism.INCLUDE, Mechanism.A, Mechanism.MX, Mechanism.PTR, Mechanism.EXISTS)


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
    """One evaluation; what matches is for those below."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.lookups = 0
        self.voids = 0
        self.path: list[str] = []

    async def evaluate(self, domain: str, record: Record) -> Decided:
        """§4.6.2: the first directive that matches decides; then redirect (§6.1); then it is neutral (§4.7)."""
        self.path.append(domain)
        try:
            for directive in record.directives:
                if directive.mechanism in _COSTLY:
                    self._count()
                if directive.mechanism is Mechanism.ALL or await self._matches(directive, domain):
                    return Decided(self.result(directive), directive, record, domain)
            if record.redirect:
                self._count()
                decided = await self._follow(f"redirect={record.redirect}", record.redirect, domain)
                if decided:
                    return decided
            return Decided(Result.NEUTRAL, None, record, domain)
        finally:
            self.path.pop()

    def result(self, directive: Directive) -> Result:
        return _RESULTS[directive.qualifier]

    async def _matches(self, directive: Directive, domain: str) -> bool:
        if directive.mechanism is not Mechanism.INCLUDE:
            return await self.matches(directive, domain)
        decided = await self._follow(f"include:{directive.domain}", directive.domain, domain)
        return decided is not None and decided.result is Result.PASS  # §5.2

    async def matches(self, directive: Directive, domain: str) -> bool:
        """Of every mechanism but all and include."""
        raise NotImplementedError

    async def target(self, spec: str, domain: str) -> str | None:
        """A domain-spec of `domain`'s record as a name; None if it has none here."""
        raise NotImplementedError

    def arrived(self, target: str) -> Decided | None:  # noqa: ARG002 - _ByInclude's
        """Whether the evaluation ends at this name."""
        return None

    async def _follow(self, term: str, spec: str, domain: str) -> Decided | None:
        """What `spec`'s record says; to have none is a permanent error (§5.2, §6.1)."""
        target = await self.target(spec, domain)
        if target is None:
            return None
        target = target.lower()
        if decided := self.arrived(target):
            return decided
        if target in self.path:
            raise SpfPermError(f'"{shown(term)}" leads back to where it came from')
        answer = await self.lookup.txt(target)
        self.count_void(void=not answer.records)
        try:
            text = select(answer)
            if text is None:
                raise SpfPermError("there is no SPF record")
            record = parse_record(text)
        except SpfPermError as error:
            raise SpfPermError(f'at "{shown(term)}" {error.safe}') from None
        return await self.evaluate(target, record)

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise SpfPermError(f"it takes more than {MAX_LOOKUPS} DNS lookups")

    def count_void(self, *, void: bool) -> None:
        self.voids += void
        if self.voids > MAX_VOIDS:
            raise SpfPermError(f"more than {MAX_VOIDS} of its DNS lookups find nothing")
