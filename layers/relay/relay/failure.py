"""Classes of failure: what a refusal really means, from the reply and where in the dialogue it came.

The first rule of RULES that fits decides; docs/failures.md publishes them. Words come before the enhanced status
(RFC 3463 and IANA's registry of it), the status before the bare code (RFC 5321 §4.2.3): servers lie with codes more
than with words.

    class            a 5xx ends it    the address is suppressed
    address          yes              where the rule says that it is dead, and the reply is about it alone
    mailbox full     yes              no
    policy           yes              no
    content          yes              no
    rate             no               no
    infrastructure   yes              no
    ours             no               no

A 4xx is always tried again until the message expires. What is ours and met no server (our own DNS is away) doesn't
even expire: our outage ends nobody's mail.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

from relay.backends import BackEnd
from relay.failure_rules import RULES, FailureClass, Rule, Stage

__all__ = ["RULES", "Ends", "FailureClass", "Judged", "Rule", "Stage", "advice", "dead", "judge"]

# In the words of servers that put it elsewhere: "(#5.1.1)", "cuda_nsu 5.1.1"; no part of an IP address.
_STATUS: Final = re.compile(r"(?<![\w.])#?([45])\.([0-7])\.([0-9]{1,3})(?![\w]|\.[0-9])")
# Addresses and links hold words that mean nothing here: policy@example.com, ?p=NoSuchUser
_NAMES: Final = re.compile(r"https?://\S+|<[^<>\s]*@[^<>\s]*>|[^\s<>]+@[^\s<>]+")
_ANYTHING: Final = r".{0,80}?"


class Reply(Protocol):
    """What is judged: a ports.RecipientReply."""

    @property
    def recipient(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def permanent(self) -> bool: ...
    @property
    def code(self) -> int: ...
    @property
    def enhanced(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def remote(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def via(self) -> str: ...


class Ends(StrEnum):
    """When the attempts at a recipient end. NOW: with this one. EXPIRY: when the message expires.
    MENDED: only when the relay is mended."""

    NOW = "now"
    EXPIRY = "expiry"
    MENDED = "mended"


@dataclass(frozen=True, slots=True)
class Judged:
    """A failure. rule: the one that decided."""

    failure: FailureClass
    ends: Ends
    rule: Rule


def judge(code: int, enhanced: str, text: str, stage: str = "", remote: str = "") -> Judged:
    """code: 400-599. enhanced: RFC 3463 status, "4.0.0" or "5.0.0" if the server gave none. text: its words.
    stage: a Stage, "" if that isn't known. remote: who said it, "" for the relay itself."""
    detail = _detail(code, enhanced, text)
    words = _NAMES.sub("", text)
    rule = next(each for each in RULES if _fits(each, code, detail, words, stage))
    if rule.failure is FailureClass.OURS and not remote:
        ends = Ends.MENDED
    elif code >= 500 and rule.failure not in (FailureClass.RATE, FailureClass.OURS):
        ends = Ends.NOW
    else:
        ends = Ends.EXPIRY
    return Judged(rule.failure, ends, rule)


def dead(replies: Sequence[Reply]) -> frozenset[str]:
    """The recipients whose addresses do not exist, by what one attempt was answered.

    Only the 5xx of the domain's own server counts (a smarthost may be wrong about other people's mailboxes), and only
    where it is about this address alone: at RCPT, or at the final dot if nobody else was left then. (Which of several
    was meant there, RFC 5321 can't tell.)
    """
    at_dot = sum(1 for each in replies if each.ok or each.stage == Stage.DOT)
    return frozenset(each.recipient for each in replies if _is_dead(each, alone=at_dot == 1))


def _is_dead(reply: Reply, *, alone: bool) -> bool:
    if reply.ok or not reply.permanent or not reply.remote or reply.via not in ("", BackEnd.MX):
        return False
    if reply.stage not in ("", Stage.RCPT) and not (reply.stage == Stage.DOT and alone):
        return False
    judged = judge(reply.code, reply.enhanced, reply.text, reply.stage, reply.remote)
    return judged.rule.dead and judged.ends is Ends.NOW


_ADVICE: Final = {
    FailureClass.ADDRESS: "Check the address; their server takes no mail for it.",
    FailureClass.FULL: "The mailbox is full: tell the recipient another way, or send it again later.",
    FailureClass.RATE: "Their server wanted it later or slower, each time it was tried: send it again later.",
    FailureClass.CONTENT: "Their server refuses this message for what is in it: send it in another form.",
    FailureClass.POLICY: "Their server refuses it by its own rules; its words say why, and often whom to ask.",
    FailureClass.OURS: "The relay has to be mended: show this to its operator.",
}


def advice(failure: FailureClass | None) -> str:
    """What a person can do, one sentence; "" where the class alone doesn't tell."""
    return _ADVICE.get(failure, "") if failure else ""


def _detail(code: int, enhanced: str, text: str) -> str:
    """Subject and detail, "1.1"; "" if there are none."""
    _, _, detail = enhanced.partition(".")
    if detail not in ("", "0.0"):
        return detail
    found = _STATUS.search(text)
    return f"{found[2]}.{found[3]}" if found and int(found[1]) == code // 100 else ""


def _fits(rule: Rule, code: int, detail: str, text: str, stage: str) -> bool:
    return (
        (not rule.codes or any(code == each or code // 100 == each for each in rule.codes))
        and (not rule.stages or stage in rule.stages)
        and (not rule.statuses or any(_is_status(detail, each) for each in rule.statuses))
        and (not rule.words or bool(_pattern(rule.words).search(text)))
    )


def _is_status(detail: str, wanted: str) -> bool:
    return detail.startswith(wanted) if wanted.endswith(".") else detail == wanted


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the phrases, from the beginning of a word on, in any case; "..." stands for up to 80 characters."""
    return re.compile("|".join(_phrase(each) for each in words), re.IGNORECASE)


def _phrase(words: str) -> str:
    begin = r"(?<![a-z0-9])" if words[0].isalnum() else ""
    end = r"(?![a-z0-9])" if words.endswith("|") else ""
    return begin + _ANYTHING.join(re.escape(each) for each in words.removesuffix("|").split("...")) + end
