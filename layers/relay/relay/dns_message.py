"""DNS messages, as far as a stub resolver needs them: one question out, its answer in (RFC 1035 §4, RFC 2308,
RFC 6891).

Pure, no recursion, linear in the size of a message whatever is in it. A general reader is not: 16 KB of MX records
whose names have 127 labels, compressed, keep dnspython's busy for seconds.
"""

import re
import socket
import struct
from enum import IntEnum
from typing import Any, Final, NamedTuple

UDP_PAYLOAD: Final = 1232  # no IP fragments (RFC 9715 §3)
MAX_NAME: Final = 255  # octets as in a message, RFC 1035 §2.3.4
MAX_LABEL: Final = 63
MAX_ALIASES: Final = 16  # CNAMEs in one message
LONGEST_TTL: Final = 604_800  # seconds; a week is as good as for ever (RFC 8767 §4)
NEGATIVE_TTL: Final = 300  # of "no" without an SOA, which should have one

_IN: Final = 1
_QR, _OPCODE, _AA, _TC, _RA, _RCODE = 0x8000, 0x7800, 0x0400, 0x0200, 0x0080, 0x000F
_NOERROR, _NXDOMAIN = 0, 3

_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_ASK: Final = _HEADER.pack(0, 0x0100, 1, 0, 0, 1)[2:]  # recursion desired; one question, one record more: OPT
_SIZE: Final = b"\0" + _RECORD.pack(41, UDP_PAYLOAD, 0, 0)  # RFC 6891 §6.1.2
_PLAIN: Final = re.compile(rb"[!-\-/-\[\]-~]+")  # visible, but neither "." nor "\\": it can be asked for as it stands


class Type(IntEnum):
    A = 1
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    OPT = 41


class MessageError(Exception):
    """The message says that the server failed, or nothing that makes sense."""


class Reply(NamedTuple):
    """records: of the type asked for; str (A, AAAA, PTR), (preference, host) (MX) or bytes (TXT, strings joined).
    alias: the name that the question's is an alias of, as in a message, where that has no records here; else b"".
    ttl: seconds, of everything that the reply rests on."""

    exists: bool
    records: tuple[Any, ...]
    alias: bytes
    ttl: int


def wire_name(text: str) -> bytes:
    """A name as in a message, as it stands: no escapes. ValueError if DNS can't hold it."""
    labels = text.removesuffix(".").encode("ascii").split(b".")
    if any(not 0 < len(label) <= MAX_LABEL for label in labels):
        raise ValueError("a label is empty or too long")
    wire = b"".join(len(label).to_bytes() + label for label in labels) + b"\0"
    if len(wire) > MAX_NAME:
        raise ValueError("the name is too long")
    return wire


def query(id: bytes, name: bytes, type: Type) -> bytes:
    """id: two octets. name: as in a message, not compressed."""
    return id + _ASK + name + struct.pack("!HH", type, _IN) + _SIZE


def answers(wire: bytes, asked: bytes) -> bool:
    """Whether it is a response to the query `asked` (RFC 5452 §9.1); only one that reports a failure may lack the
    question."""
    if len(wire) < _HEADER.size or wire[:2] != asked[:2]:
        return False
    _, flags, questions, *_ = _HEADER.unpack_from(wire)
    if flags & (_QR | _OPCODE) != _QR:
        return False
    if questions == 0:
        return flags & _RCODE not in (_NOERROR, _NXDOMAIN)
    question = asked[_HEADER.size : -len(_SIZE)]
    # lower() on it all: no length of a label and no type of ours is a capital letter
    return questions == 1 and wire[_HEADER.size : _HEADER.size + len(question)].lower() == question.lower()


def is_truncated(wire: bytes) -> bool:
    return bool(int.from_bytes(wire[2:4]) & _TC)


def read(wire: bytes, asked: bytes) -> Reply:
    """wire: what `answers` the query `asked`. MessageError if it has no answer to it, positive or negative."""
    code = int.from_bytes(wire[2:4]) & _RCODE
    if code in (_NOERROR, _NXDOMAIN):
        try:
            message = _Message(wire, int.from_bytes(asked[-len(_SIZE) - 4 :][:2]))
            code = message.code
            if code in (_NOERROR, _NXDOMAIN):
                return message.reply()
        except (IndexError, struct.error):  # it ends too early
            raise MessageError("a part of a message") from None
    raise MessageError(f"response code {code}")


