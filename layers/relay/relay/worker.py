"""SQS event -> stage: what the three queue functions share.

    handle --> receives 1 and 2 of every message, all at once --> the stage --> done
                                                                    | TemporaryError: queued again, done (but
                                                                    | a FaultError would come for ever)
                                                                    | anything else: the record fails
           --> then one message on its third receive or later, alone

Only our own bugs and unreadable messages become `batchItemFailures`; after `maxReceiveCount` of those SQS
moves the message to the dead-letter queue. (AWS Lambda guide, "Handling errors for an SQS event source".)
"""

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from relay.errors import FaultError, RelayError, TemporaryError
from relay.ports import Clock, Queue


class Queued(Protocol):
    """What every decoded queue message has: the account, which is its message group."""

    @property
    def account(self) -> str: ...


T = TypeVar("T", bound=Queued)
T_contra = TypeVar("T_contra", bound=Queued, contravariant=True)


class Stage(Protocol[T_contra]):
    """One message's work. deadline: epoch seconds by which it has returned; what is not done by then is
    queued again by the stage itself, unharmed. A stage that overruns it is cancelled and its record fails."""

    def __call__(self, message: T_contra, /, *, deadline: float) -> Awaitable[None]: ...


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int: ...


AGAIN: Final = 30.0  # seconds until a message that met a TemporaryError comes again
SUSPECT: Final = 3  # from this receive on a message may be what killed the process twice
ANSWER_ROOM: Final = 5.0  # seconds between the stages' deadline and the invocation's end
CANCEL_ROOM: Final = 2.0  # a stage that still runs this long before the end is cancelled


class RecordFailedError(Exception):
    """Tells Powertools that a record failed; carries nothing, because Powertools logs it at DEBUG."""


class QueueWorker(Generic[T]):
    """Runs a stage for each record of an SQS event, on one event loop that lives as long as the process,
    so that connections survive between invocations.

    decode: body -> message; PermanentError for one that can't be read. queue: the function's own one.
    clock_speed: divides the delay of a message queued again. chance: picks the suspect that is handled.
    loop: the process's event loop; whatever keeps connections belongs to it.
    """

    def __init__(
        self,
        *,
        decode: Callable[[str], T],
        stage: Stage[T],
        queue: Queue,
        clock: Clock,
        logger: Logger,
        clock_speed: float = 1.0,
        chance: random.Random | None = None,
    ) -> None:
        self._decode = decode
        self._stage = stage
        self._queue = queue
        self._clock = clock
        self._logger = logger
        self._again = AGAIN / clock_speed
        self._chance = chance or random.SystemRandom()
        self.loop = asyncio.new_event_loop()

    def handle(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """Lambda's SQS event -> {"batchItemFailures": [...]}. Raises only for an event that is none."""
        records = event["Records"]
        if not records:  # Powertools would raise
            return {"batchItemFailures": []}
        left = context.get_remaining_time_in_millis() / 1000
        batch = _Batch(self.loop, self._chance)
        run = _Run(self, ends=self.loop.time() + left - CANCEL_ROOM, deadline=self._clock.now() + left - ANSWER_ROOM)
        batch.again = run.again
        with batch(records, run):
            batch.async_process()
        return dict(batch.response())

    def close(self) -> None:
        """Cancel what is left and close the loop (tests; Lambda just ends the process)."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def process(self, record: SQSRecord, *, deadline: float) -> None:
        """One record through the stage. RecordFailedError if SQS has to hand it out again."""
        message: T | None = None
        try:
            message = self._decode(record.body)
            await self._stage(message, deadline=deadline)
        except Exception as error:  # noqa: BLE001 - a bug costs its own record only
            if isinstance(error, TemporaryError) and not isinstance(error, FaultError):
                await self.again(record, message, delay=self._again, why=error)
                return
            self._log("record failed", record, error)
            raise RecordFailedError from None

    async def again(self, record: SQSRecord, message: T | None, *, delay: float, why: Exception | None) -> None:
        """Queue the same body again; RecordFailedError only if that fails too."""
        group = record.raw_event.get("attributes", {}).get("MessageGroupId") or getattr(message, "account", "")
        try:
            await self._queue.send(record.body, group=group or record.message_id, delay=delay)
        except RelayError as error:
            self._log("record failed: cannot queue it again", record, error)
            raise RecordFailedError from None
        self._logger.warning("queued again", message_id=record.message_id, error=_error(why))

    def overran(self, record: SQSRecord) -> None:
        self._logger.error("record failed: out of time", message_id=record.message_id)

    def _log(self, what: str, record: SQSRecord, error: Exception) -> None:
        where = [f"{each.filename}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)[-3:]]
        self._logger.error(what, message_id=record.message_id, error=_error(error), where=where)


def _error(error: Exception | None) -> str:
    """Type and, of our own errors, the words; other exceptions' words may quote content."""
    match error:
        case None:
            return "on its third receive beside others"
        case RelayError():
            return f"{type(error).__name__}: {error}"
        case _:
            return type(error).__name__


class _Run:
    """Powertools' record handler for one invocation."""

    def __init__(self, worker: QueueWorker[Any], *, ends: float, deadline: float) -> None:
        self._worker = worker
        self._ends = ends
        self._deadline = deadline

    async def __call__(self, record: SQSRecord) -> None:  # Powertools passes it as `record=`
        try:
            async with asyncio.timeout_at(self._ends):
                await self._worker.process(record, deadline=self._deadline)
        except TimeoutError:
            self._worker.overran(record)
            raise RecordFailedError from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._worker.overran(record)  # the stage cancelled itself: its bug, not the batch's
            raise RecordFailedError from None

    async def again(self, record: SQSRecord) -> None:
        await self._worker.again(record, None, delay=0.0, why=None)


class _Batch(AsyncBatchProcessor):
    """Powertools' batch on our loop (its own is a new one outside Lambda), suspects last and one only.

    A message that kills the process takes the whole batch's receives with it. From the third on, one
    suspect is handled when all others are done; the other suspects are queued as new messages, so that they
    meet the poison again only by chance, and it alone reaches the dead-letter queue.
    """

    again: Callable[[SQSRecord], Awaitable[None]]

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random) -> None:
        super().__init__(EventType.SQS, raise_on_entire_batch_failure=False)
        self._loop = loop
        self._chance = chance

    def async_process(self) -> list[tuple[Any, ...]]:
        return self._loop.run_until_complete(self._all())

    async def _all(self) -> list[tuple[Any, ...]]:
        crowd = [record for record in self.records if _receives(record) < SUSPECT]
        suspects = [record for record in self.records if _receives(record) >= SUSPECT]
        self._chance.shuffle(suspects)
        alone = suspects[:1]
        first = [self._async_process_record(record) for record in crowd] + [self._move(each) for each in suspects[1:]]
        results = list(await asyncio.gather(*first))
        return results + [await self._async_process_record(record) for record in alone]

    async def _move(self, record: dict[str, Any]) -> tuple[Any, ...]:
        data = SQSRecord(record)
        try:
            await self.again(data)
        except RecordFailedError as error:
            return self.failure_handler(data, (RecordFailedError, error, error.__traceback__))
        return self.success_handler(record, None)


def _receives(record: dict[str, Any]) -> int:
    return int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))
