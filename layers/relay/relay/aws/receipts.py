"""proof.receipt.Receipts on DynamoDB: of each domain and account one item in force, and one for each receipt that
was superseded.

sender, decided     the key: `domain#account`; 0 for the item in force, else the receipt's milliseconds
verdict             JSON
format              of `verdict`, as receipt.VERSION
until, confirmed, good, good_at, failing_since, version     of the item in force, as in Known; `good` only while failing
expires             time to live
"""

from typing import Any, Final

from relay.aws.client import AwsClient, AwsError
from relay.aws.items import Item, dynamo, get_number, get_text, in_the_way, number, text
from relay.errors import PermanentError
from relay.proof.receipt import VERSION, Known, decode_verdict, encode_verdict
from relay.proof.verdict import Verdict

KEPT: Final = 35 * 86_400  # seconds: good verdicts count for 30 days, messages are traced for longer than they wait
IN_FORCE: Final = 0

STILL_THAT: Final = "#version = :before"
NOTHING_TO_READ: Final = "attribute_not_exists(#version) OR attribute_not_exists(#format) OR #format <> :format"


class DynamoReceipts:
    """table: with the keys `sender` and `decided`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def find(self, domain: str, account: str) -> Known | None:
        item = await self._get(domain, account, IN_FORCE)
        try:
            return known_of(item) if item else None
        except PermanentError:  # of another version, after a roll-back: it is replaced
            return None

    async def put(self, account: str, known: Known, before: Known | None) -> bool:
        if before and before.verdict.decided != known.verdict.decided:
            # First, so that a name that was given away always leads to its receipt.
            await self._put(_superseded(before.verdict, account, known.confirmed))
        condition, names, values = STILL_THAT, ["version"], {":before": number(before.version if before else 0)}
        if before is None:
            condition, names, values = NOTHING_TO_READ, ["version", "format"], {":format": number(VERSION)}
        payload = {
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {f"#{name}": name for name in names},
            "ExpressionAttributeValues": values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        item = _in_force(known, account)
        try:
            await self._put(item, payload)
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            return found == item  # our own write, whose answer was lost
        return True

    async def keep(self, account: str, verdict: Verdict, now: float) -> None:
        await self._put(_superseded(verdict, account, now))

    async def receipt(self, domain: str, account: str, name: str) -> Verdict | None:
        known = await self.find(domain, account)
        if known and known.verdict.name == name:
            return known.verdict
        decided = name.rpartition("@")[2]
        item = await self._get(domain, account, int(decided)) if decided.isdecimal() else None
        try:
            return decode_verdict(get_text(item, "verdict")) if item else None
        except PermanentError:
            return None

    async def _get(self, domain: str, account: str, decided: int) -> Item | None:
        key = {"sender": text(f"{domain}#{account}"), "decided": number(decided)}
        payload = {"TableName": self._table, "Key": key, "ConsistentRead": True}
        item: Item | None = (await dynamo(self._client, "GetItem", payload)).get("Item")
        return item

    async def _put(self, item: Item, more: dict[str, Any] | None = None) -> None:
        await dynamo(self._client, "PutItem", {"TableName": self._table, "Item": item, **(more or {})})


def _superseded(verdict: Verdict, account: str, now: float) -> Item:
    return {
        "sender": text(f"{verdict.domain}#{account}"),
        "decided": number(int(verdict.decided * 1000)),
        "verdict": text(encode_verdict(verdict)),
        "expires": number(int(now) + KEPT),
    }


def _in_force(known: Known, account: str) -> Item:
    item = {
        "sender": text(f"{known.verdict.domain}#{account}"),
        "decided": number(IN_FORCE),
        "verdict": text(encode_verdict(known.verdict)),
        "until": number(known.until),
        "confirmed": number(known.confirmed),
        "good_at": number(known.good_at),
        "failing_since": number(known.failing_since),
        "version": number(known.version),
        "format": number(VERSION),
        "expires": number(int(known.confirmed) + KEPT),
    }
    if known.good and not known.verdict.passed:
        item["good"] = text(encode_verdict(known.good))
    return item


def known_of(item: Item) -> Known:
    verdict = decode_verdict(get_text(item, "verdict"))
    good = verdict if verdict.passed else (decode_verdict(get_text(item, "good")) if "good" in item else None)
    return Known(
        verdict=verdict,
        until=get_number(item, "until"),
        confirmed=get_number(item, "confirmed"),
        good=good,
        good_at=get_number(item, "good_at"),
        failing_since=get_number(item, "failing_since"),
        version=int(get_number(item, "version")),
    )
