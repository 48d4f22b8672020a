"""Runs kinds of fault on one system, waits until all is quiet, balances the books."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.books import Balance, balance
from tests.faults.kinds import Kind, play, standing
from tests.faults.world import World, world

GRACE = 600.0  # seconds for all to become quiet: a dead letter takes 140, several of one batch take turns


@dataclass(slots=True)
class Result:
    """One kind with all its seeds. injected: faults done, by what and where. seconds: all of it."""

    kind: str
    what: str
    seeds: list[int]
    balance: Balance
    injected: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        books = self.balance
        return {
            "kind": self.kind,
            "what": self.what,
            "seeds": self.seeds,
            "messages": books.messages,
            "not_accepted": books.not_accepted,
            "accepted": books.accepted,
            "outcomes": dict(books.outcomes),
            "stored_without_250": dict(books.again),
            "notices": dict(books.notices),
            "duplicates": dict(books.duplicates),
            "injected": dict(self.injected),
            "wrong": books.wrong,
            "seconds": round(self.seconds, 1),
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Result":
        books = Balance(
            messages=said["messages"],
            accepted=said["accepted"],
            outcomes=Counter(said["outcomes"]),
            again=Counter(said["stored_without_250"]),
            notices=Counter(said["notices"]),
            duplicates=Counter(said["duplicates"]),
            not_accepted=said["not_accepted"],
            wrong=said["wrong"],
        )
        return cls(said["kind"], said["what"], said["seeds"], books, Counter(said["injected"]), said["seconds"])


def run(kind: Kind, seeds: Iterable[int], count: int, folder: Path, done: Callable[[], None] = lambda: None) -> Result:
    """One kind on a system of its own. folder: for the logs. done: told after each seed."""
    began = time.monotonic()
    seeds = list(seeds)
    with world(kind.speed, folder) as made:
        with standing(made, kind):
            for seed in seeds:
                play(made, kind, seed, count)
                done()
            quiet = _quiet(made)
        books = settle(made)
        books.wrong += quiet
        injected = Counter(f"{event.fields['act']} at {event.fields['at']}" for event in made.journal.of("fault"))
    return Result(kind.name, kind.what, seeds, books, injected, time.monotonic() - began)


def _quiet(made: World) -> list[str]:
    try:
        made.wait_until_quiet(GRACE)
    except AssertionError as error:
        return [str(error)]
    return []


def settle(made: World) -> Balance:
    """The books as they are now."""
    return balance(made.submitted, made.remote.takings, made.relay(), made.journal)
