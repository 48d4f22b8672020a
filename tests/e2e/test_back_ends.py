"""Back ends as template.yaml's parameters name them: the deliver function of a stack in moto, SES in moto, and a
smarthost whose login is in Secrets Manager."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from moto.ses.models import ses_backends

from local.certificates import Authority
from local.functions import functions
from local.stack import NO_EDGE, REGION, TEMPLATE, Aws, Stack, deploy, parse
from relay.encoding import decode_report, encode_delivery
from relay.outcome import Outcome, State
from relay.submission import Delivery, Inline
from tests.dnsserver import TestDnsServer
from tests.functions import load
from tests.unit.smtp.scripted import CAPABILITIES, Script, Sink

HOST = "smart.example"
ACCOUNT = "jo@login.example"
IDENTITY = f"arn:aws:ses:{REGION}:123456789012:identity/a.example"
CONTENT = b"From: s@a.example\r\nDate: x\r\nSubject: x\r\n\r\nhello\r\n.\r\n"
SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; h=from:date; bh=YQ==; b=YQ==\r\n" + CONTENT
PASSWORD = "pässword"


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 300_000


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    aws = Aws("http://{}:{}".format(*server.get_host_and_port()))
    aws.client("sesv2").create_email_identity(EmailIdentity="a.example")
    yield aws
    server.stop()


@contextmanager
def listening(script: Script) -> Iterator[Sink]:
    """A scripted server in a thread of its own, since the function has the test's."""
    loop, sink = asyncio.new_event_loop(), Sink(script)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sink.__aenter__(), loop).result()
        yield sink
        asyncio.run_coroutine_threadsafe(sink.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def deliver(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, overrides: dict[str, str], *contents: bytes, id: str
) -> tuple[Stack, list[Outcome]]:
    """What becomes of a message with each of `contents`, by the function as the stack has it."""
    stack = deploy(aws, parse(TEMPLATE.read_text()), {**NO_EDGE, **overrides})
    (function,) = [each for each in functions(aws, stack, 1) if each.title == "DeliverFunction"]
    for name, value in function.environment.items():
        if name.startswith(("RELAY_", "AWS_", "POWERTOOLS_")):
            monkeypatch.setenv(name, value)
    item = {"user": {"S": ACCOUNT}, "name": {"S": ACCOUNT}, "salt": {"B": b"x"}, "hash": {"B": b"x"}}
    fields = {"phone": {"S": "+46700000000"}, "created": {"N": "1"}, "disabled": {"BOOL": False}}
    aws.client("dynamodb").put_item(TableName=stack.resources["AccountsTable"], Item={**item, **fields})
    bodies = [
        encode_delivery(
            Delivery(f"{id}-{n}", ACCOUNT, "s@a.example", "b.example", 0, ("r@b.example",), 1.0, Inline(content))
        )
        for n, content in enumerate(contents)
    ]
    app = load("deliver")
    records = [
        {"messageId": str(n), "body": body, "attributes": {"ApproximateReceiveCount": "1"}}
        for n, body in enumerate(bodies)
    ]
    try:
        assert app.handler({"Records": records}, Context()) == {"batchItemFailures": []}
    finally:
        app.compose()[0].close()
    queue = stack.resources["RecordQueue"]
    found: dict[str, Outcome] = {}
    while messages := aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            report = decode_report(message["Body"])
            (found[report.id],) = report.outcomes
    return stack, [found[f"{id}-{n}"] for n in range(len(contents))]


def sent() -> list[Any]:
    return [message for each in ses_backends.values() for message in each[REGION].sent_messages]


def test_ses_and_a_signature_that_would_not_survive_it(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"BackEnds": "ses", "SesIdentities": IDENTITY}
    _, (plain, signed) = deliver(aws, monkeypatch, parameters, CONTENT, SIGNED, id="ses")
    assert (plain.state, plain.via, plain.code) == (State.DELIVERED, "ses", 250)
    (message,) = sent()
    assert message.raw_data.encode() == CONTENT
    assert plain.text == f"SES has it as {message.id}"
    assert (signed.state, signed.via, signed.enhanced, signed.failure) == (State.BOUNCED, "ses", "5.6.2", "content")
    assert "the DKIM signature covers Date, which SES changes" in signed.text


def test_a_smarthost_with_a_login_and_ses_before_it(aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    made = authority.issue("smart", (HOST,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert_file, made.key_file)
    script = Script(
        tls=context, capabilities=(*CAPABILITIES, "STARTTLS"), after_tls_capabilities=(*CAPABILITIES, "AUTH PLAIN")
    )
    login = json.dumps({"username": "relay", "password": PASSWORD})
    secret = aws.client("secretsmanager").create_secret(Name="smarthost", SecretString=login)["ARN"]
    before = len(sent())
    with listening(script) as sink, TestDnsServer(f"{HOST} A 127.0.0.1") as dns:
        parameters = {
            "BackEnds": "mx",
            "BackEndRules": "from a.example = ses, smarthost",
            "SesIdentities": IDENTITY,
            "Smarthost": f"{HOST}:{sink.port}",
            "SmarthostSecret": secret,
            "SmarthostNetworks": "127.0.0.0/8",
            "SmarthostCa": authority.ca_file.read_text(),
            "DnsServers": dns.address,
        }
        _, (plain, signed) = deliver(aws, monkeypatch, parameters, CONTENT, SIGNED, id="smart")
    assert (plain.state, plain.via) == (State.DELIVERED, "ses")
    assert (signed.state, signed.via, signed.remote, signed.tls) == (
        *(State.DELIVERED, "smarthost"),
        *(f"{HOST}[127.0.0.1]", "TLSv1.3 verified"),
    )
    assert [each.content for each in sink.received] == [SIGNED]
    assert len(sent()) == before + 1
