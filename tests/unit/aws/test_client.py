import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.aws import http
from relay.aws.client import AwsClient, AwsError
from relay.aws.signing import Credentials
from relay.errors import FaultError, OutageError, TemporaryError
from relay.settings import SettingsError
from tests.unit.aws.contract import KEYS, REGION
from tests.unit.aws.scripted import CLOSE, HANG, Answer, Scripted, answer, in_turn, scripted

OK = answer({"answer": 1})
SECRET = "the message's content"


def run(
    reply: Callable[[int, bytes], Answer], use: Callable[[AwsClient, Scripted], Awaitable[Any]], **options: Any
) -> Any:
    async def test() -> Any:
        async with scripted(reply) as (server, url):
            client = AwsClient(REGION, url, credentials=KEYS, backoff=0.0, **options)
            try:
                return await use(client, server)
            finally:
                await client.close()

    return asyncio.run(test())


def call(client: AwsClient) -> Awaitable[dict[str, Any]]:
    return client.json("sqs", "AmazonSQS.SendMessageBatch", {"Body": SECRET})


def test_a_json_call() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        assert await call(client) == {"answer": 1}
        assert json.loads(server.bodies[0]) == {"Body": SECRET}
        head = server.heads[0].lower()
        assert head.startswith("post / http/1.1\r\n")
        for line in (
            "content-type: application/x-amz-json-1.0",
            "x-amz-target: amazonsqs.sendmessagebatch",
            f"authorization: aws4-hmac-sha256 credential={KEYS.access_key.lower()}/",
        ):
            assert f"\r\n{line}" in head

    run(in_turn(OK), use)


def test_calls_share_a_connection() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        for _ in range(5):
            await call(client)
        assert server.connections == 1

    run(in_turn(OK), use)


def test_connections_are_bounded_and_further_calls_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTIONS", 3)

    async def use(client: AwsClient, server: Scripted) -> None:
        assert await asyncio.gather(*(call(client) for _ in range(20))) == [{"answer": 1}] * 20
        assert server.most_open <= 3

    run(in_turn(OK), use)


@pytest.mark.parametrize(
    "first",
    [
        CLOSE,
        HANG,
        b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\ncut",
        b"\x15\x03\x01 no HTTP\r\n\r\n",
        answer({"__type": "InternalError"}, 500),
        answer(b"<html>", 503),
        answer(b"", 429),
        answer({"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}, 400),
        answer({"__type": "ThrottlingException", "message": "slow"}, 400),
        answer(b"<Error><Code>SlowDown</Code></Error>", 400),
    ],
    ids=["close", "hang", "cut", "no HTTP", "500", "503", "429", "capacity", "throttled", "slow down"],
)
def test_what_may_pass_is_tried_again(first: Answer) -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        assert await call(client) == {"answer": 1}
        assert server.bodies[0] == server.bodies[1]

    run(in_turn(first, OK), use, timeout=1.0)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (CLOSE, "ConnectionLostError"),
        (HANG, "TimeoutError"),
        (answer({"__type": "InternalError"}, 500), "500 InternalError"),
        (answer({"__type": "ThrottlingException"}, 400), "400 ThrottlingException"),
    ],
    ids=["close", "hang", "500", "throttled"],
)
def test_tries_are_bounded(said: Answer, why: str) -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        with pytest.raises(TemporaryError) as caught:
            await call(client)
        assert isinstance(caught.value, OutageError)
        assert not isinstance(caught.value, FaultError)
        assert caught.value.detail == f"sqs AmazonSQS.SendMessageBatch: {why}"
        assert SECRET not in str(caught.value)
        assert len(server.heads) == 3

    run(in_turn(said), use, timeout=0.3)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (answer({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": SECRET}, 400), "QueueDoesNotExist"),
        (answer({"__type": "AccessDeniedException"}, 400), "AccessDeniedException"),
        (answer(b"<Error><Code>NoSuchKey</Code><Message>x</Message></Error>", 404), "NoSuchKey"),
        (answer(b"", 400, "x-amzn-ErrorType: ResourceNotFoundException:http://x\r\n"), "ResourceNotFoundException"),
        (answer(b"\xff", 403), "no code"),
        (answer(b"", 301), "no code"),
    ],
    ids=["queue", "access", "xml", "header", "nothing", "redirect"],
)
def test_a_refusal_is_not_tried_again_and_is_our_fault(said: Answer, code: str) -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        with pytest.raises(AwsError) as caught:
            await call(client)
        assert caught.value.code == code
        assert isinstance(caught.value, FaultError)
        assert isinstance(caught.value, TemporaryError)
        assert SECRET not in str(caught.value)
        assert len(server.heads) == 1

    run(in_turn(said), use)


def test_an_answer_that_is_no_json_is_temporary() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        with pytest.raises(TemporaryError, match="no JSON"):
            await call(client)

    run(in_turn(answer(b"[1]")), use)


def test_a_kept_connection_that_died_costs_no_try() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        await asyncio.gather(*(call(client) for _ in range(3)))
        server.reply = in_turn(OK)
        for writer in server.writers:
            writer.close()
        assert await call(client) == {"answer": 1}

    run(in_turn(OK), use, tries=1)


def test_a_kept_connection_that_dies_at_the_request_costs_no_try() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        await call(client)
        assert await call(client) == {"answer": 1}
        assert server.connections == 2

    run(in_turn(OK, CLOSE, OK), use, tries=1)


def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "IDLE", 0.0)

    async def use(client: AwsClient, server: Scripted) -> None:
        await call(client)
        await call(client)
        assert server.connections == 2

    run(in_turn(OK), use)


