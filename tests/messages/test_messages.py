"""Each message of this folder through the local system: byte for byte below the trace header, signatures still good."""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from random import Random

import dkim
import pytest

from relay.header import read_header
from tests.messages.make import RECIPES
from tests.system import LocalSystem, Mail, local_system, wait_for

FOLDER = Path(__file__).parent
KEPT = sorted(path.stem for path in FOLDER.glob("*.eml"))
LARGE = "20 MB"  # made at test time


def with_file(suffix: str) -> list[str]:
    return [name for name in KEPT if (FOLDER / f"{name}{suffix}").exists()]


@functools.cache  # its boundary is random
def large() -> bytes:
    message = EmailMessage()
    for field, value in (("From", "news@proved.example"), ("To", "you@in.example"), ("Subject", LARGE)):
        message[field] = value
    message.set_content("See the file.\n")
    message.add_attachment(Random(1).randbytes(15_000_000), "application", "octet-stream", filename="file.bin")
    return message.as_bytes().replace(b"\n", b"\r\n")


def content_of(name: str) -> bytes:
    content = large() if name == LARGE else (FOLDER / f"{name}.eml").read_bytes()
    return content if content.endswith(b"\r\n") else content + b"\r\n"  # SMTP ends every message with CRLF


def envelope(name: str) -> tuple[str, str]:
    """Sender and recipient; those of SMTPUTF8 messages aren't ASCII."""
    mark = re.sub(r"\W", "-", name)
    return (
        ("från@proved.example", f"användare-{mark}@in.example")
        if "smtputf8" in name
        else (
            "news@proved.example",
            f"{mark}@in.example",
        )
    )


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    """Everything is submitted at once, so that the tests wait for one another as little as can be."""
    with local_system("--clock-speed", "150") as running:
        with running.connect() as client:
            for name in (LARGE, *KEPT):
                sender, recipient = envelope(name)
                content = content_of(name)
                options = [] if content.isascii() else ["BODY=8BITMIME"]
                client.sendmail(sender, [recipient], content, options + ([] if sender.isascii() else ["SMTPUTF8"]))
        yield running


def arrived(system: LocalSystem, name: str) -> Mail:
    sender, recipient = envelope(name)
    mail = wait_for(name, lambda: next((each for each in system.sunk() if each.rcpt_to == [recipient]), None))
    assert mail.mail_from == sender
    return mail


def names(content: bytes) -> list[bytes]:
    return [field.name for field in read_header(content).fields]


def test_there_are_enough_and_each_is_explained() -> None:
    assert len(KEPT) >= 20
    assert set(KEPT) == {*RECIPES, "dkim"}
    told = re.findall(r"^\| `(.+)\.eml` \|", (FOLDER / "README.md").read_text("utf-8"), re.M)
    assert sorted(told) == KEPT


@pytest.mark.parametrize("name", [*KEPT, LARGE])
def test_arrives_byte_for_byte_below_the_trace_header(system: LocalSystem, name: str) -> None:
    content, mail = content_of(name), arrived(system, name)
    assert mail.content[-len(content) :] == content
    added, had = names(mail.content[: -len(content)]), names(content)
    missing = [] if b"dkim-signature" in had else [each for each in (b"date", b"message-id") if each not in had]
    assert added == [b"received", *missing]


@pytest.mark.parametrize("name", with_file(".txt"))
def test_dkimpy_verifies(system: LocalSystem, name: str) -> None:
    record = (FOLDER / f"{name}.txt").read_bytes().strip()
    content = arrived(system, name).content
    assert dkim.verify(content, dnsfunc=lambda *_, **__: record)
    assert not dkim.verify(content.replace(b"\r\nFrom: ", b"\r\nFrom: X "), dnsfunc=lambda *_, **__: record)


@pytest.mark.parametrize("name", with_file(".txt"))
def test_opendkim_verifies(system: LocalSystem, tmp_path: Path, name: str) -> None:
    program = shutil.which("opendkim", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if not program:
        pytest.skip("opendkim is not here; tests/clients/install.sh says why")
    content = arrived(system, name).content
    selector = re.search(rb"[; \t]s=([\w-]+)", content)
    assert selector
    record = (FOLDER / f"{name}.txt").read_text().strip()
    (tmp_path / "keys").write_text(f"{selector[1].decode()}._domainkey.proved.example {record}\n")
    (tmp_path / "conf").write_text(f"Mode v\nTestPublicKeys {tmp_path}/keys\n")
    (tmp_path / "mail.eml").write_bytes(content)
    done = subprocess.run(
        [program, "-x", str(tmp_path / "conf"), "-vv", "-t", str(tmp_path / "mail.eml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "dkim=pass" in done.stdout + done.stderr


@pytest.mark.parametrize("name", with_file(".pem"))
def test_openssl_verifies_smime(system: LocalSystem, tmp_path: Path, name: str) -> None:
    (tmp_path / "mail.eml").write_bytes(arrived(system, name).content)
    command = ["openssl", "smime", "-verify", "-CAfile", str(FOLDER / f"{name}.pem"), "-in", str(tmp_path / "mail.eml")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert b"Verification successful" in done.stderr
    assert "Hej på dig!".encode() in done.stdout


@pytest.mark.parametrize("name", with_file(".asc"))
def test_gpg_verifies(system: LocalSystem, tmp_path: Path, name: str) -> None:
    if not shutil.which("gpg"):
        pytest.skip("gpg is not here")
    content = arrived(system, name).content
    boundary = re.search(rb'boundary="([^"]+)"', content)
    assert boundary
    _, part, signature, _ = content.split(b"--" + boundary[1])
    (tmp_path / "part").write_bytes(part[2:-2])  # the line ends around it are the boundary's (RFC 3156 §5)
    (tmp_path / "signature").write_bytes(signature)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-autostart"]
    subprocess.run([*gpg, "--import", str(FOLDER / f"{name}.asc")], check=True, capture_output=True)
    done = subprocess.run(
        [*gpg, "--verify", str(tmp_path / "signature"), str(tmp_path / "part")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
