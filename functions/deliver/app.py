"""DeliverQueue -> deliver: to the recipients' servers, with the ledger.

Metrics (EMF in the log): Recipients<State>, one a recipient and attempt that this process sent.
"""

import os
from collections import Counter
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.ledger import DynamoLedger
from relay.aws.policies import DynamoPolicies
from relay.aws.queue import SqsQueue
from relay.aws.secrets import SecretLogin
from relay.aws.ses import SesTransport
from relay.aws.suppressions import DynamoSuppressions
from relay.backends import BackEnd
from relay.clock import SystemClock
from relay.deliver import Deliver, Timing
from relay.dispatch import Dispatch
from relay.dns import DnspythonResolver
from relay.enabled import Enabled
from relay.encoding import decode_delivery
from relay.outcome import Outcome, State
from relay.ports import Resolver, Transport
from relay.retry import RetryPolicy
from relay.settings import FunctionSettings
from relay.smtp.https import Fetch
from relay.smtp.limits import Limits
from relay.smtp.mx import Routes
from relay.smtp.policies import Policies
from relay.smtp.reach import Reach
from relay.smtp.smarthost import smarthost_transport
from relay.smtp.tls import verified_tls
from relay.smtp.transport import SmtpTransport
from relay.submission import Delivery
from relay.worker import Context, QueueWorker

LEAST_CLAIM: Final = 25.0  # seconds, however fast the clock: more than the least time-out (local/clocks.py)


class Observed:
    """A log line for each outcome, and a count for each state."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics
        self._counts: Counter[State] = Counter()

    def __call__(self, delivery: Delivery, outcome: Outcome) -> None:
        self._counts[outcome.state] += 1
        fields = {
            "id": delivery.id,
            "account": delivery.account,
            "recipient": outcome.recipient,
            "attempt": outcome.attempt,
            "code": outcome.code,
            "enhanced": outcome.enhanced,
            "text": outcome.text,
            "failure": outcome.failure,
            "remote": outcome.remote,
            "tls": outcome.tls,
            "via": outcome.via,
            "next_due": outcome.next_due,
        }
        self._logger.info(outcome.state.value, extra=fields)

    def flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        for state, count in counts.items():
            self._metrics.add_metric(f"Recipients{state.value.title()}", MetricUnit.Count, count)
        if counts:  # Powertools warns about an empty set
            self._metrics.flush_metrics()


@cache
def compose() -> tuple[QueueWorker[Delivery], Observed]:
    """At the first invocation; its loop and connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    clock = SystemClock()
    logger = Logger()
    observed = Observed(logger, Metrics())
    queue = SqsQueue(client, settings.deliver_queue_url)
    factor = max(1 / settings.clock_speed, LEAST_CLAIM / settings.claim_seconds)
    stage = Deliver(
        ledger=DynamoLedger(client, settings.ledger_table),
        content=S3Content(client, settings.content_bucket),
        suppressions=DynamoSuppressions(client, settings.suppressions_table),
        enabled=Enabled(DynamoAccounts(client, settings.accounts_table), clock, settings.clock_speed),
        transport=_transport(settings, client, logger, Limits().scaled(factor)),
        queue=queue,
        reports=SqsQueue(client, settings.record_queue_url),
        clock=clock,
        retry=RetryPolicy(settings.clock_speed),
        timing=Timing(settings.claim_seconds).scaled(factor),
        observe=observed,
    )
    worker = QueueWorker(
        decode=decode_delivery,
        stage=stage,
        queue=queue,
        clock=clock,
        logger=logger,
        clock_speed=settings.clock_speed,
    )
    return worker, observed


def _transport(settings: FunctionSettings, client: AwsClient, logger: Logger, limits: Limits) -> Transport:
    """Of the back ends that the settings name, and no others."""
    resolver, clock = DnspythonResolver(settings.dns_servers), SystemClock()
    transports: dict[BackEnd, Transport] = {}
    for name in settings.back_ends.used:
        match name:
            case BackEnd.MX:
                transports[name] = _mx(settings, client, logger, limits, resolver)
            case BackEnd.SMARTHOST if settings.smarthost is not None:
                transports[name] = smarthost_transport(
                    settings.smarthost,
                    resolver=resolver,
                    host_name=settings.host_name,
                    clock=clock,
                    limits=limits,
                    login=SecretLogin(client, settings.smarthost_secret) if settings.smarthost_secret else None,
                )
            case BackEnd.SES:
                transports[name] = SesTransport(client, clock, patience=limits.least / 2, warn=logger.warning)
    return Dispatch(settings.back_ends, transports)


def _mx(
    settings: FunctionSettings, client: AwsClient, logger: Logger, limits: Limits, resolver: Resolver
) -> SmtpTransport:
    clock = SystemClock()
    routes = Routes(resolver, settings.host_name, Reach(settings.reachable, own=settings.egress))
    policies = Policies(
        resolver,
        DynamoPolicies(client, settings.policies_table),
        Fetch(routes.addresses, verified_tls, seconds=limits.policy),
        clock,
        lambda domain, what: logger.warning("MTA-STS policy", extra={"domain": domain, "error": what}),
    )
    return SmtpTransport(
        routes=routes,
        policies=policies,
        host_name=settings.host_name,
        clock=clock,
        port=settings.smtp_port,
        limits=limits,
    )


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    worker, observed = compose()
    try:
        return worker.handle(event, context)
    finally:
        observed.flush()
