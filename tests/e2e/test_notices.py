"""What a sender asks about notices (RFC 3461), from RCPT to the notices in the sink, which doesn't offer DSN."""

import re
import time
from collections.abc import Iterator

import pytest

from tests.system import USER, LocalSystem, Mail, local_system, message, wait_for

SENDER = "news@proved.example"


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system("--clock-speed", "1000") as running:  # four hours are 14 seconds
        yield running


def told(system: LocalSystem) -> dict[str, list[Mail]]:
    """{"action recipient": its notices}."""
    found: dict[str, list[Mail]] = {}
    for mail in system.sunk():
        if mail.mail_from == "" and mail.rcpt_to == [SENDER]:
            for fields in mail.parsed.get_payload(1).get_payload()[1:]:  # type: ignore[union-attr]
                about = f"{fields['Action']} {fields['Final-Recipient'].partition('; ')[2]}"
                found.setdefault(about, []).append(mail)
    return found


def test_each_recipient_s_sender_is_told_what_was_asked(system: LocalSystem) -> None:
    asked = {
        "a@in.example": ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;a+2Bb@old.example"],
        "b@in.example": [],
        "nobody-1@in.example": ["NOTIFY=SUCCESS,FAILURE"],
        "nobody-2@in.example": ["NOTIFY=NEVER"],
        "nobody-3@in.example": [],
        "full-1@in.example": [],
        "full-2@in.example": ["NOTIFY=SUCCESS,FAILURE"],
        "full-3@in.example": ["NOTIFY=DELAY"],
    }
    content = message("asked", body="The body.\r\n")
    with system.connect() as client:
        client.ehlo()
        assert client.has_extn("dsn")
        assert client.mail(SENDER, ["RET=FULL", "ENVID=order+2B42"])[0] == 250
        for recipient, options in asked.items():
            assert client.rcpt(recipient, options)[0] == 250
        assert client.data(content)[0] == 250
    found = wait_for("the delay", lambda: all_ if "delayed full-1@in.example" in (all_ := told(system)) else None)
    assert {about: len(mails) for about, mails in found.items() if not about.startswith("failed full")} == {
        "relayed a@in.example": 1,
        "failed nobody-1@in.example": 1,
        "failed nobody-3@in.example": 1,
        "delayed full-1@in.example": 1,
        "delayed full-3@in.example": 1,
    }
    for about, (mail,) in found.items():
        status = mail.parsed.get_payload(1).get_payload()  # type: ignore[union-attr]
        assert status[0]["Original-Envelope-Id"] == "order+42"
        assert (b"The body." in mail.content) == about.startswith("failed")  # RET=FULL is for failures
        assert b"X-Mark: asked" in mail.content
    (relayed,) = found["relayed a@in.example"]
    assert b"\r\nOriginal-Recipient: rfc822; a+b@old.example\r\n" in relayed.content
    (delayed,) = found["delayed full-1@in.example"]
    assert b"\r\nWill-Retry-Until: " in delayed.content
    assert b"452 4.2.2 Mailbox full" in delayed.content


def test_the_same_refusal_is_told_a_few_times_and_counted_otherwise(system: LocalSystem) -> None:
    """An hour is 3.6 seconds here. Every recipient is told of or counted, none twice."""

    def heard() -> tuple[int, int]:
        """(notices, recipients that they tell of or count)"""
        notices = [mail for mail in system.sunk() if mail.mail_from == "" and mail.rcpt_to == [USER]]
        counted = sum(int(count) for mail in notices for count in re.findall(rb"mail to (\d+) more", mail.content))
        return len(notices), counted + sum(mail.content.count(b"Final-Recipient:") for mail in notices)

    def refuse(mark: str) -> None:
        system.enqueue("x@unproved.example", [f"{mark}@in.example"], message(mark, sender="x@unproved.example"))

    for number in range(60):
        refuse(f"refused-{number}")
    settled = wait_for(
        "60 refusals", lambda: sum(row["state"] == "rejected" for row in system.rows()) == 60 and time.monotonic()
    )
    wait_for("the hour's end", lambda: time.monotonic() > settled + 5)
    refuse("refused-60")
    notices, recipients = wait_for("all to be told", lambda: all_ if (all_ := heard())[1] >= 61 else None)
    assert recipients == 61
    assert 2 <= notices <= 10
