import asyncio
import time
from datetime import UTC, datetime

import pytest

from relay.aws.ages import oldest_age
from relay.aws.client import AwsClient
from tests.unit.aws.contract import KEYS, REGION, boto, unique, with_client
from tests.unit.aws.scripted import answer, in_turn, scripted

NOW = time.time()


def put(endpoint: str, queue: str, ago: float, age: float) -> None:
    boto("cloudwatch", endpoint).put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": queue}],
                "Timestamp": datetime.fromtimestamp(NOW - ago, UTC),
                "Value": age,
            }
        ],
    )


def test_the_last_minute_counts(moto_endpoint: str) -> None:
    queue = unique("queue")
    for ago, age in ((500, 900.0), (120, 61.0), (300, 7.0)):
        put(moto_endpoint, queue, ago, age)
    url = f"{moto_endpoint}/123456789012/{queue}"
    assert with_client(moto_endpoint, lambda client: oldest_age(client, url, NOW)) == 61.0


def test_a_queue_without_metrics(moto_endpoint: str) -> None:
    url = f"{moto_endpoint}/123456789012/{unique('queue')}"
    assert with_client(moto_endpoint, lambda client: oldest_age(client, url, NOW)) is None


@pytest.mark.parametrize(
    "said",
    [
        answer(b"<E><Code>AccessDenied</Code></E>", 403),
        answer(b"nonsense"),
        answer(b"<member><Maximum>x</Maximum><Timestamp>y</Timestamp></member>"),
        answer(b"<member><Maximum>1</Maximum></member>"),
    ],
    ids=["not allowed", "no XML", "no number", "no time"],
)
def test_what_is_not_known(said: bytes) -> None:
    async def test() -> float | None:
        async with scripted(in_turn(said)) as (_, url):
            client = AwsClient(REGION, url, credentials=KEYS, backoff=0.0)
            try:
                return await oldest_age(client, "https://sqs.example/1/q", NOW)
            finally:
                await client.close()

    assert asyncio.run(test()) is None
