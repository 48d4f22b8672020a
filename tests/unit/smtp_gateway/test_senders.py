"""Rulings remembered, shared and bounded; time leaps, so nothing here waits."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from relay.errors import OutageError
from relay.proof.ruling import Question, Ruling, Standing
from smtp_gateway import senders
from smtp_gateway.log import Log
from smtp_gateway.senders import ALL, EACH, FAILURES, LONGEST_NO, LONGEST_YES, PAUSE, UNKNOWN, Senders
from tests.fakes import FakeClock
from tests.gateway import FakeAsk

JO = "jo@example.com"
NO = Ruling(Standing.REFUSED, ("d.example has no token", "publish: it"), 30.0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its time leaps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def leap(timeout: float | None) -> Any:
            assert timeout is not None, "nothing will ever happen"
            self._now += max(timeout, 0.0)
            return select(0)

        self._selector.select = leap  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


def run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(main)


class Place:
    def __init__(self, **options: Any) -> None:
        self.ask = FakeAsk()
        self.clock = FakeClock()
        self.lines: list[str] = []
        self.senders = Senders(self.ask, self.clock, Log(self.clock, self.lines.append), **options)

    async def __call__(self, *domains: str, account: str = JO, sender: str = "a") -> str:
        """The reply's first line, "" for none."""
        reply = await self.senders(account, [Question(each, account, f"{sender}@{each}") for each in domains])
        return f"{reply.code} {reply.text}" if reply else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in map(json.loads, self.lines) if each["event"] == name]


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_question_says_all() -> None:
    place = Place()
    assert run(place("d.example")) == ""
    assert place.ask.asked == [Question("d.example", JO, "a@d.example")]


@pytest.mark.parametrize(
    ("ruling", "seconds"),
    [
        pytest.param(Ruling(Standing.PASSED, (), 60.0), 60.0, id="yes"),
        pytest.param(Ruling(Standing.PASSED, (), 86_400.0), LONGEST_YES, id="yes for long"),
        pytest.param(Ruling(Standing.REFUSED, ("why",), 10.0), 10.0, id="no"),
        pytest.param(Ruling(Standing.REFUSED, ("why",), 3600.0), LONGEST_NO, id="no for long"),
        pytest.param(Ruling(Standing.HELD, ("why",), 3600.0), LONGEST_NO, id="held for long"),
        pytest.param(Ruling(Standing.UNKNOWN, (), 3600.0), LONGEST_NO, id="unknown for long"),
    ],
)
def test_a_ruling_is_remembered_for_its_time_and_not_longer(ruling: Ruling, seconds: float) -> None:
    async def main() -> None:
        place = Place()
        place.ask.rulings["d.example"] = ruling
        said = await place("d.example")
        assert bool(said) == (ruling.standing in (Standing.REFUSED, Standing.HELD))
        place.clock.advance(seconds - 0.01)
        assert place.senders.known(JO, "d.example") == ruling
        assert await place("d.example") == said
        assert len(place.ask.asked) == 1
        place.clock.advance(0.02)
        assert place.senders.known(JO, "d.example") is None
        assert await place("d.example") == said
        assert len(place.ask.asked) == 2

    run(main())


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_what_is_not_to_be_remembered_is_not(seconds: float) -> None:
    async def main() -> None:
        place = Place()
        place.ask.rulings["d.example"] = Ruling(Standing.PASSED, (), seconds)
        await place("d.example")
        await place("d.example")
        assert len(place.ask.asked) == 2
        assert not place.senders._kept

    run(main())


def test_another_account_or_domain_is_another_question() -> None:
    async def main() -> None:
        place = Place()
        place.ask.rulings["d.example"] = NO
        assert await place("d.example") == "550 d.example has no token"
        assert await place("d.example", account="al@example.com") == "550 d.example has no token"
        assert await place("sub.d.example") == ""
        assert [(each.account, each.domain) for each in place.ask.asked] == [
            (JO, "d.example"),
            ("al@example.com", "d.example"),
            (JO, "sub.d.example"),
        ]

    run(main())


