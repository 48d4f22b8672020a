"""What all connections of a process share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from relay.account import Account
from smtp_gateway.auth import Credentials
from smtp_gateway.certificates import Certificates
from smtp_gateway.data import Room
from smtp_gateway.deadlines import Timeouts
from smtp_gateway.events import Message
from smtp_gateway.leases import Leases
from smtp_gateway.limits import Limits
from smtp_gateway.log import Log
from smtp_gateway.logins import Logins
from smtp_gateway.peer import Peer
from smtp_gateway.proxy import Network
from smtp_gateway.quotas import Allowance, Quotas
from smtp_gateway.replies import Reply
from smtp_gateway.senders import Senders


class Open(Protocol):
    """A connection, as the server sees it."""

    def drain(self) -> None:
        """End now between transactions; else after this one."""
        ...

    def abort(self) -> None:
        """End now, whatever is under way. A message that the queue has not acknowledged was not promised."""
        ...


@dataclass(slots=True)
class Site:
    """authenticate: credentials -> account or None, TemporaryError if it can't be checked. logins: who is logged in.
    leases: what they may send. submit: a message -> its reply. proxy_from: whose connections begin with a PROXY
    header."""

    host_name: str
    tls: Certificates
    authenticate: Callable[[Credentials], Awaitable[Account | None]]
    logins: Logins
    leases: Leases
    senders: Senders
    submit: Callable[[Message, Peer], Awaitable[Reply]]
    log: Log
    room: Room
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    quotas: Quotas = field(default_factory=lambda: Quotas(Allowance()))
    max_connections: int = 1000
    proxy_from: tuple[Network, ...] = ()
    connections: set[Open] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False
