"""relay.hold: what the owner of a held domain is told, once."""

import asyncio
import email
import email.policy
from dataclasses import replace

import pytest

from relay.encoding import decode_delivery
from relay.errors import OutageError
from relay.hold import TellOwner
from relay.owner_mail import OwnerMail
from relay.proof.judge import Judged
from relay.proof.ruling import Standing
from relay.proof.verdict import Problem, Proof, Verdict
from relay.submission import Delivery, Inline
from tests.fakes import FakeClock, FakeQueue

NO = Problem(Proof.SPF, "corp.example has no SPF record", 'corp.example. TXT "v=spf1 include:elastx.email -all"')
HELD = Judged(
    Verdict("corp.example", "App@corp.example", problems=(NO,)),
    Standing.HELD,
    1_800_000_030.0,
    failing_since=1_800_000_000.0,
    held_until=1_800_086_400.0,
)


def told(*held: Judged, processes: int = 1) -> list[Delivery]:
    queue = FakeQueue()

    async def run() -> None:
        for tell in [TellOwner(OwnerMail(queue, FakeClock(), "smtp.relay.example")) for _ in range(processes)]:
            for each in held:
                await tell(each, "app@corp.example")

    asyncio.run(run())
    return [decode_delivery(body) for body in queue.bodies]


def test_what_the_owner_reads() -> None:
    (delivery,) = told(HELD)
    assert (delivery.rcpt_to, delivery.mail_from, delivery.account) == (
        ("App@corp.example",),
        "",
        "app@corp.example",
    )
    assert delivery.notice
    assert isinstance(delivery.content, Inline)
    mail = email.message_from_bytes(delivery.content.data, policy=email.policy.default)
    assert mail["Subject"] == "Mail from corp.example waits: its DNS records have changed"
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content().replace("\r\n", "\n")
    assert "corp.example has no SPF record. To mend it," in text
    assert '\n  publish: corp.example. TXT "v=spf1 include:elastx.email -all"\n' in text
    assert "2027-01-16 08:00 UTC" in text
    assert "mailrelay check App@corp.example --domain corp.example" in text
    assert all(len(line) <= 78 for line in text.splitlines())


def test_a_process_tells_once() -> None:
    assert len(told(HELD, HELD)) == 1


def test_what_two_processes_tell_is_one_message_to_the_ledger() -> None:
    first, second = told(HELD, processes=2)
    assert (first.key, first.content) == (second.key, second.content)


@pytest.mark.parametrize(
    "other",
    [replace(HELD, failing_since=1_800_000_001.0), replace(HELD, verdict=replace(HELD.verdict, domain="b.example"))],
    ids=["another time", "another domain"],
)
def test_another_hold_is_told_again(other: Judged) -> None:
    assert len({delivery.id for delivery in told(HELD, other)}) == 2


def test_a_login_that_is_no_address_is_not_told() -> None:
    assert not told(replace(HELD, verdict=replace(HELD.verdict, user="root")))


def test_what_was_not_sent_is_told_later() -> None:
    queue = FakeQueue()
    tell = TellOwner(OwnerMail(queue, FakeClock(), "smtp.relay.example"))
    queue.fail_next(OutageError("away"))
    with pytest.raises(OutageError):
        asyncio.run(tell(HELD, "a"))
    asyncio.run(tell(HELD, "a"))
    assert len(queue.sent) == 1
