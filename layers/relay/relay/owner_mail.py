"""What a user is told at their own address, by mail like any other."""

import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, NamedTuple

from relay.address import AddressError, parse_address
from relay.encoding import encode_delivery
from relay.ids import derived_id
from relay.ports import Clock, Queue
from relay.submission import Delivery, Inline

MAX_TOLD: Final = 10_000  # remembered, to spare the queue
WIDTH: Final = 76


class Letter(NamedTuple):
    """cause, since (epoch seconds): letters that have the same to the same user are one. body: lines in ASCII, but for
    the user's own address."""

    cause: str
    since: float
    subject: str
    body: tuple[str, ...]


class OwnerMail:
    """deliver_queue: where the letter goes. host_name: who it is from.

    Its id follows from its cause and user, so the ledger drops the second one, whoever sends it."""

    def __init__(self, deliver_queue: Queue, clock: Clock, host_name: str) -> None:
        self._deliver_queue = deliver_queue
        self._clock = clock
        self._host_name = host_name
        self._told: set[str] = set()

    async def __call__(self, user: str, account: str, letter: Letter) -> None:
        """user: as registered; a login that is no address is not told. account: in lower case. Raises as `Queue.send`;
        then nothing is lost by doing it again."""
        try:
            owner = parse_address(user)
        except AddressError:
            return
        id = derived_id(letter.since, letter.cause, account)
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
            content=Inline(_content(letter, str(owner), id, self._host_name)),
            smtputf8=not str(owner).isascii(),
            eightbit=not str(owner).isascii(),
            notice=True,
        )
        await self._deliver_queue.send(encode_delivery(delivery), group=account)
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.add(id)


def wrapped(paragraphs: Iterable[str]) -> tuple[str, ...]:
    """Lines, an empty one after each paragraph."""
    wrap = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    return tuple(line for each in paragraphs for line in (*wrap.wrap(each), ""))


def _content(letter: Letter, to: str, id: str, host_name: str) -> bytes:
    """CRLF line ends; the same whenever it is made."""
    return "\r\n".join(
        [
            f'From: "Mail Delivery System" <MAILER-DAEMON@{host_name}>',
            f"To: <{to}>",
            f"Subject: {letter.subject}",
            f"Date: {format_datetime(datetime.fromtimestamp(int(letter.since), UTC))}",
            f"Message-ID: <{id}@{host_name}>",
            "Auto-Submitted: auto-generated",  # RFC 3834 §5
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            *letter.body,
            "",
        ]
    ).encode()
