"""What an SPF record costs: the DNS lookups of each of its terms (RFC 7208 §4.6.4), from answers that are there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from relay.ports import DnsStatus, TxtAnswer
from relay.proof.lookup import Answer, Question
from relay.proof.spf_record import Mechanism, Record, SpfPermError, parse_record, select

MOST_LOOKUPS: Final = 10  # §4.6.4
MOST_VOIDS: Final = 2  # §4.6.4
_COSTLY: Final = (Mechanism.INCLUDE, Mechanism.A, Mechanism.MX, Mechanism.PTR, Mechanism.EXISTS)
_ASKED: Final = {Mechanism.INCLUDE: ("TXT",), Mechanism.A: ("A", "AAAA"), Mechanism.MX: ("MX",)}
_MOST_NAMES: Final = 100  # looked at


@dataclass(frozen=True, slots=True)
class Costs:
    """terms: the lookups of each of the record's own terms, with all that they include. complete: all is known."""

    terms: Mapping[str, int]
    complete: bool


def costs(domain: str, answers: Mapping[Question, Answer]) -> Costs:
    """Of `domain`'s record as a whole: a receiver that finds a match early asks less."""
    terms: dict[str, int] = {}
    known: dict[str, int] = {domain: 0}
    for term, target in _costly(_record(domain, answers)):
        terms[term] = terms.get(term, 0) + 1 + _below(target, answers, known)
    return Costs(terms, not unasked(domain, answers))


def unasked(domain: str, answers: Mapping[Question, Answer]) -> tuple[str, ...]:
    """Names whose TXT records have to be known for the costs to be complete; () once they are."""
    return tuple(name for name in _reachable(domain, answers) if Question(name, "TXT") not in answers)


def nowhere(domain: str, answers: Mapping[Question, Answer]) -> tuple[str, ...]:
    """Terms of `domain`'s record that include or redirect to a name without an SPF record: permanent errors (§5.2)."""
    return tuple(
        term
        for term, target in _costly(_record(domain, answers))
        if target and Question(target, "TXT") in answers and not _has_spf(target, answers)
    )


def voids(domain: str, answers: Mapping[Question, Answer]) -> tuple[str, ...]:
    """Terms, of `domain`'s record and of those that it takes in, to which DNS has no answer (§4.6.4): those that are
    known."""
    found = []
    for name in _reachable(domain, answers):
        for directive in _record(name, answers).directives:
            kinds = _ASKED.get(directive.mechanism, ())
            target = directive.domain.lower().removesuffix(".") or name
            known = [answers[each] for kind in kinds if (each := Question(target, kind)) in answers]
            if known and not any(each.status is DnsStatus.OK for each in known):
                found.append(str(directive) if name == domain else f"{directive} of {name}")
    return tuple(found)


def _reachable(domain: str, answers: Mapping[Question, Answer]) -> tuple[str, ...]:
    """Names whose records evaluation may come to."""
    seen: dict[str, None] = {}
    names = [domain]
    while names:
        name = names.pop(0)
        if name not in seen:
            seen[name] = None
            names += [target for _, target in _costly(_record(name, answers)) if target]
    return tuple(seen)


def _below(name: str, answers: Mapping[Question, Answer], known: dict[str, int]) -> int:
    """The lookups of the record at `name`. known: of names seen before; 0 for those on the way to here."""
    if not name or name in known:
        return known.get(name, 0)
    known[name] = 0
    if len(known) < _MOST_NAMES:
        known[name] = sum(1 + _below(each, answers, known) for _, each in _costly(_record(name, answers)))
    return known[name]


def _costly(record: Record) -> Iterator[tuple[str, str]]:
    """(term, the name whose record it takes in; "" for none or one with macros)."""
    for directive in record.directives:
        if directive.mechanism in _COSTLY:
            taken_in = directive.mechanism is Mechanism.INCLUDE and "%" not in directive.domain
            yield str(directive), directive.domain.lower().removesuffix(".") if taken_in else ""
    if record.redirect and not any(each.mechanism is Mechanism.ALL for each in record.directives):  # §6.1
        target = record.redirect.lower().removesuffix(".")
        yield f"redirect={record.redirect}", "" if "%" in target else target


def _record(name: str, answers: Mapping[Question, Answer]) -> Record:
    """Without terms if there is none, or none that is valid."""
    answer = answers.get(Question(name, "TXT"))
    try:
        text = select(answer) if isinstance(answer, TxtAnswer) else None
        return parse_record(text) if text is not None else Record()
    except SpfPermError:
        return Record()


def _has_spf(name: str, answers: Mapping[Question, Answer]) -> bool:
    answer = answers.get(Question(name, "TXT"))
    try:
        return isinstance(answer, TxtAnswer) and select(answer) is not None
    except SpfPermError:
        return True
