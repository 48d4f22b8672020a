"""Near misses of SPF: what keeps a record from letting the relay send, and the record as it was probably meant."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from relay.errors import PermanentError
from relay.ports import DnsStatus, TxtAnswer
from relay.proof.hint_text import (
    LONGEST,
    LONGEST_RECORD,
    Hint,
    cleaned,
    fitting,
    listed,
    near,
    quoted,
    sentence,
    text_of,
)
from relay.proof.lookup import Answer, Question
from relay.proof.spf_cost import MOST_LOOKUPS, MOST_VOIDS, Costs, costs, nowhere, voids
from relay.proof.spf_record import Mechanism, parse_record

_EXACT: Final = re.compile(rb"v=spf1(?: |\Z)", re.IGNORECASE)
_VERSION: Final = re.compile(r"(?:v?\s*[=:;.-]?\s*)([a-z]{2,4})\s*[0-9]*(?:[\s;:,.=]+|(?=[a-z+?~-])|\Z)", re.IGNORECASE)
_ANY_TERM: Final = re.compile(
    r"(?:^|[\s,;+?~-])(?:(?:include|redirect|ip4|ip6|exists)s?[:=]|(?:all|mx|a)(?:[\s,;:/]|\Z))", re.IGNORECASE
)
_TERM: Final = re.compile(r"([+?~-]?)([a-z0-9._-]*)([:=]*)(.*)", re.IGNORECASE)
_LONE_COLON: Final = re.compile(r"(?<=[a-z0-9])(\s+[:=]\s*|\s*[:=]\s+)(?=[a-z0-9])", re.IGNORECASE)
_GROWN: Final = re.compile(
    r"(?<=[a-z0-9.}])(?=[+?~-]?(?:include:|ip[46]:)|redirect=|v=spf1\b|[+?~-]all\Z)", re.IGNORECASE
)
_IP4: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]+)?")

_OF_HOSTS: Final = ("a", "mx", "ptr", "exists", "ip4", "ip6")
_WITH_VALUE: Final = (Mechanism.INCLUDE, Mechanism.IP4, Mechanism.IP6, Mechanism.EXISTS)
_MODIFIERS: Final = ("redirect", "exp")
_OTHER_NAMES: Final = {"ipv4": "ip4", "ipv6": "ip6"}  # of mechanisms
_LESS: Final = "take out what is not used any more"
_SOFTEST: Final = ("?all", "~all", "-all")


class _Candidate(NamedTuple):
    """A TXT record that is one of SPF, or was meant to be. terms: all after the version. says: why it isn't one."""

    record: bytes
    is_spf: bool
    terms: str
    says: tuple[str, ...]


class _Term(NamedTuple):
    """As it was probably meant. says: what was wrong with it, "" if nothing was."""

    text: str
    says: str = ""


def spf_hints(domain: str, spf_domain: str, answers: Mapping[Question, Answer]) -> Hint:
    """spf_domain: the relay's. answers: what DNS said about the TXT records of `domain` and what they include."""
    relay, its = spf_domain.lower(), f"the SPF record of {domain}"
    records = getattr(answers.get(Question(domain, "TXT")), "records", ())
    found = [each for record in sorted(records) if (each := _candidate(record, domain, relay))]
    if not found:
        return Hint()
    says: list[str] = [said for each in found for said in each.says]
    terms: list[str] = []
    for each in found:
        mended, said = _mended(each.terms, relay)
        terms += mended
        says += [f"in {its} {what}" for what in said]
        says += [f"in {its} {what}" for what in _order(mended, relay)]
    publish = _assembled(terms, relay)
    says += [f"in {its} {what}" for what in _left_out(terms)]
    if (number := sum(each.is_spf for each in found)) > 1:
        says.insert(0, f"{domain} has {number} SPF records, which counts as none (RFC 7208): merge them into one")
    elif number:
        says += _by_answers(domain, relay, answers, terms)
    says += _by_cost(domain, answers, publish)
    return Hint(tuple(map(sentence, dict.fromkeys(says))), publish, tuple(each.record for each in found))


def with_relay(record: bytes, domain: str, spf_domain: str) -> Hint:
    """An SPF record, for `domain`, with the relay in it, first; "" if that makes none. Says what is not in it."""
    relay = spf_domain.lower()
    terms, _ = _mended(cleaned(record).text[len("v=spf1") :], relay)
    says = (f"in the SPF record of {domain} {what}" for what in _left_out(terms))
    return Hint(tuple(map(sentence, says)), _assembled(terms, relay))


def supposing(domain: str, publish: str, answers: Mapping[Question, Answer]) -> Mapping[Question, Answer]:
    """The answers as they would be with that SPF record at `domain`."""
    return {**answers, Question(domain, "TXT"): TxtAnswer(DnsStatus.OK, (publish.encode(),))}


def is_spf(record: bytes) -> bool:
    """Whether a receiver takes it for an SPF record (RFC 7208 §4.5)."""
    return _EXACT.match(record) is not None


