"""Message ids: time-ordered and unique (RFC 9562 §5.7, UUIDv7)."""

import hashlib
import secrets
import uuid


def new_id(now: float) -> str:
    """A new UUIDv7 for the time `now` (seconds since the epoch), in its usual text form."""
    return _uuid7(int(now * 1000), secrets.token_bytes(10))


def derived_id(now: float, name: str) -> str:
    """The same UUIDv7 for the same `now` and `name`: what is made twice from one cause is one message."""
    return _uuid7(int(now * 1000), hashlib.sha256(name.encode()).digest()[:10])


def _uuid7(milliseconds: int, rest: bytes) -> str:
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(rest, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
