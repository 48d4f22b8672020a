"""Suppression: what is not sent, before any server is asked. Addresses that their own server said don't exist, for the
account that found out; and whatever an operator adds.

    found dead    for a day; and if it is found dead again afterwards, for `days` (the parameter SuppressionDays)

A day first, because servers that lose their directory say 5.1.1 about everybody for hours; two bounces are what a
dead address then costs. What was found dead is remembered for `days` after it ended, unless mail is taken meanwhile.
The address is in lower case throughout: RFC 5321 §2.4 lets a server tell Jo from jo, but none does, and a dead
address is no more alive in capitals.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from relay.errors import TemporaryError
from relay.failure_rules import FailureClass
from relay.outcome import Outcome, State
from relay.ports import Checked, Suppression, Suppressions

DAY: Final = 86_400.0
FIRST: Final = 1 * DAY
TRIES: Final = 5  # at an item that others write at the same time
MAX_REASON: Final = 300  # characters
DEAD: Final = "5.1.1"  # RFC 3463 X.1.1
UNWANTED: Final = "5.7.1"  # RFC 3463 X.7.1: by the operator's word


class Suppress:
    """days: how long an address that was found dead again is suppressed. speed: every duration is divided by it."""

    def __init__(self, suppressions: Suppressions, days: float, speed: float = 1.0) -> None:
        self._suppressions = suppressions
        self._long = days * DAY / speed
        self._first = min(FIRST / speed, self._long)

    async def __call__(self, account: str, outcome: Outcome, id: str) -> None:
        """outcome: of an address that is dead. id: of the message. Twice the same changes nothing."""
        before: Suppression | None = None
        for _ in range(TRIES):
            wanted = self._next(before, account, outcome, id)
            if wanted is None:
                return
            there = await self._suppressions.put(wanted, before)
            if there is None:
                return
            before = there
        raise TemporaryError("a suppression changes all the time", f"{account} {outcome.recipient}")

    def _next(self, before: Suppression | None, account: str, outcome: Outcome, id: str) -> Suppression | None:
        """What is to be instead of `before`; None if that stands."""
        now = outcome.time
        if before is not None and (before.until > now or before.since >= now):
            return None  # in force then: the mail was under way already. Or a later word than this one.
        lasts = self._first if before is None or before.by_hand else self._long
        said = " ".join(filter(None, (str(outcome.code or ""), outcome.enhanced, outcome.text)))
        return Suppression(account, key(outcome.recipient), now, now + lasts, said[:MAX_REASON], id)


def key(address: str) -> str:
    """An address as suppressions are kept by."""
    return address.lower()


def in_force(checked: Checked, recipients: Iterable[str], now: float) -> dict[str, Suppression]:
    """Those of `recipients` that are not to be sent to."""
    found = {each: checked.known.get(key(each)) for each in recipients}
    return {recipient: it for recipient, it in found.items() if it is not None and it.until > now}


def refused(recipient: str, why: Suppression, *, attempt: int, now: float) -> Outcome:
    """What becomes of a recipient that is not sent to."""
    return Outcome(
        recipient=recipient,
        state=State.SUPPRESSED,
        time=now,
        attempt=attempt,
        code=550,
        enhanced=UNWANTED if why.by_hand else DEAD,
        text=_words(why),
        failure=FailureClass.POLICY if why.by_hand else FailureClass.ADDRESS,
    )


def _words(why: Suppression) -> str:
    if why.by_hand:
        reason = f": {why.reason}" if why.reason else ""
        return f"not sent: the relay's operator has barred this address until {_day(why.until)}{reason}"
    return (
        f"not sent: on {_day(why.since)} its server said that there is no such address ({why.reason});"
        f" mail to it goes out again from {_day(why.until)} on"
    )


def _day(time: float) -> str:
    return datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%d %H:%M UTC")


def by_hand(account: str, address: str, *, now: float, days: float, reason: str) -> Suppression:
    """What an operator adds. address: as relay.address has it."""
    return Suppression(account.lower(), key(address), now, now + days * DAY, reason[:MAX_REASON])


def lifted(checked: Checked, outcomes: Iterable[Outcome], now: float) -> list[Suppression]:
    """What is remembered of addresses that have taken mail since."""
    taken = (checked.known.get(key(each.recipient)) for each in outcomes if each.state is State.DELIVERED)
    return [each for each in taken if each is not None and each.until <= now]
