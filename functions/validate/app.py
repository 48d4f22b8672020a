"""The validate function: submissions from ValidateQueue through `relay.validate`."""

import os
from collections import Counter
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.ledger import DynamoLedger
from relay.aws.queue import SqsQueue
from relay.clock import SystemClock
from relay.dns import DnspythonResolver
from relay.encoding import decode_submission
from relay.proof.verdict import Judge
from relay.retry import RetryPolicy
from relay.settings import FunctionSettings
from relay.submission import Submission
from relay.validate import Decision, Validate
from relay.worker import Context, QueueWorker


class Observed:
    """A log line and a count for each decision; the counts go out as one metric each when the batch is done."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics
        self._counts: Counter[Decision] = Counter()

    def __call__(self, submission: Submission, decision: Decision, why: str) -> None:
        self._counts[decision] += 1
        fields = {"id": submission.id, "account": submission.account, "attempt": submission.attempt}
        self._logger.info(decision.value, extra={**fields, "recipients": len(submission.rcpt_to), "why": why})

    def flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        for decision, count in counts.items():
            self._metrics.add_metric(name=decision.value.replace(" ", "_"), unit=MetricUnit.Count, value=count)
        if counts:
            self._metrics.flush_metrics()


@cache
def compose() -> tuple[QueueWorker[Submission], Observed]:
    """At the first invocation; its loop and connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    clock = SystemClock()
    logger = Logger()
    observed = Observed(logger, Metrics())
    queue = SqsQueue(client, settings.validate_queue_url)
    stage = Validate(
        judge=Judge(
            resolver=DnspythonResolver(settings.dns_servers),
            accounts=DynamoAccounts(client, settings.accounts_table),
            clock=clock,
            token_name=settings.token_name,
            spf_domain=settings.spf_domain,
        ),
        validate_queue=queue,
        deliver_queue=SqsQueue(client, settings.deliver_queue_url),
        record_queue=SqsQueue(client, settings.record_queue_url),
        content=S3Content(client, settings.content_bucket),
        ledger=DynamoLedger(client, settings.ledger_table),
        clock=clock,
        retry=RetryPolicy(settings.clock_speed),
        observe=observed,
    )
    worker = QueueWorker(
        decode=decode_submission,
        stage=stage,
        queue=queue,
        clock=clock,
        logger=logger,
        clock_speed=settings.clock_speed,
    )
    return worker, observed


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    worker, observed = compose()
    try:
        return worker.handle(event, context)
    finally:
        observed.flush()
