"""Event source mappings from SQS, as Lambda runs them (AWS: Lambda Developer Guide, "Using Lambda with
Amazon SQS"): poll, gather a batch, invoke, delete what succeeded.

What failed is left alone: it is seen again after the visibility time-out, and the queue moves it to its
dead-letter queue after maxReceiveCount receives. A batch whose invocation failed, or whose answer makes no
sense, fails whole.
"""

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from local.lambdas import Result

LARGEST_EVENT: Final = 6 * 1024 * 1024  # octets; Lambda's limit for a synchronous invocation
RECEIVE: Final = 10  # SQS: the most messages a receive or a delete takes
POLL_SECONDS: Final = 10  # a long poll; at most 20
PAUSE_SECONDS: Final = 0.5  # between tries at a queue that is away
DELETE_TRIES: Final = 5

logger = logging.getLogger(__name__)

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping, as the stack has it. visibility: seconds that a received message is hidden.
    window: seconds for gathering a batch. concurrency: the most invocations at once."""

    queue_url: str
    queue_arn: str
    function: str
    batch_size: int
    window: float
    concurrency: int
    visibility: int
    report_failures: bool


def to_event(mapping: Mapping, messages: Iterable[Message]) -> dict[str, Any]:
    """The event that Lambda makes of received messages."""
    return {"Records": [_record(mapping, message) for message in messages]}


def _record(mapping: Mapping, message: Message) -> dict[str, Any]:
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": mapping.queue_arn,
        "awsRegion": mapping.queue_arn.split(":")[3],
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        result["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        result["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode("ascii")
    return result


def failed(mapping: Mapping, ids: frozenset[str], result: Result) -> frozenset[str]:
    """The ids of `ids` that were not processed, going by the function's answer.

    Lambda Developer Guide, "Success and failure conditions" of partial batch responses: null, {} and an
    empty or null list are success; anything malformed, and an id that isn't in the batch, fails the batch.
    """
    if not result.ok:
        return ids
    if not mapping.report_failures:
        return frozenset()
    try:
        answer = json.loads(result.payload or b"null")
        if answer is None:
            return frozenset()
        if not isinstance(answer, dict):
            raise TypeError("not an object")
        named = frozenset(failure["itemIdentifier"] for failure in answer.get("batchItemFailures") or [])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.error("%s: malformed answer (%s), the batch fails", mapping.function, error)
        return ids
    if not named <= ids:
        logger.error("%s: an answer names messages that aren't in the batch, which fails", mapping.function)
        return ids
    return named


class Poller:
    """Runs one mapping, in threads, from `start` to `stop`."""

    def __init__(self, mapping: Mapping, sqs: Any, invoke: Callable[[str, bytes], Result]) -> None:
        """sqs: a boto3 client that may be shared by threads. invoke: (function, payload) -> Result."""
        self._mapping = mapping
        self._sqs = sqs
        self._invoke = invoke
        self._stopped = threading.Event()
        self._free = threading.Semaphore(mapping.concurrency)
        self._carried: list[Message] = []
        self._pool = ThreadPoolExecutor(mapping.concurrency, thread_name_prefix=f"mapping {mapping.function}")
        self._thread = threading.Thread(target=self._poll, name=f"poll {mapping.function}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more messages. Doesn't wait: what is under way is seen again later."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._free.acquire()  # receive nothing that nobody is free to process
            try:
                messages = self._gather()
                if not messages:
                    self._free.release()
                    continue
                self._pool.submit(self._process, messages)
            except Exception as error:  # noqa: BLE001 - the queue is away, or a bug: either way, go on
                self._free.release()
                if not self._stopped.is_set():
                    logger.warning("%s: %s: %s", self._mapping.function, type(error).__name__, error)
                self._stopped.wait(PAUSE_SECONDS)

    def _gather(self) -> list[Message]:
        """A batch: full, as large as an event may be, or all that came within the window."""
        batch, self._carried = self._carried, []
        size, more = _size(batch), False
        deadline = time.monotonic() + self._mapping.window
        while not self._stopped.is_set():
            room = self._mapping.batch_size - len(batch)
            remaining = deadline - time.monotonic()
            if room <= 0 or (batch and remaining <= 0 and not more):
                break
            wait = POLL_SECONDS if not batch else max(0, int(min(remaining, POLL_SECONDS)))
            received = self._receive(min(room, RECEIVE), wait)
            more = len(received) == RECEIVE  # there may be: a batch costs less than its messages one by one
            if received and not batch:
                deadline = time.monotonic() + self._mapping.window
            batch += received
            size += _size(received)
            if size > LARGEST_EVENT // 2:
                break
            if batch and not received:
                self._stopped.wait(min(max(deadline - time.monotonic(), 0), 0.05))
        return self._cut(batch)

    def _receive(self, count: int, wait: int) -> list[Message]:
        answer = self._sqs.receive_message(
            QueueUrl=self._mapping.queue_url,
            MaxNumberOfMessages=count,
            WaitTimeSeconds=wait,
            VisibilityTimeout=self._mapping.visibility,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def _cut(self, batch: list[Message]) -> list[Message]:
        """The first messages that fit an event; the others go first in the next batch."""
        end, size = 0, 0
        for message in batch:
            size += _size([message])
            if size > LARGEST_EVENT and end:
                break
            end += 1
        self._carried = batch[end:]
        return batch[:end]

    def _process(self, messages: list[Message]) -> None:
        try:
            payload = json.dumps(to_event(self._mapping, messages)).encode()
            result = self._invoke(self._mapping.function, payload)
            if self._stopped.is_set():
                return
            if not result.ok:
                logger.error("%s failed: %s", self._mapping.function, result.payload[:1000].decode("utf-8", "replace"))
            left = failed(self._mapping, frozenset(message["MessageId"] for message in messages), result)
            self._delete([message for message in messages if message["MessageId"] not in left])
        except Exception:
            if not self._stopped.is_set():
                logger.exception("%s: a batch was not finished", self._mapping.function)
        finally:
            self._free.release()

    def _delete(self, messages: list[Message]) -> None:
        for start in range(0, len(messages), RECEIVE):
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages[start : start + RECEIVE])
            ]
            self._delete_batch(entries)

    def _delete_batch(self, entries: list[dict[str, str]]) -> None:
        """What can't be deleted comes again: at least once is all that SQS promises."""
        for _ in range(DELETE_TRIES):
            try:
                self._sqs.delete_message_batch(QueueUrl=self._mapping.queue_url, Entries=entries)
            except Exception as error:  # noqa: BLE001 - whatever it is, try again
                if self._stopped.is_set():
                    return
                logger.warning("%s: delete: %s", self._mapping.function, error)
                self._stopped.wait(PAUSE_SECONDS)
            else:
                return


def _size(messages: list[Message]) -> int:
    """Octets of the event, near enough: bodies with their escapes, and a kilobyte of the rest each."""
    return sum(len(json.dumps(message["Body"])) + 1024 for message in messages)
