"""ports.ContentStore: the fake and S3 alike."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.aws.content import S3Content
from relay.errors import PermanentError, TemporaryError
from relay.ports import ContentStore
from tests.fakes import FakeContent
from tests.unit.aws.contract import REGION, boto, unique, with_client

Run = Callable[[Callable[[ContentStore], Awaitable[Any]]], Any]


@pytest.fixture(params=["fake", "s3"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeContent()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    bucket = unique("bucket")
    boto("s3", endpoint).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    return lambda test: with_client(endpoint, lambda client: test(S3Content(client, bucket)))


@pytest.mark.parametrize(
    "data",
    [b"", b"a\r\n.\r\n\0\xff", bytes(range(256)) * 4096 * 5],
    ids=["empty", "bytes", "5 MiB"],
)
@pytest.mark.parametrize("key", ["018f-1", "a/b c+d=é~%2F#?x", "../up//twice"])
def test_content_comes_back_byte_for_byte(run: Run, key: str, data: bytes) -> None:
    async def test(content: ContentStore) -> None:
        await content.put(key, data)
        assert await content.get(key) == data
        assert await content.get(key, 3) == data[:3]
        assert await content.get(key, 10_000_000) == data

    run(test)


def test_the_last_put_counts(run: Run) -> None:
    async def test(content: ContentStore) -> None:
        await content.put("key", b"one")
        await content.put("key", b"two")
        assert await content.get("key") == b"two"

    run(test)


def test_missing_content_is_gone_for_good(run: Run) -> None:
    async def test(content: ContentStore) -> None:
        with pytest.raises(PermanentError, match="content is gone"):
            await content.get("nothing")
        with pytest.raises(PermanentError, match="content is gone"):
            await content.get("nothing", 3)

    run(test)


def test_a_missing_bucket_is_our_fault(moto_endpoint: str) -> None:
    async def test(client: Any) -> None:
        with pytest.raises(TemporaryError, match="NoSuchBucket"):
            await S3Content(client, unique("bucket")).get("key")

    with_client(moto_endpoint, test)
