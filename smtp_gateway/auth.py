"""SASL exchanges as a server sees them, pure: PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login)."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

from smtp_gateway import replies
from smtp_gateway.replies import Refused

MECHANISMS: Final = ("PLAIN", "LOGIN")
_USER_NAME: Final = base64.b64encode(b"Username:").decode()
_PASSWORD: Final = base64.b64encode(b"Password:").decode()


@dataclass(frozen=True, slots=True)
class Challenge:
    """text: base64, for the 334 reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str = field(repr=False)


class Plain:
    def step(self, response: bytes | None) -> Challenge | Credentials:
        """response: a base64 line, or None where the client has said nothing yet. Refused ends the exchange."""
        if response is None:
            return Challenge("")
        # message = [authzid] UTF8NUL authcid UTF8NUL passwd
        authorize, *rest = _decode(response).split("\0")
        if len(rest) != 2:
            raise Refused(replies.BAD_BASE64)
        user, password = rest
        if authorize not in ("", user):  # nobody acts as somebody else
            raise Refused(replies.WRONG_LOGIN)
        return Credentials(user, password)


class Login:
    def __init__(self) -> None:
        self._user: str | None = None

    def step(self, response: bytes | None) -> Challenge | Credentials:
        """As Plain.step; an initial response is the user name."""
        if response is None:
            return Challenge(_USER_NAME)
        text = _decode(response)
        if self._user is None:
            self._user = text
            return Challenge(_PASSWORD)
        return Credentials(self._user, text)


Exchange = Plain | Login


def exchange(mechanism: str) -> Exchange:
    """mechanism: in upper case. Refused if it isn't offered."""
    match mechanism:
        case "PLAIN":
            return Plain()
        case "LOGIN":
            return Login()
    raise Refused(replies.UNKNOWN_MECHANISM)


def _decode(response: bytes) -> str:
    if response == b"*":  # RFC 4954 §4
        raise Refused(replies.AUTH_CANCELLED)
    if response == b"=":  # an empty initial response
        return ""
    try:
        return base64.b64decode(response, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise Refused(replies.BAD_BASE64) from None
