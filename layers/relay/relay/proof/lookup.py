"""The lookups of one verdict: a Resolver that asks each question once and remembers what was answered."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from relay.errors import PermanentError, TemporaryError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, Resolver, TxtAnswer

Answer = TxtAnswer | MxAnswer | AddressAnswer | PtrAnswer
A = TypeVar("A", TxtAnswer, MxAnswer, AddressAnswer, PtrAnswer)

FOREVER: Final = 604_800  # seconds; a name that no DNS can hold won't be there later


class Question(NamedTuple):
    """name: lower case, without the last dot. type: such as "TXT"."""

    name: str
    type: str


KINDS: Final[Mapping[str, type[Answer]]] = {
    "TXT": TxtAnswer,
    "MX": MxAnswer,
    "A": AddressAnswer,
    "AAAA": AddressAnswer,
    "PTR": PtrAnswer,
}


def timeless(answer: Answer) -> Answer:
    """What an answer says, without its TTL and the order of its records."""
    match answer:
        case AddressAnswer(status, addresses):
            return AddressAnswer(status, tuple(sorted(addresses)))
        case PtrAnswer(status, names):
            return PtrAnswer(status, tuple(sorted(names)))
        case MxAnswer(status, hosts):
            return MxAnswer(status, tuple(sorted(hosts)))
        case TxtAnswer(status, texts):
            return TxtAnswer(status, tuple(sorted(texts)))


class UnaskedError(TemporaryError):
    """A replay asks what the receipt has no answer to; DNS didn't answer that, or it came to another decision."""


class Lookup:
    """A ports.Resolver for as long as one verdict takes. A name that no DNS can hold is one that doesn't exist."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._asked: dict[Question, asyncio.Future[Any]] = {}

    @property
    def answers(self) -> dict[Question, Answer]:
        """What was answered, in the order it was asked; not what failed or is still to come."""
        done = self._asked.items()
        return {question: task.result() for question, task in done if task.done() and not _failed(task)}

    @property
    def ttl(self) -> int:
        """The shortest among the answers, 0 if there is none."""
        return min((answer.ttl for answer in self.answers.values()), default=0)

    async def txt(self, name: str) -> TxtAnswer:
        return await self._once(name, "TXT", self._resolver.txt, TxtAnswer)

    async def mx(self, name: str) -> MxAnswer:
        return await self._once(name, "MX", self._resolver.mx, MxAnswer)

    async def a(self, name: str) -> AddressAnswer:
        return await self._once(name, "A", self._resolver.a, AddressAnswer)

    async def aaaa(self, name: str) -> AddressAnswer:
        return await self._once(name, "AAAA", self._resolver.aaaa, AddressAnswer)

    async def ptr(self, name: str) -> PtrAnswer:
        return await self._once(name, "PTR", self._resolver.ptr, PtrAnswer)

    async def _once(self, name: str, type: str, ask: Callable[[str], Awaitable[A]], answer: type[A]) -> A:
        question = Question(name.lower().removesuffix("."), type)
        if question not in self._asked:
            self._asked[question] = asyncio.ensure_future(self._ask(question.name, ask, answer))
        found: A = await self._asked[question]
        return found

    async def _ask(self, name: str, ask: Callable[[str], Awaitable[A]], answer: type[A]) -> A:
        try:
            return await ask(name)
        except PermanentError:
            return answer(DnsStatus.NO_NAME, (), FOREVER)


def _failed(task: "asyncio.Future[Any]") -> bool:
    return task.cancelled() or task.exception() is not None


class Replay:
    """A ports.Resolver that says again what was answered before. UnaskedError for what was not asked then."""

    def __init__(self, answers: Mapping[Question, Answer]) -> None:
        self._answers = answers

    async def txt(self, name: str) -> TxtAnswer:
        return self._again(Question(name, "TXT"), TxtAnswer)

    async def mx(self, name: str) -> MxAnswer:
        return self._again(Question(name, "MX"), MxAnswer)

    async def a(self, name: str) -> AddressAnswer:
        return self._again(Question(name, "A"), AddressAnswer)

    async def aaaa(self, name: str) -> AddressAnswer:
        return self._again(Question(name, "AAAA"), AddressAnswer)

    async def ptr(self, name: str) -> PtrAnswer:
        return self._again(Question(name, "PTR"), PtrAnswer)

    def _again(self, question: Question, answer: type[A]) -> A:
        found = self._answers.get(question)
        if not isinstance(found, answer):
            raise UnaskedError(f"{question.name} {question.type} was not asked")
        return found
