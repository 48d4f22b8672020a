"""What the contract tests share: the world each adapter runs in, and samples of the data."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import boto3

from relay.aws.client import AwsClient
from relay.aws.signing import Credentials
from relay.outcome import Outcome, State
from relay.submission import Delivery, Inline

REGION = "eu-north-1"
KEYS = Credentials("AKIAEXAMPLE", "secret")
NOW = 1_800_000_000.0


def boto(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
    )


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}"


def with_client(endpoint: str, use: Callable[[AwsClient], Awaitable[Any]], **options: Any) -> Any:
    """Runs `use` with a client of its own, on a loop of its own."""

    async def run() -> Any:
        client = AwsClient(REGION, endpoint, credentials=KEYS, **options)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(run())


def make_table(endpoint: str, hash_key: str, range_key: str = "", index: tuple[str, str] | None = None) -> str:
    name = unique("table")
    keys = [(hash_key, "HASH"), *([(range_key, "RANGE")] if range_key else [])]
    attributes = {key for key, _ in keys} | set(index or ())
    arguments: dict[str, Any] = {}
    if index:
        schema = [{"AttributeName": key, "KeyType": kind} for key, kind in zip(index, ("HASH", "RANGE"), strict=True)]
        projection = {"ProjectionType": "ALL"}
        arguments["GlobalSecondaryIndexes"] = [{"IndexName": index[0], "KeySchema": schema, "Projection": projection}]
    boto("dynamodb", endpoint).create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in sorted(attributes)],
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
        **arguments,
    )
    return name


def delivery(attempt: int = 1, *, due: float = 0.0, id: str = "018f-1", chunk: int = 0) -> Delivery:
    return Delivery(
        id=id,
        account="jo@example.com",
        mail_from="jo@example.com",
        domain="example.net",
        chunk=chunk,
        rcpt_to=("a@example.net", "b#c@example.net"),
        received=NOW - 60,
        content=Inline(b"Subject: x\r\n\r\n"),
        attempt=attempt,
        due=due,
    )


def outcome(recipient: str = "a@example.net", state: State = State.DELIVERED, attempt: int = 1) -> Outcome:
    return Outcome(
        recipient=recipient,
        state=state,
        time=NOW + 0.125,
        attempt=attempt,
        code=250 if state is State.DELIVERED else 451,
        enhanced="2.0.0" if state is State.DELIVERED else "4.2.0",
        text='Grüße 🎉 "ok"',
        remote="mx.example.net[192.0.2.1]",
        tls="TLSv1.3",
        next_due=0.0 if state.final else NOW + 300.5,
        via="smarthost",
    )
