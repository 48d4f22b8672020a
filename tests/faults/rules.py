"""What is done to which call: a kind of fault is a handful of rules, armed for a while."""

import fnmatch
import random
import threading
import time
from dataclasses import dataclass, field
from enum import Enum, auto

ROLES = ("gateway", "validate", "deliver", "record")


class Act(Enum):
    REFUSE = auto()  # 500 of the service, which has done nothing
    THROTTLE = auto()  # as each service words it
    RESET = auto()  # the connection is cut before the service has the call
    SLOW = auto()  # it has the call after a while
    LOSE = auto()  # it does what it was asked; the connection is cut instead of the answer
    FAIL_AFTER = auto()  # it does what it was asked; the answer is a 500
    KILL_BEFORE = auto()  # the caller dies before the service has the call
    KILL_AFTER = auto()  # the service has done it, the caller dies before it knows
    FAIL_ENTRY = auto()  # of a batch for SQS one entry is refused
    DROP = auto()  # SQS says yes and takes nothing: no fault of AWS's, but a test that the books find it


@dataclass(slots=True)
class Rule:
    """calls: patterns of `Call.name`. times: at most so often. chance: of each call that matches.
    skip: so many calls that match go by first. seconds: how slow."""

    act: Act
    calls: tuple[str, ...]
    times: int = 1_000_000
    chance: float = 1.0
    skip: int = 0
    seconds: float = 0.0

    def matches(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.calls)


@dataclass(slots=True)
class _Armed:
    rules: list[Rule]
    random: random.Random
    until: float
    label: dict[str, object] = field(default_factory=dict)


class Rules:
    """The rules in force, asked about each call by many threads."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._lock = threading.Lock()

    def arm(self, rules: list[Rule], chance: random.Random, seconds: float, **label: object) -> None:
        """In force for `seconds`."""
        with self._lock:
            self._armed.append(_Armed(rules, chance, time.monotonic() + seconds, label))

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def take(self, name: str) -> tuple[Rule, dict[str, object]] | None:
        """The first rule that wants this call, and its label."""
        with self._lock:
            now = time.monotonic()
            self._armed = [each for each in self._armed if each.until > now]
            for armed in self._armed:
                for rule in armed.rules:
                    if rule.times <= 0 or not rule.matches(name):
                        continue
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    if armed.random.random() < rule.chance:
                        rule.times -= 1
                        return rule, armed.label
        return None
