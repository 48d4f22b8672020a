"""What the gateway counts and times, for CloudWatch: one line of embedded metric format for all of it, now and then.

Nothing is done per command; a count is an addition, a time a logarithm and two additions. Specification: "Embedded
metric format" in the CloudWatch user guide.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, log
from typing import Final

from smtp_gateway.replies import Reply

NAMESPACE: Final = "MailRelay"  # as the functions' (template.yaml)
METRICS_EVERY: Final = 60.0  # seconds, as finely as CloudWatch keeps them
SERVICE: Final = "gateway"  # the only dimension, named as Powertools does
# A time is kept as the nearest of these: at most 7.5% off, 0.1 ms to 90 s, fewer than the 100 that CloudWatch takes.
SHORTEST: Final = 0.1  # ms
STEP: Final = 1.15
STEPS: Final = 98
_STEP: Final = log(STEP)


class Count(StrEnum):
    """Each is told, zero or not."""

    SESSIONS = "Sessions"
    LOGINS = "Logins"
    FAILED_LOGINS = "FailedLogins"
    MESSAGES = "Messages"
    RECIPIENTS = "Recipients"
    OCTETS = "Octets"
    REFUSALS = "Refusals"
    NOT_STORED = "NotStored"
    CUT_OFF = "CutOff"
    FAILED_HANDSHAKES = "FailedHandshakes"
    NO_RULING = "NoRuling"
    BUGS = "Bugs"
    LOST_LINES = "LostLines"

    __hash__ = str.__hash__  # Enum's own is written in Python; this one is asked for with every count


class Time(StrEnum):
    """to_250: from the final dot to the reply. queue: of the call that puts a message onto the queue."""

    TO_250 = "TimeTo250"
    QUEUE = "QueueLatency"

    __hash__ = str.__hash__


class Reason(StrEnum):
    """Of a refusal: by the subject of its enhanced code (RFC 3463 §3), and finer where an operator acts differently."""

    ADDRESS = "Address"
    SIZE = "Size"
    ROOM = "Room"
    SYSTEM = "System"
    LOOP = "Loop"
    RECIPIENTS = "Recipients"
    PROTOCOL = "Protocol"
    CONTENT = "Content"
    SENDER = "Sender"
    LIMIT = "Limit"
    POLICY = "Policy"
    OTHER = "Other"


_BY_SUBJECT: Final[Mapping[str, Reason]] = {
    "1": Reason.ADDRESS,
    "3": Reason.SYSTEM,
    "4": Reason.SYSTEM,
    "5": Reason.PROTOCOL,
    "6": Reason.CONTENT,
    "7": Reason.POLICY,
}
_BY_CODE: Final[Mapping[str, Reason]] = {
    "4.3.1": Reason.ROOM,
    "5.3.4": Reason.SIZE,
    "5.4.6": Reason.LOOP,
    "4.5.3": Reason.RECIPIENTS,
    "5.6.7": Reason.ADDRESS,
    "4.7.0": Reason.LIMIT,
    "4.7.1": Reason.SENDER,
    "5.7.1": Reason.SENDER,
}


def reason(reply: Reply) -> Reason:
    return _BY_CODE.get(reply.enhanced) or _BY_SUBJECT.get(reply.enhanced[2:3], Reason.OTHER)


@dataclass(slots=True)
class Times:
    """How many took how long. shortest, longest, total: ms."""

    counts: Counter[int] = field(default_factory=Counter)
    shortest: float = inf
    longest: float = 0.0
    total: float = 0.0

    def add(self, ms: float) -> None:
        step = round(log(ms / SHORTEST) / _STEP) if ms > SHORTEST else 0
        self.counts[min(step, STEPS)] += 1
        if ms < self.shortest:
            self.shortest = ms
        if ms > self.longest:
            self.longest = ms
        self.total += ms

    def told(self) -> dict[str, object]:
        """As the CloudWatch agents write a histogram; percentiles can be had of it."""
        least, most = round(self.shortest, 3), round(self.longest, 3)
        return {
            "Values": [min(max(least, round(SHORTEST * STEP**step, 3)), most) for step in self.counts],
            "Counts": list(self.counts.values()),
            "Min": least,
            "Max": most,
            "Sum": round(self.total, 3),
            "Count": self.counts.total(),
        }


class Metrics:
    """Since the last `take`."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: dict[Time, Times] = {}

    def count(self, what: Count, by: int = 1) -> None:
        self._counts[what] += by

    def refused(self, reply: Reply) -> None:
        self._counts[Count.REFUSALS] += 1
        self._counts[Count.REFUSALS + reason(reply)] += 1

    def time(self, what: Time, seconds: float) -> None:
        """seconds: by a clock that may have been set meanwhile."""
        times = self._times.get(what)
        if times is None:
            times = self._times[what] = Times()
        times.add(max(0.0, seconds) * 1000)

    def take(self, now: float, open_sessions: int) -> dict[str, object]:
        """The fields of the line, and all begins anew. now: epoch seconds."""
        values: dict[str, object] = {"OpenSessions": open_sessions}
        values |= dict.fromkeys(Count, 0)
        values |= self._counts
        values |= {what: times.told() for what, times in self._times.items()}
        definitions = [{"Name": name, "Unit": _unit(name)} for name in values]
        directive = {"Namespace": NAMESPACE, "Dimensions": [["service"]], "Metrics": definitions}
        self._counts, self._times = Counter(), {}
        return {
            "_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]},
            "service": SERVICE,
            **values,
        }


def _unit(name: str) -> str:
    if name in set(Time):
        return "Milliseconds"
    return "Bytes" if name == Count.OCTETS else "Count"
