"""May this account send for this domain? Asked of the validate function; answers are remembered, shared and bounded.

No answer in time, and every failure to get one, is acceptance: then the queue decides.
"""

import asyncio
import shlex
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.ports import Clock
from relay.proof.ruling import Ask, Question, Ruling, Standing
from smtp_gateway import replies
from smtp_gateway.log import Log
from smtp_gateway.replies import Reply

PATIENCE: Final = 2.0  # seconds
LONGEST_YES: Final = 300.0  # seconds that a ruling is remembered at most
LONGEST_NO: Final = 30.0  # so soon a record published meanwhile is seen
SIZE: Final = 10_000  # rulings remembered
LONGEST_NAMES: Final = 260  # characters of names in one line
EACH: Final = 10  # questions of one account that may be under way
ALL: Final = 40  # of all together: fewer than the client has connections, so none waits for one
FAILURES: Final = 5  # in a row: then nothing is asked for PAUSE seconds
PAUSE: Final = 5.0
UNKNOWN: Final = Ruling(Standing.UNKNOWN)

_Key = tuple[str, ...]  # account, domain; and the sender, where the answer is for that one alone


@dataclass(frozen=True, slots=True)
class _Kept:
    ruling: Ruling
    until: float  # epoch seconds


@dataclass(frozen=True, slots=True)
class _Flight:
    """A question under way. since: by the loop's clock. sender: whom it is about."""

    answer: asyncio.Task[Ruling]
    since: float
    sender: str


class Senders:
    """patience: seconds for which a question is waited for; its answer is remembered also if it comes later.
    help_url: where senders read more, "" for the command that checks their records."""

    def __init__(
        self, ask: Ask, clock: Clock, log: Log, *, patience: float = PATIENCE, help_url: str = "", size: int = SIZE
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._log = log
        self._patience = patience
        self._help_url = help_url
        self._size = size
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._flights: dict[_Key, _Flight] = {}
        self._asking: Counter[str] = Counter()  # questions under way, by account
        self._failures = 0  # in a row
        self._resume = 0.0  # epoch seconds: before this nothing is asked

    def known(self, account: str, domain: str) -> Ruling | None:
        """What is remembered."""
        kept = self._kept.get((account, domain))
        return kept.ruling if kept and kept.until > self._clock.now() else None

    async def __call__(self, account: str, questions: Sequence[Question]) -> Reply | None:
        """The reply that refuses these senders; None if nothing speaks against them. All of the account.

        What isn't known is asked all at once, with one patience for all.
        """
        rulings = {each.domain: self.known(account, each.domain) for each in questions}
        unknown = [each for each in questions if rulings[each.domain] is None]
        if unknown:
            until = asyncio.get_running_loop().time() + self._patience
            found = await asyncio.gather(*(self._ruling(each, until) for each in unknown))
            rulings.update(zip((each.domain for each in unknown), found, strict=True))
        return self.refusal(account, {domain: ruling or UNKNOWN for domain, ruling in rulings.items()})

    def refusal(self, account: str, rulings: Mapping[str, Ruling]) -> Reply | None:
        """rulings: by domain. A no weighs more than a hold."""
        for standing, reply in (
            (Standing.REFUSED, replies.sender_refused),
            (Standing.HELD, replies.sender_held),
        ):
            found = {domain: ruling for domain, ruling in rulings.items() if ruling.standing is standing}
            if found:
                why = [ruling.lines or (f"sender not authorised by DNS: {each}",) for each, ruling in found.items()]
                lines = tuple(line for each in why for line in each)
                first, *others = found
                if others and len(lines) >= replies.MAX_LINES:
                    lines = (*why[0][: replies.MAX_LINES - 2], _others(others))
                return reply(lines, self._last(account, first))
        return None

    def _last(self, account: str, domain: str) -> str:
        if self._help_url:
            return f"read more: {self._help_url}"
        whole = f"run: mailrelay check {shlex.quote(account)} --domain {domain}"
        return whole if len(whole) <= replies.MAX_TEXT else "run: mailrelay check, with your user name and the domain"

    async def _ruling(self, question: Question, until: float) -> Ruling:
        """until: by the loop's clock."""
        key: _Key = (question.account, question.domain)
        flight = self._flights.get(key) or self._start(key, question)
        ruling = await self._wait(flight, until)
        # What isn't to be remembered may be about its sender alone: an SPF record with macros (RFC 7208 §7).
        shared = ruling.seconds > 0.0 or ruling.standing is Standing.UNKNOWN
        if flight is None or shared or flight.sender == question.sender:
            return ruling
        key = (*key, question.sender)
        return await self._wait(self._flights.get(key) or self._start(key, question), until)

    async def _wait(self, flight: _Flight | None, until: float) -> Ruling:
        """A question that was waited for once is not waited for again: an outage costs its patience once."""
        if flight is None:
            return UNKNOWN
        left = min(until, flight.since + self._patience) - asyncio.get_running_loop().time()
        if left > 0.0:
            await asyncio.wait({flight.answer}, timeout=left)
        return flight.answer.result() if flight.answer.done() else UNKNOWN

    def _start(self, key: _Key, question: Question) -> _Flight | None:
        """None if it can't be asked now."""
        if (
            len(self._flights) >= ALL
            or self._asking[question.account] >= EACH
            or (self._failures >= FAILURES and self._clock.now() < self._resume)
        ):
            return None
        self._asking[question.account] += 1
        loop = asyncio.get_running_loop()
        flight = _Flight(loop.create_task(self._answer(question)), loop.time(), question.sender)
        self._flights[key] = flight
        flight.answer.add_done_callback(lambda _: self._landed(key, question.account))
        return flight

    def _landed(self, key: _Key, account: str) -> None:
        del self._flights[key]
        self._asking[account] -= 1
        if not self._asking[account]:
            del self._asking[account]

    async def _answer(self, question: Question) -> Ruling:
        loop = asyncio.get_running_loop()
        since = loop.time()
        try:
            ruling = await self._ask(question)
        except Exception as error:  # noqa: BLE001 - a bug in asking is no reason to refuse mail either
            self._failures += 1
            self._resume = self._clock.now() + PAUSE
            self._log.no_ruling(account=question.account, domain=question.domain, error=error)
            return UNKNOWN
        self._failures = 0
        if (seconds := loop.time() - since) > self._patience:
            self._log.late_ruling(account=question.account, domain=question.domain, seconds=seconds)
        self._keep((question.account, question.domain), ruling)
        return ruling

    def _keep(self, key: _Key, ruling: Ruling) -> None:
        seconds = min(ruling.seconds, LONGEST_YES if ruling.standing is Standing.PASSED else LONGEST_NO)
        if seconds > 0.0:
            self._kept[key] = _Kept(ruling, self._clock.now() + seconds)
            self._kept.move_to_end(key)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)


def _others(domains: list[str]) -> str:
    """Those that a reply has no room to explain."""
    named: list[str] = []
    for domain in domains:
        if sum(map(len, named)) + len(domain) > LONGEST_NAMES:
            break
        named.append(domain)
    left = len(domains) - len(named)
    return f"nor is the sender authorised for {', '.join(named) or 'others'}{f' and {left} more' if left else ''}"
