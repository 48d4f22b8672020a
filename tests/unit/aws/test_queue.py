"""What SqsQueue makes of batches, beyond the port's contract (test_contract_queue)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.aws import queue as module
from relay.aws.queue import SqsQueue
from relay.errors import OutageError, PermanentError, TemporaryError

URL = "http://127.0.0.1/queue"
LARGEST = 1_048_576


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF", 0.0)


class Sqs:
    """A client: records SendMessageBatch calls and answers each with `answer(call's number, entries)`."""

    def __init__(self, answer: Callable[[int, list[Any]], Any] | None = None) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._answer = answer or (lambda _, entries: succeed(*entries))

    async def json(self, service: str, target: str, text: bytes) -> Any:
        payload = json.loads(text)
        assert (service, target, payload["QueueUrl"]) == ("sqs", "AmazonSQS.SendMessageBatch", URL)
        self.batches.append(payload["Entries"])
        number = len(self.batches) - 1
        await self.gate.wait()
        answer = self._answer(number, payload["Entries"])
        if isinstance(answer, BaseException):
            raise answer
        return answer


def succeed(*entries: Any) -> dict[str, Any]:
    return {"Successful": [{"Id": entry["Id"], "MessageId": "x"} for entry in entries], "Failed": []}


def failed(entry: Any, code: str, sender: bool = False) -> dict[str, Any]:
    return {"Id": entry["Id"], "Code": code, "SenderFault": sender}


def run(sqs: Sqs, use: Callable[[SqsQueue], Awaitable[Any]]) -> Any:
    return asyncio.run(use(SqsQueue(sqs, URL)))  # type: ignore[arg-type]


def sizes(sqs: Sqs) -> list[int]:
    return [len(batch) for batch in sqs.batches]


async def send(queue: SqsQueue, *bodies: str) -> list[Any]:
    return await asyncio.gather(*(queue.send(body, group="jo") for body in bodies), return_exceptions=True)


def test_what_is_sent_at_once_shares_batches() -> None:
    sqs = Sqs()
    run(sqs, lambda queue: send(queue, *(str(number) for number in range(23))))
    assert sizes(sqs) == [10, 10, 3]
    assert [entry["MessageBody"] for batch in sqs.batches for entry in batch] == [str(n) for n in range(23)]


def test_where_the_last_batch_had_company_the_next_waits_for_its_own() -> None:
    sqs = Sqs()

    async def use(queue: SqsQueue) -> None:
        await send(queue, "1", "2")
        first = asyncio.create_task(queue.send("3", group="jo"))
        await asyncio.sleep(0)  # a turn in which it could have left
        await asyncio.sleep(0)
        await send(queue, "4")
        await first
        await send(queue, "5")

    run(sqs, use)
    assert sizes(sqs) == [2, 2, 1]


@pytest.mark.parametrize(("linger", "at_once", "shared"), [(0.0, 1, 2), (60.0, 0, 3)], ids=["no wait", "with company"])
def test_what_comes_a_little_later_shares_a_batch_where_that_is_wanted(
    linger: float, at_once: int, shared: int
) -> None:
    sqs = Sqs()
    sqs.gate.clear()

    async def use() -> None:
        queue = SqsQueue(sqs, URL, linger=linger)  # type: ignore[arg-type]
        sending = []
        for body in "abc":
            sending.append(asyncio.create_task(queue.send(body, group="jo")))
            for _ in range(5):
                await asyncio.sleep(0)
        assert sizes(sqs) == [1] * at_once
        queue._flush()  # what the timer does
        sqs.gate.set()
        await asyncio.gather(*sending)

    asyncio.run(use())
    assert sizes(sqs)[-1] == shared


def test_batches_are_packed_by_bytes() -> None:
    sqs = Sqs()
    run(sqs, lambda queue: send(queue, "x" * (LARGEST - 2), "ü", "y", "z" * LARGEST))
    assert sizes(sqs) == [2, 1, 1]


@given(st.text(st.characters(max_codepoint=0x2FF)) | st.text('"\\\\aå\n', min_size=1))
def test_a_body_arrives_as_it_is_or_is_refused(body: str) -> None:
    sqs = Sqs()
    (got,) = run(sqs, lambda queue: send(queue, body))
    legal = bool(body) and all(each >= " " or each in "\t\r\n" for each in body)
    assert [[each["MessageBody"] for each in batch] for batch in sqs.batches] == ([[body]] if legal else [])
    assert isinstance(got, PermanentError) is not legal


@given(st.lists(st.integers(1, LARGEST), min_size=1, max_size=40))
def test_no_batch_is_ever_too_large(lengths: list[int]) -> None:
    sqs = Sqs()
    answers = run(sqs, lambda queue: send(queue, *("x" * length for length in lengths)))
    assert answers == [None] * len(lengths)
    assert sum(sizes(sqs)) == len(lengths)
    for batch in sqs.batches:
        assert len(batch) <= 10
        assert sum(len(entry["MessageBody"]) for entry in batch) <= LARGEST


def test_while_batches_are_under_way_the_next_fill_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLIGHTS", 1)
    sqs = Sqs()

    async def use(queue: SqsQueue) -> None:
        sqs.gate.clear()
        sends = [asyncio.ensure_future(queue.send("0", group="jo"))]
        while not sqs.batches:
            await asyncio.sleep(0)
        for number in range(1, 8):
            sends.append(asyncio.ensure_future(queue.send(str(number), group="jo")))
            await asyncio.sleep(0)
        assert sizes(sqs) == [1]
        sqs.gate.set()
        await asyncio.gather(*sends)
        assert sizes(sqs) == [1, 7]

    run(sqs, use)


def test_nothing_is_acknowledged_before_the_answer() -> None:
    sqs = Sqs()

    async def use(queue: SqsQueue) -> None:
        sqs.gate.clear()
        sending = asyncio.ensure_future(queue.send("x", group="jo"))
        while not sqs.batches:
            await asyncio.sleep(0)
        assert not sending.done()
        sqs.gate.set()
        await sending

    run(sqs, use)


def test_an_entry_that_fails_on_its_own_is_sent_again_with_its_id() -> None:
    def reply(number: int, entries: list[Any]) -> Any:
        if number == 0:
            return succeed(entries[0]) | {"Failed": [failed(entries[1], "InternalError")]}
        return succeed(*entries)

    sqs = Sqs(reply)
    assert run(sqs, lambda queue: send(queue, "a", "b")) == [None, None]
    assert sqs.batches[1] == [sqs.batches[0][1]]


def test_an_entry_that_is_not_mentioned_is_not_sent() -> None:
    sqs = Sqs(lambda number, entries: succeed(*entries[:1]) if number == 0 else succeed(*entries))
    assert run(sqs, lambda queue: send(queue, "a", "b")) == [None, None]
    assert sizes(sqs) == [2, 1]


@pytest.mark.parametrize(
    ("failure", "calls"),
    [
        (lambda entry: failed(entry, "InternalError"), 3),
        (lambda entry: failed(entry, "AccessDenied", sender=True), 1),
        (lambda entry: {}, 3),
        (lambda entry: "rubbish", 3),
    ],
    ids=["always", "sender fault", "never mentioned", "rubbish"],
)
def test_an_entry_fails_alone_and_for_now(failure: Callable[[Any], Any], calls: int) -> None:
    def reply(_: int, entries: list[Any]) -> Any:
        bad = [entry for entry in entries if entry["MessageBody"] == "bad"]
        return succeed(*(entry for entry in entries if entry not in bad)) | {"Failed": [failure(each) for each in bad]}

    sqs = Sqs(reply)
    good, bad = run(sqs, lambda queue: send(queue, "good", "bad"))
    assert good is None
    assert isinstance(bad, TemporaryError)
    assert len(sqs.batches) == calls


def test_a_batch_that_fails_fails_each_caller() -> None:
    error = OutageError("away", "sqs: ConnectionRefusedError")
    answers = run(Sqs(lambda *_: error), lambda queue: send(queue, "a", "b"))
    assert [type(answer) for answer in answers] == [OutageError, OutageError]
    assert answers[0] is not answers[1]
    assert answers[0].detail == error.detail


@pytest.mark.parametrize("answer", [{}, {"Successful": None}, {"Successful": [3]}], ids=repr)
def test_an_answer_without_sense_is_no_acknowledgement(answer: Any) -> None:
    (got,) = run(Sqs(lambda *_: answer), lambda queue: send(queue, "a"))
    assert isinstance(got, TemporaryError)


def test_a_cancelled_caller_does_not_disturb_its_batch() -> None:
    sqs = Sqs()

    async def use(queue: SqsQueue) -> None:
        sqs.gate.clear()
        first, second = (asyncio.ensure_future(queue.send(body, group="jo")) for body in "ab")
        while not sqs.batches:
            await asyncio.sleep(0)
        first.cancel()
        sqs.gate.set()
        await second
        assert first.cancelled()

    run(sqs, use)


def test_what_was_cancelled_before_it_left_is_not_sent() -> None:
    sqs = Sqs()

    async def use(queue: SqsQueue) -> None:
        first, second = (asyncio.ensure_future(queue.send(body, group="jo")) for body in "ab")
        first.cancel()
        await second

    run(sqs, use)
    assert [entry["MessageBody"] for batch in sqs.batches for entry in batch] == ["b"]


@pytest.mark.parametrize(
    ("delay", "seconds"), [(0.0, None), (-1.0, None), (0.1, 1), (30.0, 30), (899.5, 900), (86_400.0, 900)]
)
def test_the_delay_is_whole_seconds_up_to_the_longest(delay: float, seconds: int | None) -> None:
    sqs = Sqs()
    run(sqs, lambda queue: queue.send("x", group="jo", delay=delay))
    assert sqs.batches[0][0].get("DelaySeconds") == seconds


@pytest.mark.parametrize(
    ("group", "legal"),
    [
        ("jo+x@example.com", True),
        ("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ("jö@example.com", False),
    ],
)
def test_the_group_is_legal(group: str, legal: bool) -> None:
    sqs = Sqs()
    run(sqs, lambda queue: queue.send("x", group=group))
    sent = sqs.batches[0][0]["MessageGroupId"]
    assert sent == group if legal else len(sent) == 64


@pytest.mark.parametrize("away", [False, True])
def test_a_probe_asks_for_an_attribute_and_sends_nothing(away: bool) -> None:
    calls = []

    class Client:
        async def json(self, service: str, target: str, payload: Any) -> Any:
            calls.append((service, target, payload))
            if away:
                raise OutageError("away", "gone")
            return {"Attributes": {"QueueArn": "arn"}}

    queue = SqsQueue(Client(), URL)  # type: ignore[arg-type]
    if away:
        with pytest.raises(TemporaryError):
            asyncio.run(queue.probe())
    else:
        asyncio.run(queue.probe())
    assert calls == [("sqs", "AmazonSQS.GetQueueAttributes", {"QueueUrl": URL, "AttributeNames": ["QueueArn"]})]
