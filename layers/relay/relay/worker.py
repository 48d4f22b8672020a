"""SQS event -> stage: what the three queue functions share.

    handle --> receives 1 and 2 of every message, all at once --> the stage --> done
                                                                    | TemporaryError: queued again, done (but
                                                                    | a FaultError would come for ever)
                                                                    | anything else: the record fails
           --> then, alone, what may have killed the process before; what would suffer by it is queued again
               first (relay.turns says which and why)

Only our own bugs and unreadable messages become `batchItemFailures`; after `maxReceiveCount` of those SQS
moves the message to the dead-letter queue. (AWS Lambda guide, "Handling errors for an SQS event source".)

An unreadable message fails at once, whatever its receive. It never gets to the stage, and reading is bounded
(relay.encoding), so it is not what kills; and queued again it would never get to its dead-letter queue. Where
there are suspects all records are read first, one by one, and read again when it is their turn: a hundred
messages that are large once unpacked are not held meanwhile.
"""

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import uvloop
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from relay.errors import FaultError, RelayError, TemporaryError
from relay.ports import Clock, Queue
from relay.turns import APART, Record, is_suspect, plain, set_apart, turns


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
ANSWER_ROOM: Final = 5.0  # seconds between the stages' deadline and the invocation's end
CANCEL_ROOM: Final = 2.0  # a stage that still runs this long before the end is cancelled


class RecordFailedError(Exception):
    """Tells Powertools that a record failed; carries nothing, because Powertools logs it at DEBUG."""


class QueueWorker(Generic[T]):
    """Runs a stage for each record of an SQS event, on one event loop that lives as long as the process,
    so that connections survive between invocations.

    decode: body -> message; PermanentError for one that can't be read. queue: the function's own one.
    clock_speed: divides the delay of a message queued again. chance: when one that is set apart comes again.
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
        self.chance = chance or random.SystemRandom()
        # uvloop: a tenth less CPU a delivery, and asyncio's TLS takes 256 KiB for each connection
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()

    def handle(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """Lambda's SQS event -> {"batchItemFailures": [...]}. Raises only for an event that is none."""
        records = event["Records"]
        if not records:  # Powertools would raise
            return {"batchItemFailures": []}
        left, now = context.get_remaining_time_in_millis() / 1000, self.loop.time()
        deadline = self._clock.now() + left - ANSWER_ROOM
        run = _Run(self, ends=now + left - CANCEL_ROOM, half=now + left / 2, deadline=deadline)
        batch = _Batch(self.loop, run)
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
            message = self._decode(plain(record.body))
            await self._stage(message, deadline=deadline)
        except Exception as error:  # noqa: BLE001 - a bug costs its own record only
            if isinstance(error, TemporaryError) and not isinstance(error, FaultError):
                body, account = plain(record.body), getattr(message, "account", "")
                await self.again(record, body, account, delay=self._again, why=_error(error))
                return
            self._log("record failed", record, error)
            raise RecordFailedError from None

    def is_readable(self, record: SQSRecord) -> bool:
        try:
            self._decode(plain(record.body))
        except Exception as error:  # noqa: BLE001 - as in process
            self._log("record failed", record, error)
            return False
        return True

    async def again(self, record: SQSRecord, body: str, account: str = "", *, delay: float, why: str) -> None:
        """Queue `body` again in place of the record's; RecordFailedError only if that fails too."""
        group = record.raw_event.get("attributes", {}).get("MessageGroupId") or account
        try:
            await self._queue.send(body, group=group or record.message_id, delay=delay)
        except RelayError as error:
            self._log("record failed: cannot queue it again", record, error)
            raise RecordFailedError from None
        self._logger.warning("queued again", message_id=record.message_id, error=why)

    def leave(self, record: SQSRecord) -> None:
        self._logger.warning("left for its next receive", message_id=record.message_id)

    def overran(self, record: SQSRecord) -> None:
        self._logger.error("record failed: out of time", message_id=record.message_id)

    def _log(self, what: str, record: SQSRecord, error: Exception) -> None:
        where = [f"{each.filename}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)[-3:]]
        self._logger.error(what, message_id=record.message_id, error=_error(error), where=where)


def _error(error: Exception) -> str:
    """Type and, of our own errors, the words; other exceptions' words may quote content."""
    return f"{type(error).__name__}: {error}" if isinstance(error, RelayError) else type(error).__name__


class _Run:
    """Powertools' record handler for one invocation."""

    def __init__(self, worker: QueueWorker[Any], *, ends: float, half: float, deadline: float) -> None:
        self._worker = worker
        self._ends = ends
        self._half = half
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

    @property
    def late(self) -> bool:
        """Half of the invocation's time has passed."""
        return self._worker.loop.time() >= self._half

    def is_readable(self, record: Record) -> bool:
        return self._worker.is_readable(SQSRecord(record))

    async def again(self, record: Record) -> None:
        await self._worker.again(SQSRecord(record), record["body"], delay=0.0, why="came with a suspect")

    async def apart(self, record: Record, together: int) -> None:
        """together: how many are set apart at once."""
        delay = self._worker.chance.uniform(0, APART * together)
        await self._worker.again(SQSRecord(record), set_apart(record["body"]), delay=delay, why="set apart")

    async def leave(self, record: Record) -> None:
        self._worker.leave(SQSRecord(record))
        raise RecordFailedError


class _Batch(AsyncBatchProcessor):
    """Powertools' batch on our loop (its own is a new one outside Lambda), in the order of relay.turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, run: _Run) -> None:
        super().__init__(EventType.SQS, raise_on_entire_batch_failure=False)
        self._loop = loop
        self._run = run

    def async_process(self) -> list[tuple[Any, ...]]:
        return self._loop.run_until_complete(self._all())

    async def _all(self) -> list[tuple[Any, ...]]:
        if not any(map(is_suspect, self.records)):
            return list(await asyncio.gather(*map(self._async_process_record, self.records)))
        run = self._run
        read = [(record, run.is_readable(record)) for record in self.records]
        results = [self._failed(record) for record, readable in read if not readable]
        plan = turns(record for record, readable in read if readable)
        at_once = [self._async_process_record(record) for record in plan.crowd]
        at_once += [self._done(record, run.again(record)) for record in plan.again]
        at_once += [self._done(record, run.apart(record, len(plan.apart))) for record in plan.apart]
        at_once += [self._done(record, run.leave(record)) for record in plan.left]
        results += await asyncio.gather(*at_once)
        for place, record in enumerate(plan.alone):
            if place and run.late:
                results.append(await self._done(record, run.apart(record, len(plan.alone))))
            else:
                results.append(await self._async_process_record(record))
        return results

    async def _done(self, record: Record, work: Awaitable[None]) -> tuple[Any, ...]:
        """What is not the stage's work, as Powertools has its results."""
        try:
            await work
        except RecordFailedError:
            return self._failed(record)
        return self.success_handler(record, None)

    def _failed(self, record: Record) -> tuple[Any, ...]:
        error = RecordFailedError()
        return self.failure_handler(SQSRecord(record), (RecordFailedError, error, error.__traceback__))
