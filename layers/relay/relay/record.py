"""record: what follows from an outcome, all of it harmless when done twice (DESIGN §2).

Rows for search; and where the sender must be told, a notice, handed to DeliverQueue like any mail. The
notice's id follows from what it tells, so the ledger drops the second one of the same.
"""

from collections.abc import Iterator

from relay import notice
from relay.address import AddressError, parse_address
from relay.encoding import encode_delivery
from relay.errors import PermanentError
from relay.ids import derived_id
from relay.outcome import Outcome, Report, State
from relay.ports import Accounts, Clock, ContentStore, Messages, Queue, Row
from relay.submission import Delivery, Inline

TOLD = frozenset({State.BOUNCED, State.EXPIRED, State.REJECTED})  # the final states that a sender is told of


class Record:
    """host_name: who a notice is from. Raises what the ports raise; then nothing is lost by doing it again."""

    def __init__(
        self,
        *,
        messages: Messages,
        deliver_queue: Queue,
        content: ContentStore,
        accounts: Accounts,
        clock: Clock,
        host_name: str,
    ) -> None:
        self._messages = messages
        self._deliver_queue = deliver_queue
        self._content = content
        self._accounts = accounts
        self._clock = clock
        self._host_name = host_name

    async def __call__(self, report: Report) -> None:
        await self._messages.put(tuple(_row(report, outcome) for outcome in report.outcomes))
        # RFC 5321 §6.1: never a notice for a null reverse-path; and a notice never causes a notice
        if report.notice or not report.mail_from:
            return
        failures = list(_failures(report))
        if not failures:
            return
        to = await self._whom(report)
        if to is None:
            return
        header = await self._header(report)
        for failed in failures:
            delivery = self._notice(report, failed, to, header)
            await self._deliver_queue.send(encode_delivery(delivery), group=report.account)

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

    async def _header(self, report: Report) -> bytes:
        match report.content:
            case None:
                return b""
            case Inline(data):
                return notice.header_of(data)
            case stored:
                try:
                    return notice.header_of(await self._content.get(stored.key, notice.MAX_HEADER + 4))
                except PermanentError:  # its lifecycle has ended: the notice goes without
                    return b""

    def _notice(self, report: Report, failed: tuple[Outcome, ...], to: str, header: bytes) -> Delivery:
        recipients = " ".join(sorted(each.recipient for each in failed))
        told = f"{report.id}/{report.domain}/{report.chunk}/notice/{failed[0].attempt}/{recipients}"
        notice_id = derived_id(report.received, told)
        now = self._clock.now()
        content = notice.build(report, failed, id=notice_id, to=to, host_name=self._host_name, now=now, header=header)
        return Delivery(
            id=notice_id,
            account=report.account,
            mail_from="",
            domain=to.rpartition("@")[2],
            chunk=0,
            rcpt_to=(to,),
            received=now,
            content=Inline(content),
            smtputf8=not to.isascii(),
            notice=True,
        )


def _failures(report: Report) -> Iterator[tuple[Outcome, ...]]:
    """What failed for good, attempt by attempt: the report of a delivery that has become final carries the
    failures of earlier attempts again, which have had their notice."""
    failed = [outcome for outcome in report.outcomes if outcome.state in TOLD]
    for attempt in sorted({outcome.attempt for outcome in failed}):
        yield tuple(outcome for outcome in failed if outcome.attempt == attempt)


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
    )
