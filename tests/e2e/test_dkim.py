"""From `mailrelay dkim enable` to signed mail in the sink, through rotation to the end of signing; verified by opendkim
where it is here, and by dkimpy. And that no private key is anywhere."""

import base64
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dkim
import pytest

from tests.fake_dkim import key_pair
from tests.system import LocalSystem, Mail, local_system, mailrelay, message, wait_for, zone

DOMAIN = "proved.example"
OPENDKIM = shutil.which("opendkim", path="/usr/sbin:/usr/bin")


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with local_system("--clock-speed", "100") as running:
        yield running


def call(system: LocalSystem, *argv: str) -> str:
    command = [mailrelay(), "dkim", *argv, "--state", str(system.folder / "state.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def keys(system: LocalSystem, action: str = "show") -> list[dict[str, Any]]:
    return list(json.loads(call(system, action, DOMAIN, "--json"))["keys"])


def publish(system: LocalSystem, text: str) -> None:
    path = Path(system.folder / "zone")
    fresh = path.with_suffix(".new")
    fresh.write_text(zone() + text)
    fresh.replace(path)


def send(system: LocalSystem, content: bytes | None = None) -> Mail:
    """A message as the sink got it."""
    mark = uuid.uuid4().hex
    system.submit(f"news@{DOMAIN}", ["a@in.example"], content or message(mark))
    found = lambda: next((each for each in system.sunk() if each.parsed["X-Mark"] == mark), None)  # noqa: E731
    return wait_for("the message", found)


def signer(mail: Mail) -> str | None:
    """s= of the only signature, above all else."""
    head = mail.content.partition(b"\r\n\r\n")[0]
    if b"DKIM-Signature" not in head:
        return None
    assert head.startswith(b"DKIM-Signature: ")
    assert head.count(b"DKIM-Signature: ") == 1
    found = re.search(rb"\bs=([^;]+);", head)
    assert found
    return found[1].decode()


def verifies(mail: Mail, published: list[dict[str, Any]], folder: Path) -> bool:
    known = {each["name"]: each["value"] for each in published}
    content = mail.content
    ours = bool(dkim.verify(content, dnsfunc=lambda name, **_: known.get(name.decode().rstrip("."), "").encode()))
    if OPENDKIM:
        (folder / "keys").write_text("".join(f"{name} {value}\n" for name, value in known.items()))
        (folder / "conf").write_text(f"Mode v\nTestPublicKeys {folder}/keys\n")
        (folder / "mail.eml").write_bytes(content)
        command = [OPENDKIM, "-x", str(folder / "conf"), "-t", str(folder / "mail.eml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (f"d={DOMAIN}, 2048-bit key) succeeded" in done.stdout + done.stderr) is ours, done
    return ours


def test_from_enable_to_the_end_of_signing(system: LocalSystem, tmp_path: Path) -> None:
    assert signer(send(system)) is None  # nobody has asked

    first = call(system, "enable", DOMAIN, "--zone")
    selector = keys(system)[0]["selector"]
    assert signer(send(system)) is None  # not in DNS yet
    assert [each["state"] for each in keys(system)] == ["waiting"]

    publish(system, first)
    signed = wait_for("a signed message", lambda: mail if signer(mail := send(system)) else None)
    assert signer(signed) == selector
    assert verifies(signed, keys(system), tmp_path)
    assert [each["state"] for each in keys(system)] == ["signing"]

    second = call(system, "rotate", DOMAIN, "--zone")
    assert len(second.splitlines()) == 2  # the one before is still needed
    assert signer(send(system)) == selector  # the new one is not in DNS yet
    publish(system, second)
    new = wait_for("one by the new key", lambda: mail if signer(mail := send(system)) != selector else None)
    assert signer(new) == keys(system)[0]["selector"]
    assert verifies(new, keys(system), tmp_path)
    assert verifies(signed, keys(system), tmp_path)  # what the old one signed is good as long as it is published
    assert [each["state"] for each in keys(system)] == ["signing", "ended"]

    again = send_as_it_is(system, new)
    assert signer(again) == signer(new)  # it has a valid signature of the domain already
    assert verifies(again, keys(system), tmp_path)

    call(system, "disable", DOMAIN)
    wait_for("an unsigned message", lambda: signer(send(system)) is None)
    no_private_key(system)


def send_as_it_is(system: LocalSystem, mail: Mail) -> Mail:
    """Submitted with the signature that it has: the trace field of the first time is left out."""
    signature, _, rest = mail.content.partition(b"Received:")
    kept = rest.partition(b"\r\nFrom:")[2]
    mark = mail.parsed["X-Mark"]
    before = sum(each.parsed["X-Mark"] == mark for each in system.sunk())
    system.submit(f"news@{DOMAIN}", ["a@in.example"], signature + b"From:" + kept)
    more = lambda: [each for each in system.sunk() if each.parsed["X-Mark"] == mark][before:]  # noqa: E731
    mail = wait_for("the message again", more)[0]
    return Mail(mail.content.partition(b"\r\nDKIM-")[2].join((b"DKIM-", b"")), mail.mail_from, mail.rcpt_to, mail.facts)


def no_private_key(system: LocalSystem) -> None:
    """In tables, logs and mail: neither in base64 nor as it is. Every PKCS #8 RSA key begins with these octets."""
    begin = bytes.fromhex("020100300d06092a864886f70d0101010500048204")
    signs = {begin, *(base64.b64encode(b"x" * skip + begin)[4:-8] for skip in range(3))}
    private = key_pair().private
    assert all(any(sign in form for sign in signs) for form in (private, base64.b64encode(private)))
    tables = system.client("dynamodb")
    whole = b"".join(
        json.dumps(page["Items"], default=lambda value: base64.b64encode(value).decode()).encode()
        for name in system.state["tables"].values()
        for page in tables.get_paginator("scan").paginate(TableName=name)
    )
    assert b"_domainkey" in whole or b"selector" in whole
    files = [path for path in system.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for text in (whole, *(path.read_bytes() for path in files)):
        assert not [sign for sign in signs if sign in text]
