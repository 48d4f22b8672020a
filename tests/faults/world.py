"""The whole local system with something to break at every joint, and what its parts say when all is quiet.

clients --SMTP--> gateway (ours, started again when it dies) --+
                  functions (mailrelay local) -----------------+--> AwsProxy --> moto
                  deliver --SMTP--> Remote, the recipients' server
"""

import contextlib
import hashlib
import json
import random
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from relay.encoding import decode_delivery, decode_report, decode_submission
from relay.errors import PermanentError
from tests.faults.aws import AwsProxy
from tests.faults.books import Relay, Submitted
from tests.faults.journal import Journal
from tests.faults.remote import Remote
from tests.faults.rules import Rules
from tests.system import USER, LocalSystem, gateway_environment, local_system, wait_for

SPEED = 400  # 48 h of retries are 432 s, the first retry comes after 0.75 s
HOST = "127.0.0.2"  # the recipients' server's: in the range that the local system may connect to
DOMAINS = ("one.example", "two.example", "three.example")
SENDER = "news@proved.example"
QUEUES = ("Validate", "Deliver", "Record")
QUIET = 1.2  # seconds without a message on any queue
TRIES = 12  # a client hands a message over again so often; then it isn't accepted


def zone() -> str:
    takers = "\n".join(f"{name}. 60 IN MX 10 mx.{name}.\nmx.{name}. 60 IN A {HOST}" for name in DOMAINS)
    token = hashlib.sha256(USER.encode()).hexdigest()
    return f"""proved.example. 60 IN TXT "elastx-mrs={token}"
proved.example. 60 IN TXT "v=spf1 include:elastx.email -all"
_dmarc.proved.example. 60 IN TXT "v=DMARC1; p=none"
proved.example. 60 IN MX 10 mx.one.example.
login.example. 60 IN MX 10 mx.one.example.
{takers}
"""


class Gateway:
    """`python -m smtp_gateway` on a port of its own, started again whenever it ends."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._environment = environment | {
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "GATEWAY_TLS_LISTEN": "127.0.0.1:0",
        }
        self._log = log
        self._stopped = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._process.terminate()
        self._process.wait(30)
        self._thread.join(10)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "smtp_gateway"], env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if self._stopped.is_set():
                return
            self._process = self._start()


class World:
    """Use `world()`."""

    def __init__(self, system: LocalSystem, proxy: AwsProxy, remote: Remote, gateway: Gateway, moto: str) -> None:
        self.system = system
        self.proxy = proxy
        self.remote = remote
        self.gateway = gateway
        self.rules = proxy.rules
        self.journal = proxy.journal
        self._moto = moto
        self.bucket = str(system.state["bucket"])
        self.submitted: list[Submitted] = []

    def cloud(self, service: str) -> Any:
        """A client of moto itself, past the proxy."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            region_name=self.system.state["region"],
            endpoint_url=self._moto,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def queue_url(self, queue: str) -> str:
        return self._moto + "/" + str(self.system.state["queues"][queue]).split("/", 3)[3]

    # --- in ---

    def submit(self, messages: list[tuple[Submitted, bytes]], connections: int) -> None:
        """Hand all of them over, as clients do: again after 4xx or a lost connection."""
        self.submitted += [each for each, _ in messages]
        with ThreadPoolExecutor(connections) as pool:
            for each in [pool.submit(self._client, messages[n::connections]) for n in range(connections)]:
                each.result()

    def _client(self, messages: list[tuple[Submitted, bytes]]) -> None:
        session: smtplib.SMTP | None = None
        for each, content in messages:
            while not each.id and each.tries < TRIES:
                each.tries += 1
                try:
                    session = session or self.system.connect(port=self.gateway.port)
                    answer = _hand_over(session, each, content)
                    if answer.startswith("5"):
                        each.refused = answer
                        break
                    each.id = answer
                except (smtplib.SMTPException, OSError):
                    if session is not None:
                        session.close()
                    session = None
                if not each.id:
                    time.sleep(0.2 + 0.1 * each.tries)
        if session is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                session.quit()

    # --- until ---

    def wait_until_quiet(self, seconds: float = 240.0) -> None:
        """Nothing on a queue, nothing in anybody's hands, nothing still to come."""
        since: list[float] = []
        urls = {queue: self.queue_url(f"{queue}Queue") for queue in QUEUES}
        sqs = self.cloud("sqs")

        def quiet() -> bool:
            depth = sum(_depth(sqs, url) for url in urls.values())
            if depth or self.proxy.pending:
                since.clear()
            else:
                since.append(time.monotonic())
            return bool(since) and since[-1] - since[0] > QUIET

        wait_for("quiet queues", quiet, seconds)

    # --- out ---

    def relay(self) -> Relay:
        """What its tables and queues say."""
        found = Relay()
        dynamo = self.cloud("dynamodb")
        for item in _scan(dynamo, self.system.state["tables"]["MessagesTable"]):
            notice = item["notice"]["BOOL"]
            found.rows.append((item["id"]["S"], item["recipient"]["S"], item["state"]["S"], notice))
        for item in _scan(dynamo, self.system.state["tables"]["LedgerTable"]):
            for recipient, packed in item["outcomes"]["M"].items():
                found.ledger[item["id"]["S"], recipient] = json.loads(packed["S"])["state"]
        for queue in QUEUES:
            found.queued |= self._waiting(f"{queue}Queue")
            found.dead |= self._waiting(f"{queue}DeadLetterQueue")
        return found

    def _waiting(self, queue: str) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        sqs, url = self.cloud("sqs"), self.queue_url(queue)
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=900).get(
            "Messages"
        ):
            for message in messages:
                found |= _recipients(message["Body"])
        return found


