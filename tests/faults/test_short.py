"""A few kinds of fault on one system, one after the other, and the books at the end. `make faults` has all of them."""

from collections import Counter
from contextlib import ExitStack

from tests.faults.harness import settle
from tests.faults.kinds import KINDS, play, standing
from tests.faults.world import world

SPEED = 600
SEED = 1
MESSAGES = 6
ROUNDS = ("deliver-killed", "gateway-killed", "answers-lost", "sqs", "dynamodb", "remote-cuts", "thrice")


def test_nothing_is_lost_and_each_duplicate_is_explained() -> None:
    with world(SPEED) as made, ExitStack() as all_:
        for name in ROUNDS:  # what one has broken may still be so in the next
            all_.enter_context(standing(made, KINDS[name]))
            play(made, KINDS[name], SEED, MESSAGES)
        made.wait_until_quiet()
        books = settle(made)
        faults = Counter(str(event.fields["kind"]) for event in made.journal.of("fault"))
    print(
        f"{books.accepted} recipients: {dict(books.outcomes)}; twice: {dict(books.duplicates)}; faults: {dict(faults)}"
    )
    assert not books.wrong
    assert books.accepted == sum(books.outcomes.values())
    assert books.messages == MESSAGES * len(ROUNDS)
    assert {name for name in ROUNDS if name != "thrice"} <= faults.keys()  # that one's are the queues' own
    assert books.outcomes["delivered"]
    assert books.outcomes["bounced"]
