"""dkim_keys.DkimKeys and Sealer: the fakes, and DynamoDB and KMS, alike."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.aws.client import AwsClient
from relay.aws.dkim_keys import DynamoDkimKeys, item_of
from relay.aws.kms import KmsSealer
from relay.dkim_keys import DkimKey, DkimKeys, DomainKeys, Sealer
from relay.errors import FaultError
from tests.fake_dkim import FakeDkimKeys, FakeSealer, key_pair
from tests.unit.aws.contract import NOW, boto, make_table, with_client

RunKeys = Callable[[Callable[[DkimKeys], Awaitable[Any]]], Any]
RunSealer = Callable[[Callable[[Sealer], Awaitable[Any]]], Any]
NEW = DkimKey("mr2", b"public\xff 2", b"\0sealed\xff", NOW)
OLD = DkimKey("mr1", b"public 1", b"", NOW - 9.5, NOW - 8.5, NOW - 7.5)
KEYS = DomainKeys("d.example", enabled=True, keys=(NEW, OLD), version=3)


@pytest.fixture(params=["fake", "dynamodb"])
def run_keys(request: pytest.FixtureRequest) -> RunKeys:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeDkimKeys()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_table(endpoint, "domain")
    return lambda test: with_client(endpoint, lambda client: test(DynamoDkimKeys(client, table)))


@pytest.fixture(params=["fake", "kms"])
def run_sealer(request: pytest.FixtureRequest) -> RunSealer:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeSealer()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    arn = boto("kms", endpoint).create_key()["KeyMetadata"]["Arn"]
    return lambda test: with_client(endpoint, lambda client: test(KmsSealer(client, arn)))


def test_what_is_put_is_found(run_keys: RunKeys) -> None:
    async def test(keys: DkimKeys) -> None:
        assert await keys.find("d.example") is None
        assert await keys.put(KEYS, None)
        assert await keys.find("d.example") == KEYS
        assert await keys.find("e.example") is None

    run_keys(test)


def test_who_comes_second_changes_nothing(run_keys: RunKeys) -> None:
    async def test(keys: DkimKeys) -> None:
        other = replace(KEYS, keys=(OLD,))
        assert await keys.put(KEYS, None)
        assert not await keys.put(other, None)
        later = replace(KEYS, enabled=False, version=4)
        assert await keys.put(later, KEYS)
        assert not await keys.put(replace(other, version=4), KEYS)
        assert await keys.find("d.example") == later

    run_keys(test)


def test_the_same_write_again_is_a_lost_answer(run_keys: RunKeys) -> None:
    async def test(keys: DkimKeys) -> None:
        assert await keys.put(KEYS, None)
        assert await keys.put(KEYS, None)
        later = replace(KEYS, enabled=False, version=4)
        assert await keys.put(later, KEYS)
        assert await keys.put(later, KEYS)

    run_keys(test)


def test_sealed_and_opened(run_sealer: RunSealer) -> None:
    async def test(sealer: Sealer) -> None:
        private = key_pair().private
        sealed = await sealer.seal(private, domain="d.example", selector="mr1")
        assert private[:100] not in sealed
        assert await sealer.open(sealed, domain="d.example", selector="mr1") == private
        for domain, selector in (("e.example", "mr1"), ("d.example", "mr2")):
            with pytest.raises(FaultError) as raised:
                await sealer.open(sealed, domain=domain, selector=selector)
            assert private.hex()[:40] not in str(raised.value)

    run_sealer(test)


def test_the_item_has_no_private_key() -> None:
    assert "sealed" in json.dumps(item_of(KEYS)["keys"]["L"][0])
    assert "sealed" not in json.dumps(item_of(KEYS)["keys"]["L"][1])


@pytest.mark.parametrize("answer", [{}, {"Plaintext": None}, {"Plaintext": "not base64: secret"}])
def test_an_answer_without_sense_tells_nothing(answer: dict[str, Any]) -> None:
    class Client(AwsClient):
        async def json(self, *_: Any, **__: Any) -> dict[str, Any]:
            return answer

    sealer = KmsSealer(Client("eu-north-1", "http://127.0.0.1:9"), "arn")
    with pytest.raises(FaultError) as raised:
        asyncio.run(sealer.open(b"sealed", domain="d.example", selector="mr1"))
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is raised.value.__context__ is None
