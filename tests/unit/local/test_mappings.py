"""The event source mapping loop: real queues in moto, a toy function under the real runtime client."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.lambdas import LambdaService, Result
from local.mappings import LARGEST_EVENT, Mapping, Poller, failed, to_event
from local.processes import Spawner
from local.stack import Aws
from tests.unit.local.test_lambdas import toy

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:Queue"
IDS = frozenset({"a", "b", "c"})


def mapping(url: str = "", *, report: bool = True, batch: int = 100, concurrency: int = 2) -> Mapping:
    return Mapping(url, QUEUE_ARN, "toy-name", batch, 0.1, concurrency, visibility=1, report_failures=report)


# --- the answer ---


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        pytest.param(b'{"batchItemFailures":[]}', "", id="empty list"),
        pytest.param(b'{"batchItemFailures":null}', "", id="null list"),
        pytest.param(b"{}", "", id="empty answer"),
        pytest.param(b"null", "", id="null answer"),
        pytest.param(b"", "", id="no answer"),
        pytest.param(b'{"batchItemFailures":[{"itemIdentifier":"b"}]}', "b", id="one"),
        pytest.param(b'{"batchItemFailures":[{"itemIdentifier":""}]}', "abc", id="empty id"),
        pytest.param(b'{"batchItemFailures":[{"itemIdentifier":null}]}', "abc", id="null id"),
        pytest.param(b'{"batchItemFailures":[{"identifier":"b"}]}', "abc", id="bad key"),
        pytest.param(b'{"batchItemFailures":[{"itemIdentifier":"x"}]}', "abc", id="unknown id"),
        pytest.param(b'{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"x"}]}', "abc", id="one unknown"),
        pytest.param(b'{"batchItemFailures":{"itemIdentifier":"b"}}', "abc", id="no list"),
        pytest.param(b'{"batchItemFailures":"b"}', "abc", id="text"),
        pytest.param(b'{"batchItemFailures":[{"itemIdentifier":["b"]}]}', "abc", id="a list as id"),
        pytest.param(b'{"batchItemFailures":7}', "abc", id="number"),
        pytest.param(b'["b"]', "abc", id="list"),
        pytest.param(b'{"batch', "abc", id="no JSON"),
    ],
)
def test_what_an_answer_means(answer: bytes, left: str) -> None:
    assert failed(mapping(), IDS, Result(answer, ok=True)) == frozenset(left)


def test_an_error_fails_the_batch_and_without_reports_success_is_whole() -> None:
    assert failed(mapping(), IDS, Result(b"{}", ok=False)) == IDS
    assert (
        failed(mapping(report=False), IDS, Result(b'{"batchItemFailures":[{"itemIdentifier":"b"}]}', ok=True)) == set()
    )


# --- the event ---


def test_the_event_is_as_lambda_makes_it() -> None:
    message = {
        "MessageId": "id",
        "ReceiptHandle": "handle",
        "Body": "body",
        "MD5OfBody": "md5",
        "MD5OfMessageAttributes": "md5 of attributes",
        "Attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": "group"},
        "MessageAttributes": {
            "text": {"DataType": "String", "StringValue": "x"},
            "octets": {"DataType": "Binary", "BinaryValue": b"\xff\x00"},
        },
    }
    assert to_event(mapping(), [message]) == {
        "Records": [
            {
                "messageId": "id",
                "receiptHandle": "handle",
                "body": "body",
                "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": "group"},
                "messageAttributes": {
                    "text": {"stringListValues": [], "binaryListValues": [], "dataType": "String", "stringValue": "x"},
                    "octets": {
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "Binary",
                        "binaryValue": base64.b64encode(b"\xff\x00").decode(),
                    },
                },
                "md5OfBody": "md5",
                "md5OfMessageAttributes": "md5 of attributes",
                "eventSource": "aws:sqs",
                "eventSourceARN": QUEUE_ARN,
                "awsRegion": "us-east-1",
            }
        ]
    }


# --- the loop ---


class Queue:
    def __init__(self, sqs: Any, max_receives: int = 3) -> None:
        self._sqs = sqs
        name = f"toy-{uuid4().hex[:8]}"
        self.dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:123456789012:{name}-dead"
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
        self.url = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})["QueueUrl"]

    def send(self, *bodies: str) -> None:
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(number), "MessageBody": body, "MessageGroupId": "tenant"}
                for number, body in enumerate(bodies[start : start + 10])
            ]
            assert not self._sqs.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed")

    def depth(self, url: str = "") -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._sqs.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        return sum(map(int, answer["Attributes"].values()))

    def dead_bodies(self) -> list[str]:
        answer = self._sqs.receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return sorted(message["Body"] for message in answer.get("Messages", []))


@pytest.fixture
def queue(aws: Aws) -> Queue:
    return Queue(aws.client("sqs"))


@pytest.fixture
def running(aws: Aws, spawner: Spawner, folder: Path, queue: Queue) -> Iterator[Path]:
    """The loop on `queue`; the file in which the toy function notes `body receive-count`."""
    log = folder / "seen"
    log.touch()
    service = LambdaService(spawner)
    service.add(toy(folder, TOY_LOG=str(log)), limit=2).warm()
    poller = Poller(mapping(queue.url), aws.client("sqs"), service.invoke)
    poller.start()
    yield log
    poller.stop()
    service.close()


def wait_until(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def seen(log: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in log.read_text().splitlines())


def test_all_are_processed_once_and_deleted(queue: Queue, running: Path) -> None:
    bodies = [f"good{number}" for number in range(205)]
    queue.send(*bodies)
    wait_until(lambda: queue.depth() == 0)
    assert seen(running) == Counter(bodies)


def test_what_failed_comes_again_and_ends_in_the_dead_letter_queue(queue: Queue, running: Path) -> None:
    queue.send("good1", "bad1", "good2")
    wait_until(lambda: queue.depth(queue.dead) == 1)
    assert seen(running) == Counter({"good1": 1, "good2": 1, "bad1": 3})
    assert "bad1 3" in running.read_text()
    assert queue.dead_bodies() == ["bad1"]
    assert queue.depth() == 0


@pytest.mark.parametrize("poison", ["raise", "crash", "nonsense"])
def test_a_batch_that_fails_whole(queue: Queue, running: Path, poison: str) -> None:
    queue.send(poison, "beside")
    wait_until(lambda: queue.depth(queue.dead) > 0 and queue.depth() == 0)
    assert poison in queue.dead_bodies()
    assert seen(running)[poison] == 3


def test_a_queue_that_is_away_is_polled_again(queue: Queue, aws: Aws, running: Path) -> None:
    class Away:
        """A client whose first calls fail."""

        def __init__(self, failures: int) -> None:
            self._left = failures

        def __getattr__(self, name: str) -> Any:
            def call(**arguments: Any) -> Any:
                if self._left > 0:
                    self._left -= 1
                    raise ConnectionRefusedError("away")
                return getattr(aws.client("sqs"), name)(**arguments)

            return call

    done: list[bytes] = []

    def invoke(_name: str, payload: bytes) -> Result:
        done.append(payload)
        return Result(b"{}", ok=True)

    other = Queue(aws.client("sqs"))
    poller = Poller(mapping(other.url), Away(2), invoke)
    other.send("late")
    poller.start()
    wait_until(lambda: other.depth() == 0)
    poller.stop()
    assert len(done) == 1


def test_an_event_stays_below_its_limit(aws: Aws) -> None:
    big = Queue(aws.client("sqs"), max_receives=9)
    for number in range(16):
        big.send(f"{number:02}" + "x" * 1_000_000)
    sizes: list[int] = []
    bodies: list[str] = []

    def invoke(_name: str, payload: bytes) -> Result:
        sizes.append(len(payload))
        bodies.extend(record["body"][:2] for record in json.loads(payload)["Records"])
        return Result(b"{}", ok=True)

    poller = Poller(mapping(big.url, concurrency=1), aws.client("sqs"), invoke)
    poller.start()
    wait_until(lambda: len(set(bodies)) == 16 and big.depth() == 0)
    poller.stop()
    assert max(sizes) <= LARGEST_EVENT
