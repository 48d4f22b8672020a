"""The mail sink, spoken to with smtplib."""

import json
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.certificates import Authority
from local.processes import Spawner, base_environment
from local.sink import MailDir
from local.stack import ROOT


@dataclass
class Sink:
    port: int
    mail_dir: Path
    ca_file: Path

    def connect(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=10)
        client.ehlo("test.example")
        return client

    def messages(self) -> list[tuple[bytes, dict[str, Any]]]:
        found = sorted(self.mail_dir.glob("*.json"), key=lambda path: int(path.stem))
        return [(path.with_suffix(".eml").read_bytes(), json.loads(path.read_text("utf-8"))) for path in found]


@pytest.fixture(scope="module")
def sink(spawner: Spawner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    folder = tmp_path_factory.mktemp("sink")
    authority = Authority(folder / "tls")
    made = authority.issue("sink", ("localhost", "127.0.0.1"))
    arguments = ["-m", "local.sink", "--mail-dir", str(folder / "mail")]
    arguments += ["--cert", str(made.cert_file), "--key", str(made.key_file)]
    child = spawner.python("sink", arguments, base_environment(), cwd=ROOT)
    yield Sink(child.ready()["port"], folder / "mail", authority.ca_file)
    child.stop()


def raw_data(client: smtplib.SMTP, content: bytes) -> tuple[int, bytes]:
    """DATA without smtplib's own changes to line ends."""
    assert client.docmd("DATA")[0] == 354
    client.sock.sendall(content + b".\r\n")  # type: ignore[union-attr]
    return client.getreply()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param(b"A: b\r\n\r\nbody\r\n", None, id="plain"),
        pytest.param(b"A: b\r\n\r\n..\r\n...x\r\n", b"A: b\r\n\r\n.\r\n..x\r\n", id="dots"),
        pytest.param(b"A: b\r\n\r\nbare\nlf \r cr \0 nul\r\n\r\n\r\n", None, id="bare line ends"),
        pytest.param(b"A: b\r\n\r\n" + bytes(range(128, 256)) + b"\r\n", None, id="eight bits"),
        pytest.param(b"A: b\r\n\r\n" + b"x" * 200_000 + b"\r\n", None, id="long line"),
        pytest.param(b"A: b\r\n\r\n" + (b"y" * 76 + b"\r\n") * 70_000, None, id="5 MB"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_kept_byte_for_byte(sink: Sink, sent: bytes, kept: bytes | None) -> None:
    with sink.connect() as client:
        client.mail("a@one.example", ["BODY=8BITMIME"])
        client.rcpt("b@two.example")
        client.rcpt("c@two.example")
        assert raw_data(client, sent)[0] == 250
    content, facts = sink.messages()[-1]
    assert content == (sent if kept is None else kept)
    assert facts.pop("time") > 0
    assert facts == {
        "mail_from": "a@one.example",
        "rcpt_to": ["b@two.example", "c@two.example"],
        "options": ["BODY=8BITMIME"],
        "tls": "",
    }


def test_tls_and_extensions(sink: Sink) -> None:
    with sink.connect() as client:
        assert {"size", "8bitmime", "smtputf8", "starttls"} <= client.esmtp_features.keys()
        assert int(client.esmtp_features["size"]) >= 50_000_000
        client.starttls(context=ssl.create_default_context(cafile=str(sink.ca_file)))
        client.ehlo("test.example")
        client.sendmail("a@one.example", ["b@two.example"], b"A: b\r\n\r\n")
    assert sink.messages()[-1][1]["tls"].startswith("TLSv1.")


def test_null_sender_and_non_ascii_addresses(sink: Sink) -> None:
    with sink.connect() as client:
        assert client.docmd("MAIL FROM:<>")[0] == 250
        assert client.docmd("RCPT TO:<b@two.example>")[0] == 250
        assert raw_data(client, b"A: b\r\n\r\n")[0] == 250
        client.command_encoding = "utf-8"
        assert client.docmd("MAIL FROM:<användare@one.example> SMTPUTF8")[0] == 250
        assert client.docmd("RCPT TO:<用户@two.example>")[0] == 250
        assert raw_data(client, b"A: b\r\n\r\n")[0] == 250
    (_, notice), (_, international) = sink.messages()[-2:]
    assert notice["mail_from"] == ""
    assert international["mail_from"] == "användare@one.example"
    assert international["rcpt_to"] == ["用户@two.example"]
    assert international["options"] == ["SMTPUTF8"]


@pytest.mark.parametrize(
    ("recipient", "code", "enhanced"),
    [
        ("nobody@x.example", 550, b"5.1.1"),
        ("unknown-17@x.example", 550, b"5.1.1"),
        ("full@x.example", 452, b"4.2.2"),
        ("defer@x.example", 451, b"4.3.0"),
        ("away@x.example", 421, b"4.3.2"),
        ("greylist@x.example", 451, b"4.7.1"),
        ("anybody@x.example", 250, b"2.1.5"),
    ],
)
def test_recipients_that_are_answered_at_rcpt(sink: Sink, recipient: str, code: int, enhanced: bytes) -> None:
    client = sink.connect()
    client.mail("a@one.example")
    answer = client.rcpt(recipient)
    assert answer[0] == code
    assert answer[1].startswith(enhanced)
    if code == 421:
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
    client.close()


@pytest.mark.parametrize(
    ("recipient", "codes"),
    [
        ("greylist-1@x.example", [451, 250, 250]),
        ("greylist3@x.example", [451, 451, 451, 250]),
        ("Greylist0@x.example", [250]),
    ],
)
def test_greylisting(sink: Sink, recipient: str, codes: list[int]) -> None:
    with sink.connect() as client:
        for sender in ("first@one.example", "second@one.example"):
            got = []
            for _ in codes:
                client.rset()
                client.mail(sender)
                got.append(client.rcpt(recipient)[0])
            assert got == codes


@pytest.mark.parametrize(
    ("recipient", "code", "kept"),
    [
        ("spam@x.example", 554, False),
        ("late@x.example", 451, False),
        ("slow0@x.example", 250, True),
        ("drop@x.example", 0, False),
        ("lost@x.example", 0, True),
    ],
)
def test_recipients_that_are_answered_at_the_end_of_data(sink: Sink, recipient: str, code: int, kept: bool) -> None:
    before = len(sink.messages())
    client = sink.connect()
    client.mail("a@one.example")
    assert client.rcpt("anybody@x.example")[0] == 250
    assert client.rcpt(recipient)[0] == 250
    if code:
        assert raw_data(client, b"A: b\r\n\r\n")[0] == code
    else:
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            raw_data(client, b"A: b\r\n\r\n")
    client.close()
    assert len(sink.messages()) - before == kept


def test_numbers_go_on_after_those_that_are_there(folder: Path) -> None:
    (folder / "7.eml").write_bytes(b"")
    (folder / "notes.eml").write_bytes(b"")
    MailDir(folder).add(b"x", {"a": 1})
    assert (folder / "8.eml").read_bytes() == b"x"
    assert json.loads((folder / "8.json").read_text()) == {"a": 1}
    assert sorted(path.name for path in folder.iterdir()) == ["7.eml", "8.eml", "8.json", "notes.eml"]
