"""ports.Ledger on DynamoDB: one item a delivery, one conditional write a step.

    claim      one UpdateItem; if its condition fails, the answer brings the item that says why
    settle     one UpdateItem under our claim
    advance    one UpdateItem under our claim
    refuse     one PutItem if there is no item
    cancel     one UpdateItem if the item is as it was read and no claim lives

      attempt 1 claimed        settled              attempt 2 queued   advanced
    ------|-----------------------|-----------------------|---------------|--------> time
          |<-- a second copy of attempt 1: Held, until claimed_until ---->|<-- Superseded
                                                          |<-- attempt 2: Held / claimable

A write whose answer was lost is sent again by the client: its condition holds for the same owner, so
it changes nothing and says yes.
"""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from relay.aws.client import AwsClient, AwsError
from relay.aws.items import (
    Item,
    dynamo,
    flag,
    get_flag,
    get_number,
    get_text,
    get_texts,
    in_the_way,
    items_of_id,
    number,
    text,
    texts,
)
from relay.encoding import decode_outcome, encode_outcome
from relay.errors import PermanentError
from relay.outcome import Outcome
from relay.ports import Claim, Claimed, Finished, Held, LedgerEntry, Superseded
from relay.submission import Delivery, DeliveryKey

# Outlives every message that may still ask: 48 h of retries, 14 days in the queue, 14 in the dead-letter
# queue, 14 more after a redrive.
EXPIRY_DAYS: Final = 45
DAY: Final = 86_400
# An item is 400 KB at most; 100 recipients leave 4,000 octets each. 1,000 characters may be more.
LONGEST_TEXT: Final = 3_000

NO_ITEM: Final = "attribute_not_exists(id)"
NOT_FINAL: Final = "#final = :no"
NOT_LATER: Final = "#attempt <= :attempt"
NO_LIVING_CLAIM: Final = "#claimed_until <= :now"
OURS: Final = "#owner = :owner"
CLAIMABLE: Final = f"{NO_ITEM} OR ({NOT_FINAL} AND {NOT_LATER} AND ({NO_LIVING_CLAIM} OR {OURS}))"
AS_READ: Final = f"{NOT_FINAL} AND #attempt = :attempt AND {OURS} AND {NO_LIVING_CLAIM}"
UNDER_OUR_CLAIM: Final = f"{OURS} AND {NOT_FINAL}"

TAKE: Final = (
    "SET #attempt = :attempt, #due = :due, #owner = :owner, #claimed_until = :until, #final = :no, "
    "#expires = :expires, #outcomes = if_not_exists(#outcomes, :none)"
)
MOVE_ON: Final = "SET #attempt = :attempt, #due = :due, #claimed_until = :zero, #owner = :nobody"


