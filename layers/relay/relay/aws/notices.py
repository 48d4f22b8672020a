"""ports.Notices on DynamoDB: one item a refusal, with the turn that lasts and a count of what wasn't told in it.

by, since, until    who has the turn, from when to when
more, before        what the turn's notice says: the count of the turn before, which began at `before`
count               recipients since `since` that were not told of
"""

from typing import Final

from relay.aws.client import AWAY, AwsClient, AwsError
from relay.aws.items import Item, dynamo, get_number, get_text, in_the_way, number, text, update_of
from relay.errors import TemporaryError
from relay.ports import Turn

KEPT: Final = 7 * 86_400  # seconds after the turn's end
TRIES: Final = 3

COUNT: Final = "ADD #count :count"
ANOTHER_HAS_IT: Final = "#until > :now AND #by <> :by"
TAKE: Final = (
    "SET #more = if_not_exists(#count, :zero), #before = if_not_exists(#since, :now), #count = :zero,"
    " #since = :now, #until = :until, #by = :by, #expires = :expires"
)
NOBODY_HAS_IT: Final = "attribute_not_exists(#until) OR #until <= :now"


class DynamoNotices:
    """table: with the key `refusal`, time to live in `expires`."""

    def __init__(self, client: AwsClient, table: str) -> None:
        self._client = client
        self._table = table

    async def turn(self, refusal: str, *, by: str, count: int, now: float, until: float) -> Turn | None:
        """Counting comes first, with one write: of many refusals all but one are counted."""
        seen = {":now": number(now), ":by": text(by)}
        taken = {":zero": number(0), ":until": number(until), ":expires": number(int(until) + KEPT)}
        for _ in range(TRIES):
            written, found = await self._update(refusal, COUNT, ANOTHER_HAS_IT, {":count": number(count), **seen})
            if written:
                return None
            if get_text(found, "by") == by and get_number(found, "until") > now:
                return _turn(found)
            written, found = await self._update(refusal, TAKE, NOBODY_HAS_IT, {**taken, **seen})
            if written or get_text(found, "by") == by:  # or our own write, whose answer was lost
                return _turn(found)
        raise TemporaryError(AWAY, "dynamodb: many take turns at one refusal")

    async def _update(self, refusal: str, update: str, condition: str, values: Item) -> tuple[bool, Item]:
        """Whether the condition held, and the item: as it is then, or as it is instead."""
        payload = update_of(self._table, {"refusal": text(refusal)}, update, condition, values)
        payload["ReturnValues"] = "ALL_NEW"
        try:
            return True, (await dynamo(self._client, "UpdateItem", payload))["Attributes"]
        except AwsError as error:
            found = in_the_way(error)
            if found is None:
                raise
            return False, found


def _turn(item: Item) -> Turn:
    return Turn(int(get_number(item, "more")), get_number(item, "before"))
