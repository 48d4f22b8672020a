"""dkim_keys.DkimKeys on DynamoDB: one item a domain, so that its keys change together.

domain              the key
enabled, version    as in DomainKeys
keys                a list of maps, newest first: selector, public (base64), created, seen, ended; and while the key may
                    sign, sealed: what KMS made of the private part
"""

import base64
from typing import Any, Final

from relay.aws.client import AwsClient, AwsError
from relay.aws.items import (
    Item,
    Value,
    binary,
    dynamo,
    flag,
    get_binary,
    get_flag,
    get_number,
    get_text,
    in_the_way,
    number,
    text,
)
from relay.dkim_keys import DkimKey, DomainKeys

NOTHING_THERE: Final = "attribute_not_exists(#domain)"
STILL_THAT: Final = "#version = :before"


class DynamoDkimKeys:
    """table: with the key `domain`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def find(self, domain: str) -> DomainKeys | None:
        payload = {"TableName": self._table, "Key": {"domain": text(domain)}, "ConsistentRead": True}
        item: Item | None = (await dynamo(self._client, "GetItem", payload)).get("Item")
        return keys_of(item) if item else None

    async def put(self, keys: DomainKeys, before: DomainKeys | None) -> bool:
        payload: dict[str, Any] = {
            "TableName": self._table,
            "Item": item_of(keys),
            "ConditionExpression": STILL_THAT if before else NOTHING_THERE,
            "ExpressionAttributeNames": {"#version": "version"} if before else {"#domain": "domain"},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if before:
            payload["ExpressionAttributeValues"] = {":before": number(before.version)}
        try:
            await dynamo(self._client, "PutItem", payload)
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            return bool(found) and keys_of(found) == keys  # our own write, whose answer was lost
        return True


def item_of(keys: DomainKeys) -> Item:
    return {
        "domain": text(keys.domain),
        "enabled": flag(keys.enabled),
        "version": number(keys.version),
        "keys": {"L": [_map_of(each) for each in keys.keys]},
    }


def keys_of(item: Item) -> DomainKeys:
    return DomainKeys(
        domain=get_text(item, "domain"),
        enabled=get_flag(item, "enabled"),
        keys=tuple(_key_of(each["M"]) for each in item["keys"]["L"]),
        version=int(get_number(item, "version")),
    )


def _map_of(key: DkimKey) -> Value:
    fields = {
        "selector": text(key.selector),
        "public": text(base64.b64encode(key.public).decode("ascii")),
        "created": number(key.created),
        "seen": number(key.seen),
        "ended": number(key.ended),
    }
    if key.sealed:
        fields["sealed"] = binary(key.sealed)
    return {"M": fields}


def _key_of(fields: Item) -> DkimKey:
    return DkimKey(
        selector=get_text(fields, "selector"),
        public=base64.b64decode(get_text(fields, "public")),
        sealed=get_binary(fields, "sealed") if "sealed" in fields else b"",
        created=get_number(fields, "created"),
        seen=get_number(fields, "seen"),
        ended=get_number(fields, "ended"),
    )
