"""What the validate function answers when the gateway asks about a sender domain in the SMTP session.

asked       {"domain": "d.example", "account": "app@login.example", "sender": "news@d.example"}
answered    {"standing": "refused", "lines": ["d.example has no ...", ...], "seconds": 30.0}
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from relay.errors import PermanentError


class Standing(StrEnum):
    """HELD: it was proved before and fails now, which may be a passing mistake. UNKNOWN: DNS doesn't answer."""

    PASSED = "passed"
    HELD = "held"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ruling:
    """lines: why not, each a sentence or a record to publish, printable ASCII; () if passed.
    seconds: for which it may be remembered; 0.0 for not at all."""

    standing: Standing
    lines: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """domain: A-labels, lower case. account: in lower case. sender: the address in question, whose domain it is;
    an SPF record with macros may want it."""

    domain: str
    account: str
    sender: str


Ask = Callable[[Question], Awaitable[Ruling]]


def encode_question(question: Question) -> dict[str, Any]:
    return {"domain": question.domain, "account": question.account, "sender": question.sender}


def decode_question(event: Mapping[str, Any]) -> Question | None:
    """None if the event is something else, such as SQS's."""
    match event:
        case {"domain": str(domain), "account": str(account), "sender": str(sender)}:
            return Question(domain, account, sender)
    return None


def encode_ruling(ruling: Ruling) -> dict[str, Any]:
    return {"standing": ruling.standing.value, "lines": list(ruling.lines), "seconds": ruling.seconds}


def decode_ruling(answer: Mapping[str, Any]) -> Ruling:
    """PermanentError if it is none."""
    try:
        lines = tuple(str(each) for each in answer["lines"])
        return Ruling(Standing(answer["standing"]), lines, float(answer["seconds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PermanentError("not a ruling", type(error).__name__) from error
