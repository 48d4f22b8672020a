"""proof.receipt.Receipts: the fake and DynamoDB alike."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.aws.client import AwsClient
from relay.aws.receipts import DynamoReceipts
from relay.ports import DnsStatus, TxtAnswer
from relay.proof.lookup import Question
from relay.proof.receipt import Known, Receipts
from relay.proof.verdict import Policy, Problem, Proof, Terms, Verdict
from tests.fakes import FakeReceipts
from tests.unit.aws.contract import NOW, boto, unique, with_client

Run = Callable[[Callable[[Receipts], Awaitable[Any]]], Any]

ACCOUNT = "app@example.com"
GOOD = Verdict(
    "d.example",
    "App@example.com",
    decided=NOW + 0.25,
    warnings=("odd",),
    rules={Proof.TOKEN: "a record"},
    policy=Policy("d.example", rejects=True),
    answers={Question("d.example", "TXT"): TxtAnswer(DnsStatus.OK, (b"\xff\0", b"v=spf1"), 300)},
    ttl=300,
    terms=Terms("elastx-mrs", "elastx.email", ("192.0.2.1",)),
)
BAD = replace(GOOD, decided=NOW + 400.5, problems=(Problem(Proof.SPF, "no", "x"),))
KNOWN = Known(GOOD, NOW + 300, NOW, GOOD, NOW)
FAILING = Known(BAD, NOW + 430, NOW + 400, GOOD, NOW, failing_since=NOW + 400, version=2)


def make_receipts_table(endpoint: str) -> str:
    table = unique("receipts")
    boto("dynamodb", endpoint).create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "sender", "AttributeType": "S"},
            {"AttributeName": "decided", "AttributeType": "N"},
        ],
        KeySchema=[
            {"AttributeName": "sender", "KeyType": "HASH"},
            {"AttributeName": "decided", "KeyType": "RANGE"},
        ],
    )
    return table


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeReceipts()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = make_receipts_table(endpoint)
    return lambda test: with_client(endpoint, lambda client: test(DynamoReceipts(client, table)))


def test_nothing_is_known_at_first(run: Run) -> None:
    async def test(receipts: Receipts) -> None:
        assert await receipts.find("d.example", ACCOUNT) is None
        assert await receipts.receipt("d.example", ACCOUNT, GOOD.name) is None
        assert await receipts.receipt("d.example", ACCOUNT, "nonsense") is None

    run(test)


def test_what_is_put_is_found_whole(run: Run) -> None:
    async def test(receipts: Receipts) -> None:
        assert await receipts.put(ACCOUNT, KNOWN, None)
        assert await receipts.find("d.example", ACCOUNT) == KNOWN
        assert await receipts.put(ACCOUNT, FAILING, KNOWN)
        assert await receipts.find("d.example", ACCOUNT) == FAILING

    run(test)


def test_domains_and_accounts_are_apart(run: Run) -> None:
    async def test(receipts: Receipts) -> None:
        await receipts.put(ACCOUNT, KNOWN, None)
        assert await receipts.find("d.example", "other@example.com") is None
        assert await receipts.find("e.example", ACCOUNT) is None

    run(test)


def test_the_second_of_two_is_told(run: Run) -> None:
    async def test(receipts: Receipts) -> None:
        assert await receipts.put(ACCOUNT, KNOWN, None)
        assert not await receipts.put(ACCOUNT, replace(KNOWN, until=NOW + 1), None)
        assert await receipts.put(ACCOUNT, FAILING, KNOWN)
        assert not await receipts.put(ACCOUNT, replace(FAILING, until=NOW + 1), KNOWN)
        assert await receipts.find("d.example", ACCOUNT) == FAILING

    run(test)


def test_our_own_write_whose_answer_was_lost_is_ours(run: Run) -> None:
    async def test(receipts: Receipts) -> None:
        for _ in range(2):
            assert await receipts.put(ACCOUNT, KNOWN, None)
        for _ in range(2):
            assert await receipts.put(ACCOUNT, FAILING, KNOWN)

    run(test)


def test_every_name_leads_to_its_receipt(run: Run) -> None:
    async def test(receipts: Receipts) -> None:
        await receipts.put(ACCOUNT, KNOWN, None)
        assert await receipts.receipt("d.example", ACCOUNT, GOOD.name) == GOOD
        await receipts.put(ACCOUNT, FAILING, KNOWN)
        assert await receipts.receipt("d.example", ACCOUNT, GOOD.name) == GOOD
        assert await receipts.receipt("d.example", ACCOUNT, BAD.name) == BAD
        assert await receipts.receipt("d.example", "other@example.com", GOOD.name) is None

    run(test)


def test_a_receipt_is_kept_beside_the_one_in_force(run: Run) -> None:
    async def test(receipts: Receipts) -> None:
        await receipts.put(ACCOUNT, KNOWN, None)
        await receipts.keep(ACCOUNT, BAD, NOW)
        assert await receipts.find("d.example", ACCOUNT) == KNOWN
        assert await receipts.receipt("d.example", ACCOUNT, BAD.name) == BAD

    run(test)


def test_what_another_version_wrote_is_replaced(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_receipts_table(moto_endpoint)

    async def test(client: AwsClient) -> None:
        receipts = DynamoReceipts(client, table)
        with monkeypatch.context() as later:
            for module in ("relay.aws.receipts", "relay.proof.receipt"):
                later.setattr(f"{module}.VERSION", 2)
            assert await receipts.put(ACCOUNT, KNOWN, None)
        assert await receipts.find("d.example", ACCOUNT) is None
        assert await receipts.receipt("d.example", ACCOUNT, GOOD.name) is None
        assert await receipts.put(ACCOUNT, FAILING, None)
        assert await receipts.find("d.example", ACCOUNT) == FAILING

    with_client(moto_endpoint, test)
