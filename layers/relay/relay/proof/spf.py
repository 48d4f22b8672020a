"""SPF: does a domain's record let the relay send? RFC 7208; parsing is in `relay.proof.spf_record`.

Without the relay's addresses the question is whether evaluation comes to `include:` of the relay's SPF
domain (or a redirect= to it) and passes there. Terms are taken in order, as a receiver takes them: what
stands behind `all` is never reached, and what stands before the include costs lookups.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from relay.ports import DnsStatus
from relay.proof.lookup import Lookup
from relay.proof.spf_record import Directive, Mechanism, Qualifier, Record, SpfPermError, parse_record, select, shown

MAX_LOOKUPS: Final = 10  # §4.6.4
MAX_VOIDS: Final = 2  # §4.6.4
_COSTLY: Final = (Mechanism.INCLUDE, Mechanism.A, Mechanism.MX, Mechanism.PTR, Mechanism.EXISTS)


class Reach(Enum):
    REACHED = "reached"
    NOT_REACHED = "not reached"
    NO_RECORD = "no record"
    BROKEN = "broken"  # permerror


@dataclass(frozen=True, slots=True)
class SpfReach:
    """why: what is wrong, as the end of "its SPF record ..."; "" if reached. record: as found at the domain."""

    reach: Reach
    why: str = ""
    record: bytes = b""


async def reaches(domain: str, relay_domain: str, lookup: Lookup) -> SpfReach:
    """Whether `domain`'s record reaches `relay_domain` with a pass. TemporaryError if DNS doesn't answer (§2.6.6)."""
    text: bytes | None = b""
    try:
        text = select(await lookup.txt(domain))
        if text is None:
            return SpfReach(Reach.NO_RECORD)
        record = parse_record(text)
        walk = _Walk(relay_domain, lookup)
        if domain == relay_domain or await walk.passes(domain, record):
            return SpfReach(Reach.REACHED, record=text)
        return SpfReach(Reach.NOT_REACHED, walk.why or f"does not include {relay_domain}", text)
    except SpfPermError as error:
        return SpfReach(Reach.BROKEN, f"is invalid: {error.safe}", text or b"")


def with_include(record: bytes, relay_domain: str) -> str:
    """The record with the relay's include put first, where nothing can keep a receiver from it."""
    include = f"include:{relay_domain}"
    text = record.decode("ascii", "replace")
    others = [each for each in text.split(" ")[1:] if each and each.lower().lstrip("+-~?") != include]
    return " ".join(["v=spf1", include, *others])


@dataclass
class _Walk:
    """One evaluation. The sender is "a server of the relay": `include:<relay_domain>` matches it, addresses,
    names and macros (which we can't compare) don't, and only what was reached for sure counts."""

    relay_domain: str
    lookup: Lookup
    why: str = ""  # the first obstacle worth telling
    lookups: int = 0
    voids: int = 0
    path: list[str] = field(default_factory=list)

    async def passes(self, domain: str, record: Record) -> bool:
        """§4.6.2: the first directive that matches decides; then redirect (§6.1)."""
        self.path.append(domain)
        try:
            for directive in record.directives:
                if directive.mechanism is Mechanism.ALL:
                    return False  # redirect counts only where there is no all
                if await self._matches(directive):
                    if directive.qualifier is Qualifier.PASS:
                        return True
                    self._note(f'has "{shown(str(directive))}", which does not pass')
                    return False
            return bool(record.redirect) and await self._redirect(record.redirect)
        finally:
            self.path.pop()

    async def _matches(self, directive: Directive) -> bool:
        if directive.mechanism in _COSTLY:
            self._count()
        if directive.mechanism is Mechanism.INCLUDE:
            return await self._follow(f"include:{directive.domain}", directive.domain)
        if directive.mechanism in (Mechanism.A, Mechanism.MX):
            await self._probe(directive)
        return False

    async def _redirect(self, domain: str) -> bool:
        self._count()
        return await self._follow(f"redirect={domain}", domain)

    async def _follow(self, term: str, target: str) -> bool:
        """The result of `target`'s record; to have none is a permanent error (§5.2, §6.1)."""
        if "%" in target:
            self._note(f'has "{shown(term)}", which depends on the sender')
            return False
        domain = target.lower().removesuffix(".")
        if domain == self.relay_domain:
            return True
        if domain in self.path:
            raise SpfPermError(f'"{shown(term)}" leads back to where it came from')
        answer = await self.lookup.txt(domain)
        self._count_void(void=not answer.records)
        try:
            text = select(answer)
            if text is None:
                raise SpfPermError("there is no SPF record")
            record = parse_record(text)
        except SpfPermError as error:
            raise SpfPermError(f'at "{shown(term)}" {error.safe}') from None
        return await self.passes(domain, record)

    async def _probe(self, directive: Directive) -> None:
        """`a` and `mx` don't match us, but where they lead nowhere they use up the void lookups."""
        domain = directive.domain or self.path[-1]
        if "%" in domain:
            return
        ask = self.lookup.a if directive.mechanism is Mechanism.A else self.lookup.mx
        self._count_void(void=(await ask(domain)).status is not DnsStatus.OK)

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise SpfPermError(f"it takes more than {MAX_LOOKUPS} DNS lookups")

    def _count_void(self, *, void: bool) -> None:
        self.voids += void
        if self.voids > MAX_VOIDS:
            raise SpfPermError(f"more than {MAX_VOIDS} of its DNS lookups find nothing")

    def _note(self, obstacle: str) -> None:
        self.why = self.why or obstacle
