"""What may be done with accounts: which names and phones there are, and that nobody is left with half an account.

Each change is one conditional write, so that of two at the same moment one is done and the other sees it; each may be
repeated after a failure: what is done already is found, and is no error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from relay.account import Account, Accounts, Secret
from relay.address import MAX_ADDRESS, AddressError, parse_address
from relay.bounces import BounceTable
from relay.errors import PermanentError, RelayError, TemporaryError
from relay.password import hash_password, new_password, new_salt
from relay.phone import phone_number
from relay.ports import Clock, Resolver, Sms
from relay.quota import LARGEST_LIMITS, SMALLEST_LIMITS, day_of
from relay.takes_mail import check_takes_mail

TRIES: Final = 3  # at a write that somebody else's gets in the way of


async def create(
    user: str, phone: str, *, accounts: Accounts, sms: Sms, resolver: Resolver, clock: Clock, host_name: str
) -> Account:
    """A new account whose password went to `phone`. host_name: where to submit, for the SMS.

    PermanentError if the name or number is wrong, the name can't receive mail or is taken; TemporaryError if DNS
    doesn't say or the SMS could not be sent. Neither leaves an account behind, unless the error says so.
    """
    name, number = user_name(user), phone_number(phone)
    await _check_receives(name, resolver)
    password, salt = new_password(), new_salt()
    account = Account(name, salt, hash_password(password, salt), number, clock.now())
    if not await accounts.create(account):
        raise PermanentError(f"the user name {name} is taken; nothing was changed")
    try:
        await sms.send(number, sms_text(host_name, name, password))
    except RelayError as error:
        await _undo(account, accounts, error)
        kind = PermanentError if isinstance(error, PermanentError) else TemporaryError
        raise kind(f"the SMS could not be sent, so no account was made: {error.safe}", error.detail) from None
    return account


async def _check_receives(name: str, resolver: Resolver) -> None:
    """Notices about its mail go to this address."""
    try:
        await check_takes_mail(name.rpartition("@")[2].lower(), resolver)
    except PermanentError as error:
        raise PermanentError(f"the user name must be able to receive mail: {error.safe}", error.detail) from None


async def _undo(account: Account, accounts: Accounts, cause: RelayError) -> None:
    """Nobody has the password, so nobody may find the name taken."""
    try:
        await accounts.remove(account.user)
    except RelayError as error:
        said = f"the SMS could not be sent, and the account {account.user} is there nevertheless: rotate its password"
        raise TemporaryError(said, f"{cause.detail}; {error.detail}") from None


@dataclass(frozen=True, slots=True)
class Change:
    """account: as it is now. before: as it was."""

    account: Account
    before: Account

    @property
    def changed(self) -> bool:
        return self.account != self.before


class AccountAdmin:
    """What an operator does to an account that there is; PermanentError if there is none, TemporaryError if the table
    is away or somebody else changes it all the time. overlap: seconds that a password holds after the next is sent."""

    def __init__(
        self,
        accounts: Accounts,
        bounces: BounceTable,
        sms: Sms,
        clock: Clock,
        *,
        host_name: str,
        overlap: float,
    ) -> None:
        self._accounts = accounts
        self._bounces = bounces
        self._sms = sms
        self._clock = clock
        self._host_name = host_name
        self._overlap = overlap

    async def show(self, user: str) -> Account:
        """A deleted one is none."""
        account = await self._find(user)
        if account.deleted:
            raise PermanentError(f"the account {account.user} is deleted")
        return account

    async def disable(self, user: str) -> Change:
        return await self._change(user, lambda account: replace(account, disabled=True))

    async def enable(self, user: str) -> Change:
        return await self._change(user, lambda account: replace(account, disabled=False))

    async def resume(self, user: str) -> Change:
        """Its mail goes on, and its bounces of today are forgiven, or the next one would pause it again."""
        account = await self.show(user)
        if account.pause:
            await self._bounces.forgive(account.user.lower(), day_of(self._clock.now()))
        return await self._change(user, lambda account: replace(account, pause=None))

    async def limit(self, user: str, changes: Mapping[str, int]) -> Change:
        """changes: by field of Limits; 0: as the default. PermanentError for one that can't be."""
        for name, value in changes.items():
            check_limit(name, value)
        return await self._change(user, lambda account: replace(account, limits=replace(account.limits, **changes)))

    async def delete(self, user: str) -> Change:
        """Only its name is kept, for ever: its tokens may be in DNS, and would let the next owner send."""
        account = await self._find(user)
        if account.deleted:
            return Change(account, account)
        return await self._change(
            user,
            lambda known: Account(
                known.user, b"", b"", "", known.created, disabled=True, deleted=True, version=known.version
            ),
        )

    async def rotate(self, user: str, *, at_once: bool) -> Change:
        """A new password goes to the phone. The old one holds for the overlap; with `at_once`, no longer.

        If the SMS can't be sent, nothing has changed (TemporaryError or PermanentError), unless the error says so.
        """
        password, salt = new_password(), new_salt()
        until = self._clock.now() + self._overlap

        def rotated(account: Account) -> Account:
            old = None if at_once else Secret(account.salt, account.hash, until)
            return replace(account, salt=salt, hash=hash_password(password, salt), previous=old)

        change = await self._change(user, rotated)
        account = change.account
        try:
            await self._sms.send(account.phone, sms_text(self._host_name, account.user, password))
        except RelayError as error:
            await self._take_back(account, change.before, error)
            kind = PermanentError if isinstance(error, PermanentError) else TemporaryError
            said = f"the SMS could not be sent, so the password of {account.user} is the old one: {error.safe}"
            raise kind(said, error.detail) from None
        return change

    async def _take_back(self, account: Account, before: Account, cause: RelayError) -> None:
        old = replace(before, version=account.version + 1)
        try:
            if await self._accounts.update(old, account):
                return
            why = "somebody else changed the account"
        except RelayError as error:
            why = error.detail
        said = f"the SMS could not be sent, and the new password of {account.user} is in force: rotate it again"
        raise TemporaryError(said, f"{cause.detail}; {why}") from None

    async def _find(self, user: str) -> Account:
        account = await self._accounts.find(user.strip())
        if account is None:
            raise PermanentError(f"there is no account {user.strip()}")
        return account

    async def _change(self, user: str, to: Callable[[Account], Account]) -> Change:
        for _ in range(TRIES):
            before = await self.show(user)
            after = to(before)
            if after == before:
                return Change(before, before)
            after = replace(after, version=before.version + 1)
            if await self._accounts.update(after, before):
                return Change(after, before)
        raise TemporaryError("somebody else changes this account at the same moment: try again")


def check_limit(name: str, value: int) -> None:
    """name: a field of Limits. PermanentError if `value` can't be its limit; 0, the default, can."""
    least, most = getattr(SMALLEST_LIMITS, name), getattr(LARGEST_LIMITS, name)
    if value and not least <= value <= most:
        raise PermanentError(f"{name} must be from {least} to {most}")


def sms_text(host_name: str, user: str, password: str) -> str:
    return f"{host_name}: user {user} password {password}"


def user_name(text: str) -> str:
    """`text` as a user name: an ASCII address, in the case given. PermanentError says what is wrong."""
    name = text.strip()
    if not name.isascii():
        raise PermanentError("the user name must be ASCII: write an internationalised domain as xn--")
    try:
        address = parse_address(name)
    except AddressError as error:
        raise PermanentError(f"the user name must be an e-mail address: {error.safe}", error.detail) from error
    if len(name) > MAX_ADDRESS or "@" in address.local or '"' in name:
        raise PermanentError("the user name must be a plain e-mail address such as app@example.com")
    return name
