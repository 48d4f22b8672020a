"""sites.Pauses on DynamoDB: one item a site that is left alone, or was lately.

site            the key
until, step, since, heard, reason, trial        as in Pause
expires         time to live: when the next pause would be a first one again
"""

from typing import Final

from relay.aws.client import AwsClient, AwsError
from relay.aws.items import (
    CONDITION_FAILED,
    Item,
    dynamo,
    flag,
    get_flag,
    get_number,
    get_text,
    in_the_way,
    number,
    pages,
    text,
)
from relay.shaping import Heard
from relay.sites import KEPT, Pause

NOTHING_THERE: Final = "attribute_not_exists(#site)"
STILL_THAT: Final = "#until = :until"


class DynamoPauses:
    """table: with the key `site`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def find(self, site: str) -> Pause | None:
        payload = {"TableName": self._table, "Key": {"site": text(site)}}
        item: Item | None = (await dynamo(self._client, "GetItem", payload)).get("Item")
        return _pause(item) if item else None

    async def put(self, pause: Pause, before: Pause | None) -> Pause | None:
        payload = {
            "TableName": self._table,
            "Item": _item(pause),
            "ConditionExpression": STILL_THAT if before else NOTHING_THERE,
            "ExpressionAttributeNames": {"#until": "until"} if before else {"#site": "site"},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if before:
            payload["ExpressionAttributeValues"] = {":until": number(before.until)}
        try:
            await dynamo(self._client, "PutItem", payload)
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            return _pause(found) if found else None  # ours, too, if the answer of our first write was lost
        return pause

    async def end(self, pause: Pause) -> None:
        payload = {
            "TableName": self._table,
            "Key": {"site": text(pause.site)},
            "ConditionExpression": STILL_THAT,
            "ExpressionAttributeNames": {"#until": "until"},
            "ExpressionAttributeValues": {":until": number(pause.until)},
        }
        try:
            await dynamo(self._client, "DeleteItem", payload)
        except AwsError as error:
            if error.code != CONDITION_FAILED:
                raise

    async def all(self) -> tuple[Pause, ...]:
        scan = {"TableName": self._table, "ConsistentRead": True}
        found = [_pause(item) async for item in pages(self._client, "Scan", scan)]
        return tuple(sorted(found, key=lambda pause: pause.site))


def _item(pause: Pause) -> Item:
    return {
        "site": text(pause.site),
        "until": number(pause.until),
        "step": number(pause.step),
        "since": number(pause.since),
        "heard": text(pause.heard.value),
        "reason": text(pause.reason),
        "trial": flag(pause.trial),
        "expires": number(int(pause.until + KEPT)),
    }


def _pause(item: Item) -> Pause:
    return Pause(
        site=get_text(item, "site"),
        until=get_number(item, "until"),
        step=int(get_number(item, "step", 1)),
        since=get_number(item, "since"),
        heard=Heard.AWAY if get_text(item, "heard") == Heard.AWAY.value else Heard.SLOW,
        reason=get_text(item, "reason"),
        trial=get_flag(item, "trial"),
    )