@contextmanager
def world(speed: float = SPEED, folder: Path | None = None) -> Iterator[World]:
    """A system of its own. folder: where its logs are kept if something goes wrong."""
    journal, rules = Journal(), Rules()
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "local.moto_server"]
        moto = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        stack.callback(moto.terminate)
        assert moto.stdout
        port = json.loads(moto.stdout.readline())["port"]
        proxy = AwsProxy(("127.0.0.1", port), rules, journal)
        stack.callback(proxy.close)
        options = ["--clock-speed", f"{speed:g}", "--aws-endpoint", proxy.url]
        options += ["--parameter", "BouncePauseLeast=1000000"]  # a tenth of all recipients bounces here
        system = stack.enter_context(local_system(*options, zone_text=zone()))
        remote = Remote(HOST, int(system.state["sink"].rpartition(":")[2]), proxy.peers, journal)
        stack.callback(remote.close)
        gateway = Gateway(gateway_environment(system), system.folder / "gateway.log")
        stack.callback(gateway.close)
        wait_for("the gateway", lambda: _listens(gateway.port))
        found = World(system, proxy, remote, gateway, f"http://127.0.0.1:{port}")
        try:
            yield found
        finally:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                journal.write(folder / "journal.jsonl")
                for log in Path(system.state["logs"]).glob("*.log"):
                    (folder / log.name.replace("/", "-")).write_bytes(log.read_bytes())
                (folder / "gateway.log").write_bytes((system.folder / "gateway.log").read_bytes())


def messages(chance: random.Random, name: str, count: int, words: list[str]) -> list[Submitted]:
    """`count` messages, each to one to three recipients that are treated as one of `words` says."""
    made = []
    for number in range(count):
        recipients = {}
        for index in range(chance.choice((1, 1, 2, 3))):
            word = chance.choice(words)
            address = f"{word}.{name}.{number}.{index}@{chance.choice(DOMAINS)}"
            if word == "nobody" and chance.random() < 0.5:  # addresses that come again are suppressed by then
                address = f"nobody.{name}@{chance.choice(DOMAINS)}"
            recipients[address] = FATES.get(word, TAKEN)
        refused = {address.partition("@")[2] for address in recipients if address.startswith("spam.")}
        for address in recipients:
            if address.partition("@")[2] in refused:  # after the end of data it is one answer for all
                recipients[address] |= {"bounced"}
        made.append(Submitted(f"{name}-{number}", recipients))
    return made


TAKEN = frozenset({"delivered"})
FATES = {
    "nobody": frozenset({"bounced", "suppressed"}),
    "policy": frozenset({"bounced"}),
    "spam": frozenset({"bounced"}),
    "wait": frozenset({"cancelled", "expired"}),
}


def content(submitted: Submitted, octets: int = 200, chance: random.Random | None = None) -> bytes:
    """octets: of the body; over 200 it doesn't pack, so that large content goes to the bucket."""
    head = (
        f"From: {SENDER}\r\nTo: x@one.example\r\nSubject: {submitted.mark}\r\nX-Mark: {submitted.mark}\r\n"
        f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{submitted.mark}@proved.example>\r\n\r\n"
    )
    noise = (chance or random.Random(0)).randbytes(octets // 2).hex()
    body = "".join(f"{noise[start : start + 64]}\r\n" for start in range(0, len(noise), 64))
    return (head + body).encode()


def _hand_over(session: smtplib.SMTP, each: Submitted, content: bytes) -> str:
    """The id of the 250, "" after 4xx, "5..." if it was refused. Raises when the session is over."""
    session.ehlo_or_helo_if_needed()
    answers = [session.mail(SENDER, [f"SIZE={len(content)}"])] + [session.rcpt(to) for to in each.recipients]
    code, text = next((answer for answer in answers if answer[0] != 250), (250, b""))
    if code == 250:
        code, text = session.data(content)
    if code == 250:
        return text.decode().rsplit(" ", 1)[1]
    if code == 421:
        raise smtplib.SMTPServerDisconnected("421")
    session.rset()
    return f"5 {code} {text.decode(errors='replace')}" if code >= 500 else ""


def _depth(sqs: Any, url: str) -> int:
    start = "ApproximateNumberOfMessages"
    names = [start, f"{start}NotVisible", f"{start}Delayed"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(answer[name]) for name in names)


def _scan(dynamo: Any, table: str) -> Iterator[dict[str, Any]]:
    for page in dynamo.get_paginator("scan").paginate(TableName=table):
        yield from page["Items"]


def _recipients(body: str) -> set[tuple[str, str]]:
    for decode in (decode_submission, decode_delivery):
        with contextlib.suppress(PermanentError):
            message = decode(body)
            return {(message.id, recipient) for recipient in message.rcpt_to}
    with contextlib.suppress(PermanentError):
        report = decode_report(body)
        return {(report.id, outcome.recipient) for outcome in report.outcomes}
    return set()  # nobody's mail


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
