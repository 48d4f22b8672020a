"""A model: what one account's bulk run does to another account's single messages. Nothing in it is measured.

    gateway --> ValidateQueue --> validate --> DeliverQueue --> deliver --> the recipient's server

Two queues in front of Lambda functions as the template has them: batches of up to 100 after a window of a second, so
many invocations at once and no more. An invocation works on all of its messages together, and lasts as long as its
slowest; a site gets a few connections of it, and its messages take turns at them. The other account's message goes to
the bulk run's own largest site, and one is sent every few seconds as long as any of the bulk waits for its turn.

What SQS and Lambda do is as AWS says (Developer Guides, "How Amazon SQS fair queues work", "Configuring scaling
behavior for SQS event source mappings"; both read in November 2026): 5 invocations at first, 300 more a minute. A
group is noisy with 30 messages in flight that are more than 10 % of all; messages of quiet groups are received before
those of noisy ones. Without fair queues the oldest message comes first. AWS calls its own figures approximate.

Left out: the gateway, DynamoDB's and SQS's own times, further attempts of what is deferred, what receivers limit.
"""

import argparse
import heapq
import json
import random
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

NOISY_SHARE, NOISY_LEAST = 0.1, 30  # of all in flight, of its own (AWS)
FIRST, MORE = 5, 5.0  # invocations at once at the beginning, and so many more a second (AWS: 300 a minute)
CHUNK: Final = 10  # messages of a SendMessageBatch
BULK, OTHER = "bulk", "other"


class Message(NamedTuple):
    """accepted: time of the 250. site: "" where none is asked. seconds: at its server, once a connection is there."""

    account: str
    accepted: float
    site: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """concurrency, batch, window: of the event source mapping. connections: of an invocation to one site; 0: of all
    that it likes. limit: seconds after which an invocation gives up what it has left."""

    name: str
    concurrency: int
    batch: int = 100
    window: float = 1.0
    connections: int = 0
    limit: float = 300.0


@dataclass(frozen=True, slots=True)
class World:
    """rate: the bulk run's messages a second, as its client hands them over. every: seconds between the other
    account's messages. sites: (name, share of the bulk, seconds of a message). fair: whether the queues are."""

    messages: int
    rate: float
    every: float
    validate: Stage
    deliver: Stage
    sites: tuple[tuple[str, float, float], ...]
    validate_seconds: float
    fair: bool = True
    seed: int = 1

    @property
    def others_site(self) -> tuple[str, float]:
        name, _, seconds = max(self.sites, key=lambda site: site[1])
        return name, seconds


@dataclass
class Queue:
    """One stage's queue and the invocations that work on it."""

    stage: Stage
    fair: bool
    waiting: dict[str, deque[tuple[float, Message]]] = field(default_factory=lambda: {BULK: deque(), OTHER: deque()})
    flying: Counter[str] = field(default_factory=Counter)
    free: int = 0

    @property
    def empty(self) -> bool:
        return not any(self.waiting.values())

    def put(self, now: float, message: Message) -> None:
        self.waiting[message.account].append((now, message))

    def noisy(self, account: str) -> bool:
        mine = self.flying[account]
        return mine >= NOISY_LEAST and mine > NOISY_SHARE * self.flying.total()

    def receive(self, most: int) -> list[Message]:
        found: list[Message] = []
        while len(found) < most and not self.empty:
            account = min((each for each in self.waiting if self.waiting[each]), key=self._turn)
            found.append(self.waiting[account].popleft()[1])
            self.flying[account] += 1
        return found

    def _turn(self, account: str) -> tuple[int, float]:
        """Quiet accounts by the age of their oldest message; then the noisy ones, fewest in flight first."""
        if self.fair and self.noisy(account):
            return 1, self.flying[account]
        return 0, self.waiting[account][0][0]


def schedule(batch: Sequence[Message], connections: int, limit: float) -> list[float]:
    """When each message of an invocation is done, seconds from its beginning."""
    lanes: dict[str, list[float]] = {}
    ends = []
    for message in batch:
        free = lanes.setdefault(message.site, [0.0] * (connections or len(batch)))
        end = min(free[0] + message.seconds, limit)
        heapq.heapreplace(free, end)
        ends.append(end)
    return ends


class Result(NamedTuple):
    """others: seconds from 250 to delivered, each of the other account's. bulk: seconds until all of it was done.
    done: messages, of both."""

    others: list[float]
    bulk: float
    done: int


