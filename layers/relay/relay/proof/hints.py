"""Near misses: what somebody published who meant to sign up, and what to do about it. For people; it decides nothing.

From answers that a verdict has anyway (`near_misses`), and from names where records are put by mistake (`places` to
ask, `misplaced` to read the answers). Pure.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from relay.errors import PermanentError
from relay.ports import TxtAnswer
from relay.proof.dmarc import is_dmarc, parse_record
from relay.proof.hint_dmarc import dmarc_hints
from relay.proof.hint_spf import is_spf, spf_caution, spf_hints, with_relay
from relay.proof.hint_text import Hint, sentence
from relay.proof.hint_token import is_bare_hash, token_hints
from relay.proof.lookup import Answer, Question
from relay.proof.token import is_token, matches

MOST_PARENTS: Final = 3  # of a domain, that are asked


class Hints(NamedTuple):
    """Of each proof. caution: a sentence about what passes and yet is dangerous, "" if there is nothing."""

    token: Hint = Hint()
    spf: Hint = Hint()
    dmarc: Hint = Hint()
    caution: str = ""

    @property
    def proofs(self) -> tuple[Hint, Hint, Hint]:
        """In the order of the proofs."""
        return self.token, self.spf, self.dmarc


def near_misses(
    domain: str, user: str, *, token_name: str, spf_domain: str, answers: Mapping[Question, Answer]
) -> Hints:
    """domain: A-labels. user: as registered. answers: a verdict's; nothing else is asked. What is said about a proof
    is only of interest if it failed."""
    here = _texts(domain, answers)
    return Hints(
        token=token_hints(here, domain=domain, user=user, token_name=token_name),
        spf=spf_hints(domain, spf_domain, answers),
        dmarc=dmarc_hints(domain, _texts(f"_dmarc.{domain}", answers), here),
        caution=spf_caution(domain, here),
    )


def _texts(name: str, answers: Mapping[Question, Answer]) -> tuple[bytes, ...]:
    answer = answers.get(Question(name, "TXT"))
    return tuple(sorted(answer.records)) if isinstance(answer, TxtAnswer) else ()  # DNS gives them in any order


# --- at other names ------------------------------------------------------------------------------


class Place(NamedTuple):
    """A name where records are put by mistake. why: the end of "... belongs at D: ", such as what a console did."""

    name: str
    why: str
    doubled: bool = False


def places(domain: str, token_name: str) -> tuple[Place, ...]:
    """Names to ask for TXT records, none of them twice."""
    label, parents = token_name.lower(), _parents(domain)
    found = [
        Place(f"www.{domain}", f"a record at www.{domain} is for mail from ...@www.{domain}"),
        Place(f"_spf.{domain}", "nothing stands before the domain"),
        Place(f"{label}.{domain}", f"{label} is the start of the value, not of the name"),
        Place(f"dmarc.{domain}", "the name starts with an underscore"),
        *(Place(parent, f"what {parent} has is not inherited") for parent in parents),
    ]
    for zone in (domain, *parents):
        entered = domain.removesuffix(zone).rstrip(".")
        for under in ("", "_dmarc."):
            enter = f"{under}{entered}".rstrip(".")
            what = f'"{enter}"' if enter else '"@" or nothing'
            why = f"the DNS console adds {zone} by itself, so enter {what} as the name"
            found.append(Place(f"{under}{domain}.{zone}", why, True))
    return tuple(found)


def misplaced(domain: str, user: str, *, token_name: str, spf_domain: str, answers: Mapping[Question, Answer]) -> Hints:
    """answers: about the TXT records of `places`, and those of the verdict."""
    under = f"_dmarc.{domain}"
    asked = (Place(under, "only the DMARC record stands at _dmarc"), *places(domain, token_name))
    has_spf, relay = any(map(is_spf, _texts(domain, answers))), spf_domain.lower().encode()

    def token(record: bytes, place: Place) -> bool:
        if place.name == f"{token_name.lower()}.{domain}" and is_bare_hash(record):
            return True
        return matches(record, user, token_name) or (place.doubled and is_token(record, token_name))

    def spf(record: bytes, place: Place) -> bool:
        return is_spf(record) and (place.doubled or not has_spf or relay in record.lower())

    def dmarc(record: bytes, place: Place) -> bool:
        return is_dmarc(record) and place.name not in (under, *_parents(domain))

    def of(is_kind: Callable[[bytes, Place], bool]) -> dict[Place, bytes]:
        records = ((each, record) for each in asked for record in _texts(each.name, answers))
        return {each: record for each, record in records if is_kind(record, each)}

    spfs, policies = of(spf), of(dmarc)
    moved = (with_relay(record, domain, spf_domain) for place, record in spfs.items() if place.doubled)
    return Hints(
        token=_at("an ownership token", domain, of(token), Hint()),
        spf=_at("an SPF record", domain, spfs, next(moved, Hint())),
        dmarc=_at(
            "a DMARC record",
            under,
            [_for_dmarc(each, domain) for each in policies],
            Hint((), next(filter(None, map(_policy, policies.values())), "")),
        ),
    )


def _for_dmarc(place: Place, domain: str) -> Place:
    own = place.doubled or place.name == f"dmarc.{domain}"
    return place if own else place._replace(why="receivers look nowhere else")


def _policy(record: bytes) -> str:
    """The record as text, "" if it is no valid policy."""
    try:
        parse_record(record)
        return record.decode("ascii").strip()
    except (PermanentError, UnicodeDecodeError):
        return ""


def _at(kind: str, belongs: str, found: Iterable[Place], moved: Hint) -> Hint:
    """moved: what to publish where it belongs, and what there is to say about that."""
    says = (f"there is {kind} at {each.name}, it belongs at {belongs}: {each.why}" for each in found)
    return Hint((*map(sentence, says), *moved.says), moved.publish)


def _parents(domain: str) -> tuple[str, ...]:
    """The names above it that somebody may have registered: of at least two labels."""
    labels = domain.split(".")
    return tuple(".".join(labels[start:]) for start in range(1, len(labels) - 1))[:MOST_PARENTS]
