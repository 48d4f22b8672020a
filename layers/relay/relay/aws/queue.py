"""ports.Queue on SQS: concurrent sends share SendMessageBatch calls, packed by bytes.

A batch takes 10 entries and 1 MiB together, and each entry may fail on its own (AWS: SQS API
reference, SendMessageBatch).
"""

import asyncio
import hashlib
import math
import random
import re
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from relay.aws.client import AWAY, AwsClient
from relay.errors import FaultError, OutageError, PermanentError, RelayError, TemporaryError
from relay.json_text import dump_bytes

ENTRIES: Final = 10
BYTES: Final = 1_048_576
LONGEST_DELAY: Final = 900
FLIGHTS: Final = 16  # batches under way at once; with more, what waits fills up batches
LINGER: Final = 0.005  # seconds
TRIES: Final = 3  # of an entry that failed on its own
BACKOFF: Final = 0.1  # seconds before its second try; doubles
# XML 1.0's characters (AWS: SQS API reference, SendMessage); moto takes any, so we must look
_ILLEGAL: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GROUP: Final = re.compile(r"[!-~]{1,128}")


@dataclass(slots=True, eq=False)
class _Entry:
    """json: of the request. size: octets of the body as SQS counts them."""

    id: str
    json: bytes
    size: int
    done: asyncio.Future[None]
    tries: int = 0

    def succeed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: RelayError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Waiting:
    """Entries not yet in a batch. Those whose callers gave up are dropped."""

    entries: deque[_Entry] = field(default_factory=deque)
    size: int = 0

    def add(self, entry: _Entry) -> None:
        self.entries.append(entry)
        self.size += entry.size

    @property
    def full(self) -> bool:
        return len(self.entries) >= ENTRIES or self.size >= BYTES

    def take(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self.entries and len(batch) < ENTRIES and size + self.entries[0].size <= BYTES:
            entry = self.entries.popleft()
            self.size -= entry.size
            if not entry.done.done():
                batch.append(entry)
                size += entry.size
        return batch


class SqsQueue:
    """url: the queue's. Belongs to one event loop, as its client does. linger: seconds that a batch with room waits for
    company; 0: only while others are under way, or where the last had company (LINGER): somebody waits for each."""

    def __init__(self, client: AwsClient, url: str, *, linger: float = 0.0) -> None:
        self._client = client
        self._url = url
        self._linger = linger
        self._waiting = _Waiting()
        self._flights: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._sent = 0
        self._company = False  # the last batch had more than one

    async def send(self, body: str, *, group: str, delay: float = 0.0) -> None:
        """As ports.Queue; PermanentError for a body that SQS never takes (illegal characters, over 1 MiB).

        A caller that is cancelled may still have sent; it doesn't disturb those it shares a batch with.
        """
        quoted, size = _quote(body)
        self._sent += 1
        id = str(self._sent)
        later = b',"DelaySeconds":%d' % min(math.ceil(delay), LONGEST_DELAY) if delay > 0 else b""
        json = b'{"Id":"%b","MessageBody":%b,"MessageGroupId":%b%b}' % (id.encode(), quoted, _group(group), later)
        entry = _Entry(id, json, size, asyncio.get_running_loop().create_future())
        self._waiting.add(entry)
        self._pump()
        await entry.done

    async def probe(self) -> None:
        """A call that changes nothing: whether the queue is there, and would let us. TemporaryError if not."""
        wanted = {"QueueUrl": self._url, "AttributeNames": ["QueueArn"]}
        await self._client.json("sqs", "AmazonSQS.GetQueueAttributes", wanted)

    def _pump(self) -> None:
        """Send full batches now; one with room after a while, or at the next tick if there is nothing to wait for."""
        while self._waiting.full and len(self._flights) < FLIGHTS:
            self._launch()
        if self._waiting.entries and self._timer is None and len(self._flights) < FLIGHTS:
            loop = asyncio.get_running_loop()
            wait = self._linger or (LINGER if self._flights or self._company else 0.0)
            self._timer = loop.call_later(wait, self._flush) if wait else loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._waiting.entries and len(self._flights) < FLIGHTS:
            self._launch()
        self._pump()

    def _launch(self) -> None:
        if batch := self._waiting.take():
            self._company = len(batch) > 1
            flight = asyncio.get_running_loop().create_task(self._fly(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._land)

    def _land(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._pump()

    async def _fly(self, batch: list[_Entry]) -> None:
        entries = b",".join([entry.json for entry in batch])
        payload = b'{"QueueUrl":%b,"Entries":[%b]}' % (dump_bytes(self._url), entries)
        try:
            answer = await self._client.json("sqs", "AmazonSQS.SendMessageBatch", payload)
        except TemporaryError as error:
            kind = FaultError if isinstance(error, FaultError) else OutageError
            for entry in batch:
                entry.fail(kind(error.safe, error.detail))  # each caller its own traceback
            return
        except BaseException:  # a bug, or the loop's end: nobody may wait for ever
            for entry in batch:
                entry.fail(OutageError(AWAY, "sqs SendMessageBatch: ended early"))
            raise
        sent, failed = _by_id(answer, "Successful"), _by_id(answer, "Failed")
        for entry in batch:
            if entry.id in sent:
                entry.succeed()
            else:
                self._failed(entry, failed.get(entry.id, {}))

    def _failed(self, entry: _Entry, failure: dict[str, Any]) -> None:
        """Not our fault, or not mentioned at all: again, with the same id; a few times."""
        entry.tries += 1
        code = str(failure.get("Code", "no answer for the entry"))
        if code == "InvalidMessageContents":
            entry.fail(PermanentError("the message is not legal text for the queue", code))
        elif failure.get("SenderFault"):
            entry.fail(FaultError(AWAY, f"sqs SendMessageBatch: {code}"))
        elif entry.tries >= TRIES:
            entry.fail(OutageError(AWAY, f"sqs SendMessageBatch: {code}"))
        else:
            wait = random.random() * BACKOFF * 2**entry.tries  # noqa: S311 - jitter
            asyncio.get_running_loop().call_later(wait, self._again, entry)

    def _again(self, entry: _Entry) -> None:
        self._waiting.add(entry)
        self._pump()


def _by_id(answer: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    entries = answer.get(name)
    known = entries if isinstance(entries, list) else []
    return {str(each.get("Id")): each for each in known if isinstance(each, dict)}


def _quote(body: str) -> tuple[bytes, int]:
    """`body` as a JSON string, and its octets as SQS counts them; PermanentError if it never takes it."""
    quoted = dump_bytes(body)
    # as our bodies are: ASCII, and nothing but quotes had to be escaped, so no control characters
    plain = body.isascii() and len(quoted.replace(b'"', b"")) == len(body)
    if not body or (not plain and _ILLEGAL.search(body)):
        raise PermanentError("the message is not legal text for the queue")
    size = len(body) if plain else len(body.encode())
    if size > BYTES:
        raise PermanentError("the message is larger than the queue takes", f"{size} octets")
    return quoted, size


@lru_cache(1024)
def _group(name: str) -> bytes:
    """As JSON: `name` where it is a legal MessageGroupId (printable ASCII, at most 128), else its hash."""
    return dump_bytes(name if _GROUP.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest())
