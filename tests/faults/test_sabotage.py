"""The harness finds what it is there to find, in a running system: a message dropped, a message sent twice."""

import random

from relay.encoding import encode_delivery
from relay.submission import Delivery, Inline
from tests.faults.books import UNEXPLAINED, Submitted
from tests.faults.harness import settle
from tests.faults.rules import Act, Rule
from tests.faults.world import SENDER, TAKEN, World, content, world
from tests.system import USER

TO = "ok@one.example"


def hand_over(made: World, mark: str) -> Submitted:
    each = Submitted(mark, {TO: TAKEN})
    made.submit([(each, content(each))], 1)
    assert each.id
    return each


def send_again(made: World, each: Submitted) -> None:
    """As if the ledger had forgotten it."""
    table = made.system.state["tables"]["LedgerTable"]
    key = {"id": {"S": each.id}, "part": {"S": "one.example#0"}}
    dynamo = made.cloud("dynamodb")
    item = dynamo.get_item(TableName=table, Key=key)["Item"]
    dynamo.delete_item(TableName=table, Key=key)
    (taking,) = [taking for taking in made.remote.takings if taking.id == each.id]
    again = Delivery(
        each.id, USER, SENDER, "one.example", 0, (TO,), float(item["due"]["N"]) + 1, Inline(taking.content)
    )
    url = made.queue_url("DeliverQueue")
    made.cloud("sqs").send_message(QueueUrl=url, MessageBody=encode_delivery(again), MessageGroupId=USER)


def test_a_lost_message_and_a_duplicate_are_found_and_nothing_else() -> None:
    with world() as made:
        fine = hand_over(made, "fine")
        made.wait_until_quiet()
        assert not settle(made).wrong

        made.rules.arm([Rule(Act.DROP, ("validate sqs SendMessageBatch Deliver",), times=1)], random.Random(0), 30)
        dropped = hand_over(made, "dropped")
        made.wait_until_quiet()
        (lost,) = settle(made).wrong[:1]
        assert lost.startswith("LOST")
        assert dropped.id in lost

        send_again(made, fine)
        made.wait_until_quiet()
        books = settle(made)
        found = [wrong for wrong in books.wrong if dropped.id not in wrong]
        assert [wrong.partition(":")[0] for wrong in found] == ["UNEXPLAINED DUPLICATE"]
        assert fine.id in found[0]
        assert books.duplicates == {UNEXPLAINED: 1}