def test_one_question_at_a_time_for_each_account_and_domain() -> None:
    async def main() -> None:
        place = Place()
        place.ask.rulings["d.example"] = NO
        said = await asyncio.gather(*(place("d.example", sender=str(number)) for number in range(1000)))
        assert said == ["550 d.example has no token"] * 1000
        assert len(place.ask.asked) == 1
        assert not place.senders._flights
        assert not place.senders._asking

    run(main())


def test_what_may_depend_on_the_sender_is_shared_by_that_sender_alone() -> None:
    async def main() -> None:
        place = Place()
        place.ask.rulings["d.example"] = Ruling(Standing.REFUSED, ("it has a macro",), 0.0)
        said = await asyncio.gather(*(place("d.example", sender=sender) for sender in "aabbbc"))
        assert said == ["550 it has a macro"] * 6
        assert [each.sender for each in place.ask.asked] == ["a@d.example", "b@d.example", "c@d.example"]

    run(main())


def test_an_account_has_so_many_questions_and_no_more() -> None:
    """What is beyond is accepted at once; other accounts ask on (promise 8)."""

    async def main() -> None:
        place = Place()
        place.ask.answer.clear()
        place.ask.rulings = {f"d{number}.example": NO for number in range(EACH + 2)}
        slow = [asyncio.create_task(place(f"d{number}.example")) for number in range(EACH)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await place(f"d{EACH}.example") == ""
        assert now() == 0.0
        other = asyncio.create_task(place(f"d{EACH}.example", account="al@example.com"))
        asyncio.get_running_loop().call_later(1.0, place.ask.answer.set)
        assert await asyncio.gather(*slow, other) == ["550 d.example has no token"] * (EACH + 1)
        assert len(place.ask.asked) == EACH + 1
        assert await place(f"d{EACH + 1}.example") == "550 d.example has no token"

    run(main())


def test_all_accounts_together_have_so_many_questions() -> None:
    async def main() -> None:
        place = Place()
        place.ask.answer.clear()
        slow = [asyncio.create_task(place("d.example", account=f"a{number}@x.example")) for number in range(ALL)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await place("d.example") == ""
        assert len(place.ask.asked) == ALL
        place.ask.answer.set()
        await asyncio.gather(*slow)

    run(main())


def test_patience_has_an_end_and_the_answer_still_counts() -> None:
    async def main() -> None:
        place = Place(patience=2.0)
        place.ask.rulings["d.example"] = NO
        place.ask.answer.clear()
        asyncio.get_running_loop().call_later(7.0, place.ask.answer.set)
        assert await place("d.example") == ""
        assert now() == 2.0
        assert await place("d.example") == ""  # waited for once is enough
        assert now() == 2.0
        await asyncio.sleep(5.1)
        assert place.senders.known(JO, "d.example") == NO
        assert await place("d.example") == "550 d.example has no token"
        assert len(place.ask.asked) == 1
        (late,) = place.events("late_ruling")
        assert (late["account"], late["domain"], late["seconds"]) == (JO, "d.example", 7.0)

    run(main())


def test_who_comes_later_waits_for_the_rest_of_the_time() -> None:
    async def main() -> None:
        place = Place(patience=2.0)
        place.ask.silent.add("d.example")
        first = asyncio.create_task(place("d.example"))
        await asyncio.sleep(1.5)
        assert await place("d.example") == ""
        assert now() == 2.0
        assert await first == ""
        assert len(place.ask.asked) == 1

    run(main())


def test_one_patience_for_all_questions_of_a_message() -> None:
    async def main() -> None:
        place = Place(patience=2.0)
        place.ask.silent |= {"s1.example", "s2.example"}
        place.ask.rulings["d.example"] = NO
        assert await place("s1.example", "d.example", "s2.example") == "550 d.example has no token"
        assert now() == 2.0

    run(main())


def test_one_patience_also_where_another_sender_s_answer_is_of_no_use() -> None:
    async def ask(question: Question) -> Ruling:
        await asyncio.sleep(1.5 if question.sender == "a@d.example" else 10.0)
        return Ruling(Standing.REFUSED, ("it has a macro",), 0.0)

    async def main() -> None:
        place = Place()
        place.senders = Senders(ask, place.clock, Log(place.clock, place.lines.append), patience=2.0)
        said = await asyncio.gather(place("d.example"), place("d.example", sender="b"))
        assert said == ["550 it has a macro", ""]
        assert now() == 2.0

    run(main())


def test_a_waiter_that_goes_away_takes_nothing_from_the_others() -> None:
    async def main() -> None:
        place = Place()
        place.ask.rulings["d.example"] = NO
        place.ask.answer.clear()
        gone, left = asyncio.create_task(place("d.example")), asyncio.create_task(place("d.example"))
        await asyncio.sleep(0.1)
        gone.cancel()
        await asyncio.sleep(0.1)
        place.ask.answer.set()
        assert await left == "550 d.example has no token"
        assert len(place.ask.asked) == 1

    run(main())


@pytest.mark.parametrize("error", [OutageError("away", "Invoke: 503"), ZeroDivisionError()], ids=repr)
def test_every_failure_is_acceptance(error: Exception) -> None:
    async def main() -> None:
        place = Place()
        place.ask.fail = error
        assert await place("d.example") == ""
        assert not place.senders._kept
        (line,) = place.events("no_ruling")
        assert line["domain"] == "d.example"
        place.ask.fail = None
        place.ask.rulings["d.example"] = NO
        assert await place("d.example") == "550 d.example has no token"

    run(main())


def test_after_failures_in_a_row_nothing_is_asked_for_a_while() -> None:
    async def main() -> None:
        place = Place()
        place.ask.fail = OutageError("away")
        for number in range(FAILURES + 20):
            assert await place(f"d{number}.example") == ""
        assert len(place.ask.asked) == FAILURES
        place.clock.advance(PAUSE + 0.01)
        await place("d.example")  # tried once more, in vain
        await place("d.example")
        assert len(place.ask.asked) == FAILURES + 1
        place.clock.advance(PAUSE + 0.01)
        place.ask.fail = None
        place.ask.rulings["d.example"] = NO
        assert await place("d.example") == "550 d.example has no token"
        place.ask.fail = OutageError("away")
        await place("e.example")
        place.ask.fail = None
        assert await place("d.example") == "550 d.example has no token"
        assert await place("f.example") == ""
        assert place.ask.domains[-2:] == ["e.example", "f.example"]  # one failure alone stops nothing

    run(main())


def test_one_domain_s_silent_dns_stops_nobody_else_from_asking() -> None:
    async def main() -> None:
        place = Place()
        place.ask.silent |= {f"s{number}.example" for number in range(EACH)}
        place.ask.rulings["d.example"] = NO
        await asyncio.gather(*(place(f"s{number}.example") for number in range(EACH)))
        assert await place("d.example", account="al@example.com") == "550 d.example has no token"

    run(main())


def test_memory_is_bounded_and_the_oldest_goes() -> None:
    async def main() -> None:
        place = Place(size=3)
        for number in range(5):
            await place(f"d{number}.example")
        known = [number for number in range(5) if place.senders.known(JO, f"d{number}.example")]
        assert known == [2, 3, 4]
        assert len(place.senders._kept) == 3

    run(main())


def test_what_is_known_costs_no_turn_of_the_loop() -> None:
    async def main() -> None:
        place = Place()
        await place("d.example", "e.example")
        with pytest.raises(StopIteration):
            place("d.example", "e.example").send(None)

    run(main())


def test_a_no_weighs_more_than_a_hold() -> None:
    async def main() -> None:
        place = Place()
        place.ask.rulings = {"h.example": Ruling(Standing.HELD, ("later",), 30.0), "d.example": NO}
        assert await place("h.example", "d.example") == "550 d.example has no token"
        assert await place("h.example", "e.example") == "451 later"

    run(main())


def refusal(*rulings: tuple[str, Ruling], account: str = JO, **options: Any) -> list[str]:
    reply = Place(**options).senders.refusal(account, dict(rulings))
    assert reply
    return [line.decode() for line in reply.wire.split(b"\r\n")[:-1]]


def test_the_reply_ends_where_to_read_more() -> None:
    assert refusal(("d.example", NO)) == [
        "550-5.7.1 d.example has no token",
        "550-5.7.1 publish: it",
        f"550 5.7.1 run: mailrelay check {JO} --domain d.example",
    ]
    assert refusal(("d.example", NO), help_url="https://help.example/dns")[-1] == (
        "550 5.7.1 read more: https://help.example/dns"
    )
    assert refusal(("d.example", NO), account="$(rm)@x.example")[-1] == (
        "550 5.7.1 run: mailrelay check '$(rm)@x.example' --domain d.example"
    )


def test_all_refused_domains_are_told() -> None:
    other = Ruling(Standing.REFUSED, ("e.example has no SPF record",), 30.0)
    passed, held = Ruling(Standing.PASSED), Ruling(Standing.HELD, ("later",))
    told = refusal(("p.example", passed), ("h.example", held), ("d.example", NO), ("e.example", other))
    assert told == [
        "550-5.7.1 d.example has no token",
        "550-5.7.1 publish: it",
        "550-5.7.1 e.example has no SPF record",
        f"550 5.7.1 run: mailrelay check {JO} --domain d.example",
    ]


@pytest.mark.parametrize(("count", "more"), [(3, ""), (19, " and 12 more")])
def test_domains_that_there_is_no_room_for_are_named_or_counted(count: int, more: str) -> None:
    no = Ruling(Standing.REFUSED, ("no token", "publish: it", "no SPF", "publish: it", "no DMARC", "publish: it"), 30.0)
    names = [f"{'x' * 30}{number:02}.example" for number in range(count)]
    told = refusal(*((name, no) for name in names))
    named = names[1:7] if more else names[1:]
    assert told[-2] == f"550-5.7.1 nor is the sender authorised for {', '.join(named)}{more}"
    assert told[:6] == [f"550-5.7.1 {line}" for line in no.lines]
    assert len(told) == 8


def test_a_command_too_long_for_a_line_is_not_cut() -> None:
    domain = ".".join(["d" * 60] * 4)
    last = refusal((domain, NO), account=f"{'a' * 60}@{domain}")[-1]
    assert last == "550 5.7.1 run: mailrelay check, with your user name and the domain"


@pytest.mark.parametrize("standing", [Standing.REFUSED, Standing.HELD])
def test_a_reply_is_bounded_printable_and_never_without_a_reason(standing: Standing) -> None:
    lines = tuple(f"{number}ü\r\n250 OK{'x' * 1000}" for number in range(100))
    told = refusal(("d.example", Ruling(standing, lines)), help_url=f"https://help.example/{'x' * 279}")
    assert len(told) == 12
    assert all(len(line) <= 510 and line.isascii() and line.isprintable() for line in told)
    assert told[-1].endswith("/" + "x" * 279)
    assert "sender not authorised by DNS: d.example" in refusal(("d.example", Ruling(standing)))[0]


def test_no_reply_for_who_may_send() -> None:
    place = Place()
    assert place.senders.refusal(JO, {"d.example": Ruling(Standing.PASSED), "e.example": UNKNOWN}) is None


def test_questions_under_way_fit_the_connections() -> None:
    from relay.aws import http

    assert senders.EACH < senders.ALL < http.CONNECTIONS
