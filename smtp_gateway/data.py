"""The content after DATA: where it ends, dot-unstuffing, strict line ends, the size cap (RFC 5321 §4.5.2).

Smuggling: if we and the server after us disagree on where a message ends, one client's "content" is the next
one's commands. So the end is CRLF.CRLF and nothing like it, and content in which another reader could see
line ends that we don't (bare CR, bare LF) is refused, whole, once its real end has come.
"""

import io
from enum import Enum
from typing import Final

SMALL: Final = 65_536  # octets of content that need no room
_END: Final = b"\r\n.\r\n"
_DOT: Final = b"\r\n."
_PIECE: Final = 262_144  # octets looked at at once: as text they take as much memory again


class Flaw(Enum):
    """Why content is refused."""

    TOO_BIG = "it is too large"
    BARE_LINE_END = "it has a CR or LF that is not part of a CRLF"
    NUL = "it has a NUL"
    NO_ROOM = "there is no room for it now"


class Room:
    """Memory that all sessions' messages share beyond what is small of each, so that small messages always pass
    and large ones, however many sessions send them, don't take the process down."""

    def __init__(self, octets: int) -> None:
        self.free = octets


class Share:
    """What one message's content, or its envelope, takes of a room."""

    __slots__ = ("_room", "_taken")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def grow(self, octets: int) -> bool:
        """To so many, if it has less; False if there is no room for them."""
        more = octets - self._taken
        if more > self._room.free:
            return False
        if more > 0:
            self._room.free -= more
            self._taken = octets
        return True

    def leave(self) -> None:
        """Give all of it back."""
        self._room.free += self._taken
        self._taken = 0


class Body:
    """Takes octets from a buffer until the end of the content has come.

    limit: octets of content, as RFC 1870 §3 counts them (before dot-stuffing). What is beyond, or finds no
    room, is read and thrown away, so memory is bounded and the session stays in step.
    """

    __slots__ = ("_held", "_limit", "_most", "_no_room", "_scanned", "_share", "_stuffed", "_too_big")

    def __init__(self, limit: int, room: Room) -> None:
        self._limit = limit
        self._share = Share(room)
        self._no_room = False
        self._most = limit * 4 // 3 + len(_END)  # stuffed: at worst every line is "." CRLF, 3 octets made 4
        self._held = bytearray(b"\r\n")  # the end of the DATA line, for content whose first line is the dot
        self._scanned = 0
        self._stuffed = False  # a line that starts with a dot has been met, which isn't the last
        self._too_big = False

    def take(self, buffer: bytearray) -> bytes | Flaw | None:
        """Empty `buffer` up to the end of the content, or whole.

        None: the end has not come. Else the content, unstuffed; or what is wrong with it. Lines longer
        than 998 octets (RFC 5322 §2.1.1) pass: to fold them would break the sender's signature.
        """
        held = self._held
        held += buffer
        end = self._find_end()
        self._no_room = self._no_room or not self._share.grow((len(held) if end < 0 else end) - SMALL)
        if end < 0:
            buffer.clear()
            self._keep_searching()
            return None
        del buffer[: len(buffer) - (len(held) - end - len(_END))]
        if self._too_big or end > self._most:
            return Flaw.TOO_BIG
        if self._no_room:
            return Flaw.NO_ROOM
        with memoryview(held) as view:
            stuffed = bytes(view[2 : end + 2])
        self._held = bytearray()
        return self._finish(stuffed)

    def leave(self) -> None:
        """Give the room back: what became of the content is known."""
        self._share.leave()

    def _find_end(self) -> int:
        """Most content has no line that starts with a dot: then one search finds that, and the end."""
        held = self._held
        if not self._stuffed:
            dot = held.find(_DOT, self._scanned)
            if dot < 0 or held.startswith(_END, dot):
                return dot
            self._stuffed = len(held) >= dot + len(_END)
        return held.find(_END, self._scanned)

    def _keep_searching(self) -> None:
        held = self._held
        self._too_big = self._too_big or len(held) > self._most
        if self._too_big or self._no_room:
            self.leave()
            del held[: 1 - len(_END)]
        self._scanned = max(0, len(held) + 1 - len(_END))

    def _finish(self, stuffed: bytes) -> bytes | Flaw:
        """stuffed: without the CRLF before the first line."""
        if b"\0" in stuffed:
            return Flaw.NUL
        if has_bare_line_end(stuffed):
            return Flaw.BARE_LINE_END
        content = stuffed
        if self._stuffed:  # a line that starts with a dot loses it (RFC 5321 §4.5.2); the dot alone was the end
            content = stuffed.removeprefix(b".").replace(_DOT, b"\r\n")
        return Flaw.TOO_BIG if len(content) > self._limit else content


def has_bare_line_end(content: bytes) -> bool:
    """A CR or LF that is not part of a CRLF (RFC 5321 §2.3.8). The decoder of universal newlines notes which kinds it
    meets, in a third of the time that counting CR, LF and CRLF takes."""
    decoder = io.IncrementalNewlineDecoder(None, translate=False)
    for start in range(0, len(content), _PIECE):
        decoder.decode(content[start : start + _PIECE].decode("latin-1"))
    decoder.decode("", final=True)
    return decoder.newlines not in (None, "\r\n")
