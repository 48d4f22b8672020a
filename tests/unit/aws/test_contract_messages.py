"""ports.Messages: the fake and DynamoDB alike."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.aws.messages import DynamoMessages, item_of, row_of, sort_key
from relay.errors import TemporaryError
from relay.ids import new_id
from relay.outcome import Outcome, State
from relay.ports import Messages, Row
from tests.fakes import FakeMessages
from tests.unit.aws.contract import NOW, boto, make_table, outcome, with_client

Run = Callable[[Callable[[Messages], Awaitable[Any]]], Any]


def messages_table(endpoint: str) -> str:
    return make_table(endpoint, "tag", "row")


@pytest.fixture(params=["fake", "dynamodb"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "fake":
        return lambda test: asyncio.run(test(FakeMessages()))  # type: ignore[arg-type]
    endpoint = request.getfixturevalue("moto_endpoint")
    table = messages_table(endpoint)
    return lambda test: with_client(endpoint, lambda client: test(DynamoMessages(client, table)))


def row(
    recipient: str = "a@example.net",
    attempt: int = 1,
    *,
    age: float = 0.0,
    account: str = "jo@example.com",
    stage: str = "deliver",
    state: State = State.DELIVERED,
    id: str = "",
) -> Row:
    """age: seconds before NOW that the message was received."""
    received = NOW - age
    return Row(
        id=id or new_id(received, account),
        account=account,
        mail_from="",
        domain="example.net",
        received=received,
        stage=stage,
        outcome=outcome(recipient, state, attempt),
        notice=attempt == 2,
    )


def test_the_rows_of_a_message_come_by_recipient_and_attempt(run: Run) -> None:
    first = row()
    id = first.id
    deferred = row(id=id, stage="validate", state=State.DEFERRED)
    rows = (
        replace(first, stage="validate", outcome=deferred.outcome),
        row(id=id, state=State.DEFERRED),
        row(attempt=2, id=id, state=State.DEFERRED),
        row(attempt=10, id=id),
        row("b#c@example.net", id=id),
    )

    async def test(messages: Messages) -> None:
        await messages.put((*reversed(rows), row(age=5)))
        assert await messages.of_id(id) == rows
        assert await messages.of_id("nothing") == ()

    run(test)


def test_the_same_rows_again_change_nothing(run: Run) -> None:
    rows = tuple(row(f"user{number:03}@example.net", id="018f-1") for number in range(60))

    async def test(messages: Messages) -> None:
        await messages.put(())
        await messages.put(rows)
        await messages.put(rows + rows[:3])
        assert await messages.of_id("018f-1") == rows

    run(test)


def test_an_account_s_rows_come_newest_message_first(run: Run) -> None:
    ids = {age: new_id(NOW - age, "jo@example.com") for age in (0, 10, 7200)}
    rows = tuple(row(f"{name}@example.net", age=age, id=id) for age, id in ids.items() for name in "ab")
    other = row(account="you@example.com")

    async def test(messages: Messages) -> None:
        await messages.put((*reversed(rows), other))
        assert await messages.of_account("jo@example.com") == rows
        assert await messages.of_account("jo@example.com", since=NOW - 10) == rows[:4]
        assert await messages.of_account("jo@example.com", limit=2) == rows[:2]
        assert await messages.of_account("jo@example.com", since=NOW + 1) == ()
        assert await messages.of_account("nobody@example.com") == ()

    run(test)


def test_an_id_that_begins_like_another_s_or_has_its_tag_is_another(run: Run) -> None:
    rows = tuple(row(id=id) for id in ("018f-1", "x018f-1", "018f-10", "018f"))

    async def test(messages: Messages) -> None:
        await messages.put(rows)
        assert [await messages.of_id(each.id) for each in rows] == [(each,) for each in rows]

    run(test)


def test_accounts_of_one_tag_keep_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.aws.messages.tag_of", lambda _account: "abcdef")
    mine, theirs = row(id="018f-abcdef"), row(id="018e-abcdef", account="you@example.com")

    async def test(messages: Messages) -> None:
        await messages.put((mine, theirs))
        assert await messages.of_account("jo@example.com") == (mine,)
        assert await messages.of_account("you@example.com") == (theirs,)

    run(test)


# --- of DynamoDB alone --------------------------------------------------------------------------


class Pages:
    """A client that gives two items a page and leaves the last item of a batch unprocessed, `left` times."""

    def __init__(self, client: Any, left: int = 0) -> None:
        self._client = client
        self._left = left

    async def json(self, service: str, target: str, payload: dict[str, Any]) -> Any:
        if target.endswith("Query"):
            return await self._client.json(service, target, {**payload, "Limit": 2})
        if self._left:
            self._left -= 1
            ((table, requests),) = payload["RequestItems"].items()
            if requests[:-1]:
                await self._client.json(service, target, {"RequestItems": {table: requests[:-1]}})
            return {"UnprocessedItems": {table: requests[-1:]}}
        return await self._client.json(service, target, payload)


def test_pages_and_unprocessed_items_are_followed(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.aws.messages.BACKOFF", 0.0)
    table = messages_table(moto_endpoint)
    rows = tuple(row(f"user{number}@example.net", id="018f-1") for number in range(7))

    async def test(client: Any) -> None:
        messages = DynamoMessages(Pages(client, left=3), table)  # type: ignore[arg-type]
        await messages.put(rows)
        assert await messages.of_id("018f-1") == rows
        assert len(await messages.of_account("jo@example.com")) == 7
        assert len(await messages.of_account("jo@example.com", limit=5)) == 5
        never = DynamoMessages(Pages(client, left=1000), table)  # type: ignore[arg-type]
        with pytest.raises(TemporaryError):
            await never.put(rows)

    with_client(moto_endpoint, test)


def test_a_row_expires(moto_endpoint: str) -> None:
    table = messages_table(moto_endpoint)
    one = row()
    with_client(moto_endpoint, lambda client: DynamoMessages(client, table).put((one,)))
    (item,) = boto("dynamodb", moto_endpoint).scan(TableName=table)["Items"]
    assert item["expires"] == {"N": str(int(NOW) + 90 * 86_400)}
    assert item["row"] == {"S": f"{one.id}#a@example.net#deliver#0001"}


def test_a_row_is_one_item_and_two_if_its_id_has_no_tag(moto_endpoint: str) -> None:
    table = messages_table(moto_endpoint)
    tagged, plain = row(), row(id="018f-1")

    async def test(client: Any) -> None:
        messages = DynamoMessages(client, table)
        await messages.put((tagged, plain))
        assert await messages.of_id(plain.id) == (plain,)
        assert set(await messages.of_account(plain.account)) == {tagged, plain}

    with_client(moto_endpoint, test)
    items = boto("dynamodb", moto_endpoint).scan(TableName=table)["Items"]
    assert [sum(item["id"]["S"] == each.id for item in items) for each in (tagged, plain)] == [1, 2]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.floats(0, 4e9)
rows = st.builds(
    Row,
    id=texts,
    account=texts,
    mail_from=texts,
    domain=texts,
    received=times,
    stage=st.sampled_from(["validate", "deliver"]),
    outcome=st.builds(
        Outcome,
        recipient=texts,
        state=st.sampled_from(State),
        time=times,
        attempt=st.integers(1, 9999),
        code=st.integers(0, 599),
        enhanced=texts,
        text=texts,
        remote=texts,
        tls=texts,
        next_due=times,
        dsn=st.just(False),  # rows have neither
        dead=st.just(False),
    ),
    notice=st.booleans(),
)


@given(rows)
def test_a_row_survives_its_item(row: Row) -> None:
    assert row_of(item_of(row, "tag")) == row
    rest = sort_key(row).removeprefix(f"{row.id}#")
    assert rest.rsplit("#", 2) == [row.outcome.recipient, row.stage, f"{row.outcome.attempt:04d}"]
