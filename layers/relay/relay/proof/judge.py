"""Verdicts with a memory, and what they mean for mail.

asked --> this process knows, fresh ----------------------------------> standing
      --> the table knows, fresh -------------------------------------> standing
      --> DNS: yes -> kept by its TTLs; no -> kept for seconds -------> standing
          no answer -> the last verdict, if it was a yes and not old -> passed
                       else TemporaryError: neither a yes nor a no

standing    passed
            held      was proved lately and fails now: mail waits, for the owner may be mending it
            refused   never proved, or failing for longer than it is held
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

from relay.account import Accounts
from relay.errors import TemporaryError
from relay.ports import Clock, Resolver
from relay.proof.receipt import Known, Receipts
from relay.proof.ruling import Question, Standing
from relay.proof.verdict import Proof, Terms, Verdict, judge

LONGEST_NO: Final = 30.0  # seconds that a no is kept at most: somebody is mending their records and trying again
SHORTEST_NO: Final = 5.0
OLD_YES: Final = 30.0  # seconds that a last good verdict serves before DNS is asked again
OLD_YES_AFTER: Final = (
    3.0  # seconds of silent DNS until it serves: mail need not wait for lookups to give up (RFC 8767 §5)
)
HOUR: Final = 3600.0  # how often it is noted that a domain is good which is asked about for each sender
AT_ONCE: Final = 20  # verdicts of one account that ask DNS at once: silent domains don't take all sockets from others
MAX_VERDICTS: Final = 10_000  # kept at once


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds. shortest, longest: that a yes is kept, whatever its TTLs. stale: the age up to which the last good
    verdict serves while DNS doesn't answer. memory: for how long a good verdict makes a failing one wait instead of
    being refused. hold: for how long it waits."""

    shortest: float = 30.0
    longest: float = 300.0
    stale: float = 24 * 3600.0
    memory: float = 30 * 86_400.0
    hold: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict (without its answers) and its standing. until: it may be remembered, epoch seconds. failing_since,
    held_until: of a domain that is held, epoch seconds. unasked: why DNS could not be asked, if so; then the verdict is
    an older one."""

    verdict: Verdict
    standing: Standing
    until: float
    failing_since: float = 0.0
    held_until: float = 0.0
    unasked: str = ""


class Judge:
    """One question in flight for each domain and account. Its coroutines belong to one event loop.

    accounts: to learn the name as registered, because Submission has it in lower case.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        accounts: Accounts,
        receipts: Receipts,
        clock: Clock,
        terms: Terms,
        patience: Patience = Patience(),
    ) -> None:
        self._resolver = resolver
        self._accounts = accounts
        self._receipts = receipts
        self._clock = clock
        self._terms = terms
        self._patience = patience
        self._kept: dict[tuple[str, str], Judged] = {}  # oldest first
        self._asked: dict[tuple[str, str, str], asyncio.Task[Judged]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # while somebody has one

    async def __call__(self, question: Question) -> Judged:
        """TemporaryError if DNS can't say and no good verdict serves; OutageError if the tables can't."""
        kept = self._kept.get((question.domain, question.account))
        if kept and kept.until > self._clock.now():
            return kept
        return await self._asking(question)

    async def _asking(self, question: Question) -> Judged:
        """Whoever asks while it is asked waits for that answer, unless it depends on the sender."""
        key = question.domain, question.account, ""
        task = self._asked.get(key)
        if task is None:
            task = self._ask(key, question)
        judged = await asyncio.shield(task)  # one message's time-out isn't the others'
        if judged.verdict.per_sender and judged.verdict.sender != question.sender:
            key = question.domain, question.account, question.sender
            judged = await asyncio.shield(self._asked.get(key) or self._ask(key, question))
        return judged

    def _ask(self, key: tuple[str, str, str], question: Question) -> "asyncio.Task[Judged]":
        task = self._asked[key] = asyncio.ensure_future(self._find(question))
        task.add_done_callback(self._forget(key))
        return task

    async def _find(self, question: Question) -> Judged:
        known = await self._receipts.find(question.domain, question.account)
        now = self._clock.now()
        if known and known.until > now:
            return self._keep(question, self._standing(known))
        registered = await self._accounts.find(question.account)
        user = registered.user if registered else question.account
        try:
            verdict = await self._ask_dns(question, user, OLD_YES_AFTER if self._serves(question, known) else None)
        except TemporaryError as error:
            if known is None or not self._serves(question, known):
                raise
            old = replace(known.verdict, answers={})
            return self._keep(question, Judged(old, Standing.PASSED, self._clock.now() + OLD_YES, unasked=error.safe))
        return self._keep(question, self._standing(await self._learn(question, verdict, known)))

    async def _ask_dns(self, question: Question, user: str, limit: float | None) -> Verdict:
        """In the account's turn; limit: seconds, its wait included. TemporaryError after that, or if DNS can't say."""
        try:
            async with asyncio.timeout(limit), self._turns.setdefault(question.account, asyncio.Semaphore(AT_ONCE)):
                return await judge(
                    question.domain,
                    user,
                    terms=self._terms,
                    resolver=self._resolver,
                    now=self._clock.now(),
                    sender=question.sender,
                )
        except TimeoutError:
            raise TemporaryError(f"DNS of {question.domain} has not answered within {limit:.0f} s") from None

    async def _learn(self, question: Question, verdict: Verdict, known: Known | None) -> Known:
        """Into the table. Who comes second of two takes over what the first wrote, so that all agree on when it
        began to fail; but the verdict is the one we got."""
        if verdict.per_sender and {problem.proof for problem in verdict.problems} == {Proof.SPF}:
            now = self._clock.now()
            await self._receipts.keep(question.account, verdict, now)
            return Known(verdict, now, now)  # this sender was never good; of the domain it says nothing
        new = self._next(verdict, known)
        if verdict.per_sender and known and known.verdict.passed and new.confirmed < known.confirmed + HOUR:
            await self._receipts.keep(question.account, verdict, new.confirmed)
            return replace(new, verdict=verdict)  # nothing that others should know is new
        if not await self._receipts.put(question.account, new, known):
            new = self._next(verdict, await self._receipts.find(question.domain, question.account))
        return new

    def _next(self, verdict: Verdict, known: Known | None) -> Known:
        now, patience = self._clock.now(), self._patience
        if known and known.verdict.says_as(verdict):
            verdict = replace(verdict, decided=known.verdict.decided)  # the same receipt, confirmed
        if verdict.passed:
            seconds = min(max(verdict.ttl, patience.shortest), patience.longest)
        else:
            seconds = min(max(verdict.ttl, SHORTEST_NO), LONGEST_NO)
        until = now if verdict.per_sender else now + seconds
        version = known.version + 1 if known else 1
        if verdict.passed:
            return Known(verdict, until, now, good=verdict, good_at=now, version=version)
        if known is None:
            return Known(verdict, until, now, failing_since=now, version=version)
        since = known.failing_since or now
        return Known(verdict, until, now, known.good, known.good_at, since, version)

    def _standing(self, known: Known) -> Judged:
        verdict = replace(known.verdict, answers={})  # thousands of verdicts are kept
        if verdict.passed:
            return Judged(verdict, Standing.PASSED, known.until)
        until = held_until(known, self._patience)
        if self._clock.now() >= until:
            return Judged(verdict, Standing.REFUSED, known.until)
        return Judged(verdict, Standing.HELD, min(known.until, until), known.failing_since, until)

    def _serves(self, question: Question, known: Known | None) -> bool:
        """Whether it can stand in for an answer: the last word was a yes, isn't too old, nor about another sender."""
        if known is None or not known.verdict.passed or self._clock.now() - known.good_at > self._patience.stale:
            return False
        return not known.verdict.per_sender or known.verdict.sender == question.sender

    def _keep(self, question: Question, judged: Judged) -> Judged:
        key = question.domain, question.account
        if judged.verdict.per_sender:
            return judged
        self._kept.pop(key, None)
        while len(self._kept) >= MAX_VERDICTS:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = judged
        return judged

    def cancel(self) -> None:
        """What is still asked when an invocation ends: the function is frozen then, and whoever asks after that must
        not wait for a question whose time is over."""
        for task in self._asked.values():
            task.cancel()
        self._asked.clear()

    def _forget(self, key: tuple[str, str, str]) -> Callable[["asyncio.Task[Judged]"], None]:
        def done(task: asyncio.Task[Judged]) -> None:
            if self._asked.get(key) is task:
                del self._asked[key]
            if not task.cancelled():
                task.exception()  # seen, even if everybody who asked is gone

        return done


def held_until(known: Known, patience: Patience) -> float:
    """Until when mail of a domain that fails waits, epoch seconds; 0.0 if it doesn't."""
    proved_lately = known.good_at > 0 and known.failing_since - known.good_at <= patience.memory
    return known.failing_since + patience.hold if proved_lately else 0.0


Verdicts = Callable[[Question], Awaitable[Judged]]  # a Judge is one
