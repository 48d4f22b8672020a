"""The back end SES: against moto, and against answers that moto never gives."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends

from relay.aws.client import AwsClient
from relay.aws.secrets import SecretLogin
from relay.aws.ses import PATIENCE, SesTransport
from relay.errors import FaultError, OutageError
from relay.failure import Ends, FailureClass, Stage, judge
from relay.ports import RecipientReply
from relay.smtp.login import Login
from relay.submission import Delivery, Inline
from tests.fakes import FakeClock
from tests.unit.aws.contract import KEYS, REGION, boto, unique, with_client
from tests.unit.aws.scripted import CLOSE, HANG, Answer, Scripted, answer, in_turn, scripted

SENDER = "s@a.example"
A, B = "a@b.example", "b@b.example"
CONTENT = "From: s@a.example\r\nSubject: x\r\n\r\nhällo\r\n.\r\n".encode()
SENT = answer({"MessageId": "0100-1"})


def send(
    url: str,
    *recipients: str,
    content: bytes = CONTENT,
    mail_from: str = SENDER,
    left: float = 250.0,
    patience: float = PATIENCE,
    warn: Any = lambda _: None,
    signature: str = "",
) -> list[RecipientReply]:
    clock = FakeClock()
    to = recipients or (A,)
    delivery = Delivery("id", "account", mail_from, "b.example", 0, to, 0.0, Inline(content), signature=signature)

    async def use(client: AwsClient) -> list[RecipientReply]:
        transport = SesTransport(client, clock, patience=patience, warn=warn)
        return list(await transport.send(delivery, to, content, deadline=clock.now() + left))

    return list(with_client(url, use))


# --- moto -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """In this process, where what was sent can be seen."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    boto("sesv2", url).create_email_identity(EmailIdentity="a.example")
    yield url
    server.stop()


def sent() -> list[Any]:
    (backend,) = [each[REGION] for each in ses_backends.values()]
    return list(backend.sent_messages)


def test_sent_byte_for_byte_to_the_envelope(moto: str) -> None:
    before = len(sent())
    replies = send(moto, A, B)
    (message,) = sent()[before:]
    assert (message.source, message.destinations) == (SENDER, [A, B])
    assert message.raw_data.encode() == CONTENT
    assert [(reply.recipient, reply.ok, reply.code, reply.enhanced) for reply in replies] == [
        (A, True, 250, "2.0.0"),
        (B, True, 250, "2.0.0"),
    ]
    assert {reply.text for reply in replies} == {f"SES has it as {message.id}"}
    assert {(reply.remote, reply.tls, reply.dsn) for reply in replies} == {(moto.removeprefix("http://"), "", False)}


def test_fifty_recipients_a_call(moto: str) -> None:
    before = len(sent())
    recipients = [f"r{n}@b.example" for n in range(120)]
    replies = send(moto, *recipients)
    assert [reply.recipient for reply in replies] == recipients
    assert all(reply.ok for reply in replies)
    assert [each.destinations for each in sent()[before:]] == [recipients[:50], recipients[50:100], recipients[100:]]


def test_a_sender_that_ses_does_not_know_is_refused(moto: str) -> None:
    (reply,) = send(moto, mail_from="s@unknown.example")
    assert (reply.ok, reply.permanent, reply.stage) == (False, True, Stage.DATA)
    assert reply.text.startswith("SES refuses the message: Did not have authority to send")


def test_what_it_would_break_or_refuse_it_is_not_given(moto: str) -> None:
    before = len(sent())
    signed = b"DKIM-Signature: v=1; h=from:date; b=YQ==\r\n" + CONTENT
    for reply in send(moto, A, B, content=signed):
        assert (reply.permanent, reply.enhanced, reply.stage) == (True, "5.6.2", Stage.EHLO)
        assert "the DKIM signature covers Date, which SES changes" in reply.text
        assert judge(reply.code, reply.enhanced, reply.text, reply.stage).failure is FailureClass.CONTENT
    replies = send(moto, "ü@b.example", B)
    assert [(reply.ok, reply.enhanced) for reply in replies] == [(False, "5.6.7"), (True, "2.0.0")]
    (message,) = sent()[before:]
    assert message.destinations == [B]


# --- answers that moto never gives --------------------------------------------------------------------


def scenario(reply: Any, *recipients: str, **options: Any) -> tuple[list[RecipientReply], Scripted]:
    async def run() -> tuple[list[RecipientReply], Scripted]:
        async with scripted(reply) as (server, url):
            return await asyncio.to_thread(send, url, *recipients, **options), server

    return asyncio.run(run())


def test_the_request() -> None:
    _, server = scenario(in_turn(SENT), A)
    head, (body,) = server.heads[0], server.bodies
    assert head.startswith("POST /v2/email/outbound-emails HTTP/1.1\r\n")
    assert f"/{REGION}/ses/aws4_request" in head
    assert json.loads(body) == {
        "FromEmailAddress": SENDER,
        "Destination": {"ToAddresses": [A]},
        "Content": {"Raw": {"Data": base64.b64encode(CONTENT).decode()}},
    }


def test_a_signature_of_the_relays_stays_behind() -> None:
    """It covers Date, which SES changes, and 8-bit content, which SES may convert."""
    signature = "DKIM-Signature: v=1; a=rsa-sha256; d=a.example; h=from:date:message-id;\r\n\tb=AAAA\r\n"
    ((reply,), server) = scenario(in_turn(SENT), A, content=signature.encode() + CONTENT, signature=signature)
    assert reply.ok
    (body,) = server.bodies
    assert base64.b64decode(json.loads(body)["Content"]["Raw"]["Data"]) == CONTENT


