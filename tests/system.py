"""The whole local system as its users meet it: `mailrelay local` in a process of its own, its state file,
SMTP in front and the sink's files behind. For tests/e2e and tests/faults."""

import email
import email.policy
import hashlib
import json
import os
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3

from relay.encoding import encode_submission
from relay.ids import new_id
from relay.submission import Inline, Submission

T = TypeVar("T")

USER = "app@login.example"
PASSWORD = "a-long-pass-phrase-for-tests"
START_LIMIT = 60.0


def zone(users: tuple[str, ...] = (USER,)) -> str:
    """proved.example has all three records; unproved.example none; in.example and two more take mail."""
    tokens = "\n".join(
        f'proved.example. 60 IN TXT "elastx-mrs={hashlib.sha256(user.encode()).hexdigest()}"' for user in users
    )
    takers = "\n".join(
        f"{name}. 60 IN MX 10 mx.{name}.\nmx.{name}. 60 IN A 127.0.0.1"
        for name in ("in.example", "other.example", "third.example", "proved.example", "login.example")
    )
    return f"""{tokens}
proved.example. 60 IN TXT "v=spf1 include:elastx.email -all"
_dmarc.proved.example. 60 IN TXT "v=DMARC1; p=none"
unproved.example. 60 IN TXT "nothing to see"
{takers}
"""


@dataclass
class Mail:
    """One message as the sink stored it."""

    content: bytes
    mail_from: str
    rcpt_to: list[str]
    facts: dict[str, Any]

    @property
    def parsed(self) -> email.message.EmailMessage:
        return email.message_from_bytes(self.content, policy=email.policy.default)  # type: ignore[return-value]


@dataclass
class LocalSystem:
    process: subprocess.Popen[bytes]
    folder: Path
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def mail_dir(self) -> Path:
        return self.folder / "mail"

    def connect(self, user: str = USER, password: str = PASSWORD, port: int | None = None) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=self.state["ca_file"])
        client = smtplib.SMTP(self.state["host"], port or self.state["port"], timeout=60)
        client.starttls(context=context)
        client.login(user, password)
        return client

    def submit(self, mail_from: str, rcpt_to: list[str], content: bytes) -> str:
        """Submit by SMTP; the id that the 250 gave."""
        with self.connect() as client:
            return submit_on(client, mail_from, rcpt_to, content)

    def enqueue(self, mail_from: str, rcpt_to: list[str], content: bytes) -> str:
        """Onto ValidateQueue as it is, as if the session could not learn what DNS says of the sender; its id."""
        now = time.time()
        submission = Submission(new_id(now, USER), USER, mail_from, tuple(rcpt_to), now, Inline(content))
        url = self.state["queues"]["ValidateQueue"]
        self.client("sqs").send_message(QueueUrl=url, MessageBody=encode_submission(submission), MessageGroupId=USER)
        return submission.id

    def sunk(self) -> list[Mail]:
        found = []
        for facts_file in sorted(self.mail_dir.glob("*.json"), key=lambda path: int(path.stem)):
            facts = json.loads(facts_file.read_text())
            content = facts_file.with_suffix(".eml").read_bytes()
            found.append(Mail(content, facts["mail_from"], facts["rcpt_to"], facts))
        return found

    def client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            region_name=self.state["region"],
            endpoint_url=self.state["aws_endpoint"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every row of the Messages table, attributes as plain values."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=self.state["tables"]["MessagesTable"])
        return [
            {name: next(iter(value.values())) for name, value in item.items()}
            for page in pages
            for item in page["Items"]
        ]

    def ledger(self) -> list[dict[str, Any]]:
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=self.state["tables"]["LedgerTable"])
        return [item for page in pages for item in page["Items"]]

    def depth(self, queue: str) -> int:
        """Messages on a queue, waiting, in flight or delayed."""
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        answer = self.client("sqs").get_queue_attributes(QueueUrl=self.state["queues"][queue], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def trace(self, id: str) -> dict[str, Any]:
        done = subprocess.run(
            [mailrelay(), "trace", id, "--json", "--state", str(self.folder / "state.json")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def workers(self, function: str) -> list[int]:
        """Process ids of the runtime clients that run `function` (as "Deliver")."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            name = f"functions/{function.lower()}".encode()
            mine = str(self.state["aws_endpoint"]).encode()
            if b"awslambdaric" in line and name in environment and mine in environment:
                found.append(int(entry.name))
        return found


def submit_on(client: smtplib.SMTP, mail_from: str, rcpt_to: list[str], content: bytes) -> str:
    client.ehlo_or_helo_if_needed()
    assert client.mail(mail_from, [f"SIZE={len(content)}"])[0] == 250
    for recipient in rcpt_to:
        assert client.rcpt(recipient)[0] == 250
    code, text = client.data(content)
    assert code == 250, (code, text)
    return text.decode().rsplit(" ", 1)[1]


def gateway_environment(system: LocalSystem) -> dict[str, str]:
    """The running gateway's, for another one of the same system."""
    with open(f"/proc/{system.state['pids']['gateway']}/environ", "rb") as environ:
        entries = environ.read().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def wait_for(what: str, check: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Ask until the answer is true; fails with the name of what never came."""
    until = time.monotonic() + seconds
    while True:
        if found := check():
            return found
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def mailrelay() -> str:
    return str(Path(sys.executable).parent / "mailrelay")


@contextmanager
def local_system(*options: str, zone_text: str | None = None) -> Iterator[LocalSystem]:
    with tempfile.TemporaryDirectory(prefix="mailrelay-test-") as name:
        folder = Path(name)
        (folder / "zone").write_text(zone() if zone_text is None else zone_text)
        state = folder / "state.json"
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen(
                [mailrelay(), "local", "--port", "0", "--tls-port", "0", "--zone", str(folder / "zone")]
                + ["--mail-dir", str(folder / "mail"), "--state", str(state), "--account", f"{USER}:{PASSWORD}"]
                + list(options),
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
            )
        system = LocalSystem(process, folder)
        try:

            def ready() -> bool:
                assert process.poll() is None, (folder / "out").read_text()
                return state.exists()

            wait_for("the state file", ready, START_LIMIT)
            system.state = json.loads(state.read_text())
            yield system
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def message(mark: str, *, sender: str = "news@proved.example", body: str = "Hello.\r\n") -> bytes:
    return (
        f"From: {sender}\r\nTo: someone@in.example\r\nSubject: {mark}\r\nX-Mark: {mark}\r\n"
        f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{mark}@proved.example>\r\n\r\n{body}"
    ).encode()


def marks(mails: list[Mail]) -> dict[tuple[str, str], int]:
    """How often each (X-Mark, recipient) was taken by the sink."""
    counts: dict[tuple[str, str], int] = {}
    for mail in mails:
        mark = mail.parsed["X-Mark"]
        for recipient in mail.rcpt_to:
            if mark:
                counts[mark, recipient] = counts.get((mark, recipient), 0) + 1
    return counts
