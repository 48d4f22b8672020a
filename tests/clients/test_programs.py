"""Every program of docs/senders.md sends through the local system with the settings that the guide gives."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.clients import null_client
from tests.clients.programs import Program, programs
from tests.clients.table import LF, SAME, relay_of, run
from tests.system import LocalSystem, Mail, local_system, message, wait_for

PROGRAMS = {program.id: program for program in programs()}


# Of the table: the messages that are easiest to harm.
MESSAGES = (*("git-patch", "python-dots", "python-blanks", "dkimpy-simple", "smime-signed", "nodemailer-smtputf8", LF),)
NOT_ASCII = "5.6.7 An address that is not ASCII needs the SMTPUTF8 parameter at MAIL"
BARE_LF = "554 5.6.0 Message refused: it has a CR or LF that is not part of a CRLF"

# What is as it is on the program's side. Everything else arrives as it was.
ALWAYS = {"swaks": "blank line at the end", "Postfix": "+Received"}
KNOWN = {
    ("swaks", "python-dots"): "changed: `.` is lost",
    ("swaks", LF): "changed: `.` is lost",
    ("swaks", "nodemailer-smtputf8"): NOT_ASCII,
    ("msmtp", "nodemailer-smtputf8"): NOT_ASCII,
    ("Net-SMTP", "nodemailer-smtputf8"): NOT_ASCII,
    ("smtplib", "nodemailer-smtputf8"): "UnicodeEncodeError",
    ("aiosmtplib", "nodemailer-smtputf8"): "UnicodeEncodeError",
    ("curl", LF): "curl: (8)",
    ("smtplib", LF): BARE_LF,
}


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system("--clock-speed", "150") as running:
        yield running


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mailrelay-client-") as name:  # short: Postfix's sockets are in it
        yield Path(name)


def prepare(home: Path, mark: str) -> None:
    """message.eml, and a patch for git send-email."""
    (home / "message.eml").write_bytes(message(mark, body=".dot\r\n\r\ntrailing blank \r\n..two\r\n"))
    (home / f"0001-{mark}.patch").write_text(
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: News <news@proved.example>\n"
        f"Date: Mon, 23 Nov 2026 10:00:00 +0000\nSubject: [PATCH] {mark}\n\n---\n.dot\n"
    )


def sunk(system: LocalSystem, recipient: str) -> Mail:
    return wait_for(f"mail to {recipient}", lambda: next((m for m in system.sunk() if m.rcpt_to == [recipient]), None))


@pytest.mark.parametrize("tls", [False, True], ids=["587", "465"])
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_the_guides_settings_send(system: LocalSystem, home: Path, program: Program, tls: bool) -> None:
    if why := program.absent():
        pytest.skip(why)
    mark = f"{program.id}-{'tls' if tls else 'starttls'}"
    prepare(home, mark)
    here, recipient = relay_of(system), f"{mark.lower()}@in.example"
    program.write(home, here, "news@proved.example", recipient, tls=tls)
    with null_client.running(home) if program.id == "Postfix" else nullcontext():
        done = program.run(home, here, "news@proved.example", recipient, tls=tls)
        assert done.returncode == 0, done.stdout + done.stderr
        mail = sunk(system, recipient)
    assert mail.mail_from == "news@proved.example"
    if program.takes_messages:  # swaks ends it with a blank line more
        assert mail.content.rstrip(b"\r\n").endswith((home / "message.eml").read_bytes().rstrip(b"\r\n"))


REFUSED = re.compile(r"535|User name or password wrong|authentication failed|Login denied|Authentication failed", re.I)


@pytest.mark.parametrize(
    "program", [each for each in PROGRAMS.values() if each.id != "Postfix"], ids=lambda each: each.id
)
def test_a_wrong_password_is_a_failure_that_it_tells(system: LocalSystem, home: Path, program: Program) -> None:
    if why := program.absent():
        pytest.skip(why)
    prepare(home, "wrong")
    here = relay_of(system, "wrong")
    program.write(home, here, "news@proved.example", "wrong@in.example", tls=False)
    done = program.run(home, here, "news@proved.example", "wrong@in.example")
    assert done.returncode != 0
    assert REFUSED.search(done.stdout + done.stderr)


def test_programs_and_messages(system: LocalSystem) -> None:
    """A part of docs/clients.md: the messages that are easiest to harm."""
    wrong = {
        (program, message): cell
        for program, cells in run(system, MESSAGES).items()
        for message, cell in cells.items()
        if (known := KNOWN.get((program, message), ALWAYS.get(program, SAME))) not in cell or (known == SAME != cell)
    }
    assert not wrong
