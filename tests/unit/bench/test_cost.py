"""bench.cost and what bench.aws_calls counts for it: units, and what they come to."""

import json
import tomllib
from typing import Any

import pytest

from bench.aws_calls import Books, read_units, sqs_requests
from bench.cost import PLATFORM, PRICES, bill, content, memory, units_of
from local.lambdas import Billed

KB = 1024


@pytest.mark.parametrize(
    ("operation", "request_", "answer", "expected"),
    [
        ("SendMessage", {"MessageBody": "x"}, {}, 1),
        ("SendMessage", {"MessageBody": "x" * 64 * KB}, {}, 1),
        ("SendMessage", {"MessageBody": "ü" * 33 * KB}, {}, 2),
        ("SendMessageBatch", {"Entries": [{"MessageBody": "x" * 20 * KB}] * 10}, {}, 4),
        ("ReceiveMessage", {}, {"Messages": [{"Body": "x" * 20 * KB}] * 4}, 2),
        ("ReceiveMessage", {}, {}, 1),
        ("DeleteMessageBatch", {"Entries": [{}] * 10}, {}, 1),
    ],
    ids=["small", "a chunk", "octets", "a batch", "received", "nothing received", "deleted"],
)
def test_requests_to_sqs(operation: str, request_: dict[str, Any], answer: dict[str, Any], expected: int) -> None:
    assert sqs_requests(operation, request_, answer) == expected


SMALL, LARGE = {"id": {"S": "x"}}, {"id": {"S": "x" * 5 * KB}}


@pytest.mark.parametrize(
    ("operation", "request_", "answer", "expected"),
    [
        ("GetItem", {"ConsistentRead": True}, {"Item": SMALL}, 1.0),
        ("GetItem", {"ConsistentRead": True}, {"Item": LARGE}, 2.0),
        ("GetItem", {}, {"Item": LARGE}, 1.0),
        ("GetItem", {}, {}, 0.5),
        ("Query", {}, {"Items": [SMALL] * 10}, 0.5),
        ("BatchGetItem", {"RequestItems": {"t": {"Keys": [{}] * 3}}}, {"Responses": {"t": [LARGE]}}, 1.0 + 0.5 * 2),
        ("DescribeTable", {}, {}, 0.0),
    ],
    ids=["consistent", "two blocks", "eventually", "nothing there", "a query's sum", "some there", "no read"],
)
def test_read_units(operation: str, request_: dict[str, Any], answer: dict[str, Any], expected: float) -> None:
    assert read_units(operation, request_, answer) == expected


def test_calls_are_entered() -> None:
    books = Books()
    body = json.dumps({"Entries": [{"MessageBody": "x" * 50 * KB}] * 2}).encode()
    books.call("POST", "AmazonSQS.SendMessageBatch", body, 200, b"{}")
    books.call("POST", "AmazonSQS.SendMessageBatch", body, 500, b"{}")
    books.call("POST", "DynamoDB_20120810.GetItem", b"{}", 200, b"{}")
    assert books.billed == {"sqs": 2, "dynamodb": 0.5}


def test_units_of_a_run() -> None:
    found = units_of(
        {"http.PUT": 3, "trentservice.Decrypt": 2, "sqs.SendMessageBatch": 9},
        {"LedgerTable": 20, "MessagesTable": 10},
        {"sqs": 40, "dynamodb": 5.5},
        {"DeliverFunction": Billed(2, 3000), "ValidateFunction": Billed(1, 1000)},
        {"DeliverFunction": 512, "ValidateFunction": 1024},
        log_octets=10_000,
    )
    assert found == {
        "lambda_request": 3,
        "lambda_gb_second": 3.0 * 0.5 + 1.0,
        "sqs_request": 40,
        "sqs_fair": 40,
        "dynamodb_write": 30,
        "dynamodb_read": 5.5,
        "s3_put": 3,
        "s3_get": 0,
        "kms_request": 2,
        "log_gb": (10_000 + 3 * PLATFORM) / 1e9,
    }


def test_the_bill_is_of_a_million() -> None:
    prices = {"each": {"sqs_request": [0.40, 1_000_000], "s3_put": [0.005, 1000]}}
    lines = bill({"sqs_request": 200, "s3_put": 1}, 100, prices)
    assert [(line.what, line.units, round(line.usd, 6)) for line in lines] == [
        ("SQS", 2.0, 0.8),
        ("S3, puts", 0.01, 0.05),
    ]


def test_what_has_no_price_is_no_gift() -> None:
    with pytest.raises(ValueError, match="no price for efs_gb"):
        bill({"efs_gb": 1}, 1, {"each": {}})


def test_the_price_list_has_all_of_it() -> None:
    prices = tomllib.loads(PRICES.read_text())
    units = units_of({}, {}, {}, {name: Billed(1, 1) for name in memory()}, memory(), 0)
    assert len(bill(units, 1, prices)) == len(prices["each"])
    assert prices["ses"]["sending"] == 100.0


def test_a_message_has_its_size_and_whole_lines() -> None:
    made = content(3, "you3@site4.example", 20_000)
    assert 19_900 < len(made) <= 20_002
    assert made.endswith(b"\r\n")
    assert made.count(b"\n") == made.count(b"\r") == made.count(b"\r\n")