class Model:
    """Events in order of time: (when, number, what is done)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(world.seed)  # noqa: S311 - a model
        self._validate = Queue(world.validate, world.fair)
        self._deliver = Queue(world.deliver, world.fair)
        self._left = world.messages  # of the bulk, whose delivery has not begun
        self._events: list[tuple[float, int, Any]] = []
        self._number = count()
        self._others: list[float] = []
        self._bulk = 0.0
        self._delivered = 0

    def run(self) -> Result:
        world = self._world
        for first in range(0, world.messages, CHUNK):
            self._at(first / world.rate, self._submit, min(CHUNK, world.messages - first))
        self._at(0.0, self._other)
        for queue in (self._validate, self._deliver):
            for number in range(queue.stage.concurrency):
                self._at(max(0, number + 1 - FIRST) / MORE, self._open, queue)
        while self._events:
            when, _, (do, arguments) = heapq.heappop(self._events)
            do(when, *arguments)
        return Result(self._others, self._bulk, self._delivered)

    def _at(self, when: float, do: Any, *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._number), (do, arguments)))

    def _submit(self, now: float, messages: int) -> None:
        names, shares, _ = zip(*self._world.sites, strict=True)
        seconds = {name: each for name, _, each in self._world.sites}
        for site in self._chance.choices(names, shares, k=messages):
            self._validate.put(now, Message(BULK, now, site, seconds[site]))
        self._poll(now, self._validate)

    def _other(self, now: float) -> None:
        if not self._left:
            return
        self._validate.put(now, Message(OTHER, now, *self._world.others_site))
        self._poll(now, self._validate)
        self._at(now + self._world.every, self._other)

    def _open(self, now: float, queue: Queue) -> None:
        """One more invocation may run."""
        queue.free += 1
        self._poll(now, queue)

    def _poll(self, now: float, queue: Queue) -> None:
        while queue.free and not queue.empty:
            queue.free -= 1
            batch = queue.receive(queue.stage.batch)
            if len(batch) == queue.stage.batch:
                self._invoke(now, queue, batch)
            else:
                self._at(now + queue.stage.window, self._invoke, queue, batch)

    def _invoke(self, now: float, queue: Queue, batch: list[Message]) -> None:
        batch += queue.receive(queue.stage.batch - len(batch))  # what came within the window
        if queue is self._validate:
            ends = [self._world.validate_seconds] * len(batch)
            self._at(now + ends[0], self._passed_on, batch)
        else:
            self._left -= sum(message.account == BULK for message in batch)
            ends = schedule(batch, queue.stage.connections, queue.stage.limit)
            self._done(now, batch, ends)
        self._at(now + max(ends), self._ended, queue, batch)

    def _passed_on(self, now: float, batch: list[Message]) -> None:
        for message in batch:
            self._deliver.put(now, message)
        self._poll(now, self._deliver)

    def _done(self, now: float, batch: list[Message], ends: list[float]) -> None:
        for message, end in zip(batch, ends, strict=True):
            self._delivered += 1
            if message.account == OTHER:
                self._others.append(now + end - message.accepted)
            else:
                self._bulk = max(self._bulk, now + end)

    def _ended(self, now: float, queue: Queue, batch: list[Message]) -> None:
        for message in batch:
            queue.flying[message.account] -= 1
        queue.free += 1
        self._poll(now, queue)


def at_rank(times: Sequence[float], share: float) -> float:
    """The smallest of `times` that so large a share of them doesn't exceed; 0.0 of none."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


# --- the cases of docs/scale.md -----------------------------------------------------------------

SMALL: Final = 200  # other sites
USUAL: Final = (("large", 0.4, 0.5), ("second", 0.25, 0.5), ("third", 0.15, 0.5))


def sites(share: float, seconds: float) -> tuple[tuple[str, float, float], ...]:
    """Three large ones, many small ones; so large a `share` of the bulk goes to sites that take `seconds`."""
    usual = [(name, part * (1 - share), each) for name, part, each in USUAL]
    small = [(f"small-{number}", 0.2 * (1 - share) / SMALL, 0.5) for number in range(SMALL)]
    bad = [(f"bad-{number}", share / 20, seconds) for number in range(20)] if share else []
    return (*usual, *small, *bad)


CASES: Final = (
    ("all answer in 0.5 s", 0.0, 0.0),
    ("5 % take 30 s", 0.05, 30.0),
    ("1 % silent, left after 60 s", 0.01, 60.0),
    ("1 % silent, left after 290 s", 0.01, 290.0),
)


def cases(world: World) -> Iterator[tuple[str, dict[str, Result]]]:
    for name, share, seconds in CASES:
        there = replace(world, sites=sites(share, seconds))
        yield name, {each: Model(replace(there, fair=each == "fair")).run() for each in ("fair", "oldest first")}


def figures(result: Result) -> dict[str, Any]:
    others = result.others
    found = {"median": at_rank(others, 0.5), "p95": at_rank(others, 0.95), "longest": max(others, default=0.0)}
    return {**{name: round(each, 1) for name, each in found.items()}, "others": len(others), "bulk": round(result.bulk)}


def show(world: World, results: dict[str, dict[str, dict[str, Any]]]) -> None:
    deliver = world.deliver
    title = (
        f"MODEL: {world.messages} messages of one account at {world.rate:.0f} a second; deliver {deliver.batch} a "
        f"batch, {deliver.concurrency} at once, {deliver.connections} connections a site; the other account's each "
        f"{world.every:.0f} s: seconds from 250 to delivered"
    )
    table = Table("the bulk's servers", "queues", "median", "95 %", "longest", "messages", "bulk done", title=title)
    for name, of in results.items():
        for queues, found in of.items():
            times = (f"{found[each]:.1f} s" for each in ("median", "p95", "longest"))
            table.add_row(name if queues == "fair" else "", queues, *times, str(found["others"]), f"{found['bulk']} s")
    Console().print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000, help="of the bulk run")
    parser.add_argument("--rate", type=float, default=1000.0, help="messages a second that its client hands over")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between the other account's messages")
    parser.add_argument("--concurrency", type=int, default=100, help="invocations of deliver at once")
    parser.add_argument("--connections", type=int, default=10, help="of an invocation to one site")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    world = World(
        messages=options.messages,
        rate=options.rate,
        every=options.every,
        validate=Stage("validate", 50, limit=60.0),
        deliver=Stage("deliver", options.concurrency, connections=options.connections),
        sites=(),
        validate_seconds=0.3,
    )
    results = {name: {each: figures(found) for each, found in of.items()} for name, of in cases(world)}
    if options.json:
        print(json.dumps(results))
    else:
        show(world, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
