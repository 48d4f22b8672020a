"""The one header reader: bytes in, field offsets and sender identities out (RFC 5322 §2.2, §3.4).

It reads only what every receiver reads the same way. Where mail programs differ (two From fields, bare CR,
`a@b (x) .c`, encoded words in an address) it refuses rather than guesses: DNS must prove exactly the domains
that a recipient could be shown. Bounded, linear in the size of the header, no recursion.
"""

import binascii
import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from relay.address import AddressError, parse_domain
from relay.errors import PermanentError

MAX_HEADER: Final = 262_144  # octets, the blank line included
MAX_FIELDS: Final = 2_000
MAX_IDENTITIES: Final = 65_536  # octets of all identity fields together
MAX_ADDRESSES: Final = 1_000  # in all identity fields together
MAX_DOMAINS: Final = 20  # sender domains of one message: each costs up to twenty DNS lookups

IDENTITY_FIELDS: Final = (b"from", b"sender", b"resent-from")
_ONCE: Final = (b"from", b"sender")  # RFC 5322 §3.6; each resending adds a Resent-From of its own

# field-name = 1*ftext (RFC 5322 §3.6.8); WSP before the colon is obsolete (§4.5) and still read
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*(:)[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n")
_BLANK_FOLD: Final = re.compile(rb"\r\n[ \t]+(?:\r\n|\Z)")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_GAP: Final = re.compile(rb"[ \t\r\n]+")
_ATOM: Final = re.compile(rb'[^\x00-\x20\x7f()<>\[\]:;@\\,."]+')  # atext, and UTF-8 (RFC 6532 §3.2)
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\[^\r\n])*"')
_COMMENT_PART: Final = re.compile(rb"[()]|\\[^\r\n]?")

_ENCODED: Final = re.compile(rb"=\?([^?]*)\?([bBqQ])\?")  # how an encoded word begins (RFC 2047 §2)
_SPECIAL: Final = re.compile(r'["(),:;<>@\[\\\]]')
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f]")
_AFTER_AT: Final = re.compile(r'@([^",:;<>@\\]*)')
_COMMENT: Final = re.compile(r"\([^()]*\)")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]")
# Character sets that mail is in; of others ASCII is read. A closed list: Python never forgets a name it does not know
_CHARSET: Final = re.compile(
    r"utf-?8|utf-(?:7|16|16[bl]e)|us-ascii|iso-8859-1?[0-9]|windows-125[0-8]|iso-2022-(?:jp|kr)|euc-(?:jp|kr)|shift_jis"
    r"|gb(?:2312|k|18030)|big5|ks_c_5601-1987|koi8-[ru]|tis-620"
)


class HeaderError(PermanentError):
    """The header, or who the sender is, cannot be read without doubt; `safe` says why."""


class Field(NamedTuple):
    """One field of the header. name: lower case. Offsets into the content: `start` of the name,
    `value_start` just after the colon, `end` just after the last CRLF."""

    name: bytes
    start: int
    value_start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """fields: in order. end: where the body begins (after the blank line; the size if there is none)."""

    content: bytes = field(repr=False)
    fields: tuple[Field, ...]
    end: int

    def has(self, name: bytes) -> bool:
        """name: in lower case, as in `values` and `value`."""
        return any(each.name == name for each in self.fields)

    def values(self, name: bytes) -> tuple[bytes, ...]:
        """Each field's value as it stands: folded, without the last CRLF."""
        return tuple(self._value(each) for each in self.fields if each.name == name)

    def value(self, name: bytes) -> bytes | None:
        """The first such field's value, or None."""
        return next((self._value(each) for each in self.fields if each.name == name), None)

    def senders(self) -> tuple[str, ...]:
        """Domains (A-labels, lower case, no repeats) of every address in From, Sender and Resent-From.

        HeaderError if there is no From, or if the addresses can't be read unambiguously.
        """
        raw: dict[bytes, str] = {}  # domain as written -> the field it stands in
        addresses = octets = 0
        for name in IDENTITY_FIELDS:
            values = self.values(name)
            if name in _ONCE and len(values) > 1:
                raise HeaderError(f"the message has {len(values)} {_shown(name)} fields; one is allowed")
            for value in values:
                octets += len(value)
                if octets > MAX_IDENTITIES:
                    raise HeaderError(f"the sender fields are longer than {MAX_IDENTITIES} octets")
                found = _field_domains(name, value)
                addresses += len(found)
                if addresses > MAX_ADDRESSES:
                    raise HeaderError(f"the sender fields hold more than {MAX_ADDRESSES} addresses")
                for domain in found:
                    raw.setdefault(domain, _shown(name))
            if name == b"from" and not values:
                raise HeaderError("the message has no From field")
        return tuple(dict.fromkeys(_a_labels(domain, name) for domain, name in raw.items()))

    def authors(self) -> tuple[str, ...]:
        """The domains of From alone, as in `senders` (RFC 9989: the Author Domains). HeaderError as there."""
        domains = (domain for value in self.values(b"from") for domain in _field_domains(b"from", value))
        return tuple(dict.fromkeys(_a_labels(domain, "From") for domain in domains))

    def _value(self, each: Field) -> bytes:
        return self.content[each.value_start : each.end - 2]


