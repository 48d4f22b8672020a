"""Near misses of the ownership token: what a record says that was meant to be it."""

import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from relay.proof.hint_text import LONGEST_RECORD, Hint, cleaned, listed, near, quoted, sentence
from relay.proof.token import matches, token_value

_HEX64: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_HEX: Final = re.compile(r"[0-9a-f]+")
_FORMS: Final = (
    re.compile(r"([a-z0-9][a-z0-9_. -]*?)(\s*[=:][=:\s]*)(.*)", re.IGNORECASE | re.DOTALL),
    re.compile(r"([a-z0-9][a-z0-9_.-]*)(\s+)(.+)", re.IGNORECASE | re.DOTALL),
)

# hex digits -> the hash that has so many
_OTHER_HASHES: Final = {32: "MD5", 40: "SHA-1", 56: "SHA-224", 96: "SHA-384", 128: "SHA-512"}

# what stood before and after the hashed name, and how that is told
_AROUND: Final = (
    ("", "\n", 'with a line feed after it, which "echo" adds: use "echo -n" or "printf %s"'),
    ("", "\r\n", "with a CR and LF after it, as a line of a file has: hash the name alone"),
    ("", "\n\n", "with two line feeds after it: hash the name alone"),
    *(
        (before, f"{after}{end}", f"{how}{also}: hash the name alone")
        for end, also in (("", ""), ("\n", " and a line feed after it"))
        for before, after, how in (
            ("", " ", "with a space after it"),
            (" ", "", "with a space before it"),
            (" ", " ", "with spaces around it"),
            ('"', '"', "with quotation marks around it"),
            ("'", "'", "with single quotes around it"),
            ("\u201c", "\u201d", "with typographic quotes around it"),
            ("<", ">", "with < and > around it"),
            ("", ".", "with a dot after it"),
            ("mailto:", "", 'with "mailto:" before it'),
        )
    ),
)
_EXAMPLE: Final = "user@domain.com"  # in the guide


@dataclass(frozen=True, slots=True)
class _Wanted:
    domain: str
    user: str
    name: str

    @property
    def its(self) -> str:
        return f"the {self.name} record of {self.domain}"

    @property
    def digests(self) -> tuple[str, ...]:
        return _sha256(self.user), _sha256(self.user.lower())


def token_hints(records: Iterable[bytes], *, domain: str, user: str, token_name: str) -> Hint:
    """records: the TXT records at `domain` itself. Empty if one of them is right, or none was meant to be it."""
    texts = tuple(records)
    if any(matches(each, user, token_name) for each in texts):
        return Hint()
    wanted = _Wanted(domain, user, token_name)
    short = [each for each in texts if len(each) <= LONGEST_RECORD]
    found = [_read(each, wanted) for each in short]
    strangers = [each.stranger for each in found if each.stranger]
    origins = _origins(wanted) if strangers else {}
    says = [said for each in found for said in each.says]
    says += [f"{wanted.its} {origins[each]}" for each in strangers if each in origins]
    others = sum(each not in origins for each in strangers)
    if others:
        what = f"{others} {token_name} records of {domain} are hashes of other user names: leave them, and"
        if others == 1:
            what = f"{wanted.its} is the hash of another user name: leave it, and"
        says.append(f"{what} publish one for {user}, too")
    about = (record for record, read in zip(short, found, strict=True) if read.says or read.stranger)
    return Hint(tuple(map(sentence, dict.fromkeys(says))), about=tuple(about))


def is_bare_hash(record: bytes) -> bool:
    """Whether it is nothing but 64 hex digits."""
    return len(record) <= LONGEST_RECORD and _HEX64.fullmatch(cleaned(record).text.lower()) is not None


class _Read(NamedTuple):
    """says: what is wrong with a record's form, then with its value. stranger: the hash in it, if it is another one."""

    says: tuple[str, ...] = ()
    stranger: str = ""


def _read(record: bytes, wanted: _Wanted) -> _Read:
    """Of one that was meant to be a token; nothing if it wasn't."""
    text, faults = cleaned(record)
    name = wanted.name.lower()
    if text.lower().startswith("v=spf1"):
        said = f"the token is inside the SPF record of {wanted.domain}: publish it as a TXT record of its own"
        return _Read((said,) if f"{name}=" in text.lower() else ())
    if len(_HEX64.findall(text.lower())) > 1 and name in text.lower():
        return _Read((f"{wanted.its} holds several tokens: publish each as a TXT record of its own",))
    form = _form(text, wanted)
    if form is None:
        return _Read()
    wrong, value = form[0], form[1].strip()
    odd = f"{wanted.its} has {listed(faults)} in it: publish it again without" if faults else ""
    stranger = value.lower() if _HEX64.fullmatch(value.lower()) and value.lower() not in wanted.digests else ""
    bad = "" if stranger else _value(value, wanted)
    return _Read(tuple(filter(None, (odd, wrong, f"{wanted.its} {bad}" if bad else ""))), stranger)


