"""Who may send: an account, and the port to where accounts are kept."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from relay.quota import Limits

NO_LIMITS: Final = Limits()  # of its own


@dataclass(frozen=True, slots=True)
class Secret:
    """A password, as it is kept (relay.password). until: it opens nothing from then on, epoch seconds."""

    salt: bytes
    hash: bytes
    until: float


class BouncePause(NamedTuple):
    """Too much of its mail bounced (relay.bounces): `bounced` of `finished` recipients. since: epoch seconds."""

    since: float
    bounced: int
    finished: int


@dataclass(frozen=True, slots=True)
class Account:
    """user: as registered; the key is user.lower(). salt, hash: of the password (relay.password). phone: E.164.
    created: epoch seconds. previous: the password before this one, which holds for a while. deleted: what is left then
    is the name, so that nobody else gets it while its tokens are in DNS; it is disabled, too. version: counts changes.
    limits: its own, where they aren't the defaults. pause: it may log in, but none of its mail is taken or goes out.
    """

    user: str
    salt: bytes
    hash: bytes
    phone: str
    created: float
    disabled: bool = False
    previous: Secret | None = None
    deleted: bool = False
    version: int = 0
    limits: Limits = NO_LIMITS
    pause: BouncePause | None = None


class Accounts(Protocol):
    """TemporaryError when the table is away."""

    async def find(self, user: str) -> Account | None:
        """By user name in any case, deleted ones as well; None if there never was one."""
        ...

    async def create(self, account: Account) -> bool:
        """False if the name (in lower case) is taken; then nothing changed."""
        ...

    async def update(self, account: Account, before: Account) -> bool:
        """Write it in place of `before`. False if that isn't what is there any more; then nothing changed."""
        ...

    async def pause(self, user: str, pause: BouncePause) -> bool:
        """Whether it is paused now, and wasn't before, nor deleted."""
        ...

    async def remove(self, user: str) -> None:
        """As if it had never been: for one that nobody has had the password of."""
        ...

    async def list(self) -> tuple[Account, ...]:
        """By name, without the deleted ones."""
        ...