def read_header(content: bytes) -> Header:
    """The header of a whole message with CRLF line ends; HeaderError if it is too large or malformed."""
    end = _end_of_header(content)
    block = content[:end]
    if not block.count(b"\r") == block.count(b"\n") == block.count(b"\r\n"):
        raise HeaderError("the header has a bare CR or LF")  # RFC 5322 §2.2: they occur only together
    if b"\0" in block:
        raise HeaderError("the header has a NUL")
    fields: list[Field] = []
    position = 0
    while position < end and not content.startswith(b"\r\n", position):
        match = _FIELD.match(block, position)
        if not match:
            line = block.count(b"\n", 0, position) + 1
            raise HeaderError(f"line {line} of the header is not a header field")
        if len(fields) == MAX_FIELDS:
            raise HeaderError(f"the header has more than {MAX_FIELDS} fields")
        fields.append(Field(match[1].lower(), position, match.end(2), match.end()))
        position = match.end()
    return Header(content, tuple(fields), end)


def _end_of_header(content: bytes) -> int:
    if content.startswith(b"\r\n"):
        return 2
    blank = content.find(b"\r\n\r\n", 0, MAX_HEADER)
    if blank >= 0:
        return blank + 4
    if len(content) > MAX_HEADER:
        raise HeaderError(f"the header is longer than {MAX_HEADER} octets")
    if not content:
        raise HeaderError("the message is empty")
    if not content.endswith(b"\r\n"):
        raise HeaderError("the header's last line has no end")
    return len(content)


def _shown(name: bytes) -> str:
    return name.decode("ascii").title()


def _a_labels(domain: bytes, name: str) -> str:
    try:
        return parse_domain(domain.decode("utf-8"))
    except AddressError as error:
        raise HeaderError(f"an address in {name} has a bad domain: {error.safe}", error.detail) from error


# --- addresses: RFC 5322 §3.4, §3.4.1, without what is obsolete but empty list elements ------------


class _Syntax(Exception):  # noqa: N818 - never leaves this module
    pass


class _Token(NamedTuple):
    kind: bytes  # b"atom", b"quoted", or the special itself
    text: bytes
    glued: bool  # nothing stands between it and the token before


def _field_domains(name: bytes, value: bytes) -> list[bytes]:
    """The domain, as written, of every address in an address list with groups (RFC 6854)."""
    try:
        if _CONTROL.search(value):  # an ESC may open a character set in which "<" isn't "<" (ISO-2022-JP)
            raise _Syntax("it has control characters")
        if _BLANK_FOLD.search(value):
            raise _Syntax("it is folded over a blank line")
        value.decode("utf-8")
        addresses = _AddressList()
        for token in _tokens(value):
            addresses.take(token)
        found = addresses.end()
        _check_encoded(value, found)
        if not found:
            raise _Syntax("it has no address")
        if name == b"sender" and len(found) > 1:
            raise _Syntax("it has more than one address")
    except UnicodeDecodeError:
        raise HeaderError(f"{_shown(name)} cannot be read: its text is not UTF-8") from None
    except _Syntax as problem:
        raise HeaderError(f"{_shown(name)} cannot be read: {problem}") from None
    return found


def _check_encoded(value: bytes, found: list[bytes]) -> None:
    """Some readers decode the whole field and look for addresses then (RFC 2047 §6.2 has it the other way round).
    They may find none but `found`."""
    text, encoded = _decode(value)
    if _UNSEEN.search(encoded):
        raise _Syntax("it has control characters")
    if not _SPECIAL.search(encoded):  # nothing in it moves where an address begins or ends
        return
    ours = {each.decode("utf-8").lower() for each in found}
    for after in _AFTER_AT.findall(text):
        domain = "".join(_COMMENT.sub("", after).split()).lower()
        if domain not in ours and any(sign in domain for sign in ".()["):
            raise _Syntax("an encoded word stands in an address")


def _decode(value: bytes) -> tuple[str, str]:
    """With its encoded words decoded; and what these are."""
    parts: list[str] = []
    words: list[str] = []
    at = 0
    while (begin := _ENCODED.search(value, at)) and (end := value.find(b"?=", begin.end())) >= 0:
        words.append(_decode_word(begin[1], begin[2] in b"bB", value[begin.end() : end]))
        parts += [value[at : begin.start()].decode("utf-8", "replace"), words[-1]]
        at = end + 2
    return "".join(parts) + value[at:].decode("utf-8", "replace"), "".join(words)


