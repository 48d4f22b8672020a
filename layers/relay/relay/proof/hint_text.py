"""What hints have in common: a record's text as a person may have mangled it, and words that are nearly right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from relay.proof.spf_record import shown

LONGEST_RECORD: Final = 2048  # octets; what is longer is nobody's slip of the fingers, and takes time to look at
LONGEST: Final = 380  # characters of a sentence: a line of an SMTP reply has at most 512 octets (RFC 5321 §4.5.3.1.5)


@dataclass(frozen=True, slots=True)
class Hint:
    """says: sentences without a full stop, printable ASCII, at most LONGEST characters each: what is wrong, which
    value, what to do. publish: the record's text as it was probably meant, "" if nobody can tell. about: the records,
    right or wrong, that it was made from."""

    says: tuple[str, ...] = ()
    publish: str = ""
    about: tuple[bytes, ...] = ()


class Cleaned(NamedTuple):
    """text: without what doesn't belong into any record. faults: what that was, in words."""

    text: str
    faults: tuple[str, ...] = ()


_QUOTES: Final = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb\u2039\u203a\u2032\u2033\u00b4`"
_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_BLANKS: Final = "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000"
_UNSEEN: Final = "\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff"

# characters -> what stands for them, and what they are called
_ODD: Final = (
    (_QUOTES, "", "typographic quotes"),
    (_DASHES, "-", "a typographic dash"),
    (_BLANKS, " ", "a space of another kind"),
    (_UNSEEN, "", "an invisible character"),
    ("\t\r\n\v\f", " ", "a tab or line end"),
    ("\\", "", "a backslash"),
    ('"', "", "quotation marks"),
)


def text_of(record: bytes) -> str:
    """As it was meant: UTF-8, also where that was once taken for Windows-1252 or Latin-1 and encoded again; else
    Windows-1252."""
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError:
        return record.decode("cp1252", "replace")
    try:
        return b"".join(each.encode("latin-1" if each < "\u0100" else "cp1252") for each in text).decode("utf-8")
    except UnicodeError:
        return text


def cleaned(record: bytes) -> Cleaned:
    """Without quotes of any kind, look-alikes of "-" and " ", backslashes, invisible characters, space at the ends."""
    text, faults = text_of(record), []
    for characters, instead, name in _ODD:
        found = [each for each in characters if each in text]
        if found:
            code = "" if found[0].isascii() else f" (U+{ord(found[0]):04X})"
            faults.append(f"{name}{code}")
            for each in found:
                text = text.replace(each, instead)
    bare = text.strip()
    if bare[:1] == "'" == bare[-1:] and len(bare) > 1:
        bare = bare[1:-1].strip()
        faults.append("single quotes")
    return Cleaned(bare, tuple(faults))


def near(word: str, wanted: str) -> bool:
    """Whether it is `wanted` with a slip or two of the fingers, and not `wanted` itself; case doesn't count."""
    word, wanted = word.lower(), wanted.lower()
    if word == wanted or abs(len(word) - len(wanted)) > 2:
        return False
    if word.translate(_JOINERS) == wanted.translate(_JOINERS):
        return True
    return _edits(word, wanted) <= (2 if len(wanted) >= 7 else 1)


_JOINERS: Final = str.maketrans("", "", "-_. ")


def _edits(one: str, other: str) -> int:
    """Letters to insert, delete, replace or swap with their neighbour (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]


def sentence(text: str) -> str:
    return shown(text, LONGEST)


def quoted(text: str, longest: int = 60) -> str:
    """A value from DNS inside a sentence."""
    return f'"{shown(text, longest)}"'


def fitting(words: Sequence[str], room: int) -> str:
    """As many as fit into `room` characters, separated by commas, and the number of those that don't."""
    whole = ", ".join(words)
    if len(whole) <= room:
        return whole
    for taken in range(min(len(words) - 1, max(room, 0)), 0, -1):
        text = f"{', '.join(words[:taken])} and {len(words) - taken} more"
        if len(text) <= room:
            return text
    return f"{len(words)} terms"


def listed(words: tuple[str, ...]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
