"""What DKIM hashes: which fields, and the relaxed and simple forms of a field and a body (RFC 6376 §3.4, §5.4.2).

In time linear in the size of the message and in little memory.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from relay.header import Field, Header

_CHUNK: Final = 65_536
_WSP_RUN: Final = re.compile(rb"[ \t]{2,}|\t")
_CUT: Final = re.compile(rb"[ \t]*+(?:\r\n|[^ \t])")  # a piece ends neither among blanks nor between CR and LF
_MANY_CRLF: Final = b"\r\n" * 512


def signed_fields(header: Header, names: Sequence[bytes], own: Field | None = None) -> Iterator[Field]:
    """Those that h= names, in lower case: of fields with one name, from the bottom up (§5.4.2). What it names in vain
    stands for nothing (§3.5). own: the signature's own field, which is none of them."""
    left: dict[bytes, list[Field]] = {name: [] for name in names}
    for each in header.fields:
        if each.name in left and each is not own:
            left[each.name].append(each)
    for name in names:
        if left[name]:
            yield left[name].pop()


def canonical_field(text: bytes, relaxed: bool) -> bytes:
    """§3.4.1, §3.4.2. text: a whole field with its CRLF."""
    if not relaxed:
        return text
    name, _, value = text.partition(b":")
    unfolded = _WSP_RUN.sub(b" ", value.replace(b"\r\n", b""))
    return name.rstrip(b" \t").lower() + b":" + unfolded.strip(b" ") + b"\r\n"


def canonical_body(content: bytes, start: int, relaxed: bool) -> Iterator[bytes]:
    """§3.4.3, §3.4.4, piece by piece."""
    position, empty, text = start, 0, False  # empty: CRLFs held back, which don't count at the end of the body
    while position < len(content):
        cut = _CUT.match(content, position + _CHUNK)
        following = cut.end() if cut else len(content)
        piece, position = content[position:following], following
        if relaxed:
            if b"\t" in piece or b"  " in piece:
                piece = _WSP_RUN.sub(b" ", piece)
            piece = piece.replace(b" \r\n", b"\r\n")
        end = _end_of_text(piece)
        if end:
            yield from _crlfs(empty)
            yield piece[:end]
            empty, text = 0, True
        empty += (len(piece) - end) // 2
    if text or not relaxed:
        yield b"\r\n"


def _end_of_text(piece: bytes) -> int:
    """Where the CRLFs at the end of `piece` begin."""
    end = len(piece)
    for ending in (_MANY_CRLF, b"\r\n"):
        while piece.endswith(ending, 0, end):
            end -= len(ending)
    return end


def _crlfs(count: int) -> Iterator[bytes]:
    for begin in range(0, count, _CHUNK):
        yield b"\r\n" * min(count - begin, _CHUNK)
