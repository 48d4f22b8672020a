"""Policy of account creation: which names and phones, and that nobody is left with half an account."""

import re
from typing import Final

from relay.address import MAX_ADDRESS, AddressError, parse_address
from relay.errors import PermanentError, RelayError, TemporaryError
from relay.password import hash_password, new_password, new_salt
from relay.ports import Account, Accounts, Clock, Sms

E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")  # ITU-T E.164 §6.2.1: at most 15 digits
SEPARATORS: Final = re.compile(r"[\s().-]")


async def create(user: str, phone: str, *, accounts: Accounts, sms: Sms, clock: Clock, host_name: str) -> Account:
    """A new account whose password went to `phone`. host_name: where to submit, for the SMS.

    PermanentError if the name or number is wrong, or the name taken; TemporaryError if the SMS could not
    be sent. Neither leaves an account behind, unless the error says so.
    """
    name, number = user_name(user), phone_number(phone)
    password, salt = new_password(), new_salt()
    account = Account(name, salt, hash_password(password, salt), number, clock.now())
    if not await accounts.create(account):
        raise PermanentError(f"the user name {name} is taken; nothing was changed")
    try:
        await sms.send(number, f"{host_name}: user {name} password {password}")
    except RelayError as error:
        await _undo(account, accounts, error)
        kind = PermanentError if isinstance(error, PermanentError) else TemporaryError
        raise kind("the SMS could not be sent, so no account was made", error.detail or error.safe) from None
    return account


async def _undo(account: Account, accounts: Accounts, cause: RelayError) -> None:
    """Nobody has the password, so nobody may find the name taken."""
    try:
        await accounts.remove(account.user)
    except RelayError as error:
        said = f"the SMS could not be sent, and the account {account.user} could not be removed: delete it"
        raise TemporaryError(said, f"{cause.detail}; {error.detail}") from None


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


def phone_number(text: str) -> str:
    """`text` in E.164 form, without spaces, dashes, dots and parentheses. PermanentError if it isn't one."""
    number = SEPARATORS.sub("", text)
    if not E164.fullmatch(number):
        raise PermanentError("the phone number must have + and the country code, such as +46701234567")
    return number
