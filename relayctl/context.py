"""What a command gets besides its arguments: where to print, the world outside, all of it replaceable."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from relay.account import Accounts
from relay.audit import Audit
from relay.bounces import BounceTable
from relay.ports import ContentStore, DeadLetters, Ledger, Messages, Queue, Suppressions
from relay.proof.judge import Patience
from relay.proof.receipt import Receipts
from relay.proof.verdict import Terms
from relay.sites import Pauses

STAGES: Final = ("validate", "deliver", "record")


@dataclass(frozen=True, slots=True)
class Target:
    """A relay. name: for people. region, stack: where it is deployed ("" for the local one).
    endpoint: takes all AWS calls, None for AWS itself. state: the local system's state file.
    """

    name: str
    region: str
    endpoint: str | None = None
    stack: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """What senders publish, where they connect and by what they are judged: the template's parameters.

    egress, dmarc_required: as in Terms. dkim: "off", "warn" or "require".
    """

    token_name: str
    spf_domain: str
    host_name: str
    egress: tuple[str, ...] = ()
    dmarc_required: bool = True
    dkim: str = "warn"
    patience: Patience = field(default_factory=Patience)

    @property
    def terms(self) -> Terms:
        return Terms(self.token_name, self.spf_domain, self.egress, self.host_name, self.dmarc_required)


@dataclass(frozen=True, slots=True)
class StageQueue:
    """One stage's queue: to send onto, to look at; and its dead-letter queue."""

    queue: Queue
    live: DeadLetters
    dead: DeadLetters


class Cloud(Protocol):
    """A relay's AWS side, as far as commands need it."""

    @property
    def service(self) -> Service: ...

    @property
    def messages(self) -> Messages: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def content(self) -> ContentStore: ...

    @property
    def users(self) -> Accounts: ...

    @property
    def suppressions(self) -> Suppressions: ...

    @property
    def pauses(self) -> Pauses: ...

    @property
    def usage(self) -> BounceTable: ...

    @property
    def audit(self) -> Audit: ...

    @property
    def receipts(self) -> Receipts: ...

    @property
    def stages(self) -> Mapping[str, StageQueue]:
        """By stage, in their order: STAGES."""
        ...

    async def accounts(self, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke the accounts function; its answer. TemporaryError if that failed."""
        ...

    async def dkim(self, event: dict[str, Any]) -> dict[str, Any]:
        """So the dkim function."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """out: standard output. environment, folder: the process's. now: epoch seconds (so it is a relay.ports.Clock).

    ask: prompt -> a password typed unseen. connect: opens a target's AWS side; CommandError if it can't.
    pause: waits for so many seconds.
    """

    out: TextIO
    environment: Mapping[str, str]
    folder: Path
    now: Callable[[], float]
    ask: Callable[[str], str]
    connect: Callable[[Target], AbstractAsyncContextManager[Cloud]]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
