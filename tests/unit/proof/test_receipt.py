"""relay.proof.receipt and ruling: what travels and is kept comes back the same."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import PermanentError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from relay.proof.lookup import Question as Asked
from relay.proof.lookup import UnaskedError
from relay.proof.receipt import LARGEST, decode_verdict, encode_verdict
from relay.proof.ruling import (
    Question,
    Ruling,
    decode_question,
    decode_ruling,
    encode_question,
    encode_ruling,
)
from relay.proof.verdict import Verdict, replay

times = st.floats(0, 4e9)
seconds = st.integers(0, 2**31)
status = st.sampled_from(DnsStatus)
names = st.text(min_size=1, max_size=20)
answers = st.one_of(
    st.tuples(st.just("TXT"), st.builds(TxtAnswer, status, st.lists(st.binary()).map(tuple), seconds)),
    st.tuples(st.just("MX"), st.builds(MxAnswer, status, st.lists(st.tuples(seconds, names)).map(tuple), seconds)),
    st.tuples(st.sampled_from(["A", "AAAA"]), st.builds(AddressAnswer, status, st.lists(names).map(tuple), seconds)),
    st.tuples(st.just("PTR"), st.builds(PtrAnswer, status, st.lists(names).map(tuple), seconds)),
)
asked = st.dictionaries(names, answers, max_size=4).map(
    lambda found: {Asked(name, kind): answer for name, (kind, answer) in found.items()}
)
verdicts = st.builds(Verdict, decided=times, ttl=seconds, answers=asked)


@given(verdicts)
def test_a_verdict_is_kept_whole(verdict: Verdict) -> None:
    assert decode_verdict(encode_verdict(verdict)) == verdict


def test_a_verdict_too_large_to_keep_keeps_its_decision() -> None:
    answers = {Asked(f"{n}.example", "TXT"): TxtAnswer(DnsStatus.OK, (b"x" * 16_000,), 5) for n in range(100)}
    text = encode_verdict(Verdict("d.example", "u", answers=answers))
    assert len(text) <= LARGEST
    kept = decode_verdict(text)
    assert (kept.domain, kept.answers) == ("d.example", {})
    with pytest.raises(UnaskedError):
        asyncio.run(replay(kept))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"v":2}', '{"v":1}'])
def test_what_is_no_verdict(text: str) -> None:
    with pytest.raises(PermanentError):
        decode_verdict(text)


@given(st.builds(Question), st.builds(Ruling, seconds=times))
def test_a_question_and_its_answer_travel_whole(question: Question, ruling: Ruling) -> None:
    assert decode_question(encode_question(question)) == question
    assert decode_ruling(encode_ruling(ruling)) == ruling


def test_an_sqs_event_is_no_question() -> None:
    assert decode_question({"Records": []}) is None
    assert decode_question({"domain": "d.example", "account": "a", "sender": None}) is None


@pytest.mark.parametrize(
    "answer", [{}, {"standing": "no", "lines": [], "seconds": 1}, {"standing": "passed", "lines": 1, "seconds": 1}]
)
def test_what_is_no_ruling(answer: dict[str, object]) -> None:
    with pytest.raises(PermanentError):
        decode_ruling(answer)