def error(code: str, words: str = "words", status: int = 400) -> bytes:
    return answer({"message": words}, status, f"x-amzn-ErrorType: {code}:http://x/\r\n")


NEVER, OTHER, OURS, DOUBT = "never", "another back end", "ours", "it may have it"
ANSWERS: dict[str, tuple[Answer, str, str]] = {
    "the content": (error("MessageRejected", "virus"), NEVER, "SES refuses the message: virus"),
    "its form": (error("BadRequestException", "Duplicate header 'X'"), OTHER, "Duplicate header 'X'"),
    "not verified": (error("MessageRejected", "Email address is not verified: arn"), OURS, "no verified identity"),
    "domain not verified": (error("MailFromDomainNotVerifiedException"), OURS, "no verified identity"),
    "throttled": (error("TooManyRequestsException", status=429), OURS, "SES takes nothing now"),
    "throttled by code": (error("LimitExceededException"), OURS, "SES takes nothing now"),
    "suspended": (error("AccountSuspendedException"), OURS, "for the relay: AccountSuspendedException"),
    "paused": (error("SendingPausedException"), OURS, "for the relay: SendingPausedException"),
    "denied": (error("AccessDeniedException", "arn:aws:iam::1:role is not", 403), OURS, "AccessDeniedException"),
    "unknown": (error("WhateverException"), OURS, "WhateverException"),
    "5xx": (error("InternalFailure", status=500), DOUBT, "which may have the message"),
    "closed": (CLOSE, DOUBT, "which may have the message"),
    "silence": (HANG, DOUBT, "which may have the message"),
    "no JSON": (answer(b"ok"), DOUBT, "may have the message"),
    "no id": (answer({}), DOUBT, "may have the message"),
}


@pytest.mark.parametrize(("said", "kind", "words"), ANSWERS.values(), ids=ANSWERS)
def test_answers(said: Answer, kind: str, words: str) -> None:
    warnings: list[str] = []
    (reply,), server = scenario(in_turn(said, SENT), patience=0.5 if said == HANG else PATIENCE, warn=warnings.append)
    assert len(server.bodies) == 1  # whatever comes, it goes out once
    assert not reply.ok
    assert words in reply.text
    assert "arn" not in reply.text
    judged = judge(reply.code, reply.enhanced, reply.text, reply.stage, reply.remote)
    stages = {NEVER: Stage.DATA, OTHER: Stage.EHLO, OURS: Stage.ROUTE, DOUBT: Stage.DOT}
    ends = {NEVER: Ends.NOW, OTHER: Ends.NOW, OURS: Ends.MENDED, DOUBT: Ends.EXPIRY}
    assert (reply.stage, judged.ends) == (stages[kind], ends[kind])
    assert reply.permanent == (kind in (NEVER, OTHER))
    assert bool(warnings) == ("for the relay" in reply.text)


def test_a_kept_connection_that_is_dead_is_in_doubt_not_repeated() -> None:
    """The second call may have been read before the connection went."""
    (*first, second), server = scenario(in_turn(SENT, CLOSE, SENT), *[f"r{n}@b.example" for n in range(51)])
    assert all(reply.ok for reply in first)
    assert (second.ok, second.stage) == (False, Stage.DOT)
    assert len(server.bodies) == 2


def test_where_nobody_listens_nothing_was_sent() -> None:
    (reply,) = send("http://127.0.0.1:9")
    assert (reply.permanent, reply.stage, reply.enhanced) == (False, Stage.ROUTE, "4.3.2")


def test_without_time_for_an_answer_it_is_not_sent() -> None:
    (reply,), server = scenario(in_turn(SENT), left=PATIENCE - 1)
    assert (reply.permanent, reply.enhanced, reply.stage) == (False, "4.4.7", Stage.ROUTE)
    assert server.bodies == []


def test_where_it_is() -> None:
    client = AwsClient(REGION, credentials=KEYS)
    assert client.origin("ses").authority == f"email.{REGION}.amazonaws.com"


# --- the smarthost's login ----------------------------------------------------------------------------


def test_a_login_from_secrets_manager(moto: str) -> None:
    name = unique("secret")
    secret = json.dumps({"username": "relay", "password": "pässword"})
    arn = boto("secretsmanager", moto).create_secret(Name=name, SecretString=secret)["ARN"]
    login = with_client(moto, lambda client: SecretLogin(client, arn)())
    assert login == Login("relay", "pässword")
    assert "pässword" not in repr(login)


@pytest.mark.parametrize("text", ["pässword", "[]", '{"username": "relay"}', '{"username": "relay", "password": 1}'])
def test_a_secret_of_another_form_is_our_fault_and_not_told(moto: str, text: str) -> None:
    name = unique("secret")
    boto("secretsmanager", moto).create_secret(Name=name, SecretString=text)
    with pytest.raises(FaultError, match="cannot be used") as error:
        with_client(moto, lambda client: SecretLogin(client, name)())
    assert text not in str(error.value)
    with pytest.raises(OutageError):
        with_client(moto, lambda client: SecretLogin(client, "nothing")())


def test_a_secret_is_asked_for_once() -> None:
    async def run() -> int:
        said = answer({"SecretString": '{"username": "u", "password": "p"}'})
        async with scripted(in_turn(said)) as (server, url):
            client = AwsClient(REGION, url, credentials=KEYS)
            login = SecretLogin(client, "name")
            await asyncio.gather(login(), login())
            await login()
            await client.close()
            return len(server.bodies)

    assert asyncio.run(run()) == 1
