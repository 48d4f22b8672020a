"""Who did what to which account, or to which domain's keys, and when; kept for a year.

begun   written first: without it nothing is done
done, unchanged, or why it was refused: written over it afterwards. An entry that stays `begun` had an unknown end.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from relay.errors import RelayError
from relay.ports import Clock

READING: Final = frozenset({"list", "show"})
BEGUN, DONE, UNCHANGED = "begun", "done", "unchanged"
LONGEST: Final = 320  # characters kept of anything
NOBODY: Final = "not said"

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """time: epoch seconds. subject: the user name in lower case, or the domain. action: such as "rotate". actor: who
    invoked the function by their own word, an ARN; request: the id that AWS gave the invocation, under which
    CloudTrail's data events have who it was by AWS's word. result: BEGUN, DONE, UNCHANGED or the refusal."""

    time: float
    subject: str
    action: str
    actor: str
    request: str
    result: str = BEGUN


class Audit(Protocol):
    """TemporaryError when the table is away."""

    async def put(self, entry: Entry) -> None:
        """Write it, or over the one of the same subject, time and request."""
        ...

    async def find(self, subject: str = "") -> tuple[Entry, ...]:
        """Of a subject, "" for all; oldest first."""
        ...


class Audited:
    """log: (what, error), for what became of an entry that could not be finished."""

    def __init__(self, audit: Audit, clock: Clock, log: Callable[[str, RelayError], None]) -> None:
        self._audit = audit
        self._clock = clock
        self._log = log

    async def __call__(
        self, event: Mapping[str, Any], request: str, run: Callable[[Mapping[str, Any]], Awaitable[Answer]]
    ) -> Answer:
        """What `run` makes of the event: {"ok": ..., ...}. request: AWS's id of the invocation."""
        entry = self._entry(event, request)
        if entry is None:
            return await run(event)
        try:
            await self._audit.put(entry)
        except RelayError as error:
            self._log("nothing is done without a note of it", error)
            return {"ok": False, "error": "the audit table is away, so nothing was done: try again"}
        answer = await run(event)
        try:
            await self._audit.put(replace(entry, result=_result(answer)))
        except RelayError as error:
            self._log("an entry of the audit stays without its end", error)
        return answer

    def _entry(self, event: Mapping[str, Any], request: str) -> Entry | None:
        """None for what changes nothing, or is nothing."""
        action, subject = event.get("action"), event.get("user") or event.get("domain")
        if not isinstance(action, str) or not isinstance(subject, str) or not subject.strip() or action in READING:
            return None
        said = event.get("caller")
        actor = said[:LONGEST] if isinstance(said, str) and said else NOBODY
        done = f"{action}{_detail(event)}"[:LONGEST]
        return Entry(self._clock.now(), subject.strip().lower()[:LONGEST], done, actor, request)


def _detail(event: Mapping[str, Any]) -> str:
    if isinstance(limits := event.get("limits"), Mapping):
        return "".join(f" {name}={value or 'default'}" for name, value in limits.items())
    return " now" if event.get("now") is True else ""


def _result(answer: Answer) -> str:
    if not answer.get("ok"):
        return str(answer.get("error", ""))[:LONGEST]
    return UNCHANGED if answer.get("changed") is False else DONE
