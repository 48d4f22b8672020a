"""relay.rulings: what the gateway is told about a sender domain."""

import asyncio

import pytest

from relay.errors import OutageError, TemporaryError
from relay.hold import TellOwner
from relay.owner_mail import OwnerMail
from relay.proof.judge import Judged
from relay.proof.ruling import Question, Ruling, Standing
from relay.proof.verdict import Problem, Proof, Verdict
from relay.rulings import Rulings
from tests.fakes import FakeClock, FakeQueue

QUESTION = Question("d.example", "a@b.example", "c@d.example")
NO = Problem(Proof.SPF, "d.example has no SPF record", 'd.example. TXT "v=spf1"')
WHY = ("sender not authorised by DNS: d.example has no SPF record", 'publish: d.example. TXT "v=spf1"')


def ask(standing: Standing | Exception, queue: FakeQueue | None = None) -> Ruling:
    clock, queue = FakeClock(), queue or FakeQueue()

    async def judge(question: Question) -> Judged:
        assert question == QUESTION
        if isinstance(standing, Exception):
            raise standing
        problems = () if standing is Standing.PASSED else (NO,)
        now = clock.now()
        return Judged(Verdict("d.example", "a@b.example", problems=problems), standing, now + 20, now, now + 3600)

    return asyncio.run(Rulings(judge, TellOwner(OwnerMail(queue, clock, "smtp.relay.example")), clock)(QUESTION))


def test_passed() -> None:
    assert ask(Standing.PASSED) == Ruling(Standing.PASSED, (), 20.0)


def test_refused() -> None:
    assert ask(Standing.REFUSED) == Ruling(Standing.REFUSED, WHY, 20.0)


def test_held_and_the_owner_is_told() -> None:
    queue = FakeQueue()
    first = "put off until 2027-01-15 09:00 UTC, unless d.example is put right"
    assert ask(Standing.HELD, queue) == Ruling(Standing.HELD, (first, *WHY), 20.0)
    assert len(queue.sent) == 1


@pytest.mark.parametrize("error", [TemporaryError("no answer"), OutageError("away")], ids=["DNS", "ours"])
def test_no_answer_is_for_the_queue_to_decide(error: Exception) -> None:
    assert ask(error) == Ruling(Standing.UNKNOWN)


def test_an_owner_who_cannot_be_told_is_no_bug() -> None:
    queue = FakeQueue()
    queue.fail = OutageError("away")
    assert ask(Standing.HELD, queue) == Ruling(Standing.UNKNOWN)