class _Message:
    """A response to a question of `type`. code: with the upper bits that OPT has."""

    def __init__(self, wire: bytes, type: int) -> None:
        self._wire = wire
        self._type = type
        self._names: dict[int, bytes] = {}  # by where they start; each place is read once
        _, self._flags, _, answers, authorities, additional = _HEADER.unpack_from(wire)
        self._at = _HEADER.size
        self._asked = self._name()
        self._at += 4
        self.code = self._flags & _RCODE
        self._records: dict[tuple[bytes, int], list[tuple[int, int, int]]] = {}  # TTL, start and end of the data
        self._zones: dict[bytes, int] = {}  # the TTL that a zone's SOA gives to "no"
        for _ in range(answers):
            owner, kind, of, ttl, start = self._record()
            if of == _IN and kind in (type, Type.CNAME):
                self._records.setdefault((owner, kind), []).append((_seconds(ttl), start, self._at))
        for _ in range(authorities):
            owner, kind, of, ttl, start = self._record()
            if of == _IN and kind == Type.SOA and self._at - start >= 22:  # two names, five numbers
                minimum = int.from_bytes(wire[self._at - 4 : self._at])
                self._zones[owner] = min(_seconds(ttl), _seconds(minimum))  # RFC 2308 §5
        for _ in range(additional):
            _, kind, _, ttl, _ = self._record()
            if kind == Type.OPT:
                self.code |= ttl >> 24 << 4  # RFC 6891 §6.1.3
        if self._at != len(wire):
            raise MessageError("something follows the message")

    def reply(self) -> Reply:
        name, ttl = self._canonical()
        found = self._records.get((name, self._type), ())
        exists = self.code == _NOERROR
        if not found:
            ttl = min(ttl, self._negative_ttl(name))
            return Reply(exists, (), b"" if name == self._asked else name, ttl)
        if not exists:
            raise MessageError("an answer for a name that does not exist")
        values = dict.fromkeys(self._value(start, end) for _, start, end in found)  # an RRset has none twice
        return Reply(True, tuple(values), b"", min(ttl, *(seconds for seconds, _, _ in found)))

    def _canonical(self) -> tuple[bytes, int]:
        """The name at the end of the CNAMEs, and the shortest of their TTLs. Records of other names are nothing."""
        name, seconds = self._asked, LONGEST_TTL
        for _ in range(MAX_ALIASES + 1):
            cnames = self._records.get((name, Type.CNAME))
            if not cnames or (name, self._type) in self._records:
                return name, seconds
            ttl, start, end = cnames[0]
            name, seconds = self._name_between(start, end), min(seconds, ttl)
        raise MessageError(f"more than {MAX_ALIASES} CNAMEs")

    def _negative_ttl(self, name: bytes) -> int:
        """Who says that `name` has nothing is authoritative or has asked who is, and adds the SOA of a zone that the
        name is in (RFC 2308 §2, §5). A referral is no answer."""
        if not self._flags & (_AA | _RA):
            raise MessageError("from a server that does not resolve")
        if not self._zones:
            return NEGATIVE_TTL
        for each in (name, self._asked):
            at = 0
            while True:
                if (ttl := self._zones.get(each[at:])) is not None:
                    return ttl
                if not each[at]:
                    break
                at += each[at] + 1
        raise MessageError("with the SOA of another zone")

    def _value(self, start: int, end: int) -> Any:
        data = self._wire[start:end]
        match self._type, len(data):
            case (Type.A, 4):
                return socket.inet_ntop(socket.AF_INET, data)
            case (Type.AAAA, 16):
                return socket.inet_ntop(socket.AF_INET6, data)
            case (Type.MX, size) if size > 2:
                return int.from_bytes(data[:2]), _text(self._name_between(start + 2, end))
            case (Type.PTR, _):
                return _text(self._name_between(start, end))
            case (Type.TXT, size) if size:
                return _joined(data)
        raise MessageError("broken data")

    def _record(self) -> tuple[bytes, int, int, int, int]:
        """Owner, type, class, TTL, where the data starts. Leaves `_at` where it ends."""
        owner = self._name()
        kind, of, ttl, size = _RECORD.unpack_from(self._wire, self._at)
        start = self._at + _RECORD.size
        self._at = start + size
        if self._at > len(self._wire):
            raise MessageError("a part of a message")
        return owner, kind, of, ttl, start

    def _name_between(self, start: int, end: int) -> bytes:
        self._at = start
        name = self._name()
        if self._at != end:
            raise MessageError("broken data")
        return name

    def _name(self) -> bytes:
        """The name at `_at`, which then is after it; whole and in lower case. RFC 1035 §4.1.4: compression."""
        wire, at = self._wire, self._at
        end = size = 0
        parts: list[bytes] = []
        starts = [(at, 0)]  # of the names that this one is or ends in, and how much is before them
        while True:
            length = wire[at]
            if length >= 0xC0:
                end = end or at + 2
                target = (length & 0x3F) << 8 | wire[at + 1]
                if target >= starts[-1][0]:  # backwards only, so it has an end
                    raise MessageError("a name in a circle")
                at = target
                if known := self._names.get(at):
                    parts.append(known)
                    break
                starts.append((at, size))
            elif length <= MAX_LABEL:
                parts.append(wire[at : at + length + 1])
                size += length + 1
                at += length + 1
                if not length or size > MAX_NAME:
                    break
            else:
                raise MessageError("a name of another kind")
        name = b"".join(parts).lower()
        if len(name) > MAX_NAME or len(starts) > MAX_NAME:
            raise MessageError("a name that is too long")
        for start, before in starts:
            self._names[start] = name[before:]
        self._at = end or at
        return name


def _seconds(ttl: int) -> int:
    return min(ttl, LONGEST_TTL) if ttl < 0x8000_0000 else 0  # RFC 2181 §8


def _joined(data: bytes) -> bytes:
    """The character-strings of a TXT record as one (RFC 7208 §3.3)."""
    parts, at = [], 0
    while at < len(data):
        end = at + 1 + data[at]
        parts.append(data[at + 1 : end])
        at = end
    if at != len(data):
        raise MessageError("broken data")
    return b"".join(parts)


def _text(name: bytes) -> str:
    """With dots between the labels and none at the end; what could be taken for something else as a decimal
    escape (RFC 4343 §2.1)."""
    labels, at = [], 0
    while name[at]:
        label = name[at + 1 : at + 1 + name[at]]
        at += 1 + name[at]
        if _PLAIN.fullmatch(label):
            labels.append(label.decode("ascii"))
        else:
            labels.append("".join(chr(each) if _PLAIN.match(bytes([each])) else f"\\{each:03}" for each in label))
    return ".".join(labels)
