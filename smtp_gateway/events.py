"""What a session asks its caller to do: act on the event, then call the method of Session named there."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from relay.address import Address
from smtp_gateway.auth import Credentials


@dataclass(frozen=True, slots=True)
class StartTls:
    """Write the replies, hand the socket to TLS, call `tls_started`."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Check the credentials, call `authenticated` or `authentication_failed`."""

    credentials: Credentials


class Prove(NamedTuple):
    """Find out whether the account may send now, and for the sender's domain; call `proved` or `not_proved`.

    sender: None for the null reverse-path, which has no domain.
    """

    account: str
    sender: Address | None


class Message(NamedTuple):
    """Store it, call `answered`. Addresses as text, "" for the null reverse-path; content unstuffed.

    ret, envid: as in commands.Mail. dsn: (notify, orcpt) of each recipient that had one of them, as in commands.Rcpt.
    """

    account: str
    helo: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    eightbit: bool
    smtputf8: bool
    ret: str = ""
    envid: str = ""
    dsn: Mapping[str, tuple[str, str]] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Message from {self.account}, {len(self.content)} octets"  # content belongs in no log


@dataclass(frozen=True, slots=True)
class Close:
    """Write the replies, close the connection. why: for the log. blame: it ends for what the client has said."""

    why: str
    blame: bool = False


Event = StartTls | Authenticate | Prove | Message | Close
