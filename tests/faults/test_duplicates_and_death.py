"""Promises 2 and 3: queue messages three times and shuffled, a function killed in mid-batch."""

import os
import random
import signal
import time

from relay.encoding import encode_delivery
from relay.submission import Delivery, Inline
from tests.system import USER, LocalSystem, local_system, marks, message, wait_for

MESSAGES = 100
SEED = 7


def deliveries() -> list[Delivery]:
    now = time.time()
    return [
        Delivery(
            id=f"0199aaaa-0000-7000-8000-{number:012x}",
            account=USER,
            mail_from="news@proved.example",
            domain="in.example",
            chunk=0,
            rcpt_to=(f"a{number}@in.example",),
            received=now,
            content=Inline(message(f"d-{number}")),
        )
        for number in range(MESSAGES)
    ]


def put(system: LocalSystem, bodies: list[str]) -> None:
    sqs = system.client("sqs")
    for start in range(0, len(bodies), 10):
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[start : start + 10])]
        sqs.send_message_batch(QueueUrl=system.state["queues"]["DeliverQueue"], Entries=entries)


def test_nothing_lost_and_nobody_twice() -> None:
    bodies = [encode_delivery(delivery) for delivery in deliveries() for _ in range(3)]
    random.Random(SEED).shuffle(bodies)
    with local_system("--clock-speed", "300") as system:
        put(system, bodies)
        wait_for("the first deliveries", lambda: len(system.sunk()) >= 5)
        workers = system.workers("Deliver")
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        in_hand = {
            recipient
            for item in system.ledger()
            if not item["final"]["BOOL"]
            for recipient in [f"a{int(item['id']['S'][-12:], 16)}@in.example"]
        }
        wanted = {(f"d-{number}", f"a{number}@in.example") for number in range(MESSAGES)}
        wait_for("every message", lambda: wanted <= marks(system.sunk()).keys(), 120)
        wait_for("empty queues", lambda: not system.depth("DeliverQueue") + system.depth("RecordQueue"), 120)
        counts = marks(system.sunk())
        final = [item for item in system.ledger() if item["final"]["BOOL"]]
        twice = {recipient for (_, recipient), count in counts.items() if count > 1}
        rows = {row["recipient"] for row in system.rows() if row["state"] == "delivered"}
        print(f"{MESSAGES} messages x 3, {len(workers)} workers killed, {len(twice)} in the window after the dot")
        assert len(final) == MESSAGES
        assert rows == {f"a{number}@in.example" for number in range(MESSAGES)}
        assert system.depth("DeliverDeadLetterQueue") == 0
        # The one window that SMTP has: taken by the remote, our worker lost before our note of it.
        assert twice <= in_hand
        assert max(counts.values()) <= 2
