"""An account most of whose mail bounces is paused, before it spoils the relay's name: a stolen password is used on
bought lists, and so is an app on its own lists when they are old.

Counted are recipients that were delivered to or bounced, by account and day (UTC), from the reports that come to
record; not what was refused here, nor notices. A report that comes twice is counted twice: a threshold is no matter of
one or two. Paused is what `Account.pause` says; the operator resumes it, and counting begins anew.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from relay.account import Account, Accounts, BouncePause
from relay.audit import Audit, Entry
from relay.errors import RelayError
from relay.outcome import Report, State
from relay.owner_mail import Letter, OwnerMail, wrapped
from relay.ports import Clock, Operator
from relay.quota import Bounces, Threshold, day_of


class DayOfAccount(NamedTuple):
    """messages: taken, or leased to a gateway just now."""

    account: str
    day: str
    messages: int
    bounces: Bounces


class BounceTable(Protocol):
    """account: the user name in lower case. day: as of quota.day_of. TemporaryError when the table is away."""

    async def count(self, account: str, day: str, more: Bounces) -> Bounces:
        """What there is then, since the account was last resumed."""
        ...

    async def forgive(self, account: str, day: str) -> None:
        """Count anew."""
        ...

    async def days(self, account: str | None, since: str) -> tuple[DayOfAccount, ...]:
        """Of an account, or of all; the day `since` and later, by account and day; all bounces of the day."""
        ...


class BounceWatch:
    """count() a report, pause() once for many. failed: what could not be done, for the log; no mail depends on it."""

    def __init__(
        self,
        table: BounceTable,
        accounts: Accounts,
        owner_mail: OwnerMail,
        operator: Operator,
        clock: Clock,
        threshold: Threshold,
        audit: Audit,
        failed: Callable[[str, str, RelayError], None],
    ) -> None:
        self._table = table
        self._accounts = accounts
        self._owner_mail = owner_mail
        self._operator = operator
        self._clock = clock
        self._threshold = threshold
        self._audit = audit
        self._failed = failed
        self._finished: Counter[str] = Counter()
        self._bounced: Counter[str] = Counter()

    def count(self, report: Report) -> None:
        if report.notice or report.stage != "deliver":
            return
        for outcome in report.outcomes:
            if outcome.state in (State.DELIVERED, State.BOUNCED):
                self._finished[report.account] += 1
                self._bounced[report.account] += outcome.state is State.BOUNCED

    async def pause(self) -> None:
        """Write down what was counted since the last time, one write an account; pause who has passed the threshold."""
        counted = {name: Bounces(number, self._bounced[name]) for name, number in self._finished.items()}
        self._finished.clear()
        self._bounced.clear()
        now = self._clock.now()
        for name, more in counted.items():
            try:
                bounces = await self._table.count(name, day_of(now), more)
                if more.bounced and self._threshold.passed(bounces):
                    await self._pause(name, BouncePause(now, bounces.bounced, bounces.finished))
            except RelayError as error:
                self._failed("bounces not counted", name, error)

    async def _pause(self, name: str, pause: BouncePause) -> None:
        if await self._accounts.pause(name, pause) and (account := await self._accounts.find(name)):
            await self._tell(account, pause)

    async def _tell(self, account: Account, pause: BouncePause) -> None:
        """It is paused already: what can't be told here, `mailrelay usage` tells."""
        try:
            what = f"{pause.bounced} of {pause.finished} recipients bounced"
            await self._audit.put(Entry(pause.since, account.user.lower(), "pause", "the relay", "bounces", what))
        except RelayError as error:
            self._failed("pause not audited", account.user, error)
        try:
            await self._operator.tell(
                f"Mail relay: account {account.user} is paused"[:100], for_operator(account, pause)
            )
        except RelayError as error:
            self._failed("operator not told", account.user, error)
        try:
            letter = Letter("paused", pause.since, SUBJECT, wrapped(for_owner(account, pause)))
            await self._owner_mail(account.user, account.user.lower(), letter)
        except RelayError as error:
            self._failed("owner not told", account.user, error)


SUBJECT: Final = "Your mail waits: too much of it has bounced"


def for_owner(account: Account, pause: BouncePause) -> tuple[str, ...]:
    """Paragraphs."""
    return (
        f"The account {account.user} is paused: {pause.bounced} of the {pause.finished} recipients whose servers gave"
        " an answer today have refused its mail. So much is seldom right: an old or bought list, or somebody else has"
        " the password.",
        "Nothing is lost. Mail that is submitted meanwhile is put off (451), and what was taken before waits; both go"
        " out when the operator resumes the account, if that is before they expire.",
        "Look at what was sent, take the addresses that bounced off your lists, and tell the operator of the relay."
        " If it wasn't you, ask for a new password.",
    )


def for_operator(account: Account, pause: BouncePause) -> str:
    return (
        f"{account.user} is paused: {pause.bounced} of {pause.finished} recipients bounced today.\n\n"
        f"What it sent:    mailrelay messages --account {account.user}\n"
        f"If it was stolen: mailrelay accounts rotate {account.user} --now\n"
        f"To let it go on:  mailrelay accounts resume {account.user}\n"
    )