class DynamoLedger:
    """table: with the keys `id` and `part`, time to live in `expires`. expiry_days: kept after the last claim."""

    def __init__(self, client: AwsClient, table: str, expiry_days: int = EXPIRY_DAYS) -> None:
        self._client = client
        self._table = table
        self._kept = expiry_days * DAY

    async def claim(self, delivery: Delivery, *, owner: str, now: float, until: float) -> Claim:
        values = {
            ":attempt": number(delivery.attempt),
            ":due": number(delivery.due),
            ":owner": text(owner),
            ":now": number(now),
            ":until": number(until),
            ":no": flag(False),
            ":none": texts({}),
            ":expires": number(int(now) + self._kept),
        }
        names = ("attempt", "due", "owner", "claimed_until", "final", "expires", "outcomes")
        try:
            item = await self._update(delivery.key, TAKE, CLAIMABLE, names, values)
        except AwsError as error:
            found = in_the_way(error)
            if not found:
                raise
            return _refused(entry_of(found), delivery.attempt)
        return Claimed(entry_of(item))

    async def settle(self, key: DeliveryKey, *, owner: str, outcomes: tuple[Outcome, ...], final: bool) -> None:
        if not outcomes and not final:
            return
        last = {outcome.recipient: outcome for outcome in outcomes}  # no path may be set twice
        sets = [f"#outcomes.#r{index} = :r{index}" for index in range(len(last))]
        names = {f"#r{index}": recipient for index, recipient in enumerate(last)}
        values = {f":r{index}": text(_dump(outcome)) for index, outcome in enumerate(last.values())}
        values |= {":owner": text(owner), ":no": flag(False)}
        if final:  # the owner stays, so that this write sent twice knows itself
            sets += ["#final = :yes", "#claimed_until = :zero"]
            values |= {":yes": flag(True), ":zero": number(0)}
        plain = ("owner", "final", *(("claimed_until",) if final else ()), *(("outcomes",) if outcomes else ()))
        try:
            await self._update(key, "SET " + ", ".join(sets), UNDER_OUR_CLAIM, plain, values, names)
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            if not (final and get_flag(found, "final") and get_text(found, "owner") == owner):
                raise PermanentError("claim lost", f"{key.id} {key.part}") from error

    async def advance(self, key: DeliveryKey, *, owner: str, attempt: int, due: float) -> None:
        values = {
            ":attempt": number(attempt),
            ":due": number(due),
            ":owner": text(owner),
            ":nobody": text(""),
            ":zero": number(0),
            ":no": flag(False),
        }
        names = ("attempt", "due", "owner", "claimed_until", "final")
        try:
            await self._update(key, MOVE_ON, UNDER_OUR_CLAIM, names, values)
        except AwsError as error:
            if in_the_way(error) is None:
                raise

    async def refuse(self, key: DeliveryKey, *, attempt: int, outcomes: tuple[Outcome, ...]) -> LedgerEntry:
        entry = LedgerEntry(key, attempt, final=True, outcomes={each.recipient: each for each in outcomes})
        last = max((outcome.time for outcome in outcomes), default=0.0)
        item = item_of(entry) | {"expires": number(int(last) + self._kept)}
        payload = {
            "TableName": self._table,
            "Item": item,
            "ConditionExpression": NO_ITEM,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await dynamo(self._client, "PutItem", payload)
        except AwsError as error:
            found = in_the_way(error)
            if not found:
                raise
            return entry_of(found)
        return entry

    async def of_id(self, id: str) -> tuple[LedgerEntry, ...]:
        entries = [entry_of(item) async for item in items_of_id(self._client, self._table, id)]
        return tuple(sorted(entries, key=lambda entry: entry.key))

    async def cancel(self, read: LedgerEntry, *, owner: str, now: float, outcomes: tuple[Outcome, ...]) -> LedgerEntry:
        sets = [f"#outcomes.#r{index} = :r{index}" for index in range(len(outcomes))]
        names = {f"#r{index}": outcome.recipient for index, outcome in enumerate(outcomes)}
        values = {f":r{index}": text(_dump(outcome)) for index, outcome in enumerate(outcomes)}
        values |= {
            ":attempt": number(read.attempt),
            ":owner": text(read.owner),
            ":new_owner": text(owner),
            ":now": number(now),
            ":no": flag(False),
            ":yes": flag(True),
            ":zero": number(0),
        }
        sets += ["#final = :yes", "#owner = :new_owner", "#claimed_until = :zero"]
        plain = ("attempt", "final", "owner", "claimed_until", *(("outcomes",) if outcomes else ()))
        try:
            return entry_of(await self._update(read.key, "SET " + ", ".join(sets), AS_READ, plain, values, names))
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            if not found:
                raise PermanentError("there is no such delivery", f"{read.key.id} {read.key.part}") from error
            return entry_of(found)  # ours, too, if the answer of our first write was lost

    async def _update(
        self,
        key: DeliveryKey,
        update: str,
        condition: str,
        names: Iterable[str],
        values: dict[str, Any],
        more_names: dict[str, str] | None = None,
    ) -> Item:
        """The item as it is after the update."""
        payload = {
            "TableName": self._table,
            "Key": {"id": text(key.id), "part": text(key.part)},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {f"#{name}": name for name in names} | (more_names or {}),
            "ExpressionAttributeValues": values,
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        answer = await dynamo(self._client, "UpdateItem", payload)
        item: Item = answer["Attributes"]
        return item


def _refused(entry: LedgerEntry, attempt: int) -> Claim:
    """Why the claim's condition failed: the same clauses, in the order that matters."""
    if entry.final:
        return Finished(entry)
    if entry.attempt > attempt:
        return Superseded(entry)
    return Held(entry.claimed_until)


def item_of(entry: LedgerEntry) -> Item:
    return {
        "id": text(entry.key.id),
        "part": text(entry.key.part),
        "attempt": number(entry.attempt),
        "due": number(entry.due),
        "owner": text(entry.owner),
        "claimed_until": number(entry.claimed_until),
        "final": flag(entry.final),
        "outcomes": texts({recipient: _dump(outcome) for recipient, outcome in entry.outcomes.items()}),
    }


def entry_of(item: Item) -> LedgerEntry:
    domain, _, chunk = get_text(item, "part").rpartition("#")
    outcomes = {recipient: _load(recipient, packed) for recipient, packed in get_texts(item, "outcomes").items()}
    return LedgerEntry(
        key=DeliveryKey(get_text(item, "id"), domain, int(chunk)),
        attempt=int(get_number(item, "attempt")),
        due=get_number(item, "due"),
        owner=get_text(item, "owner"),
        claimed_until=get_number(item, "claimed_until"),
        final=get_flag(item, "final"),
        outcomes=outcomes,
    )


def _dump(outcome: Outcome) -> str:
    """As compact JSON, without the recipient, which is the map's key."""
    fields = encode_outcome(outcome)
    del fields["recipient"]
    fields["text"] = outcome.text.encode("utf-8", "replace")[:LONGEST_TEXT].decode("utf-8", "ignore")
    return orjson.dumps(fields).decode()


def _load(recipient: str, packed: str) -> Outcome:
    return decode_outcome({"recipient": recipient, **orjson.loads(packed)})
