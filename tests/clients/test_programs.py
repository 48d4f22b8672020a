"""Every program of docs/senders.md sends through the local system with the settings that the guide gives."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from relay.proof.token import records_to_publish
from tests.clients import null_client
from tests.clients.programs import GUIDE, ROOT, Program, programs
from tests.clients.table import LF, SAME, relay_of, run
from tests.system import LocalSystem, Mail, local_system, message, wait_for

PROGRAMS = {program.id: program for program in programs()}


# Of the table: the messages that are easiest to harm.
MESSAGES = (*("git-patch", "python-dots", "python-blanks", "dkimpy-simple", "smime-signed", "nodemailer-smtputf8", LF),)
NOT_ASCII = "5.6.7 An address that is not ASCII needs the SMTPUTF8 parameter at MAIL"
BARE_LF = "554 5.6.0 Message refused: it has a CR or LF that is not part of a CRLF"

# What some versions do on their side. Everything else arrives as it was.
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


def exit_codes() -> Iterator[tuple[str, int, int]]:
    """(program's name, of a wrong password, of a refused recipient), as the guide's last table has them."""
    for name, password, recipient in re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \|", GUIDE.read_text("utf-8"), re.M):
        yield name, int(password), int(recipient)


def as_told(program: Program) -> bool:
    """It is the version that the guide's exit codes are of."""
    return f"| {program.name} | {program.version()} |" in (ROOT / "docs" / "clients.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "password", "recipient"), list(exit_codes()))
def test_a_refusal_is_told(system: LocalSystem, home: Path, name: str, password: int, recipient: int) -> None:
    (program,) = [each for each in PROGRAMS.values() if each.name == name]
    if why := program.absent():
        pytest.skip(why)
    prepare(home, "refused")
    for here, to, code, words in (
        (relay_of(system, "wrong"), "a@in.example", password, r"User name or password wrong|Login denied"),
        (relay_of(system), "a@192.0.2.1", recipient, r"IP addresses are not accepted|RCPT failed: 553"),
    ):
        program.write(home, here, "news@proved.example", to, tls=False)
        done = program.run(home, here, "news@proved.example", to)
        assert re.search(words, done.stdout + done.stderr), done.stdout + done.stderr
        assert done.returncode == code if as_told(program) else done.returncode != 0


def test_the_guides_token_is_the_tools() -> None:
    command = re.search(r"^echo \"elastx-mrs=.*$", GUIDE.read_text("utf-8"), re.M)
    assert command
    said = subprocess.run(["bash", "-c", command[0]], capture_output=True, text=True, check=True).stdout.strip()
    records = records_to_publish("corp.example", "app@corp.example", "elastx-mrs", "elastx.email")
    assert records[0].value == said
    for each in records[1:]:
        assert f"`{each.value}`" in GUIDE.read_text("utf-8")


def test_programs_and_messages(system: LocalSystem) -> None:
    """A part of docs/clients.md: the messages that are easiest to harm."""
    wrong = {
        (program, message): cell
        for program, cells in run(system, MESSAGES).items()
        for message, cell in cells.items()
        if cell not in (SAME, ALWAYS.get(program)) and KNOWN.get((program, message), "nothing") not in cell
    }
    assert not wrong
