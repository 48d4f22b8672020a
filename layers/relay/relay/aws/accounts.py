"""ports.Accounts on DynamoDB: the key is the user name in lower case."""

from typing import Final

from relay.aws.client import AwsClient, AwsError
from relay.aws.items import (
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
)
from relay.ports import Account

NAME_IS_FREE: Final = "attribute_not_exists(#user)"


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

    async def remove(self, user: str) -> None:
        await dynamo(self._client, "DeleteItem", {"TableName": self._table, "Key": {"user": text(user.lower())}})

    async def list(self) -> tuple[Account, ...]:
        items = pages(self._client, "Scan", {"TableName": self._table, "ConsistentRead": True})
        return tuple(sorted([account_of(item) async for item in items], key=lambda account: account.user.lower()))


def item_of(account: Account) -> Item:
    return {
        "user": text(account.user.lower()),
        "name": text(account.user),
        "salt": binary(account.salt),
        "hash": binary(account.hash),
        "phone": text(account.phone),
        "created": number(account.created),
        "disabled": flag(account.disabled),
    }


def account_of(item: Item) -> Account:
    return Account(
        user=get_text(item, "name"),
        salt=get_binary(item, "salt"),
        hash=get_binary(item, "hash"),
        phone=get_text(item, "phone"),
        created=get_number(item, "created"),
        disabled=get_flag(item, "disabled"),
    )
