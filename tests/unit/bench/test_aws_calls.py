"""What a write to DynamoDB is billed, and that a delivered message's are within the goal."""

import asyncio
import json
from typing import Any

import pytest

from bench.aws_calls import Books, Index, Table, item_size, table_of
from bench.writes import GOAL, measure

LARGE = {"S": "x" * 1500}
KEY = {"id": {"S": "1"}}


@pytest.mark.parametrize(
    ("item", "octets"),
    [
        ({}, 0),
        ({"id": {"S": "abc"}}, 5),
        ({"ö": {"S": "ö"}}, 4),
        ({"n": {"N": "1764150000.25"}}, 8),
        ({"n": {"N": "0"}}, 2),
        ({"f": {"BOOL": True}}, 2),
        ({"b": {"B": "AAAA"}}, 4),
        ({"m": {"M": {"k": {"S": "vv"}}}}, 1 + 3 + 3 + 1),
        ({"l": {"L": [{"S": "a"}, {"S": "b"}]}}, 1 + 3 + 4),
    ],
    ids=["nothing", "text", "not ASCII", "number", "zero", "flag", "binary", "map", "list"],
)
def test_size(item: dict[str, Any], octets: int) -> None:
    assert item_size(item) == octets


def write(books: Books, operation: str, request: dict[str, Any], answer: dict[str, Any] | None = None) -> None:
    books.write(operation, {"TableName": "t", **request}, 200, answer or {})


def books(*indexes: Index) -> Books:
    return Books({"t": Table("T", ("id",), indexes)})


def test_each_started_kilobyte_is_one_and_the_larger_item_counts() -> None:
    mine = books()
    write(mine, "PutItem", {"Item": KEY})
    assert mine.writes["T"] == 1
    write(mine, "UpdateItem", {"ReturnValues": "ALL_NEW"}, {"Attributes": {**KEY, "text": LARGE}})
    assert mine.writes["T"] == 1 + 2
    write(mine, "PutItem", {"Item": KEY})
    assert mine.writes["T"] == 1 + 2 + 2
    write(mine, "DeleteItem", {"Key": KEY})
    assert mine.writes["T"] == 1 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("index", "after", "more"),
    [
        (Index(("account", "id")), {"account": {"S": "a"}, "text": {"S": "new"}}, 1),
        (Index(("account", "id"), ()), {"account": {"S": "a"}, "text": {"S": "new"}}, 0),
        (Index(("account", "id"), ("text",)), {"account": {"S": "a"}, "text": LARGE}, 2),
        (Index(("account", "id")), {"account": {"S": "b"}}, 2),
        (Index(("account", "id")), {}, 1),
        (Index(("other", "id")), {}, 0),
    ],
    ids=["an attribute", "one not projected", "a large one", "its key", "it goes", "never in it"],
)
def test_an_index_costs_what_changes_in_it(index: Index, after: dict[str, Any], more: int) -> None:
    mine = books(index)
    write(mine, "PutItem", {"Item": {**KEY, "account": {"S": "a"}, "text": {"S": "old"}}})
    before = mine.writes["T, index"]
    write(mine, "PutItem", {"Item": {**KEY, **after}})
    assert mine.writes["T, index"] - before == more


def test_a_batch_is_its_items_and_what_was_left_is_not_written() -> None:
    mine, done, left = books(), {"PutRequest": {"Item": KEY}}, {"PutRequest": {"Item": {"id": {"S": "2"}}}}
    mine.write("BatchWriteItem", {"RequestItems": {"t": [done, left]}}, 200, {"UnprocessedItems": {"t": [left]}})
    assert mine.writes["T"] == 1


def test_a_failed_condition_costs_the_item_that_is_there() -> None:
    mine = books()
    failed = {"__type": "com.amazonaws#ConditionalCheckFailedException", "Item": {**KEY, "text": LARGE}}
    mine.call("POST", "DynamoDB_20120810.PutItem", b'{"TableName": "t"}', 400, json.dumps(failed).encode())
    assert (mine.writes["T"], mine.calls["dynamodb.PutItem"]) == (2, 1)


def test_what_can_t_be_counted_is_said() -> None:
    with pytest.raises(ValueError, match="outcome is not seen"):
        write(books(), "UpdateItem", {"Key": KEY})


def test_a_table_as_the_template_has_it() -> None:
    keys = [{"AttributeName": "id", "KeyType": "HASH"}]
    own = [{"AttributeName": "account", "KeyType": "HASH"}]
    index = {"KeySchema": own, "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["text"]}}
    found = table_of("T", {"KeySchema": keys, "GlobalSecondaryIndexes": [index]})
    assert found == Table("T", ("id",), (Index(("account", "id"), ("text",)),))


def test_a_delivered_message_writes_no_more_than_the_goal(moto_endpoint: str) -> None:
    """Through the real adapters, on the template's tables."""
    result = asyncio.run(measure(moto_endpoint, 2))
    assert result["units"] <= GOAL
    assert result["by_table"] == {"LedgerTable": 2, "MessagesTable": 1}
