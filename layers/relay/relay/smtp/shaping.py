"""What SmtpTransport asks about a site before it connects, and tells it afterwards."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from relay.backends import BackEnd, BackEnds
from relay.failure_rules import Stage
from relay.ports import Clock, RecipientReply
from relay.shaping import Heard, Shape, Table, judge, site_key
from relay.sites import Pause, Sites
from relay.smtp.limits import Limits
from relay.smtp.mx import NoRouteError, Routes
from relay.smtp.replies import Reply
from relay.submission import Delivery

BUSY: Final = 15.0  # seconds until one comes back that no connection came free for; up to twice that
# Seconds for the route, before the claim. Who passes without one waits for the same answer after it; time that is lost
# here is lacking there, and a delivery that begins too late is queued again without having been tried.
DNS_PATIENCE: Final = 2.0
MOST: Final = 4096  # sites, and turns, remembered
LEFT_ALONE: Final = {
    Heard.SLOW: ("4.4.5", "the destination is left alone for a while: it said {}"),
    Heard.AWAY: ("4.4.1", "the destination is left alone for a while: none of its servers could be talked to ({})"),
}
NO_TURN: Final = Reply.ours(451, "4.4.5", "too much mail for the destination waits for its turn")


@dataclass(frozen=True, slots=True)
class Shaped:
    """One site as this worker may use it. key: of its pauses. limits: with what the table says."""

    key: str
    shape: Shape
    limits: Limits


@dataclass(frozen=True, slots=True)
class PutOff:
    """until: epoch seconds. reply: why, for who is told."""

    until: float
    reply: Reply

    def replies(self, recipients: Sequence[str]) -> tuple[RecipientReply, ...]:
        """One for each recipient: no server was asked."""
        reply = self.reply
        return tuple(
            RecipientReply(
                each, False, False, reply.code, reply.enhanced, reply.text, stage=Stage.ROUTE, put_off=self.until
            )
            for each in recipients
        )


class Shaping:
    """table, sites: what is allowed, and what is paused. limits: of a site that the table says nothing about. workers:
    how many may run at once, which share what the table allows. speed: divides every duration. sleep: asyncio.sleep."""

    def __init__(
        self,
        table: Table,
        sites: Sites,
        limits: Limits,
        clock: Clock,
        *,
        workers: int,
        speed: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._table = table
        self._sites = sites
        self._limits = limits
        self._clock = clock
        self._workers = workers
        self._speed = speed
        self._sleep = sleep
        self._known: dict[tuple[str, ...], Shaped] = {}
        self._next: dict[str, float] = {}  # when a site's next turn is, where it has a rate
        self._turns: dict[Hashable, float] = {}  # given, and not taken yet

    def of(self, site: tuple[str, ...]) -> Shaped:
        known = self._known.get(site)
        if known is None:
            if len(self._known) >= MOST:
                self._known.clear()
            shape = self._table.of(site)
            share = shape.share(self._workers)
            limits = replace(
                self._limits,
                connections_per_site=share.connections,
                per_connection=share.messages_per_connection,
            )
            known = self._known[site] = Shaped(site_key(shape, site), share, limits)
        return known

    async def enter(self, shaped: Shaped, delivery: Delivery) -> PutOff | None:
        """None: `delivery` may go, once it has `turn`. Asked again about the same delivery, it says the same."""
        pause = await self._sites.enter(shaped.key, delivery.key)
        if pause is not None:
            return PutOff(self._sites.back(pause), _left_alone(pause))
        if not shaped.shape.rate or delivery.key in self._turns:
            return None
        now, space = self._clock.now(), 1 / (shaped.shape.rate * self._speed)
        at = max(now, self._next.get(shaped.key, 0.0))
        if at > now + self._limits.turn:
            return PutOff(self._sites.later(at - now), NO_TURN)
        self._remember(delivery.key, at, now)
        self._next[shaped.key] = at + space
        return None

    async def turn(self, delivery: Delivery, most: float) -> PutOff | None:
        """Wait for the turn that `enter` gave; not if that takes more than `most` seconds."""
        wait = self._turns.pop(delivery.key, 0.0) - self._clock.now()
        if wait > most:
            return PutOff(self._sites.later(BUSY), NO_TURN)
        if wait > 0:
            await self._sleep(wait)
        return None

    def busy(self) -> PutOff:
        """No connection came free in time."""
        return PutOff(self._sites.later(BUSY), NO_TURN)

    def heard(self, shaped: Shaped, delivery: Delivery, replies: Sequence[RecipientReply]) -> None:
        """What an attempt at the site came to."""
        judged = judge(replies, shaped.shape)
        if judged is not None:
            heard, reply = judged
            reason = f"{reply.code} {reply.enhanced} {reply.text}"
            self._sites.heard(shaped.key, delivery.key, heard, reason)

    def _remember(self, delivery: Hashable, at: float, now: float) -> None:
        if len(self._turns) >= MOST:  # some never came to a connection
            self._turns = {each: turn for each, turn in self._turns.items() if turn > now - self._limits.turn}
        if len(self._next) >= MOST:
            self._next = {each: turn for each, turn in self._next.items() if turn > now}
        self._turns[delivery] = at


class Gate:
    """Whether a delivery may be tried now, asked before its claim: what is put off costs no write. Only where no other
    back end could have it instead."""

    def __init__(self, back_ends: BackEnds, routes: Routes, shaping: Shaping) -> None:
        self._back_ends = back_ends
        self._routes = routes
        self._shaping = shaping

    async def __call__(self, delivery: Delivery) -> float:
        """Epoch seconds to put it off until; 0.0: go on."""
        if self._back_ends.of(delivery.mail_from.rpartition("@")[2], delivery.domain) != (BackEnd.MX,):
            return 0.0
        route = self._routes.known(delivery.domain)
        try:
            if route is None:
                async with asyncio.timeout(DNS_PATIENCE):
                    route = await self._routes.find(delivery.domain)
        except (NoRouteError, TimeoutError):
            return 0.0
        put_off = await self._shaping.enter(self._shaping.of(route.site), delivery)
        return put_off.until if put_off else 0.0


def _left_alone(pause: Pause) -> Reply:
    enhanced, words = LEFT_ALONE[pause.heard]
    return Reply.ours(451, enhanced, words.format(pause.codes))
