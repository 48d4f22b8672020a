"""Message ids: time-ordered and unique (RFC 9562 §5.7, UUIDv7).

Their last six digits are the account's tag, a hash, so that one table can be asked by message and by account
without an index (relay.aws.messages). It says no more than the token in the sender's DNS, which is a hash, too.
What is left is 50 random bits a millisecond and tag.
"""

import hashlib
import secrets
from functools import lru_cache
from typing import Final

TAG: Final = 24  # bits


def new_id(now: float, account: str) -> str:
    """A new UUIDv7 for the time `now` (seconds since the epoch), in its usual text form."""
    return _uuid7(int(now * 1000), secrets.token_bytes(10), account)


def derived_id(now: float, name: str, account: str) -> str:
    """The same UUIDv7 for the same `now`, `name` and `account`: what is made twice from one cause is one message."""
    return _uuid7(int(now * 1000), hashlib.sha256(name.encode()).digest()[:10], account)


@lru_cache(4096)
def tag_of(account: str) -> str:
    """What the ids of its messages end with, and few other accounts' do."""
    return hashlib.sha256(account.encode("utf-8", "replace")).hexdigest()[: TAG // 4]


def tag_in(id: str) -> str:
    return id[-(TAG // 4) :]


def _uuid7(milliseconds: int, rest: bytes, account: str) -> str:
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(rest, "big")
    value = value >> TAG << TAG | int(tag_of(account), 16)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
