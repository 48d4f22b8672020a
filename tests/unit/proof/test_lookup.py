"""relay.proof.lookup: each question of a verdict is asked once, and what was answered can be said again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from relay.errors import PermanentError, TemporaryError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from relay.proof.lookup import Answer, Lookup, Question, Replay, UnaskedError, timeless

OK, NO_DATA, NO_NAME = DnsStatus
TXT = TxtAnswer(OK, (b"x",), 60)


class FakeResolver:
    """ports.Resolver: answers by question; an exception is raised. asked: all that it was asked, in order.

    With a gate, nothing is answered before it is set.
    """

    def __init__(self, answers: dict[Question, Answer | Exception] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[Question] = []
        self.gate: asyncio.Event | None = None
        self.given_up = 0

    async def _answer(self, name: str, type: str) -> Any:
        self.asked.append(Question(name, type))
        try:
            if self.gate:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        answer = self.answers[Question(name, type)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def txt(self, name: str) -> TxtAnswer:
        return await self._answer(name, "TXT")  # type: ignore[no-any-return]

    async def mx(self, name: str) -> MxAnswer:
        return await self._answer(name, "MX")  # type: ignore[no-any-return]

    async def a(self, name: str) -> AddressAnswer:
        return await self._answer(name, "A")  # type: ignore[no-any-return]

    async def aaaa(self, name: str) -> AddressAnswer:
        return await self._answer(name, "AAAA")  # type: ignore[no-any-return]

    async def ptr(self, name: str) -> PtrAnswer:
        return await self._answer(name, "PTR")  # type: ignore[no-any-return]


ANSWERS: dict[Question, Answer] = {
    Question("d.example", "TXT"): TXT,
    Question("d.example", "MX"): MxAnswer(OK, ((10, "mx.d.example"),), 50),
    Question("d.example", "A"): AddressAnswer(OK, ("192.0.2.1",), 40),
    Question("d.example", "AAAA"): AddressAnswer(NO_DATA, (), 30),
    Question("1.2.0.192.in-addr.arpa", "PTR"): PtrAnswer(OK, ("mx.d.example",), 70),
}


async def ask_all(resolver: Lookup | Replay) -> list[Answer]:
    return [
        await resolver.txt("d.example"),
        await resolver.mx("d.example"),
        await resolver.a("d.example"),
        await resolver.aaaa("d.example"),
        await resolver.ptr("1.2.0.192.in-addr.arpa"),
    ]


def run(question: Callable[[Lookup], Coroutine[Any, Any, Any]], resolver: FakeResolver) -> tuple[Any, Lookup]:
    async def asked() -> tuple[Any, Lookup]:
        lookup = Lookup(resolver)
        return await question(lookup), lookup

    return asyncio.run(asked())


def test_every_type_is_passed_on_and_kept() -> None:
    resolver = FakeResolver(dict(ANSWERS))
    found, lookup = run(ask_all, resolver)
    assert found == list(ANSWERS.values())
    assert lookup.answers == ANSWERS
    assert list(lookup.answers) == resolver.asked == list(ANSWERS)
    assert lookup.ttl == 30


def test_a_question_is_asked_once_however_it_is_written() -> None:
    async def ask(lookup: Lookup) -> list[TxtAnswer]:
        return [await lookup.txt(name) for name in ("d.example", "D.Example", "d.example.", "d.EXAMPLE.")]

    resolver = FakeResolver(dict(ANSWERS))
    found, lookup = run(ask, resolver)
    assert found == [TXT] * 4
    assert resolver.asked == list(lookup.answers) == [Question("d.example", "TXT")]


def test_those_who_ask_at_once_share_one_question() -> None:
    async def ask(lookup: Lookup) -> list[TxtAnswer]:
        resolver.gate = asyncio.Event()
        asking = asyncio.gather(*(lookup.txt("d.example") for _ in range(100)))
        await asyncio.sleep(0)
        assert lookup.answers == {}  # nothing yet
        resolver.gate.set()
        return list(await asking)

    resolver = FakeResolver(dict(ANSWERS))
    found, _ = run(ask, resolver)
    assert found == [TXT] * 100
    assert len(resolver.asked) == 1


def test_a_failure_is_everybodys_and_is_no_answer() -> None:
    async def ask(lookup: Lookup) -> list[Any]:
        await lookup.a("d.example")
        asked = await asyncio.gather(*(lookup.txt("d.example") for _ in range(3)), return_exceptions=True)
        with pytest.raises(TemporaryError):
            await lookup.txt("d.example")
        return asked

    resolver = FakeResolver({**ANSWERS, Question("d.example", "TXT"): TemporaryError("no answer in time")})
    found, lookup = run(ask, resolver)
    assert [type(each) for each in found] == [TemporaryError] * 3
    assert list(lookup.answers) == [Question("d.example", "A")]
    assert lookup.ttl == 40
    assert len(resolver.asked) == 2


@pytest.mark.parametrize("type", ["txt", "mx", "a", "aaaa", "ptr"])
def test_a_name_that_no_dns_can_hold_does_not_exist(type: str) -> None:
    """And it won't later, so it doesn't shorten how long a verdict holds."""
    question = Question("x..example", type.upper())
    found, lookup = run(
        lambda lookup: getattr(lookup, type)("x..example"), FakeResolver({question: PermanentError("not a name")})
    )
    assert found.status is NO_NAME
    assert lookup.answers == {question: found}
    assert lookup.ttl == 604_800


def test_no_answers_have_no_ttl() -> None:
    assert Lookup(FakeResolver()).ttl == 0


def test_who_gives_up_leaves_no_question_behind() -> None:
    async def ask(lookup: Lookup) -> dict[Question, Answer]:
        resolver.gate = asyncio.Event()
        asking = asyncio.ensure_future(lookup.txt("d.example"))
        while not resolver.asked:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return lookup.answers

    resolver = FakeResolver(dict(ANSWERS))
    assert run(ask, resolver)[0] == {}
    assert resolver.given_up == 1


def test_replay_says_it_again() -> None:
    assert asyncio.run(ask_all(Replay(ANSWERS))) == list(ANSWERS.values())


@pytest.mark.parametrize("method", ["txt", "mx", "a", "aaaa", "ptr"])
def test_replay_has_nothing_else_to_say(method: str) -> None:
    answers: dict[Question, Answer] = {Question("other.example", method.upper()): TXT}
    with pytest.raises(UnaskedError, match=rf"d\.example {method.upper()} was not asked"):
        asyncio.run(getattr(Replay(answers), method)("d.example"))


def test_a_receipt_with_an_answer_of_another_type_is_not_replayed() -> None:
    with pytest.raises(UnaskedError):
        asyncio.run(Replay({Question("d.example", "MX"): TXT}).mx("d.example"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TxtAnswer(OK, (b"a", b"b"), 1), TxtAnswer(OK, (b"b", b"a"), 2)),
        (MxAnswer(OK, ((1, "a"), (2, "b")), 1), MxAnswer(OK, ((2, "b"), (1, "a")), 2)),
        (AddressAnswer(OK, ("a", "b"), 1), AddressAnswer(OK, ("b", "a"), 2)),
        (PtrAnswer(OK, ("a", "b"), 1), PtrAnswer(OK, ("b", "a"), 2)),
    ],
    ids=["TXT", "MX", "address", "PTR"],
)
def test_timeless(one: Answer, other: Answer) -> None:
    assert timeless(one) == timeless(other)
    assert timeless(one) != timeless(type(one)(NO_DATA, (), 1))
    assert timeless(one) != timeless(type(one)(OK, one_record(one), 1))


def one_record(answer: Answer) -> Any:
    match answer:
        case TxtAnswer(_, records) | MxAnswer(_, records) | AddressAnswer(_, records) | PtrAnswer(_, records):
            return records[:1]
