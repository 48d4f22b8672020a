"""A domain that was proved and isn't any more: its owner is told once, whoever finds it out.

The notice's id follows from the account, the domain and when it began, so the ledger drops the second one.
"""

import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from relay.address import AddressError, parse_address
from relay.encoding import encode_delivery
from relay.ids import derived_id
from relay.ports import Clock, Queue
from relay.proof.judge import Judged
from relay.proof.spf_record import shown
from relay.proof.verdict import to_publish
from relay.submission import Delivery, Inline

MAX_TOLD: Final = 10_000  # remembered, to spare the queue


class TellOwner:
    """deliver_queue: where the notice goes, like any mail. host_name: who it is from."""

    def __init__(self, deliver_queue: Queue, clock: Clock, host_name: str) -> None:
        self._deliver_queue = deliver_queue
        self._clock = clock
        self._host_name = host_name
        self._told: set[str] = set()

    async def __call__(self, judged: Judged, account: str) -> None:
        """judged: of a domain that is held. To the user's own address; a login that is none is not told.
        Raises as `Queue.send`; then nothing is lost by doing it again."""
        try:
            owner = parse_address(judged.verdict.user)
        except AddressError:
            return
        id = derived_id(judged.failing_since, f"hold/{account}/{judged.verdict.domain}", account)
        if id in self._told:
            return
        delivery = Delivery(
            id=id,
            account=account,
            mail_from="",
            domain=owner.domain,
            chunk=0,
            rcpt_to=(str(owner),),
            received=self._clock.now(),
            content=Inline(notice(judged, str(owner), id, self._host_name)),
            smtputf8=not str(owner).isascii(),
            eightbit=not str(owner).isascii(),
            notice=True,
        )
        await self._deliver_queue.send(encode_delivery(delivery), group=account)
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.add(id)


def notice(judged: Judged, to: str, id: str, host_name: str) -> bytes:
    """What the owner reads, CRLF line ends; the same whenever it is made. to: the user's address."""
    domain = judged.verdict.domain
    wrap = textwrap.TextWrapper(76, break_long_words=False, break_on_hyphens=False)
    paragraphs = [
        f"The DNS records by which {domain} lets {to} send mail through this relay are not as they were. Mail from"
        f" {domain} waits and is not lost: it goes out by itself once the records are back.",
        f"What is not put right by {time(judged.held_until)} is refused, and its senders are told.",
    ]
    body = [line for each in paragraphs for line in (*wrap.wrap(each), "")]
    for problem in judged.verdict.problems:  # a record stands alone on its line, to be copied
        said = ". ".join(filter(None, (problem.what, problem.hint)))
        body += [*wrap.wrap(f"{shown(said, 800)}. To mend it,"), "", f"  {to_publish(problem, judged.verdict)}", ""]
    body += ["Record by record:", "", f"  mailrelay check {to} --domain {domain}"]
    return "\r\n".join(
        [
            f'From: "Mail Delivery System" <MAILER-DAEMON@{host_name}>',
            f"To: <{to}>",
            f"Subject: Mail from {domain} waits: its DNS records have changed",
            f"Date: {format_datetime(datetime.fromtimestamp(int(judged.failing_since), UTC))}",
            f"Message-ID: <{id}@{host_name}>",
            "Auto-Submitted: auto-generated",  # RFC 3834 §5
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            *body,
            "",
        ]
    ).encode()


def time(seconds: float) -> str:
    """Epoch seconds as a person reads them."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")
