"""Near misses of DMARC: a record that was meant to be a policy, and the policy as it was probably meant."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from relay.errors import PermanentError
from relay.proof.dmarc import Disposition, is_dmarc, parse_record
from relay.proof.hint_text import LONGEST_RECORD, Hint, cleaned, listed, near, quoted, sentence, text_of

_FIRST: Final = re.compile(r"(?:v?\s*[=:]?\s*)([a-z]{3,7})", re.IGNORECASE)
_VERSION: Final = re.compile(r"v\s*=\s*DMARC1(?![0-9])", re.IGNORECASE)
_CAPITALS: Final = re.compile(r"[vV]\s*=\s*DMARC1")
_NAMES: Final = "policy|p|sp|np|rua|ruf|adkim|aspf|fo|t|psd"
_OTHERS: Final = "pct|rf|ri|v"
_TAG: Final = re.compile(
    rf"(?:^|(?<=[\s;,:1]))({_NAMES})\s*[=:]\s*(.*?)(?=[;,\s]+(?:{_NAMES}|{_OTHERS})\s*[=:]|[\s;,.]*\Z|;)",
    re.IGNORECASE,
)
_POLICY: Final = re.compile(r"\b(?:p|policy)\s*[=:]", re.IGNORECASE)
_BEHIND: Final = re.compile(r"(?<=[\s;,])v\s*=\s*DMARC1(?![0-9])", re.IGNORECASE)
_GROWN: Final = re.compile(r"[\s,.:]+[a-z]+\s*=", re.IGNORECASE)


def dmarc_hints(domain: str, records: Sequence[bytes], here: Sequence[bytes]) -> Hint:
    """records: TXT at _dmarc.`domain`. here: TXT at `domain` itself."""
    place = f"_dmarc.{domain}"
    says: list[str] = []
    publish = ""
    about: list[bytes] = []
    for name, texts in ((place, records), (domain, here)):
        policies = [each for each in texts if is_dmarc(each)]
        if len(policies) > 1:
            leave = "leave one there" if name == place else f"leave one, and move it to {place}"
            says.append(f"{name} has {len(policies)} DMARC records, which counts as none (RFC 9989): {leave}")
            publish = publish or _strictest(policies)
    for name, texts in ((place, records), (domain, here)):
        for record in texts:
            said = [f"the DMARC record at {name} {each}" for each in _of_record(record)]
            if said and name == domain:
                said.append(f"a DMARC record belongs at {place}, not at {domain}: move it")
            says += said
            about += [record] * bool(said)
            publish = publish or (_meant(cleaned(record).text) if said else "")
    return Hint(tuple(map(sentence, dict.fromkeys(says))), publish, tuple(about))


def _strictest(records: Iterable[bytes]) -> str:
    """The one whose policy asks for most, as it stands; of equals the one that says more. "" if none is valid."""
    found: list[tuple[int, int, str]] = []
    for record in records:
        try:
            strictness = list(Disposition).index(parse_record(record).p)
            found.append((strictness, record.count(b"="), record.decode("ascii").strip()))
        except (PermanentError, UnicodeDecodeError):
            continue
    return max(found)[2] if found else ""


def _of_record(record: bytes) -> Iterator[str]:
    """What keeps it from being a valid policy, as ends of sentences; nothing if it is one, or was never meant to be."""
    text, faults = cleaned(record)
    if len(record) > LONGEST_RECORD or not _is_meant(text):
        return
    if not is_dmarc(record):
        if text_of(record)[:1].isspace():
            faults = (*faults, "a leading space")
        if faults:
            yield f"has {listed(faults)} in it: publish it again without"
    if is_dmarc(text.encode()):
        yield from _tags(text)
    elif _BEHIND.search(text) and not _VERSION.match(text):
        yield 'has "v=DMARC1" behind another tag: put it first'
    elif not _VERSION.match(text):
        yield f'starts with {quoted(text, 20)}: it has to start with "v=DMARC1;"'
    elif not _CAPITALS.match(text):
        yield f"starts with {quoted(text, 12)}: DMARC1 has to be in capitals"
    else:
        yield 'has no ";" behind "v=DMARC1": put one there, and between the tags'


def _is_meant(text: str) -> bool:
    if _BEHIND.search(text) and _POLICY.search(text):
        return True
    first = _FIRST.match(text)
    if not first:
        return False
    is_version = first[1].lower() == "dmarc" or near(first[1], "dmarc")
    return is_version and (_POLICY.search(text) is not None or text.lower().startswith("v=dmarc"))


def _tags(text: str) -> Iterator[str]:
    """What is wrong behind a right version."""
    try:
        parse_record(text.encode())
        return
    except PermanentError:
        pass
    for part in text.split(";")[1:]:
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals or name.lower() not in ("p", "sp", "np") or value.lower() in tuple(Disposition):
            continue
        if grown := _GROWN.search(value):
            yield f'has no ";" behind {quoted(f"{name}={value[: grown.start()]}", 40)}: put one there'
        else:
            meant = _disposition(value)
            instead = f'write "{name}={meant}"' if meant else f"{name} is none, quarantine or reject"
            yield f"has {quoted(part.strip(), 40)}: {instead}"


def _disposition(value: str) -> str:
    """The one that `value` is or misspells; "" if it is like none."""
    return next((each.value for each in Disposition if value.lower() == each or near(value, each)), "")


def _meant(text: str) -> str:
    """The policy with the tags that can be made out; "" if that is none."""
    tags: dict[str, str] = {}
    for name, value in _TAG.findall(text):
        tags.setdefault("p" if name.lower() == "policy" else name.lower(), value.strip(" ;,"))
    for name in ("p", "sp", "np"):
        if name in tags:
            tags[name] = _disposition(tags[name]) or Disposition.NONE
    policy = tags.pop("p", Disposition.NONE.value)
    found = "; ".join(["v=DMARC1", f"p={policy}", *(f"{name}={value}" for name, value in tags.items())])
    try:
        parse_record(found.encode())
    except PermanentError:
        return ""
    return found
