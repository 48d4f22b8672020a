"""The books of a bulk run: whoever is missing or has it twice is named."""

import pytest

from bench.bulk import balance

EXPECTED = {"a@in.example", "b@in.example"}
ROWS = [("a@in.example", "delivered"), ("b@in.example", "deferred"), ("b@in.example", "delivered")]
GOT = [("a@in.example", 1.0), ("b@in.example", 2.0)]


@pytest.mark.parametrize(
    ("rows", "got", "waiting", "problems"),
    [
        (ROWS, GOT, {"DeliverQueue": 0}, []),
        (ROWS[:2], GOT, {}, ["1 recipients without a final row, such as b@in.example"]),
        (ROWS[1:], GOT, {}, ["1 recipients without a final row, such as a@in.example"]),
        ([*ROWS, ROWS[0]], GOT, {}, ["1 recipients with several final rows, such as a@in.example"]),
        (ROWS, GOT[:1], {}, ["1 recipients not at the sink, such as b@in.example"]),
        (ROWS, [*GOT, GOT[0]], {}, ["1 recipients several times at the sink, such as a@in.example"]),
        (ROWS, [*GOT, ("c@in.example", 3.0)], {}, ["1 recipients at the sink and not expected, such as c@in.example"]),
        ([ROWS[0], ("b@in.example", "bounced")], GOT, {}, ["1 rows bounced"]),
        (ROWS, GOT, {"DeliverQueue": 0, "DeliverDeadLetterQueue": 1}, ["1 messages in DeliverDeadLetterQueue"]),
    ],
    ids=["balance", "no final row", "no row", "two rows", "lost", "twice", "strange", "bounced", "left on a queue"],
)
def test_balance(
    rows: list[tuple[str, str]], got: list[tuple[str, float]], waiting: dict[str, int], problems: list[str]
) -> None:
    assert balance(EXPECTED, rows, got, waiting) == problems
