"""The books by themselves: what balances, and each thing that must not pass."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.faults.books import (
    ANSWER_LOST,
    CLIENT_LEFT,
    DEAD,
    UNEXPLAINED,
    WORKER_LOST,
    Balance,
    Relay,
    Submitted,
    balance,
)
from tests.faults.journal import Event, Journal
from tests.faults.remote import Taking

A, B = "0199aaaa-0000-7000-8000-00000000000a", "0199aaaa-0000-7000-8000-00000000000b"
TO, GONE = "ok@one.example", "nobody@one.example"
WORKER, GATEWAY = 11, 12
DELIVERED, BOUNCED = frozenset({"delivered"}), frozenset({"bounced"})


class Told(Journal):
    """With times of its own."""

    def add(self, time: float, what: str, **fields: object) -> None:
        self._events.append(Event(time, what, fields))


def taking(time: float, id: str = A, *, answered: bool = True, broken: str = "", mark: str = "m") -> Taking:
    content = f"Received: by y with ESMTPSA id {id}\r\n\ttls z; now\r\nX-Mark: {mark}\r\n\r\nHello.\r\n".encode()
    return Taking(time, "news@proved.example", [TO], content, WORKER, answered, broken)


def told(id: str = A, about: str = GONE) -> Taking:
    content = (
        f"Message-ID: <n@relay>\r\n\r\nFinal-Recipient: rfc822; {about}\r\nAction: failed\r\nFinal-Log-ID: {id}\r\n"
    ).encode()
    return Taking(9.0, "", ["news@proved.example"], content, WORKER, True)


@dataclass
class Case:
    """One message to TO, delivered, and to GONE, bounced and told of."""

    submitted: Submitted = field(default_factory=lambda: Submitted("m", {TO: DELIVERED, GONE: BOUNCED}, A))
    takings: list[Taking] = field(default_factory=lambda: [taking(5.0), told()])
    relay: Relay = field(
        default_factory=lambda: Relay(
            [(A, TO, "deferred", False), (A, TO, "delivered", False), (A, GONE, "bounced", False)],
            {(A, TO): "delivered", (A, GONE): "bounced"},
        )
    )
    journal: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.journal.add(1.0, "stored", id=A, rcpt_to=[TO, GONE], pid=GATEWAY, answered=True)
        self.journal.add(5.5, "settled", id=A, part="one.example#0")

    def balance(self) -> Balance:
        return balance([self.submitted], self.takings, self.relay, self.journal)


def test_what_went_well_balances() -> None:
    books = Case().balance()
    assert not books.wrong
    assert (books.messages, books.accepted, dict(books.outcomes)) == (1, 2, {"delivered": 1, "bounced": 1})
    assert not books.duplicates


def no_trace(case: Case) -> None:
    case.relay.rows = [row for row in case.relay.rows if row[1] != TO]


def only_deferred(case: Case) -> None:
    case.relay.rows.remove((A, TO, "delivered", False))


def two_ends(case: Case) -> None:
    case.relay.rows.append((A, TO, "expired", False))


def ledger_differs(case: Case) -> None:
    case.relay.ledger[A, TO] = "deferred"


def never_taken(case: Case) -> None:
    del case.takings[0]


def never_answered(case: Case) -> None:
    case.takings[0] = taking(5.0, answered=False, broken="kept cut")


def taken_though_bounced(case: Case) -> None:
    case.submitted.recipients = {TO: BOUNCED}
    case.relay.rows = [(A, TO, "bounced", False)]
    case.relay.ledger[A, TO] = "bounced"
    case.takings.append(told(about=TO))


def bounced_by_us(case: Case) -> None:
    case.submitted.recipients = {TO: DELIVERED, GONE: DELIVERED}


def not_told(case: Case) -> None:
    del case.takings[1]


def dead_letter(case: Case) -> None:
    no_trace(case)
    case.takings = case.takings[1:]
    case.relay.dead.add((A, TO))


def still_queued(case: Case) -> None:
    no_trace(case)
    case.takings = case.takings[1:]
    case.relay.queued.add((A, TO))


def refused(case: Case) -> None:
    case.submitted.refused = "5 554 no"


def sent_twice(case: Case) -> None:
    case.takings.append(taking(6.0))


def killed_after_the_note(case: Case) -> None:
    sent_twice(case)
    case.journal.add(5.9, "killed", pid=WORKER, role="deliver")


def another_worker_killed(case: Case) -> None:
    sent_twice(case)
    case.journal.add(5.2, "killed", pid=WORKER + 1, role="deliver")


def no_answer_for_no_reason(case: Case) -> None:
    case.takings = [taking(4.0, answered=False), *case.takings]


def again_without_a_reason(case: Case) -> None:
    stored_again(case)
    case.journal.add(2.0, "stored", id=B, rcpt_to=[TO], pid=GATEWAY, answered=True)


def stored_again(case: Case) -> None:
    case.takings.append(taking(6.0, B))
    case.relay.rows.append((B, TO, "delivered", False))
    case.relay.ledger[B, TO] = "delivered"


def stored_and_lost(case: Case) -> None:
    case.journal.add(2.0, "stored", id=B, rcpt_to=[TO], pid=GATEWAY, answered=False)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (no_trace, "LOST"),
        (only_deferred, "LOST"),
        (two_ends, "more than one final state"),
        (ledger_differs, "the rows say delivered, the ledger deferred"),
        (never_taken, "said to be delivered, but never answered"),
        (never_answered, "said to be delivered, but never answered"),
        (taken_though_bounced, "said to be bounced, but taken"),
        (bounced_by_us, "bounced, not delivered"),
        (not_told, "bounced, and the sender wasn't told"),
        (dead_letter, "dead-lettered, not delivered"),
        (still_queued, "queued, not delivered"),
        (refused, "refused: m"),
        (sent_twice, "UNEXPLAINED DUPLICATE"),
        (killed_after_the_note, "UNEXPLAINED DUPLICATE"),
        (another_worker_killed, "UNEXPLAINED DUPLICATE"),
        (no_answer_for_no_reason, "UNEXPLAINED DUPLICATE"),
        (again_without_a_reason, "UNEXPLAINED DUPLICATE"),
        (stored_and_lost, "LOST"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_what_must_not_pass(change: Callable[[Case], None], found: str) -> None:
    case = Case()
    change(case)
    assert any(wrong.startswith(found) for wrong in case.balance().wrong)


def test_a_lost_answer_explains_a_duplicate() -> None:
    case = Case()
    case.takings = [taking(4.0, answered=False, broken="kept cut"), *case.takings]
    books = case.balance()
    assert not books.wrong
    assert books.duplicates == {ANSWER_LOST: 1}


def test_a_worker_killed_before_its_note_explains_a_duplicate() -> None:
    case = Case()
    case.takings = [taking(4.0), *(replace(each, pid=WORKER + 1) for each in case.takings)]
    case.journal.add(4.5, "killed", pid=WORKER, role="deliver")
    books = case.balance()
    assert not books.wrong
    assert books.duplicates == {WORKER_LOST: 1}


@pytest.mark.parametrize("answered", [True, False])
def test_a_250_that_was_lost_explains_a_second_submission(answered: bool) -> None:
    case = Case()
    stored_again(case)
    case.journal.add(0.5, "stored", id=B, rcpt_to=[TO], pid=GATEWAY + 1, answered=answered)
    if answered:
        case.journal.add(0.6, "killed", pid=GATEWAY + 1, role="gateway")
    books = case.balance()
    assert not books.wrong
    assert books.duplicates == {CLIENT_LEFT: 1}
    assert books.again == {"delivered": 1}


def test_a_dead_letter_counts_where_the_plan_allows_it() -> None:
    case = Case()
    dead_letter(case)
    case.submitted.recipients = {TO: DELIVERED | {DEAD}, GONE: BOUNCED}
    books = case.balance()
    assert not books.wrong
    assert dict(books.outcomes) == {DEAD: 1, "bounced": 1}
    assert UNEXPLAINED not in books.duplicates
