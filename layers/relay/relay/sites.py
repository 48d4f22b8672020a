"""Destination sites that are left alone for a while: what all workers know of it, and what this one does about it.

    421, or no host answers         pause 1: a minute, then 2, 4 ... up to 30, with jitter
    the pause is over               one delivery is let through; who lets it through makes the pause a little longer
                                    first, so that no other worker does the same
    that one met the same           the next pause, twice as long
    that one got another answer     no pause any more

The table is read at most once for each site, worker and REFRESH, and written only when a pause begins, is tried or
ends. Without it each worker goes by what it sees itself: the table being away never stops mail.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from relay.errors import TemporaryError
from relay.ports import Clock
from relay.shaping import Heard

FIRST: Final = 60.0  # seconds of the first pause
LONGEST: Final = 1800.0
JITTER: Final = 0.25  # of a pause, upwards: its length, and again when what was put off comes back
REFRESH: Final = 10.0  # seconds that what was read is believed; so long may other workers go on after a 421
TRIAL: Final = 60.0  # seconds that nobody else tries a site that one delivery is let through to
AGAIN: Final = 10.0  # seconds until a delivery comes back that met such a trial
KEPT: Final = 3600.0  # seconds after a pause in which the next one is longer
PATIENCE: Final = 2.0  # seconds that the table has for an answer
MOST: Final = 4096  # sites remembered


@dataclass(frozen=True, slots=True)
class Pause:
    """until: epoch seconds. step: 1, 2, ... of those in a row; since: when the first of them began. heard: SLOW or
    AWAY. reason: the reply, for operators. trial: it is the time in which one delivery tries."""

    site: str
    until: float
    step: int
    since: float
    heard: Heard
    reason: str
    trial: bool = False

    @property
    def codes(self) -> str:
        """Of the reason: all that another sender may see of it."""
        return " ".join(self.reason.split(" ")[:2])


class Pauses(Protocol):
    """What all workers know. TemporaryError when it is away."""

    async def find(self, site: str) -> Pause | None:
        """It may be over. What was written a moment ago may be missing."""
        ...

    async def put(self, pause: Pause, before: Pause | None) -> Pause | None:
        """Write it if the item is still `before` (None: if there is none). Returns what is there then: it, or another;
        None if `before` is gone, and nothing is written."""
        ...

    async def end(self, pause: Pause) -> None:
        """Remove it, if it is still that."""
        ...

    async def all(self) -> tuple[Pause, ...]:
        """By site, also such as are over."""
        ...


class _Site:
    def __init__(self) -> None:
        self.pause: Pause | None = None
        self.read = 0.0  # until when that is believed, epoch seconds
        self.asked: asyncio.Task[None] | None = None
        self.ours = False  # the pause is of our own making and not in the table yet
        self.trial: Hashable = None  # the delivery that tries it


def _unobserved(_what: str, _fields: dict[str, object]) -> None: ...


class Sites:
    """speed: divides every duration. chance: uniform in [0, 1). observe: told what changes, for the log:
    (what, fields)."""

    def __init__(
        self,
        pauses: Pauses,
        clock: Clock,
        *,
        speed: float = 1.0,
        chance: Callable[[], float] = random.random,
        observe: Callable[[str, dict[str, object]], None] = _unobserved,
    ) -> None:
        self._pauses = pauses
        self._clock = clock
        self._speed = speed
        self._chance = chance
        self._observe = observe
        self._sites: dict[str, _Site] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._away = False

    async def enter(self, site: str, delivery: Hashable) -> Pause | None:
        """None: `delivery` may go to `site`, and is what tries it if it was left alone until now. Else the pause that
        it has to wait for. Asked again about the same delivery, it says the same."""
        here = self._here(site)
        if here.read <= self._clock.now():
            await self._ask(site, here)
        now, pause = self._clock.now(), here.pause
        if pause is None or (delivery == here.trial and now < pause.until):
            return None
        if now < pause.until:
            return pause
        if self._is_past(pause):
            here.pause = None
            return None
        here.trial = delivery  # before anybody else of this process comes here
        length = TRIAL * (1 + JITTER * self._chance()) / self._speed  # no two workers' the same: it tells whose it is
        trial = replace(pause, until=now + length, trial=True)
        here.pause = trial
        there = await self._put(here, trial, pause)
        if there != trial:  # another worker was first, and may have found it well by now
            here.trial, here.pause = None, there
        return None if there == trial else there

    def back(self, pause: Pause) -> float:
        """When a delivery that met `pause` is to come again (epoch seconds): not all at once."""
        if pause.trial:
            return self.later(AGAIN)
        return max(self._clock.now(), pause.until) + JITTER * self._chance() * self._length(pause.step)

    def later(self, seconds: float) -> float:
        """Epoch seconds: so long from now, or up to twice as long."""
        return self._clock.now() + seconds * (1 + self._chance()) / self._speed

    def heard(self, site: str, delivery: Hashable, heard: Heard, reason: str) -> None:
        """What `delivery` met at `site`. Returns at once: the table is written meanwhile."""
        here, now = self._here(site), self._clock.now()
        pause = here.pause
        tried = delivery == here.trial
        if pause is not None and now < pause.until and not tried:
            return  # it was on its way when the pause began
        if tried:
            here.trial = None
        if heard is Heard.WELL:
            if pause is not None:
                here.pause, here.ours = None, False
                self._observe("site resumed", {"site": site, "paused": round(now - pause.since)})
                self._later(self._end(pause))
            return
        step, since = (1, now) if pause is None or self._is_past(pause) else (pause.step + 1, pause.since)
        length = self._length(step) * (1 + JITTER * self._chance())
        begun = Pause(site, now + length, step, since, heard, reason)
        here.pause, here.ours = begun, True
        fields = {"site": site, "seconds": round(length), "step": step, "why": heard.value, "reply": reason}
        self._observe("site paused", fields)
        self._later(self._begin(here, begun, pause))

    async def written(self) -> None:
        """When all that was heard so far is in the table, or never will be (tests)."""
        await asyncio.gather(*self._writes)

    def _is_past(self, pause: Pause) -> bool:
        return self._clock.now() >= pause.until + KEPT / self._speed

    def _length(self, step: int) -> float:
        return float(min(LONGEST, FIRST * 2.0 ** min(step - 1, 10))) / self._speed

    def _here(self, site: str) -> _Site:
        here = self._sites.get(site)
        if here is None:
            if len(self._sites) >= MOST:
                self._sites = {each: known for each, known in self._sites.items() if known.pause}
            here = self._sites[site] = _Site()
        return here

    async def _ask(self, site: str, here: _Site) -> None:
        """One question in flight for each site."""
        if here.asked is None:
            here.asked = asyncio.ensure_future(self._read(site, here))
        await asyncio.shield(here.asked)

    async def _read(self, site: str, here: _Site) -> None:
        before = here.pause
        try:
            found = await self._table(self._pauses.find(site))
        finally:
            here.asked = None
        here.read = self._clock.now() + REFRESH / self._speed
        changed = here.pause != before  # meanwhile, so it is newer than what was read
        ours = here.ours and here.pause is not None and self._clock.now() < here.pause.until
        if not isinstance(found, _Away) and not changed and not ours:
            here.pause = found

    async def _begin(self, here: _Site, begun: Pause, before: Pause | None) -> None:
        there = await self._put(here, begun, before)
        if there is None:
            there = await self._put(here, begun, None)
        elif there.until <= self._clock.now():  # one that is over, which we hadn't read of
            step = begun.step if self._is_past(there) else max(begun.step, there.step)
            there = await self._put(here, replace(begun, step=step), there)
        if here.pause == begun:
            here.pause = there

    async def _end(self, pause: Pause) -> None:
        await self._table(self._pauses.end(pause))

    async def _put(self, here: _Site, pause: Pause, before: Pause | None) -> Pause | None:
        there = await self._table(self._pauses.put(pause, before))
        if isinstance(there, _Away):
            return pause
        here.ours = False
        here.read = self._clock.now() + REFRESH / self._speed
        return there

    async def _table(self, call: Awaitable["Pause | None"]) -> "Pause | _Away | None":
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await call
        except (TemporaryError, TimeoutError) as error:
            if not self._away:
                self._away = True
                self._observe("sites table away", {"error": str(error) or "no answer in time"})
            return _Away()
        self._away = False
        return answer

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)


class _Away:
    """The table has no answer."""