def _decode_word(charset: bytes, base64: bool, text: bytes) -> str:
    name = charset.partition(b"*")[0].decode("ascii", "replace").lower()  # after "*": the language (RFC 2231 §5)
    if base64:
        kept = _NOT_BASE64.sub(b"", text)
        content = binascii.a2b_base64(kept[: len(kept) - (len(kept) % 4 == 1)] + b"==")
    else:
        content = binascii.a2b_qp(text, header=True)
    try:
        return content.decode(name if _CHARSET.fullmatch(name) else "latin-1", "replace")
    except LookupError:  # such as iso-8859-12
        return content.decode("latin-1")


def _tokens(value: bytes) -> list[_Token]:
    tokens: list[_Token] = []
    position, glued = 0, False
    while position < len(value):
        char = value[position : position + 1]
        if gap := _GAP.match(value, position):
            position, glued = gap.end(), False
        elif char == b"(":
            position, glued = _skip_comment(value, position), False
        else:
            token = _token(value, position, char, glued)
            tokens.append(token)
            position, glued = position + len(token.text), True
    return tokens


def _token(value: bytes, position: int, char: bytes, glued: bool) -> _Token:
    if atom := _ATOM.match(value, position):
        return _Token(b"atom", atom[0], glued)
    if char == b'"':
        quoted = _QUOTED.match(value, position)
        if not quoted:
            raise _Syntax("a quoted string has no end")
        return _Token(b"quoted", quoted[0], glued)
    if char in b"<>,;:@.":
        return _Token(char, char, glued)
    if char == b"[":
        raise _Syntax("an address has an address literal where a domain belongs")
    raise _Syntax(f'"{char.decode("ascii")}" is out of place')


def _skip_comment(value: bytes, position: int) -> int:
    """Where the comment that starts at `position` ends; comments nest (RFC 5322 §3.2.2)."""
    depth = 0
    for part in _COMMENT_PART.finditer(value, position):
        depth += {b"(": 1, b")": -1}.get(part[0], 0)
        if depth == 0 and part[0] == b")":
            return part.end()
    raise _Syntax("a comment has no end")


class _AddressList:
    """address-list as a machine over tokens; `found` gathers the domains."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.words: list[_Token] = []  # since the last separator, or inside < >
        self.angle = False  # inside < >
        self.group = False  # between a group's ":" and ";"
        self.closed = False  # after ">" or ";": only a separator may follow

    def take(self, token: _Token) -> None:
        kind = token.kind
        if self.angle and kind in (b"<", b",", b";", b":"):
            raise _Syntax("an address is a source route or not closed")  # RFC 5322 §4.4 obs-route
        if self.closed and kind not in (b",", b";"):
            raise _Syntax("something follows an address without a comma between")
        if kind == b"<" or (kind == b":" and self.words and not self.group):
            _check_phrase(self.words)
            self.words, self.angle, self.group = [], kind == b"<", self.group or kind == b":"
        elif kind == b">" and self.angle:
            self._address()
            self.angle, self.closed = False, True
        elif kind == b"," or (kind == b";" and self.group):
            self._separator(kind)
        elif kind in (b":", b">", b";"):
            raise _Syntax(f'"{kind.decode("ascii")}" is out of place')
        else:
            self.words.append(token)

    def end(self) -> list[bytes]:
        if self.angle or self.group:
            raise _Syntax("an address has no end" if self.angle else "a group has no end")
        self._separator(b",")
        return self.found

    def _separator(self, kind: bytes) -> None:
        if self.words:
            self._address()
        self.group = self.group and kind == b","
        self.closed = kind == b";"

    def _address(self) -> None:
        self.found.append(_domain(self.words))
        self.words = []


def _check_phrase(words: list[_Token]) -> None:
    if any(word.kind == b"@" for word in words):
        raise _Syntax("a name with an @ must stand in quotes")


def _domain(words: list[_Token]) -> bytes:
    """The domain of the addr-spec that `words` are. White space and comments inside are refused: what
    follows them is part of the address for some readers and not for others."""
    signs = [index for index, word in enumerate(words) if word.kind == b"@"]
    if len(signs) != 1:
        raise _Syntax("an address has no @" if not signs else "an address has several @")
    local, domain = words[: signs[0]], words[signs[0] + 1 :]
    if not local or not domain:
        raise _Syntax("an address lacks a side of its @")
    if not all(word.glued for word in words[1:]):
        raise _Syntax("white space or a comment stands inside an address")
    if any(b"=?" in word.text for word in words):  # RFC 2047 §5: never in an addr-spec
        raise _Syntax("an encoded word stands in an address")
    if any(word.kind == b"quoted" for word in domain) or (
        any(word.kind == b"quoted" for word in local) and len(local) > 1
    ):
        raise _Syntax("a quoted string is out of place in an address")
    if any(sign in word.text for word in local for sign in (b"@", b"<")):
        raise _Syntax("an address has a second one inside its quotes")  # which some readers take for the sender
    return b"".join(word.text for word in domain)
