"""audit.Audit on DynamoDB: one item an action, gone after a year.

subject   the key: a user name in lower case, or a domain
at        the sort key: the time, as text that sorts, and the invocation's id
"""

from typing import Any, Final

from relay.audit import Entry
from relay.aws.client import AwsClient
from relay.aws.items import Item, dynamo, get_number, get_text, number, pages, text

KEPT: Final = 366 * 86_400.0  # seconds


class DynamoAudit:
    """table: with the keys `subject` and `at`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def put(self, entry: Entry) -> None:
        await dynamo(self._client, "PutItem", {"TableName": self._table, "Item": item_of(entry)})

    async def find(self, subject: str = "") -> tuple[Entry, ...]:
        payload: dict[str, Any] = {"TableName": self._table, "ConsistentRead": True}
        if subject:
            payload |= {
                "KeyConditionExpression": "#subject = :subject",
                "ExpressionAttributeNames": {"#subject": "subject"},
                "ExpressionAttributeValues": {":subject": text(subject)},
            }
        items = pages(self._client, "Query" if subject else "Scan", payload)
        return tuple(sorted([entry_of(item) async for item in items], key=lambda entry: (entry.time, entry.request)))


def item_of(entry: Entry) -> Item:
    return {
        "subject": text(entry.subject),
        "at": text(f"{entry.time:017.6f}#{entry.request}"),
        "time": number(entry.time),
        "action": text(entry.action),
        "actor": text(entry.actor),
        "request": text(entry.request),
        "result": text(entry.result),
        "expires": number(int(entry.time + KEPT)),
    }


def entry_of(item: Item) -> Entry:
    return Entry(
        time=get_number(item, "time"),
        subject=get_text(item, "subject"),
        action=get_text(item, "action"),
        actor=get_text(item, "actor"),
        request=get_text(item, "request"),
        result=get_text(item, "result"),
    )
