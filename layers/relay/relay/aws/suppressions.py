"""ports.Suppressions on DynamoDB: one item an address of an account, and one for each message that was cancelled.

    account, address    the key; of a message "cancelled <id>" (no user name has a space) and "*"
    since, until, reason, id     as in Suppression
    expires             time to live

`check` is the one call on the hot path: a BatchGetItem for all recipients of a delivery and its message, half a read
unit each.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from relay.aws.client import AWAY, AwsClient, AwsError
from relay.aws.items import CONDITION_FAILED, Item, dynamo, get_number, get_text, in_the_way, number, pages, text
from relay.errors import OutageError
from relay.ports import Checked, Suppression

DAY: Final = 86_400
REMEMBERED: Final = 30 * DAY  # seconds after its end
CANCELLED_FOR: Final = 45 * DAY  # as the ledger's items: outlives every message that may still ask
BATCH: Final = 100  # keys of one BatchGetItem (AWS: DynamoDB API reference)
TRIES: Final = 5  # at keys that a BatchGetItem left unprocessed
BACKOFF: Final = 0.1  # seconds before the second try; doubles
MESSAGE: Final = "*"  # no address
NOTHING_THERE: Final = "attribute_not_exists(#account)"
STILL_THAT: Final = "#since = :since AND #until = :until"
ENDED: Final = "#until <= :ended"


class DynamoSuppressions:
    """table: with the keys `account` and `address`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def check(self, id: str, account: str, addresses: Sequence[str]) -> Checked:
        keys = [_of_message(id), *(_key(account, each) for each in dict.fromkeys(addresses))]
        batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
        found = [item for items in await asyncio.gather(*map(self._get, batches)) for item in items]
        known = [suppression_of(item) for item in found if get_text(item, "address") != MESSAGE]
        return Checked(len(known) < len(found), {each.address: each for each in known})

    async def put(self, suppression: Suppression, before: Suppression | None) -> Suppression | None:
        payload: dict[str, Any] = {
            "ConditionExpression": STILL_THAT if before else NOTHING_THERE,
            "ExpressionAttributeNames": {"#since": "since", "#until": "until"} if before else {"#account": "account"},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if before:
            payload["ExpressionAttributeValues"] = {":since": number(before.since), ":until": number(before.until)}
        try:
            await self._put(item_of(suppression), payload)
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            if not found:  # its time to live has ended meanwhile
                return await self.put(suppression, None)
            there = suppression_of(found)
            return None if there == suppression else there  # our own write, whose answer was lost
        return None

    async def set(self, suppression: Suppression) -> None:
        await self._put(item_of(suppression), {})

    async def remove(self, account: str, address: str, *, ended: float | None = None) -> bool:
        payload: dict[str, Any] = {
            "TableName": self._table,
            "Key": _key(account, address),
            "ReturnValues": "ALL_OLD",
        }
        if ended is not None:
            payload |= {
                "ConditionExpression": ENDED,
                "ExpressionAttributeNames": {"#until": "until"},
                "ExpressionAttributeValues": {":ended": number(ended)},
            }
        try:
            return bool((await dynamo(self._client, "DeleteItem", payload)).get("Attributes"))
        except AwsError as error:
            if error.code != CONDITION_FAILED:
                raise
            return False

    async def all(self, account: str | None = None) -> tuple[Suppression, ...]:
        operation, payload = "Scan", {"TableName": self._table, "ConsistentRead": True}
        if account is not None:
            operation = "Query"
            payload |= {
                "KeyConditionExpression": "#account = :account",
                "ExpressionAttributeNames": {"#account": "account"},
                "ExpressionAttributeValues": {":account": text(account)},
            }
        items = [item async for item in pages(self._client, operation, payload)]
        found = [suppression_of(item) for item in items if get_text(item, "address") != MESSAGE]
        return tuple(sorted(found, key=lambda each: (each.account, each.address)))

    async def cancel(self, id: str, *, now: float) -> None:
        await self._put(_of_message(id) | {"since": number(now), "expires": number(int(now) + CANCELLED_FOR)}, {})

    async def _put(self, item: Item, more: dict[str, Any]) -> None:
        await dynamo(self._client, "PutItem", {"TableName": self._table, "Item": item, **more})

    async def _get(self, keys: Sequence[Item]) -> list[Item]:
        found: list[Item] = []
        asked: dict[str, Any] = {self._table: {"Keys": list(keys)}}
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(random.random() * BACKOFF * 2**attempt)  # noqa: S311 - jitter
            answer = await dynamo(self._client, "BatchGetItem", {"RequestItems": asked})
            found += answer.get("Responses", {}).get(self._table, ())
            asked = answer.get("UnprocessedKeys", {})
            if not asked:
                return found
        raise OutageError(AWAY, "dynamodb BatchGetItem: keys left unprocessed")


def _key(account: str, address: str) -> Item:
    return {"account": text(account), "address": text(address)}


def _of_message(id: str) -> Item:
    return _key(f"cancelled {id}", MESSAGE)


def item_of(suppression: Suppression) -> Item:
    return {
        **_key(suppression.account, suppression.address),
        "since": number(suppression.since),
        "until": number(suppression.until),
        "reason": text(suppression.reason),
        "id": text(suppression.id),
        "expires": number(int(suppression.until) + REMEMBERED),
    }


def suppression_of(item: Item) -> Suppression:
    return Suppression(
        account=get_text(item, "account"),
        address=get_text(item, "address"),
        since=get_number(item, "since"),
        until=get_number(item, "until"),
        reason=get_text(item, "reason"),
        id=get_text(item, "id"),
    )
