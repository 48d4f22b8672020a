"""ports.Accounts on DynamoDB: the key is the user name in lower case."""

from dataclasses import asdict, fields
from typing import Any, Final

from relay.account import Account, BouncePause, Secret
from relay.aws.client import AwsClient, AwsError
from relay.aws.items import (
    CONDITION_FAILED,
    Item,
    binary,
    dynamo,
    flag,
    get_binary,
    get_flag,
    get_number,
    get_text,
    in_the_way,
    number,
    pages,
    text,
    update_of,
)
from relay.quota import Limits

NAME_IS_FREE: Final = "attribute_not_exists(#user)"
STILL_THAT: Final = "#version = :before"
NEVER_CHANGED: Final = "attribute_exists(#user) AND attribute_not_exists(#version)"

# What record's role may change of an account: template.yaml lists these attributes, and no others.
PAUSE: Final = (
    "SET #pause_since = :since, #pause_bounced = :bounced, #pause_finished = :finished,"
    " #version = if_not_exists(#version, :zero) + :one"
)
CAN_BE_PAUSED: Final = (
    "attribute_exists(#user) AND attribute_not_exists(#pause_since) AND attribute_not_exists(#deleted)"
)


class DynamoAccounts:
    """table: with the key `user`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def find(self, user: str) -> Account | None:
        payload = {"TableName": self._table, "Key": {"user": text(user.lower())}, "ConsistentRead": True}
        item = (await dynamo(self._client, "GetItem", payload)).get("Item")
        return account_of(item) if item else None

    async def create(self, account: Account) -> bool:
        payload = {
            "TableName": self._table,
            "Item": item_of(account),
            "ConditionExpression": NAME_IS_FREE,
            "ExpressionAttributeNames": {"#user": "user"},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await dynamo(self._client, "PutItem", payload)
        except AwsError as error:
            found = in_the_way(error)
            if not found:
                raise
            return account_of(found) == account  # our own write, whose answer was lost
        return True

    async def update(self, account: Account, before: Account) -> bool:
        payload: dict[str, Any] = {
            "TableName": self._table,
            "Item": item_of(account),
            "ConditionExpression": STILL_THAT if before.version else NEVER_CHANGED,
            "ExpressionAttributeNames": {"#version": "version"} | ({} if before.version else {"#user": "user"}),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if before.version:
            payload["ExpressionAttributeValues"] = {":before": number(before.version)}
        try:
            await dynamo(self._client, "PutItem", payload)
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            return bool(found) and account_of(found) == account  # our own write, whose answer was lost
        return True

    async def pause(self, user: str, pause: BouncePause) -> bool:
        values = {f":{name}": number(value) for name, value in pause._asdict().items()}
        values |= {":zero": number(0), ":one": number(1)}
        payload = update_of(self._table, {"user": text(user.lower())}, PAUSE, CAN_BE_PAUSED, values)
        del payload["ReturnValuesOnConditionCheckFailure"]  # record's role may not read all of an account this way
        try:
            await dynamo(self._client, "UpdateItem", payload)
        except AwsError as error:
            if error.code != CONDITION_FAILED:
                raise
            return False
        return True

    async def remove(self, user: str) -> None:
        await dynamo(self._client, "DeleteItem", {"TableName": self._table, "Key": {"user": text(user.lower())}})

    async def list(self) -> tuple[Account, ...]:
        items = pages(self._client, "Scan", {"TableName": self._table, "ConsistentRead": True})
        found = [account_of(item) async for item in items]
        return tuple(sorted((each for each in found if not each.deleted), key=lambda account: account.user.lower()))


def item_of(account: Account) -> Item:
    """What is as it was at first has no attribute: so are the items of before there were changes."""
    item: Item = {
        "user": text(account.user.lower()),
        "name": text(account.user),
        "salt": binary(account.salt),
        "hash": binary(account.hash),
        "phone": text(account.phone),
        "created": number(account.created),
        "disabled": flag(account.disabled),
    }
    if account.version:
        item["version"] = number(account.version)
    if account.deleted:
        item["deleted"] = flag(True)
    if previous := account.previous:
        item["old_salt"], item["old_hash"] = binary(previous.salt), binary(previous.hash)
        item["old_until"] = number(previous.until)
    limits = {f"limit_{name}": number(value) for name, value in asdict(account.limits).items() if value}
    pause = {f"pause_{name}": number(value) for name, value in account.pause._asdict().items()} if account.pause else {}
    return {**item, **limits, **pause}


def account_of(item: Item) -> Account:
    return Account(
        user=get_text(item, "name"),
        salt=get_binary(item, "salt"),
        hash=get_binary(item, "hash"),
        phone=get_text(item, "phone"),
        created=get_number(item, "created"),
        disabled=get_flag(item, "disabled"),
        previous=_previous(item),
        deleted=get_flag(item, "deleted"),
        version=int(get_number(item, "version")),
        limits=Limits(**{each.name: int(get_number(item, f"limit_{each.name}")) for each in fields(Limits)}),
        pause=_pause(item),
    )


def _pause(item: Item) -> BouncePause | None:
    if "pause_since" not in item:
        return None
    since, *counts = (get_number(item, f"pause_{name}") for name in BouncePause._fields)
    return BouncePause(since, *map(int, counts))


def _previous(item: Item) -> Secret | None:
    if "old_hash" not in item:
        return None
    return Secret(get_binary(item, "old_salt"), get_binary(item, "old_hash"), get_number(item, "old_until"))
