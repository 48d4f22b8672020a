"""Dead letters: what one is about, looking through them, and putting them back."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

from relay.encoding import decode_delivery, decode_report, decode_submission
from relay.errors import PermanentError, RelayError
from relay.ports import DeadLetter, DeadLetters
from relayctl.context import StageQueue

HOLD: Final = 60.0  # seconds that letters are ours while we look at them
MOST_WORDS: Final = 160  # characters of a reason
DECODERS: Final[dict[str, Callable[[str], object]]] = {
    "validate": decode_submission,
    "deliver": decode_delivery,
    "record": decode_report,
}
PLAIN: Final = ("id", "account", "mail_from", "domain", "chunk", "rcpt_to", "received", "attempt", "due", "notice")


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its body, which may be content. facts: the fields of its envelope that could be read.
    content: where the content is, in words. why: what is wrong with it."""

    stage: str
    letter: DeadLetter
    size: int
    facts: dict[str, Any]
    content: str
    why: str

    @property
    def id(self) -> str:
        return str(self.facts.get("id", ""))

    @property
    def account(self) -> str:
        return str(self.facts.get("account") or self.letter.group)

    @property
    def recipients(self) -> list[str]:
        """As far as they can be read."""
        named = self.facts.get("rcpt_to")
        return [str(each) for each in named] if isinstance(named, list) else []

    def is_(self, id: str) -> bool:
        """Whether it is the queue's message of this id, or about our message of this id."""
        return id in (self.letter.message_id, self.id)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters; "" selects by nothing. account: the user name. to: a recipient or the domain of one. reason: words
    of Letter.why. since, until: epoch seconds between which it was put onto its queue. All in any case of letters."""

    id: str = ""
    account: str = ""
    to: str = ""
    reason: str = ""
    since: float = 0.0
    until: float = inf

    def has(self, letter: Letter) -> bool:
        return (
            self.since <= letter.letter.sent <= self.until
            and (not self.id or letter.is_(self.id))
            and (not self.account or letter.account.lower() == self.account.lower())
            and (not self.to or any(_is_at(each, self.to) for each in letter.recipients))
            and self.reason.lower() in letter.why.lower()
        )


ALL: Final = Selection()


def _is_at(recipient: str, to: str) -> bool:
    recipient, to = recipient.lower(), to.lower().removeprefix("@")
    return to in (recipient, recipient.rpartition("@")[2])


def read(stage: str, letter: DeadLetter) -> Letter:
    fields = _fields(letter.body)
    try:
        DECODERS[stage](letter.body)
        why = f"readable: the {stage} function failed on it each time; its log says how, under the queue's message id"
    except PermanentError as error:
        why = f"{error.safe}: {error.detail}"[:MOST_WORDS]
    facts = {name: fields[name] for name in PLAIN if isinstance(fields.get(name), str | int | float | list)}
    if isinstance(fields.get("outcomes"), list):
        facts["rcpt_to"] = [each.get("recipient") for each in fields["outcomes"] if isinstance(each, dict)]
    return Letter(stage, replace(letter, body=""), len(letter.body.encode()), facts, _where(fields), why)


def _fields(body: str) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _where(fields: dict[str, Any]) -> str:
    match fields.get("content"):
        case {"key": str(key), "size": int(size)}:
            return f"{size} octets in the bucket, under {key}"
        case {"base64": str(packed)} | {"zlib": str(packed)}:
            return f"in the message itself, {len(packed)} octets as it is packed"
    return "none"


async def browse(stage: str, queue: DeadLetters, most: int) -> list[Letter]:
    """The letters, oldest first, at most about `most` looked through; all are given back."""
    seen: dict[str, Letter] = {}
    try:
        while len(seen) < most:
            taken = {each.message_id: read(stage, each) for each in await queue.take(HOLD)}
            news = taken.keys() - seen.keys()
            seen |= taken
            if not news:
                break
    finally:
        await queue.give_back([each.letter for each in seen.values()])
    return sorted(seen.values(), key=lambda each: each.letter.sent)


@dataclass(slots=True)
class Redrive:
    """Puts dead letters back onto the queue they came from: sent first, then removed, so that one that
    is interrupted is there twice at worst, and the ledger and record don't mind.

    before: epoch seconds; what was sent later is our own doing, back already. wanted: which of them. moved: how many
    were put back. failed: the first failure.
    """

    stage: str
    queue: StageQueue
    before: float
    wanted: Selection = ALL
    moved: int = 0
    failed: RelayError | None = None

    async def run(self) -> None:
        kept: dict[str, DeadLetter] = {}
        try:
            while self.failed is None and (taken := await self.queue.dead.take(HOLD)):
                ours = [each for each in taken if self._is_wanted(each)]
                news = [each for each in taken if each not in ours and each.message_id not in kept]
                kept |= {each.message_id: each for each in taken if each not in ours}
                for result in await asyncio.gather(*map(self._move, ours), return_exceptions=True):
                    match result:
                        case RelayError():
                            self.failed = self.failed or result
                        case BaseException():
                            raise result
                if not ours and not news:
                    break
        finally:
            await self.queue.dead.give_back(list(kept.values()))

    def _is_wanted(self, letter: DeadLetter) -> bool:
        return letter.sent < self.before and (self.wanted == ALL or self.wanted.has(read(self.stage, letter)))

    async def _move(self, letter: DeadLetter) -> None:
        await self.queue.queue.send(letter.body, group=letter.group or letter.message_id)
        self.moved += 1
        await self.queue.dead.remove(letter)
