"""SMTP replies (RFC 5321 §4.2): Reply, and ReplyReader that turns bytes into them, within bounds."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LONGEST_LINE: Final = 2048  # RFC 5321 §4.5.3.1.5 allows 512; real servers write longer ones
MOST_LINES: Final = 100
LARGEST_REPLY: Final = 65_536
USUAL: Final = 64  # octets of a line that may well come again
MOST_WAITING: Final = 256  # replies not asked for yet: those of a pipelined envelope and some to spare
LONGEST_TEXT: Final = 1000  # octets: a report of 100 recipients, as ASCII JSON, has to fit the queue

_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(rb"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?: +|$)")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class ProtocolError(Exception):
    """The remote sent what is no SMTP reply, or more than anybody needs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """code: 200-599. lines: each line's text without code and line end."""

    code: int
    lines: tuple[bytes, ...] = (b"",)

    @classmethod
    def ours(cls, code: int, enhanced: str, text: str) -> "Reply":
        """Our own words where no remote said any."""
        return cls(code, (f"{enhanced} {text}".encode(),))

    @property
    def ok(self) -> bool:
        return self.code < 300

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    @property
    def enhanced(self) -> str:
        """RFC 3463 status; where the server gave none (or one of another class), "<class>.0.0"."""
        kind = self.code // 100
        match = _ENHANCED.match(self.lines[0])
        return _status(kind, match[0]) if match else f"{kind}.0.0"

    @property
    def text(self) -> str:
        """The words on one line, without status codes and control characters, at most 1,000 octets of UTF-8."""
        words = b" ".join([_ENHANCED.sub(b"", line, count=1) for line in self.lines])
        text = words.decode("utf-8", "replace")
        if not text.isprintable():
            text = _CONTROL.sub(" ", text)
        text = text.strip()
        return text[:LONGEST_TEXT] if text.isascii() else text.encode()[:LONGEST_TEXT].decode("utf-8", "ignore")


class ReplyReader:
    """Bytes in, replies out. Bare LF ends a line, too: servers that send it do exist."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def clean(self) -> bool:
        """No part of a reply is waiting for its end."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes. ProtocolError for nonsense or too much of anything."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise ProtocolError("reply line too long")
        replies = []
        for line in lines:
            line = line.removesuffix(b"\r")
            reply = self._line(line) if self._lines or len(line) > USUAL else _usual(line) or self._line(line)
            if reply is not None:
                replies.append(reply)
                if len(replies) > MOST_WAITING:
                    raise ProtocolError("replies that nobody asked for")
        return replies

    def _line(self, line: bytes) -> Reply | None:
        self._size += len(line)
        if len(line) > LONGEST_LINE or len(self._lines) >= MOST_LINES or self._size > LARGEST_REPLY:
            raise ProtocolError("reply too long")
        match = _LINE.fullmatch(line)
        if match is None:
            raise ProtocolError("not an SMTP reply")
        code, more, text = match.groups()
        self._lines.append(text or b"")
        if more == b"-":
            return None
        reply = Reply(int(code), tuple(self._lines))  # codes that differ within a reply: the last one counts
        self._lines = []
        self._size = 0
        return reply


@lru_cache(256)
def _status(kind: int, said: bytes) -> str:
    """kind: the code's first digit. said: what _ENHANCED matches."""
    first, subject, detail = map(int, said.split(b"."))
    return f"{kind}.{subject}.{detail}" if first == kind else f"{kind}.0.0"


@lru_cache(256)
def _usual(line: bytes) -> Reply | None:
    """The reply that this line is by itself, None if it is none: servers say the same few again and again."""
    match = _LINE.fullmatch(line)
    return Reply(int(match[1]), (match[3] or b"",)) if match and match[2] != b"-" else None