def spf_caution(domain: str, records: Iterable[bytes]) -> str:
    """A sentence about a record that lets everybody send, right as it may be; "" for others."""
    for record in records:
        if is_spf(record) and {"+all", "all"} & set(record.decode("latin-1").lower().split(" ")):
            return f'the SPF record of {domain} has "+all", which lets anybody send: write "~all" or "-all"'
    return ""


def _candidate(record: bytes, domain: str, relay: str) -> _Candidate | None:
    text, faults = cleaned(record)
    if len(record) > LONGEST_RECORD or text.lower().startswith("spf2.0"):  # Sender ID, another thing (RFC 4406)
        return None
    if text_of(record)[:1].isspace():
        faults = (*faults, "a leading space")
    if is_spf(text.encode()):
        says = (f"the SPF record of {domain} has {listed(faults)} in it: publish it again without",) if faults else ()
        return _Candidate(record, is_spf(record), text[len("v=spf1") :], says)
    version = _VERSION.match(text)
    is_meant = version and (version[1].lower() == "spf" or near(version[1], "spf"))
    if version and is_meant and _ANY_TERM.search(text[version.end() :]):
        rest, why = text[version.end() :], 'it has to start with "v=spf1" and a space'
    elif _ANY_TERM.match(text) and relay in text.lower():
        rest, why = text, 'put "v=spf1" and a space before it'
    else:
        return None
    return _Candidate(record, False, rest, (f"the TXT record {quoted(text, 40)} of {domain} is no SPF record: {why}",))


def _mended(text: str, relay: str) -> tuple[list[str], list[str]]:
    """The terms as they were probably meant, and what was wrong with them."""
    terms: list[str] = []
    says: list[str] = []
    if lone := _LONE_COLON.search(text):
        around = f"{text[: lone.start()].split()[-1]}{lone[1]}{text[lone.end() :].split()[0]}"
        says.append(f'there is a space beside the "{lone[1].strip()}" of {quoted(around)}: take it away')
        text = _LONE_COLON.sub(lambda match: match[1].strip(), text)
    if separators := sorted({each for each in ",;" if each in text}):
        marks = " and ".join(f'"{each}"' for each in separators)
        says.append(f"there is {marks} between terms: put a space in its place")
        text = text.translate(str.maketrans(",;", "  "))
    for word in text.split():
        parts = _GROWN.sub(" ", word).split()
        if len(parts) > 1:
            pair = " and ".join(map(quoted, parts[:2]))
            says.append(f"there is no space between {pair} (strings of one record are joined without): put one there")
        for part in parts:
            term = _term(part, relay)
            terms.append(term.text)
            says += [term.says] if term.says else []
    return [each for each in terms if each.lower() != "v=spf1"], says


def _term(text: str, relay: str) -> _Term:
    match = _TERM.fullmatch(text)
    if not match:
        return _Term(text)
    sign, name, equals, value = match.groups()
    name, target = name.lower(), (value or name).lower().rstrip("./")
    include = f"include:{relay}"
    of_relay = target.endswith(f".{relay}") or target == relay.rpartition(".")[0]
    if target == relay or near(target, relay) or of_relay:
        if name == "redirect" and equals == "=" and target == relay:
            return _Term(text)
        what = _about_relay(sign, name, equals, target, relay)
        return _Term(include, f'{quoted(text)} {what}: write "{include}"' if what else "")
    return _other_term(text, sign, name, equals, value)


def _about_relay(sign: str, name: str, equals: str, target: str, relay: str) -> str:
    """What is wrong with a term that was meant to include the relay, as the end of a sentence; "" if nothing is."""
    belongs, is_redirect = ("=", True) if name == "redirect" else (":", False)
    table = (
        (not equals, "stands alone"),
        (name in _OF_HOSTS, f"is about hosts of that name, not about the relay's servers, which {relay} lists"),
        (name != "include" and not is_redirect, "is no term of SPF"),
        (equals != belongs, f'has "{equals}" where "{belongs}" belongs'),
        (target.endswith(f".{relay}"), f"is another name than the relay's domain, {relay}"),
        (target != relay, f"is not the relay's domain, which is spelt {relay}"),
        (sign in ("-", "~", "?"), f'has the sign "{sign}", which does not let the relay pass'),
    )
    return next((what for applies, what in table if applies), "")


def _other_term(text: str, sign: str, name: str, equals: str, value: str) -> _Term:
    """A term that has nothing to do with the relay."""
    bare = name.rstrip(".")
    address = value if equals else f"{name}{value}"
    if _IP4.fullmatch(address) and name != "ip4":
        meant = f"{sign}ip4:{address}"
    elif bare == "all":
        meant = f"{sign}all"
    elif bare in _MODIFIERS:
        meant = f"{bare}={value}"
    elif bare in tuple(Mechanism):
        meant = f"{sign}{bare}:{value}" if equals and bare in _WITH_VALUE else text
    elif close := _OTHER_NAMES.get(bare) or _nearest(bare, equals):
        meant = f"{sign}{close}{'=' if close in _MODIFIERS else equals and ':'}{value}"
    else:
        return _Term(text)
    if meant.lower() == text.lower():
        return _Term(text)
    return _Term(meant, f"{quoted(text)} is no term of SPF: write {quoted(meant)}")


