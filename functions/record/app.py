"""RecordQueue -> record: rows for search, metrics, notices.

Metrics (EMF in the log): Outcomes<State>, one a recipient and attempt. A report that comes twice is counted
twice; the Messages table is exact.
"""

import os
from collections import Counter
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from relay import collector
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.messages import DynamoMessages
from relay.aws.notices import DynamoNotices
from relay.aws.queue import SqsQueue
from relay.aws.suppressions import DynamoSuppressions
from relay.clock import SystemClock
from relay.encoding import decode_report
from relay.outcome import Report, State
from relay.record import Record
from relay.retry import RetryPolicy
from relay.settings import FunctionSettings
from relay.suppression import Suppress
from relay.worker import QueueWorker


class Counted:
    """Record, and how many outcomes of each state it has recorded since they were last published."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._counts: Counter[State] = Counter()

    async def __call__(self, report: Report, /, *, deadline: float) -> None:  # noqa: ARG002 - the client has time-outs
        await self._record(report)
        self._counts.update(outcome.state for outcome in report.outcomes)

    def publish(self, metrics: Metrics) -> None:
        for state, count in self._counts.items():
            metrics.add_metric(f"Outcomes{state.value.title()}", MetricUnit.Count, count)
        if self._counts:  # Powertools warns about an empty set
            metrics.flush_metrics()
        self._counts.clear()


@cache
def compose() -> tuple[QueueWorker[Report], Counted, Metrics]:
    """At the first invocation; the loop and its connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    clock = SystemClock()
    suppressions = DynamoSuppressions(client, settings.suppressions_table)
    record = Record(
        messages=DynamoMessages(client, settings.messages_table),
        notices=DynamoNotices(client, settings.notices_table),
        deliver_queue=SqsQueue(client, settings.deliver_queue_url),
        content=S3Content(client, settings.content_bucket),
        accounts=DynamoAccounts(client, settings.accounts_table),
        suppress=Suppress(suppressions, settings.suppression_days, settings.clock_speed),
        clock=clock,
        retry=RetryPolicy(settings.clock_speed),
        host_name=settings.host_name,
        late=settings.delay_notice_seconds,
    )
    counted = Counted(record)
    worker = QueueWorker(
        decode=decode_report,
        stage=counted,
        queue=SqsQueue(client, settings.record_queue_url),
        clock=clock,
        logger=Logger(),
        clock_speed=settings.clock_speed,
    )
    collector.settle()
    return worker, counted, Metrics()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    worker, counted, metrics = compose()
    try:
        return worker.handle(event, context)
    finally:
        counted.publish(metrics)