def _form(text: str, wanted: _Wanted) -> tuple[str, str] | None:
    """(what is wrong with name and "=", the value); None if it is no token at all."""
    name = wanted.name
    if text.lower() in wanted.digests:
        return f'at {wanted.domain} the hash {quoted(text, 20)} stands alone: put "{name}=" before it', text
    if text.lower().startswith(name.lower()) and _HEX64.fullmatch(text[len(name) :].lower()):
        return f'{wanted.its} has no "=" before the hash: put one there', text[len(name) :]
    match = next((found for each in _FORMS if (found := each.fullmatch(text))), None)
    if not match:
        return None
    word, equals, value = match.groups()
    is_value = bool(_HEX64.search(value.lower()) or value.lower() == wanted.user.lower())
    if word.lower() != name.lower():
        misspelt = f'in the record {quoted(text, 30)} of {wanted.domain} the name is misspelt: write "{name}="'
        return (misspelt, value) if is_value and near(word, name) else None
    table = (
        (":" in equals, 'has ":" where "=" belongs: publish it again with "="'),
        (not equals.strip(), 'has no "=" before the hash: put one there' if is_value else ""),
        (len(equals.strip()) > 1, f'has "{equals.strip()}" where "=" belongs: publish it again with one'),
        (equals != "=", 'has a space beside its "=": publish it again without'),
    )
    wrong = next((wrong for applies, wrong in table if applies), "")
    return f"{wanted.its} {wrong}" if wrong else "", value


def _value(value: str, wanted: _Wanted) -> str:
    """What is wrong with it, as the end of "the record ..."; "" if nothing is."""
    plain, digests = value.lower(), wanted.digests
    inside = next((each for each in digests if each in plain), "")
    beside = plain.replace(inside, "", 1).strip() if inside else ""
    start_of = next((each for each in digests if len(plain) >= 8 and each.startswith(plain)), "")
    other = _OTHER_HASHES.get(len(plain), "")
    as_of = f", as of {other}" if other else ""
    table = (
        (plain in digests, ""),
        (beside, f"has {quoted(beside)} besides the 64 digits of the hash: take that away"),
        (plain == wanted.user.lower(), "has the user name itself: publish its SHA-256 hash, in hex"),
        (start_of, f"is cut off after {len(plain)} of the hash's {len(start_of)} digits: copy all of it"),
        (_HEX.fullmatch(plain), f"has {len(plain)} hex digits{as_of}: publish the SHA-256 hash, which has 64"),
        (_is_base64_of_a_hash(value), "has the hash in base64: publish it in hex, 64 digits"),
        (True, f"has {quoted(value, 40)} where the hash belongs: publish 64 hex digits"),
    )
    return next(wrong for applies, wrong in table if applies)


def _is_base64_of_a_hash(value: str) -> bool:
    try:
        packed = value.rstrip("=").translate(str.maketrans("-_", "+/"))
        return len(binascii.a2b_base64(packed + "=" * (-len(packed) % 4), strict_mode=True)) == 32
    except ValueError:
        return False


def _origins(wanted: _Wanted) -> dict[str, str]:
    """Hashes that people make instead of the right one: hash -> how it was made, as the end of "the record ..."."""
    found: dict[str, str] = {}
    user, (local, _, host) = wanted.user, wanted.user.rpartition("@")
    for each in (user, user.lower()):
        for before, after, how in _AROUND:
            found.setdefault(_sha256(f"{before}{each}{after}"), f"is the hash of {each} {how}")
        for encoding in ("utf-16-le", "utf-16", "utf-8-sig"):
            how = "in UTF-16, as PowerShell makes it" if "16" in encoding else "with a byte order mark before it"
            found.setdefault(_sha256(each, encoding), f"is the hash of {each} {how}: hash it in UTF-8 without a mark")
        found.setdefault(_sha256(_sha256(each)), "is the hash of the hash: hash the user name once")
        for whole in (f"{wanted.name}={each}", token_value(each, wanted.name)):
            found.setdefault(_sha256(whole), "is the hash of the whole record: hash the user name alone")
    cases = (str.upper, str.lower, str.capitalize, str.title, str.swapcase, str)
    for each in (f"{of_local(local)}@{of_host(host)}" for of_local in cases for of_host in cases):
        for end in ("", "\n", "\r\n"):
            feed = " and a line feed after it" if end else ""
            how = f"is the hash of {quoted(each)}{feed}: hash {user.lower()}, in lower case, alone"
            found.setdefault(_sha256(each + end), how)
    parts = (("", "nothing, as of an empty variable"), (host, f"{host} alone"), (local, f"{quoted(local)} alone"),
             (wanted.domain, f"{wanted.domain} alone"), (f"@{host}", f"@{host} alone"),
             (_EXAMPLE, f"{_EXAMPLE}, the guide's example"))  # fmt: skip
    for part, words in parts:
        for end in ("", "\n", "\r\n"):
            found.setdefault(_sha256(part + end), f"is the hash of {words}: hash the whole user name, {user}")
    return found


def _sha256(text: str, encoding: str = "utf-8") -> str:
    return hashlib.sha256(text.encode(encoding)).hexdigest()
