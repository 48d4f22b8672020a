"""What a command gets besides its arguments: where to print, the world outside, all of it replaceable."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from relay.ports import Messages


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
    """What senders publish and where they connect: the template's parameters."""

    token_name: str
    spf_domain: str
    host_name: str


class Cloud(Protocol):
    """A relay's AWS side, as far as commands need it."""

    @property
    def service(self) -> Service: ...

    @property
    def messages(self) -> Messages: ...

    async def accounts(self, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke the accounts function; its answer. TemporaryError if that failed."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """out: standard output. environment, folder: the process's. now: epoch seconds.

    ask: prompt -> a password typed unseen. connect: opens a target's AWS side; CommandError if it can't.
    """

    out: TextIO
    environment: Mapping[str, str]
    folder: Path
    now: Callable[[], float]
    ask: Callable[[str], str]
    connect: Callable[[Target], AbstractAsyncContextManager[Cloud]]
