"""record: what follows from an outcome, all of it harmless when done twice (DESIGN §2).

Rows for search; addresses that are dead are suppressed; and where the sender must be told, a notice, handed to
DeliverQueue like any mail. The notice's id follows from what it tells, so the ledger drops the second one of the same.

    told of      when                                                   unless NOTIFY was given without
    failure      it is final                                            FAILURE
    delay        the first attempt at about 4 h has failed, too         DELAY
    success      it is final, and the remote doesn't offer DSN          SUCCESS; not told without NOTIFY

What delivery met goes to the envelope sender, each recipient's. What validation met goes to the user, since the
sender is not proved, and the same for the same user and domain only once an hour, with a count of the others.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Final

from relay import notice
from relay.account import Accounts
from relay.address import AddressError, parse_address
from relay.encoding import encode_delivery, fits_inline
from relay.errors import PermanentError
from relay.ids import derived_id
from relay.notice import Facts
from relay.outcome import HELD, Outcome, Report, State
from relay.ports import Clock, ContentStore, Messages, Notices, Queue, Row, Turn
from relay.retry import LATE, RetryPolicy
from relay.submission import NOTHING_ASKED, Content, Delivery, Inline, Stored, content_key
from relay.suppression import Suppress

EVENTS: Final = {  # what a sender is told of, in the words of RFC 3461 §4.1
    State.BOUNCED: "FAILURE",
    State.EXPIRED: "FAILURE",
    State.REJECTED: "FAILURE",
    State.SUPPRESSED: "FAILURE",
    State.DEFERRED: "DELAY",
    State.DELIVERED: "SUCCESS",
}
LARGE_AT_ONCE: Final = 8  # originals quoted whole in memory: a few copies of 1 MiB each, in 512 MB
HOUR: Final = 3600.0  # in which the same refusal is told once


class Record:
    """host_name: who a notice is from. late: seconds after which a delay is told. Raises what the ports raise;
    then nothing is lost by doing it again."""

    def __init__(
        self,
        *,
        messages: Messages,
        notices: Notices,
        deliver_queue: Queue,
        content: ContentStore,
        accounts: Accounts,
        suppress: Suppress,
        clock: Clock,
        retry: RetryPolicy,
        host_name: str,
        late: float = LATE,
    ) -> None:
        self._messages = messages
        self._notices = notices
        self._deliver_queue = deliver_queue
        self._content = content
        self._accounts = accounts
        self._suppress = suppress
        self._clock = clock
        self._retry = retry
        self._host_name = host_name
        self._late = late
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, report: Report) -> None:
        await self._messages.put(tuple(_row(report, outcome) for outcome in report.outcomes))
        gone = (each for each in report.outcomes if each.dead and each.state is State.BOUNCED)
        await asyncio.gather(*(self._suppress(report.account, each, report.id) for each in gone))
        # RFC 5321 §6.1: never a notice for a null reverse-path; and a notice never causes a notice
        if report.notice or not report.mail_from:
            return
        groups = _by_notice(outcome for outcome in report.outcomes if self._is_told(report, outcome))
        turns = [(told, turn) for told in groups if (turn := await self._turn(report, told))]
        to = await self._whom(report) if turns else None
        if to is None:
            return
        if report.ret != "FULL":  # RFC 3461 §4.3
            await self._tell(report, turns, to, notice.MAX_HEADER + 4)
            return
        async with self._large:
            await self._tell(report, turns, to, notice.MAX_ORIGINAL + 1)

    async def _tell(self, report: Report, turns: list[tuple[tuple[Outcome, ...], Turn]], to: str, most: int) -> None:
        """most: octets of the original that the notice may need."""
        original = await self._original(report, most)
        for told, turn in turns:
            delivery = await self._notice(report, told, turn, to, original)
            await self._deliver_queue.send(encode_delivery(delivery), group=report.account)

    def _is_told(self, report: Report, outcome: Outcome) -> bool:
        event = EVENTS.get(outcome.state)
        if event is None or not report.dsn.get(outcome.recipient, NOTHING_ASKED).wants(event):
            return False
        match event:
            case "DELAY" if report.stage == "validate" and outcome.enhanced == HELD:
                return False  # the domain's owner has been told, once for all of it (relay.hold)
            case "DELAY":
                received, tried = report.received, report.tried
                return self._retry.is_late(received=received, tried=tried, now=outcome.time, late=self._late)
            case "SUCCESS":  # RFC 3461 §5.2.1, §5.2.2: a remote that offers DSN tells of it
                return not outcome.dsn
        return True

    async def _turn(self, report: Report, told: tuple[Outcome, ...]) -> Turn | None:
        """None if it is only counted."""
        if report.stage != "validate":
            return Turn()
        first = told[0]
        reason = hashlib.sha256(f"{first.state} {first.text}".encode("utf-8", "replace")).hexdigest()[:32]
        now = self._clock.now()
        return await self._notices.turn(
            f"{report.account}#{report.mail_from.rpartition('@')[2]}#{reason}",
            by=f"{report.id}/{report.domain}/{report.chunk}/{first.attempt}",
            count=len(told),
            now=now,
            until=now + HOUR / self._retry.speed,
        )

    async def _whom(self, report: Report) -> str | None:
        """The envelope sender once its domain is proved. Before that it may be anybody's, so it is the
        user's own address, in the form it was registered."""
        if report.stage != "validate":
            return report.mail_from
        account = await self._accounts.find(report.account)
        try:
            return str(parse_address(account.user if account else report.account))
        except AddressError:
            return None  # a login that is no address (trials only): nobody to tell

    async def _original(self, report: Report, most: int) -> bytes:
        match report.content:
            case None:
                return b""
            case Inline(data):
                return data
            case stored:
                try:
                    return await self._content.get(stored.key, most)
                except PermanentError:  # its lifecycle has ended: the notice goes without
                    return b""

    async def _notice(
        self, report: Report, told: tuple[Outcome, ...], turn: Turn, to: str, original: bytes
    ) -> Delivery:
        recipients = " ".join(sorted(each.recipient for each in told))
        event = EVENTS[told[0].state]
        name = f"{report.id}/{report.domain}/{report.chunk}/{event}/{told[0].attempt}/{recipients}"
        notice_id = derived_id(report.received, name, report.account)
        now = self._clock.now()
        whole = report.ret == "FULL" and event == "FAILURE"  # RFC 3461 §4.3: never of others
        content = notice.build(
            report,
            told,
            Facts(self._host_name, self._retry.expiry(report.received), turn),
            id=notice_id,
            to=to,
            now=now,
            header=notice.header_of(original),
            original=notice.whole(original) if whole else b"",
        )
        return Delivery(
            id=notice_id,
            account=report.account,
            mail_from="",
            domain=to.rpartition("@")[2],
            chunk=0,
            rcpt_to=(to,),
            received=now,
            content=await self._placed(notice_id, content),
            eightbit=not content.isascii(),
            smtputf8=not to.isascii(),
            notice=True,
        )

    async def _placed(self, id: str, content: bytes) -> Content:
        if fits_inline(content):
            return Inline(content)
        await self._content.put(content_key(id), content)
        return Stored(content_key(id), len(content))


def _by_notice(outcomes: Iterator[Outcome]) -> list[tuple[Outcome, ...]]:
    """One notice a kind and attempt: the report of a delivery that has become final carries the outcomes of
    earlier attempts again, which have had their notice."""
    groups: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.attempt, EVENTS[outcome.state]), []).append(outcome)
    return [tuple(groups[key]) for key in sorted(groups)]


def _row(report: Report, outcome: Outcome) -> Row:
    return Row(
        id=report.id,
        account=report.account,
        mail_from=report.mail_from,
        domain=report.domain,
        received=report.received,
        stage=report.stage,
        outcome=outcome,
        notice=report.notice,
        proved=report.proved,
    )
