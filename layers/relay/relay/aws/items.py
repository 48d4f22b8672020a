"""DynamoDB's attribute values (AWS: DynamoDB API reference, AttributeValue), and its calls."""

import base64
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from relay.aws.client import AwsClient, AwsError

Value = dict[str, Any]
Item = dict[str, Value]

CONDITION_FAILED = "ConditionalCheckFailedException"
_USED = re.compile(r"[#:]\w+")


def text(value: str) -> Value:
    return {"S": value}


def number(value: float) -> Value:
    return {"N": repr(value)}


def flag(value: bool) -> Value:
    return {"BOOL": value}


def binary(value: bytes) -> Value:
    return {"B": base64.b64encode(value).decode("ascii")}


def texts(value: Mapping[str, str]) -> Value:
    return {"M": {key: text(each) for key, each in value.items()}}


def text_list(values: Iterable[str]) -> Value:
    return {"L": [text(each) for each in values]}


def get_text(item: Item, name: str, default: str = "") -> str:
    return str(item[name]["S"]) if name in item else default


def get_number(item: Item, name: str, default: float = 0.0) -> float:
    return float(item[name]["N"]) if name in item else default


def get_flag(item: Item, name: str) -> bool:
    return bool(item[name]["BOOL"]) if name in item else False


def get_binary(item: Item, name: str) -> bytes:
    return base64.b64decode(item[name]["B"])


def get_texts(item: Item, name: str) -> dict[str, str]:
    return {key: str(each["S"]) for key, each in item[name]["M"].items()} if name in item else {}


def get_text_list(item: Item, name: str) -> tuple[str, ...]:
    return tuple(str(each["S"]) for each in item[name]["L"]) if name in item else ()


def update_of(table: str, key: Item, update: str, condition: str, values: Item) -> dict[str, Any]:
    """An UpdateItem's payload. update, condition: expressions in which each attribute is "#" and its name; condition ""
    for none. values: by ":" and their names; what no expression has is left out."""
    used = set(_USED.findall(f"{update} {condition}"))
    payload: dict[str, Any] = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": update,
        "ExpressionAttributeNames": {name: name[1:] for name in used if name.startswith("#")},
    }
    if condition:
        payload |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    if bound := {name: value for name, value in values.items() if name in used}:
        payload["ExpressionAttributeValues"] = bound
    return payload


async def dynamo(client: AwsClient, operation: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    return await client.json("dynamodb", f"DynamoDB_20120810.{operation}", payload)


def in_the_way(error: AwsError) -> Item | None:
    """The item that made a condition fail (ReturnValuesOnConditionCheckFailure=ALL_OLD), {} if there is
    none; None if it wasn't a condition that failed."""
    return error.fields.get("Item") or {} if error.code == CONDITION_FAILED else None


async def pages(client: AwsClient, operation: str, payload: Mapping[str, Any]) -> AsyncIterator[Item]:
    """Every item of a Query or Scan, page by page."""
    start: Mapping[str, Any] = {}
    while True:
        answer = await dynamo(client, operation, {**payload, **start})
        for item in answer.get("Items", ()):
            yield item
        if not answer.get("LastEvaluatedKey"):
            return
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def items_of_id(client: AwsClient, table: str, id: str) -> AsyncIterator[Item]:
    """Every item of a table whose partition key is `id`, as the last write left it."""
    query = {
        "TableName": table,
        "ConsistentRead": True,
        "KeyConditionExpression": "#id = :id",
        "ExpressionAttributeNames": {"#id": "id"},
        "ExpressionAttributeValues": {":id": text(id)},
    }
    return pages(client, "Query", query)
