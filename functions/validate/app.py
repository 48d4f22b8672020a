"""The validate function: submissions from ValidateQueue through `relay.validate`; and the gateway's questions about
sender domains, by Invoke (`relay.proof.ruling`)."""

import logging
import os
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from relay import collector
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.dkim_keys import DynamoDkimKeys
from relay.aws.kms import KmsSealer
from relay.aws.ledger import DynamoLedger
from relay.aws.queue import SqsQueue
from relay.aws.receipts import DynamoReceipts
from relay.clock import SystemClock
from relay.dkim_signer import DkimSigner
from relay.dns import DnspythonResolver
from relay.encoding import decode_submission
from relay.hold import TellOwner
from relay.owner_mail import OwnerMail
from relay.ports import Clock, Resolver
from relay.proof.judge import Judge, Patience
from relay.proof.message import DkimCheck, MessageCheck
from relay.proof.remembered import Remembered
from relay.proof.ruling import decode_question, encode_ruling
from relay.proof.verdict import Terms
from relay.retry import RetryPolicy
from relay.rulings import Rulings
from relay.settings import FunctionSettings
from relay.submission import Submission
from relay.validate import Decision, Validate
from relay.worker import Context, QueueWorker

LINGER: Final = 0.02  # seconds for which a message waits for others to share a request with


class Observed:
    """A log line (but for what is accepted) and a count for each decision; the counts go out as one metric each when
    the batch is done."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics
        self._counts: Counter[Decision] = Counter()

    def __call__(self, submission: Submission, decision: Decision, why: str) -> None:
        self._counts[decision] += 1
        fields = {"id": submission.id, "account": submission.account, "attempt": submission.attempt}
        # what was accepted is in the gateway's log and in deliver's: a third line for each message is a tenth of a
        # dollar a million
        level = logging.DEBUG if decision is Decision.ACCEPTED else logging.INFO
        extra = {**fields, "recipients": len(submission.rcpt_to), "why": why or None}
        self._logger.log(level, decision.value, extra=extra)

    def flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        for decision, count in counts.items():
            self._metrics.add_metric(name=decision.value.replace(" ", "_"), unit=MetricUnit.Count, value=count)
        if counts:
            self._metrics.flush_metrics()


@dataclass(frozen=True, slots=True)
class Parts:
    worker: QueueWorker[Submission]
    judge: Judge
    rulings: Rulings
    observed: Observed


@cache
def compose() -> Parts:
    """At the first invocation; its loop and connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    clock = SystemClock()
    logger = Logger(location=None)  # a line for each message: 30 octets that nobody asks for
    observed = Observed(logger, Metrics())
    queue = SqsQueue(client, settings.validate_queue_url)
    deliver_queue = SqsQueue(client, settings.deliver_queue_url, linger=LINGER)
    resolver = DnspythonResolver(settings.dns_servers)
    judge = _judge(settings, client, clock, resolver)
    tell = TellOwner(OwnerMail(deliver_queue, clock, settings.host_name))
    stage = Validate(
        judge=judge,
        tell=tell,
        check=_check(settings, client, clock, logger, Remembered(resolver, clock)),
        validate_queue=queue,
        deliver_queue=deliver_queue,
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
    collector.settle()
    return Parts(worker, judge, Rulings(judge, tell, clock), observed)


def _judge(settings: FunctionSettings, client: AwsClient, clock: Clock, resolver: Resolver) -> Judge:
    return Judge(
        resolver=resolver,
        accounts=DynamoAccounts(client, settings.accounts_table),
        receipts=DynamoReceipts(client, settings.receipts_table),
        clock=clock,
        terms=Terms(
            settings.token_name, settings.spf_domain, settings.egress, settings.host_name, settings.dmarc_required
        ),
        patience=Patience(
            shortest=settings.verdict_shortest / settings.clock_speed,
            longest=settings.verdict_longest / settings.clock_speed,
            stale=settings.verdict_stale / settings.clock_speed,
            memory=Patience().memory / settings.clock_speed,
            hold=settings.hold_seconds / settings.clock_speed,
        ),
    )


def _check(
    settings: FunctionSettings, client: AwsClient, clock: Clock, logger: Logger, resolver: Resolver
) -> MessageCheck:
    signer = DkimSigner(
        keys=DynamoDkimKeys(client, settings.dkim_keys_table),
        sealer=KmsSealer(client, settings.dkim_kms_key),
        resolver=resolver,
        clock=clock,
        speed=settings.clock_speed,
        warn=lambda domain, why: logger.warning("leaves unsigned", extra={"domain": domain, "why": why or None}),
    )
    return MessageCheck(resolver, clock, DkimCheck(settings.dkim), signer)


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    parts = compose()
    try:
        if question := decode_question(event):
            return encode_ruling(parts.worker.loop.run_until_complete(parts.rulings(question)))
        return parts.worker.handle(event, context)
    finally:
        parts.judge.cancel()
        parts.observed.flush()