def _nearest(name: str, equals: str) -> str:
    """The mechanism or modifier that `name` misspells, "" if it is like none; "a" and "mx" are like too much."""
    known = ("include", "redirect", "exists", "ip4", "ip6", "ptr") if equals else ("all",)
    return next((each for each in known if len(name) > 1 and near(name, each)), "")


def _order(terms: list[str], relay: str) -> list[str]:
    """What the order of terms, each of them right, does to the relay."""
    lower = [each.lower() for each in terms]
    ends = next((index for index, each in enumerate(lower) if each.lstrip("+?~-") == "all"), None)
    says: list[str] = []
    if ends is None:
        return says
    if f"include:{relay}" in lower[ends:] and f"include:{relay}" not in lower[:ends]:
        says.append(f'"include:{relay}" stands behind "{terms[ends]}", where nobody looks: put it before')
    if f"redirect={relay}" in lower:
        says.append(f'"redirect={relay}" counts for nothing beside "{terms[ends]}": write "include:{relay}" before it')
    if lower[ends] in ("all", "+all"):
        says.append(f'"{terms[ends]}" lets anybody send: write "~all" or "-all"')
    return says


def _assembled(terms: Iterable[str], relay: str) -> str:
    """One record of those that are valid, with the relay first, where nothing can keep a receiver from it; "" if that
    is none."""
    unique = dict.fromkeys(terms)
    alls = {each.lower() for each in unique if each.lower().lstrip("+?~-") == "all"}
    redirects = [each for each in unique if each.lower().startswith("redirect=")]
    others = [each for each in unique if each.lower() not in (*alls, f"include:{relay}") and each not in redirects]
    if alls or len(redirects) > 1:  # RFC 7208 §6.1: redirect counts only where there is no all
        others += [f"include:{each.partition('=')[2]}" for each in redirects if each.lower() != f"redirect={relay}"]
        redirects = []
    last = next((each for each in _SOFTEST if each in alls), "~all") if alls else ""
    valid = [each for each in others if _is_valid(each)]
    text = " ".join(filter(None, ["v=spf1", f"include:{relay}", *valid, *redirects, last]))
    return text if _is_valid(text.partition(" ")[2]) else ""


def _left_out(terms: Iterable[str]) -> Iterator[str]:
    """Of the terms those that _assembled drops; a redirect that is no term leaves no record at all."""
    for each in dict.fromkeys(terms):
        if not each.lower().startswith("redirect=") and not _is_valid(each):
            yield f"{quoted(each)} cannot be read and is left out of what to publish: correct it, then put it back"


def _is_valid(terms: str) -> bool:
    try:
        parse_record(f"v=spf1 {terms}".encode())
    except PermanentError:
        return False
    return True


def _by_answers(domain: str, relay: str, answers: Mapping[Question, Answer], terms: list[str]) -> list[str]:
    """What the records that it takes in do to it. terms: its own, mended: what has been is told already."""
    says = [
        f"in the SPF record of {domain} {quoted(each)} leads to no SPF record: take it out"
        for each in nowhere(domain, answers)
        if each in terms and each.lower() != f"include:{relay}"
    ]
    if len(empty := voids(domain, answers)) > MOST_VOIDS:
        what = f"{len(empty)} DNS lookups of the SPF record of {domain} find no record"
        before = f"{what}, {MOST_VOIDS} such lookups are allowed: "
        says.append(_with_list(before, empty, f"; {_LESS}"))
    return says


def _by_cost(domain: str, answers: Mapping[Question, Answer], publish: str) -> Iterator[str]:
    """What it costs too much, and what the record to publish would (RFC 7208 §4.6.4)."""
    now, then = costs(domain, answers), costs(domain, supposing(domain, publish, answers))
    number, still = sum(now.terms.values()), sum(then.terms.values())
    if number > MOST_LOOKUPS:
        which, found, total = f"the SPF record of {domain} takes", now, number
        too = "" if still <= MOST_LOOKUPS else f", the record to publish takes {_counted(then, still)}, too"
    elif still > MOST_LOOKUPS:
        which, found, total, too = f"the SPF record to publish for {domain} takes", then, still, ""
    else:
        return
    dearest = sorted(found.terms.items(), key=lambda each: -each[1])
    before = f"{which} {_counted(found, total)} DNS lookups, {MOST_LOOKUPS} are allowed{too}: "
    yield _with_list(before, [f"{term} {number}" for term, number in dearest], f"; {_LESS}")


def _counted(found: Costs, total: int) -> str:
    return str(total) if found.complete else f"at least {total}"


def _with_list(before: str, words: Sequence[str], behind: str) -> str:
    """A sentence with as much of the list as fits."""
    return f"{before}{fitting(words, LONGEST - len(before) - len(behind))}{behind}"
