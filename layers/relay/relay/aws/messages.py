"""ports.Messages on DynamoDB: one item a recipient, stage and attempt, written once.

    key     what it is                                  asked by message        asked by account
    ---     ----------                                  ----------------        ----------------
    tag     the account's, and the end of its ids       tag_in(id)              tag_of(account)
    row     id#recipient#stage#attempt                  begins with id#         from the first id of that time on

An index by account would cost a second write for each item. An id that was made without a tag is not found by
account, so its rows are written under both tags.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from relay.aws.client import AWAY, AwsClient
from relay.aws.items import (
    Item,
    dynamo,
    flag,
    get_flag,
    get_number,
    get_text,
    get_text_list,
    number,
    pages,
    text,
    text_list,
)
from relay.errors import OutageError
from relay.failure_rules import FailureClass
from relay.ids import tag_in, tag_of
from relay.outcome import Outcome, State
from relay.ports import Row
from relay.submission import Proved

KEPT: Final = 90 * 86_400  # seconds
BATCH: Final = 25  # items of one BatchWriteItem (AWS: DynamoDB API reference)
TRIES: Final = 5  # of items that a BatchWriteItem left unprocessed
BACKOFF: Final = 0.1  # seconds before the second try; doubles
ID_SLACK: Final = 3600.0  # seconds that an id may be older than `received`


class DynamoMessages:
    """table: with the keys `tag` and `row`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def put(self, rows: tuple[Row, ...]) -> None:
        # One call may not name a key twice; the last row of a key counts.
        by_key = {
            (tag, sort_key(row)): item_of(row, tag) for row in rows for tag in (tag_in(row.id), tag_of(row.account))
        }
        items = list(by_key.values())
        batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
        await asyncio.gather(*(self._write([{"PutRequest": {"Item": item}} for item in batch]) for batch in batches))

    async def of_id(self, id: str) -> tuple[Row, ...]:
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "#tag = :tag AND begins_with(#row, :of_it)",
            "ExpressionAttributeNames": {"#tag": "tag", "#row": "row"},
            "ExpressionAttributeValues": {":tag": text(tag_in(id)), ":of_it": text(f"{id}#")},
        }
        rows = [row_of(item) async for item in pages(self._client, "Query", query)]
        return tuple(sorted(rows, key=_by_recipient))

    async def of_account(self, account: str, *, since: float = 0.0, limit: int = 1000) -> tuple[Row, ...]:
        query = {
            "TableName": self._table,
            "ScanIndexForward": False,
            "KeyConditionExpression": "#tag = :tag AND #row >= :first",
            "FilterExpression": "#account = :account AND #received >= :since",
            "ExpressionAttributeNames": {"#tag": "tag", "#row": "row", "#account": "account", "#received": "received"},
            "ExpressionAttributeValues": {
                ":tag": text(tag_of(account)),
                ":account": text(account),
                ":first": text(_first_id(since - ID_SLACK)),
                ":since": number(since),
            },
        }
        rows: list[Row] = []
        async for item in pages(self._client, "Query", query):
            if len(rows) >= limit:
                break
            rows.append(row_of(item))
        rows.sort(key=_by_recipient)
        rows.sort(key=lambda row: row.id, reverse=True)
        return tuple(rows)

    async def _write(self, requests: Sequence[dict[str, Any]]) -> None:
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(random.random() * BACKOFF * 2**attempt)  # noqa: S311 - jitter
            answer = await dynamo(self._client, "BatchWriteItem", {"RequestItems": {self._table: requests}})
            requests = answer.get("UnprocessedItems", {}).get(self._table, ())
            if not requests:
                return
        raise OutageError(AWAY, f"dynamodb BatchWriteItem: {len(requests)} items left unprocessed")


def sort_key(row: Row) -> str:
    """id#recipient#stage#attempt. The stage: a message put off by validate and then by deliver has two rows
    of attempt 1."""
    return f"{row.id}#{row.outcome.recipient}#{row.stage}#{row.outcome.attempt:04d}"


def item_of(row: Row, tag: str) -> Item:
    outcome = row.outcome
    # Most messages have no warnings: the names of a verdict or two, and no attribute where there is nothing.
    receipts = {"receipts": text_list(row.proved.receipts)} if row.proved.receipts else {}
    warnings = {"warnings": text_list(row.proved.warnings)} if row.proved.warnings else {}
    failure = {"failure": text(outcome.failure)} if outcome.failure else {}
    via = {"via": text(outcome.via)} if outcome.via else {}
    return {
        **receipts,
        **warnings,
        **failure,
        **via,
        "tag": text(tag),
        "row": text(sort_key(row)),
        "id": text(row.id),
        "account": text(row.account),
        "mail_from": text(row.mail_from),
        "domain": text(row.domain),
        "received": number(row.received),
        "stage": text(row.stage),
        "notice": flag(row.notice),
        "recipient": text(outcome.recipient),
        "state": text(outcome.state.value),
        "time": number(outcome.time),
        "attempt": number(outcome.attempt),
        "code": number(outcome.code),
        "enhanced": text(outcome.enhanced),
        "text": text(outcome.text),
        "remote": text(outcome.remote),
        "tls": text(outcome.tls),
        "next_due": number(outcome.next_due),
        "expires": number(int(outcome.time) + KEPT),
    }


def row_of(item: Item) -> Row:
    outcome = Outcome(
        recipient=get_text(item, "recipient"),
        state=State(get_text(item, "state")),
        time=get_number(item, "time"),
        attempt=int(get_number(item, "attempt")),
        code=int(get_number(item, "code")),
        enhanced=get_text(item, "enhanced"),
        text=get_text(item, "text"),
        remote=get_text(item, "remote"),
        tls=get_text(item, "tls"),
        next_due=get_number(item, "next_due"),
        failure=FailureClass(get_text(item, "failure")) if "failure" in item else None,
        via=get_text(item, "via"),
    )
    return Row(
        id=get_text(item, "id"),
        account=get_text(item, "account"),
        mail_from=get_text(item, "mail_from"),
        domain=get_text(item, "domain"),
        received=get_number(item, "received"),
        stage=get_text(item, "stage"),
        outcome=outcome,
        notice=get_flag(item, "notice"),
        proved=Proved(get_text_list(item, "receipts"), get_text_list(item, "warnings")),
    )


def _by_recipient(row: Row) -> tuple[str, bool, int]:
    return row.outcome.recipient, row.stage != "validate", row.outcome.attempt


def _first_id(since: float) -> str:
    """What sorts before every UUIDv7 of `since` or later (RFC 9562 §5.7: 48 bits of milliseconds)."""
    milliseconds = f"{max(0, int(since * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"
