"""smtp.policies.PolicyStore on DynamoDB: one item a domain.

domain              the key
id, mode, mx, max_age, fetched      as in Known and its Policy
expires             time to live: when the policy ends
"""

from typing import Final

from relay.aws.client import AwsClient, AwsError
from relay.aws.items import Item, dynamo, get_number, get_text, get_text_list, in_the_way, number, text, text_list
from relay.smtp.policies import Known
from relay.smtp.sts import Mode, Policy

NONE_NEWER: Final = "attribute_not_exists(#fetched) OR #fetched <= :fetched"


class DynamoPolicies:
    """table: with the key `domain`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def find(self, domain: str) -> Known | None:
        payload = {"TableName": self._table, "Key": {"domain": text(domain)}}
        item: Item | None = (await dynamo(self._client, "GetItem", payload)).get("Item")
        return _known(item) if item else None

    async def put(self, domain: str, known: Known) -> None:
        item = {
            "domain": text(domain),
            "id": text(known.id),
            "mode": text(known.policy.mode),
            "mx": text_list(known.policy.mx),
            "max_age": number(known.policy.max_age),
            "fetched": number(known.fetched),
            "expires": number(int(known.expires)),
        }
        payload = {
            "TableName": self._table,
            "Item": item,
            "ConditionExpression": NONE_NEWER,
            "ExpressionAttributeNames": {"#fetched": "fetched"},
            "ExpressionAttributeValues": {":fetched": number(known.fetched)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await dynamo(self._client, "PutItem", payload)
        except AwsError as error:
            if in_the_way(error) is None:
                raise


def _known(item: Item) -> Known:
    policy = Policy(Mode(get_text(item, "mode")), get_text_list(item, "mx"), int(get_number(item, "max_age")))
    return Known(get_text(item, "id"), policy, get_number(item, "fetched"))