def test_a_connection_that_closes_after_its_answer_is_not_kept() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        await call(client)
        await call(client)
        assert server.connections == 2

    run(in_turn(answer({"answer": 1}, headers="Connection: close\r\n")), use, tries=1)


def test_a_cancelled_call_leaves_no_answer_behind() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        cancelled = asyncio.ensure_future(call(client))
        while not server.heads:
            await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await call(client) == {"answer": 1}
        assert server.connections == 2

    run(in_turn(HANG, OK), use)


def test_after_a_time_out_no_kept_connection_is_trusted() -> None:
    async def use(client: AwsClient, server: Scripted) -> None:
        server.reply = in_turn(OK)
        await asyncio.gather(*(call(client) for _ in range(5)))
        server.reply = lambda number, _: HANG if number == 5 else OK
        before = server.connections
        await call(client)
        assert server.connections == before + 1

    run(in_turn(OK), use, timeout=1.0)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_tls(loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    body = bytes(range(256)) * 8192

    async def test() -> None:
        async with scripted(in_turn(answer(body)), tls=serving) as (server, url):
            client = AwsClient(REGION, url, credentials=KEYS, tries=1)
            with pytest.raises(TemporaryError, match="SSLCertVerificationError"):
                await client.s3("PUT", "bucket", "key", body)
            trusting = ssl.create_default_context(cafile=certificate)
            monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
            client = AwsClient(REGION, url, credentials=KEYS, tries=1)
            for _ in range(2):
                assert await client.s3("PUT", "bucket", "key", body) == body
            assert server.bodies == [body, body]
            assert server.heads[0].startswith("PUT /bucket/key HTTP/1.1\r\n")
            await client.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(test())


def self_signed(folder: Path) -> Path:
    """A PEM file with a key and a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    path = folder / "cert.pem"
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password)
    path.write_bytes(private + certificate.public_bytes(encoding))
    return path


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def test() -> None:
        client = AwsClient(REGION, f"http://127.0.0.1:{port}", credentials=KEYS, backoff=0.0)
        with pytest.raises(TemporaryError, match="ConnectionRefusedError"):
            await call(client)

    asyncio.run(test())


def test_a_client_serves_one_loop_after_the_other() -> None:
    clients: list[AwsClient] = []

    async def test() -> None:
        async with scripted(in_turn(OK)) as (_, url):
            if not clients:
                clients.append(AwsClient(REGION, url, credentials=KEYS, tries=1))
                await call(clients[0])
            clients[0]._endpoint = AwsClient(REGION, url)._endpoint
            await call(clients[0])
            await clients[0].close()

    asyncio.run(test())
    asyncio.run(test())


def test_without_credentials_it_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)

    async def test() -> None:
        with pytest.raises(TemporaryError, match="no AWS credentials"):
            await call(AwsClient(REGION, "http://127.0.0.1:1"))

    asyncio.run(test())


def test_botocore_s_credentials_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFROMCHAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")

    async def test() -> None:
        async with scripted(in_turn(OK)) as (server, url):
            client = AwsClient(REGION, url)
            await call(client)
            await client.close()
            assert "Credential=AKIAFROMCHAIN/" in server.heads[0]
            assert "\r\nx-amz-security-token: a-token\r\n" in server.heads[0].lower()

    asyncio.run(test())


def test_from_environment() -> None:
    variables = {
        "AWS_REGION": "eu-north-1",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
    }
    client = AwsClient.from_environment(variables)
    assert asyncio.run(client._credentials.get()) == Credentials("AKIA", "secret", "token")
    assert client.origin("sqs") == http.Origin(True, "sqs.eu-north-1.amazonaws.com", 443)


@pytest.mark.parametrize("general", ["", "http://127.0.0.1:5000"])
def test_one_service_elsewhere(general: str) -> None:
    variables = {
        "AWS_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": general,
        "AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:5001",
        "AWS_ENDPOINT_URL_CLOUDWATCH": "https://metrics.example",
        "AWS_ENDPOINT_URL_SNS": "",
    }
    client = AwsClient.from_environment(variables)
    assert client.origin("lambda") == http.Origin(False, "127.0.0.1", 5001)
    assert client.origin("monitoring") == http.Origin(True, "metrics.example", 443)
    for service in ("sqs", "sns"):
        aws = http.Origin(True, f"{service}.eu-north-1.amazonaws.com", 443)
        assert client.origin(service) == (http.Origin(False, "127.0.0.1", 5000) if general else aws)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "AWS_REGION is not set"),
        ({"AWS_REGION": "eu-north-1", "AWS_ENDPOINT_URL": "localhost:5000"}, "AWS_ENDPOINT_URL='localhost:5000'"),
        (
            {"AWS_REGION": "eu-north-1", "AWS_ENDPOINT_URL_LAMBDA": "localhost:5000"},
            "AWS_ENDPOINT_URL_LAMBDA='localhost:5000'",
        ),
    ],
    ids=["region", "endpoint", "endpoint of one service"],
)
def test_a_bad_environment_is_named(variables: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        AwsClient.from_environment(variables)


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (http.Origin(True, "sqs.eu-north-1.amazonaws.com", 443), "sqs.eu-north-1.amazonaws.com"),
        (http.Origin(False, "127.0.0.1", 5000), "127.0.0.1:5000"),
        (http.Origin(False, "::1", 80), "[::1]"),
    ],
)
def test_the_host_header(origin: http.Origin, authority: str) -> None:
    assert origin.authority == authority
