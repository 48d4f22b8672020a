"""quota.UsageTable and bounces.BounceTable on DynamoDB: one item an account and day (UTC).

messages, clear, by                  as in quota.Usage
finished, bounced                    recipients, as in quota.Bounces
forgiven_finished, forgiven_bounced  how many of these were met before the account was last resumed
"""

from typing import Any, Final

from relay.aws.client import AwsClient, AwsError
from relay.aws.items import Item, dynamo, get_number, get_text, in_the_way, number, pages, text, update_of
from relay.bounces import DayOfAccount
from relay.quota import Bounces, Usage, start_of

KEPT: Final = 90 * 86_400  # seconds after the day began

REPLACE: Final = "SET #messages = :messages, #clear = :clear, #by = :by, #expires = :expires"
AS_BEFORE: Final = "#by = :before"
NOT_WRITTEN: Final = "attribute_not_exists(#by)"
COUNT: Final = "ADD #finished :finished, #bounced :bounced SET #expires = :expires"
FORGIVE: Final = "SET #forgiven_finished = #finished, #forgiven_bounced = #bounced"
COUNTED: Final = "attribute_exists(#finished)"


class DynamoUsage:
    """table: with the keys `account` and `day`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def find(self, account: str, day: str) -> Usage:
        payload = {"TableName": self._table, "Key": _key(account, day), "ConsistentRead": True}
        return _usage((await dynamo(self._client, "GetItem", payload)).get("Item", {}))

    async def replace(self, account: str, day: str, before: Usage, after: Usage) -> Usage:
        values = {
            ":messages": number(after.messages),
            ":clear": number(after.clear),
            ":by": text(after.by),
            ":before": text(before.by),
            ":expires": number(start_of(day) + KEPT),
        }
        condition = AS_BEFORE if before.by else NOT_WRITTEN
        try:
            await self._update(account, day, REPLACE, condition, values)
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            return _usage(found)  # perhaps `after`: our own write, whose answer was lost
        return after

    async def count(self, account: str, day: str, more: Bounces) -> Bounces:
        values = {
            ":finished": number(more.finished),
            ":bounced": number(more.bounced),
            ":expires": number(start_of(day) + KEPT),
        }
        item = (await self._update(account, day, COUNT, "", values))["Attributes"]
        there = _bounces(item)
        return Bounces(
            there.finished - int(get_number(item, "forgiven_finished")),
            there.bounced - int(get_number(item, "forgiven_bounced")),
        )

    async def forgive(self, account: str, day: str) -> None:
        try:
            await self._update(account, day, FORGIVE, COUNTED, {})
        except AwsError as error:
            if in_the_way(error) is None:  # else nothing was counted on that day
                raise

    async def days(self, account: str | None, since: str) -> tuple[DayOfAccount, ...]:
        names = {"#day": "day"}
        values = {":since": text(since)}
        if account is None:
            operation, condition = "Scan", {"FilterExpression": "#day >= :since"}
        else:
            operation, condition = "Query", {"KeyConditionExpression": "#account = :account AND #day >= :since"}
            names["#account"], values[":account"] = "account", text(account)
        payload = {
            "TableName": self._table,
            "ConsistentRead": True,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            **condition,
        }
        found = [_day(item) async for item in pages(self._client, operation, payload)]
        return tuple(sorted(found))

    async def _update(self, account: str, day: str, update: str, condition: str, values: Item) -> dict[str, Any]:
        payload = update_of(self._table, _key(account, day), update, condition, values)
        return await dynamo(self._client, "UpdateItem", {**payload, "ReturnValues": "ALL_NEW"})


def _key(account: str, day: str) -> Item:
    return {"account": text(account), "day": text(day)}


def _usage(item: Item) -> Usage:
    return Usage(int(get_number(item, "messages")), get_number(item, "clear"), get_text(item, "by"))


def _bounces(item: Item) -> Bounces:
    return Bounces(int(get_number(item, "finished")), int(get_number(item, "bounced")))


def _day(item: Item) -> DayOfAccount:
    return DayOfAccount(get_text(item, "account"), get_text(item, "day"), _usage(item).messages, _bounces(item))
