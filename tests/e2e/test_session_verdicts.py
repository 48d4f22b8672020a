"""What DNS says about a sender, told in the SMTP session (DESIGN §2, step 1)."""

import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import USER, LocalSystem, local_system, marks, message, submit_on, wait_for

PATIENCE = 2.0  # seconds, as the gateway has it


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system() as running:
        with running.connect() as client:  # the first question finds nothing warm
            mail(client, "news@warm.example")
        yield running


def mail(client: smtplib.SMTP, sender: str) -> tuple[int, list[str]]:
    """The code and the lines of the reply to MAIL, each without code and enhanced code."""
    client.ehlo_or_helo_if_needed()
    code, text = client.mail(sender)
    client.rset()
    lines = text.decode("ascii").splitlines()
    if code >= 400:
        assert all(line.split(" ")[0] in ("5.7.1", "4.7.1") for line in lines)
    return code, [line.partition(" ")[2] for line in lines]


def records(lines: list[str]) -> list[str]:
    return [line.removeprefix("publish: ") for line in lines if line.startswith("publish: ")]


def publish(system: LocalSystem, wanted: list[str]) -> None:
    with Path(system.folder / "zone").open("a") as zone:
        zone.writelines(f"{record}\n" for record in wanted)


def data(client: smtplib.SMTP, mark: str, sender: str) -> tuple[int, str]:
    """The reply to a message whose From is `sender`, from a proved envelope."""
    client.ehlo_or_helo_if_needed()
    assert client.mail("news@proved.example")[0] == 250
    assert client.rcpt(f"{mark}@in.example")[0] == 250
    code, text = client.data(message(mark, sender=sender))
    return code, text.decode("ascii")


def test_a_domain_that_has_published_nothing_is_told_what_to_publish_and_then_passes(system: LocalSystem) -> None:
    with system.connect() as client:
        code, lines = mail(client, "news@mended.example")
        assert code == 550
        assert lines[0].startswith("sender not authorised by DNS: mended.example ")
        assert lines[-1] == f"run: mailrelay check {USER} --domain mended.example"
        wanted = records(lines)
        assert [record.partition('"')[2].partition("=")[0] for record in wanted] == ["elastx-mrs", "v", "v"]
        publish(system, wanted)
        published = time.monotonic()
        wait_for("the yes", lambda: mail(client, "news@mended.example")[0] == 250, 40)
        assert time.monotonic() - published < 35
        id = submit_on(client, "news@mended.example", ["m@in.example"], message("mended", sender="x@mended.example"))
        wait_for(f"{id} to arrive", lambda: ("mended", "m@in.example") in marks(system.sunk()))


def test_a_domain_in_the_header_is_told_at_the_end_of_data(system: LocalSystem) -> None:
    with system.connect() as client:
        code, text = data(client, "in-header", "boss@unproved.example")
        assert code == 550
        first, *_, last = text.splitlines()
        assert first.startswith("5.7.1 sender not authorised by DNS: unproved.example ")
        assert last == f"5.7.1 run: mailrelay check {USER} --domain unproved.example"
        assert data(client, "in-header-too", "news@proved.example")[0] == 250
    wait_for("the good one", lambda: ("in-header-too", "in-header-too@in.example") in marks(system.sunk()))
    assert ("in-header", "in-header@in.example") not in marks(system.sunk())
    assert not [row for row in system.rows() if row["recipient"] == "in-header@in.example"]  # nothing was stored


def test_a_refused_sender_takes_no_other_down(system: LocalSystem) -> None:
    """RFC 2920: all in one go, over a session that goes on."""
    with system.connect() as client:
        client.ehlo()
        lines = ["MAIL FROM:<x@unproved.example>", "RCPT TO:<a@in.example>", "DATA", "RSET"]
        client.send("".join(f"{line}\r\n" for line in lines))
        assert [client.getreply()[0] for _ in lines] == [550, 503, 503, 250]
        submit_on(client, "news@proved.example", ["after@in.example"], message("after"))
    wait_for("the message", lambda: ("after", "after@in.example") in marks(system.sunk()))


def test_a_domain_whose_dns_is_silent_is_accepted_and_put_off_by_the_queue(system: LocalSystem) -> None:
    sender = "x@timeout.example"
    with system.connect() as client:
        client.ehlo()
        began = time.monotonic()
        assert client.mail(sender)[0] == 250
        waited = time.monotonic() - began
        assert PATIENCE - 0.2 < waited < PATIENCE + 2
        client.rset()
        began = time.monotonic()
        id = submit_on(client, sender, ["late@in.example"], message("late", sender=sender))
        assert time.monotonic() - began < PATIENCE / 2  # what was waited for once isn't again

    def put_off() -> list[str]:
        return [row["state"] for row in system.rows() if row["id"] == id]

    assert set(wait_for("the queue's word", put_off, 90)) == {"deferred"}
    assert ("late", "late@in.example") not in marks(system.sunk())


def test_a_null_sender_and_a_proved_one_cost_no_wait(system: LocalSystem) -> None:
    with system.connect() as client:
        client.ehlo()
        assert client.mail("news@proved.example")[0] == 250
        began = time.monotonic()
        for _ in range(100):
            client.rset()
            assert client.mail("news@proved.example")[0] == 250
            client.rset()
            assert client.mail("")[0] == 250
        assert time.monotonic() - began < 5
