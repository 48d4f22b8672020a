"""RecordQueue -> record: rows for search, metrics, notices; and the end of an account whose mail bounces.

Metrics (EMF in the log): Outcomes<State>, one a recipient and attempt. A report that comes twice is counted
twice; the Messages table is exact.
"""

import asyncio
import os
from collections import Counter
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from relay import collector
from relay.aws.accounts import DynamoAccounts
from relay.aws.audit import DynamoAudit
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.messages import DynamoMessages
from relay.aws.notices import DynamoNotices
from relay.aws.queue import SqsQueue
from relay.aws.suppressions import DynamoSuppressions
from relay.aws.topic import SnsTopic
from relay.aws.usage import DynamoUsage
from relay.bounces import BounceWatch
from relay.clock import SystemClock
from relay.encoding import decode_report
from relay.errors import RelayError
from relay.outcome import Report, State
from relay.owner_mail import OwnerMail
from relay.ports import Clock, Queue
from relay.record import Record
from relay.retry import RetryPolicy
from relay.settings import FunctionSettings
from relay.suppression import Suppress
from relay.worker import QueueWorker


class Counted:
    """Record, and how many outcomes of each state it has recorded since they were last published."""

    def __init__(self, record: Record, bounces: BounceWatch) -> None:
        self._record = record
        self._bounces = bounces
        self._counts: Counter[State] = Counter()

    async def __call__(self, report: Report, /, *, deadline: float) -> None:  # noqa: ARG002 - the client has time-outs
        await self._record(report)
        self._bounces.count(report)
        self._counts.update(outcome.state for outcome in report.outcomes)

    def publish(self, metrics: Metrics) -> None:
        for state, count in self._counts.items():
            metrics.add_metric(f"Outcomes{state.value.title()}", MetricUnit.Count, count)
        if self._counts:  # Powertools warns about an empty set
            metrics.flush_metrics()
        self._counts.clear()


@cache
def compose() -> tuple[QueueWorker[Report], Counted, BounceWatch, Metrics]:
    """At the first invocation; the loop and its connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    clock = SystemClock()
    deliver_queue = SqsQueue(client, settings.deliver_queue_url)
    suppressions = DynamoSuppressions(client, settings.suppressions_table)
    record = Record(
        messages=DynamoMessages(client, settings.messages_table),
        notices=DynamoNotices(client, settings.notices_table),
        deliver_queue=deliver_queue,
        content=S3Content(client, settings.content_bucket),
        accounts=DynamoAccounts(client, settings.accounts_table),
        suppress=Suppress(suppressions, settings.suppression_days, settings.clock_speed),
        clock=clock,
        retry=RetryPolicy(settings.clock_speed),
        host_name=settings.host_name,
        late=settings.delay_notice_seconds,
    )
    bounces = _bounces(client, settings, clock, deliver_queue)
    counted = Counted(record, bounces)
    worker = QueueWorker(
        decode=decode_report,
        stage=counted,
        queue=SqsQueue(client, settings.record_queue_url),
        clock=clock,
        logger=Logger(),
        clock_speed=settings.clock_speed,
    )
    collector.settle()
    return worker, counted, bounces, Metrics()


def _pause(loop: asyncio.AbstractEventLoop, bounces: BounceWatch) -> None:
    try:
        loop.run_until_complete(bounces.pause())
    except Exception:  # noqa: BLE001 - our bug is no reason to do again what is recorded
        Logger().exception("bounces not counted")


def _bounces(client: AwsClient, settings: FunctionSettings, clock: Clock, deliver_queue: Queue) -> BounceWatch:
    logger = Logger()

    def failed(what: str, account: str, error: RelayError) -> None:
        logger.error(what, extra={"account": account, "error": error.safe, "detail": error.detail})

    return BounceWatch(
        table=DynamoUsage(client, settings.usage_table),
        accounts=DynamoAccounts(client, settings.accounts_table),
        owner_mail=OwnerMail(deliver_queue, clock, settings.host_name),
        operator=SnsTopic(client, settings.operator_topic),
        clock=clock,
        threshold=settings.bounce_pause,
        audit=DynamoAudit(client, settings.audit_table),
        failed=failed,
    )


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    worker, counted, bounces, metrics = compose()
    try:
        return worker.handle(event, context)
    finally:
        _pause(worker.loop, bounces)
        counted.publish(metrics)
