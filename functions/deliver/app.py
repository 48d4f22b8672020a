"""DeliverQueue -> deliver: to the recipients' servers, with the ledger.

Metrics (EMF in the log): Recipients<State>, one a recipient and attempt that this process sent; SitesPaused, one a
pause that it began.
"""

import os
from collections import Counter
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from relay import collector
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.ledger import DynamoLedger
from relay.aws.pauses import DynamoPauses
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
from relay.encoding import decode_delivery
from relay.outcome import Outcome
from relay.ports import Transport
from relay.retry import RetryPolicy
from relay.settings import FunctionSettings
from relay.shaping import Table
from relay.sites import Sites
from relay.smtp.https import Fetch
from relay.smtp.limits import Limits
from relay.smtp.mx import Routes
from relay.smtp.policies import Policies
from relay.smtp.reach import Reach
from relay.smtp.shaping import Gate, Shaping
from relay.smtp.smarthost import smarthost_transport
from relay.smtp.tls import verified_tls
from relay.smtp.transport import SmtpTransport
from relay.stopped import Stopped
from relay.submission import Delivery
from relay.worker import Context, QueueWorker

LINGER: Final = 0.1  # seconds for which a report waits for others to share a request with
LEAST_CLAIM: Final = 25.0  # seconds, however fast the clock: more than the least time-out (local/clocks.py)


class Observed:
    """A log line for each outcome, and a count for each state."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics
        self._counts: Counter[str] = Counter()

    def __call__(self, delivery: Delivery, outcome: Outcome) -> None:
        self._counts[f"Recipients{outcome.state.value.title()}"] += 1
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
            "next_due": outcome.next_due or None,
        }
        self._logger.info(outcome.state.value, extra=fields)

    def site(self, what: str, fields: dict[str, object]) -> None:
        """What became of a destination (relay.sites)."""
        self._counts["SitesPaused"] += what == "site paused"
        self._logger.warning(what, extra=fields)

    def flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        for name, count in (+counts).items():
            self._metrics.add_metric(name, MetricUnit.Count, count)
        if +counts:  # Powertools warns about an empty set
            self._metrics.flush_metrics()


@cache
def compose() -> tuple[QueueWorker[Delivery], Observed]:
    """At the first invocation; its loop and connections live as long as the process."""
    settings = FunctionSettings.from_environment(os.environ)
    client = AwsClient.from_environment(os.environ)
    clock = SystemClock()
    logger = Logger(location=None)  # a line for each message: 30 octets that nobody asks for
    observed = Observed(logger, Metrics())
    queue = SqsQueue(client, settings.deliver_queue_url)
    factor = max(1 / settings.clock_speed, LEAST_CLAIM / settings.claim_seconds)
    transports = _Transports(settings, client, logger, observed, Limits().scaled(factor))
    stage = Deliver(
        ledger=DynamoLedger(client, settings.ledger_table),
        content=S3Content(client, settings.content_bucket),
        suppressions=DynamoSuppressions(client, settings.suppressions_table),
        stopped=Stopped(DynamoAccounts(client, settings.accounts_table), clock, settings.clock_speed),
        transport=transports.dispatch(),
        gate=transports.gate(),
        queue=queue,
        reports=SqsQueue(client, settings.record_queue_url, linger=LINGER),
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
    collector.settle()
    return worker, observed


class _Transports:
    """Of the back ends that the settings name, and no others."""

    def __init__(
        self, settings: FunctionSettings, client: AwsClient, logger: Logger, observed: Observed, limits: Limits
    ) -> None:
        self._settings = settings
        self._client = client
        self._logger = logger
        self._limits = limits
        self._clock = SystemClock()
        self._resolver = DnspythonResolver(settings.dns_servers)
        self._routes = Routes(self._resolver, settings.host_name, Reach(settings.reachable, own=settings.egress))
        pauses, speed = DynamoPauses(client, settings.sites_table), settings.clock_speed
        sites = Sites(pauses, self._clock, speed=speed, observe=observed.site)
        workers = settings.concurrency
        self._shaping = Shaping(Table.load(), sites, limits, self._clock, workers=workers, speed=speed)

    def dispatch(self) -> Dispatch:
        back_ends = self._settings.back_ends
        return Dispatch(back_ends, {name: self._of(name) for name in back_ends.used})

    def gate(self) -> Gate:
        return Gate(self._settings.back_ends, self._routes, self._shaping)

    def _of(self, name: BackEnd) -> Transport:
        settings = self._settings
        match name:
            case BackEnd.MX:
                return self._mx()
            case BackEnd.SES:
                patience = self._limits.least / 2
                return SesTransport(self._client, self._clock, patience=patience, warn=self._logger.warning)
        assert settings.smarthost is not None  # FunctionSettings sees to it
        return smarthost_transport(
            settings.smarthost,
            resolver=self._resolver,
            host_name=settings.host_name,
            clock=self._clock,
            limits=self._limits,
            login=SecretLogin(self._client, settings.smarthost_secret) if settings.smarthost_secret else None,
        )

    def _mx(self) -> SmtpTransport:
        logger = self._logger
        policies = Policies(
            self._resolver,
            DynamoPolicies(self._client, self._settings.policies_table),
            Fetch(self._routes.addresses, verified_tls, seconds=self._limits.policy),
            self._clock,
            lambda domain, what: logger.warning("MTA-STS policy", extra={"domain": domain, "error": what}),
        )
        return SmtpTransport(
            routes=self._routes,
            policies=policies,
            host_name=self._settings.host_name,
            clock=self._clock,
            port=self._settings.smtp_port,
            limits=self._limits,
            shaping=self._shaping,
        )


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    worker, observed = compose()
    try:
        return worker.handle(event, context)
    finally:
        observed.flush()
