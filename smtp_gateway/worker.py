"""One worker: the gateway put together, run, and drained, in a process of its own (smtp_gateway/workers.py)."""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from relay import collector
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.queue import SqsQueue
from relay.aws.rulings import LambdaRulings
from relay.aws.usage import DynamoUsage
from relay.ports import Clock
from smtp_gateway import health
from smtp_gateway.accounts import Authenticator
from smtp_gateway.certificates import CHECK_EVERY, Certificates
from smtp_gateway.data import Room
from smtp_gateway.health import Report
from smtp_gateway.leases import Leases
from smtp_gateway.limits import Limits
from smtp_gateway.log import Log
from smtp_gateway.logins import Logins
from smtp_gateway.metrics import METRICS_EVERY
from smtp_gateway.quotas import Quotas
from smtp_gateway.senders import Senders
from smtp_gateway.server import Server
from smtp_gateway.settings import Settings
from smtp_gateway.site import Site
from smtp_gateway.submit import Submit
from smtp_gateway.vitals import Evidence, Probe, Vitals, WatchedQueue

SETTLE: Final = 2.0  # seconds, at the end: before the parent kills a worker (workers.py)
SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


@dataclass(frozen=True, slots=True)
class Worker:
    """certificates: as the parent has loaded them."""

    settings: Settings
    client: AwsClient
    clock: Clock
    log: Log
    certificates: Certificates

    def __call__(self, number: int, sockets: Sequence[socket.socket], channel: socket.socket) -> None:
        """workers.Work. sockets: STARTTLS, TLS."""
        if number:
            self.certificates.hush()  # what one of them finds, all do
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            collector.settle()
            runner.run(self._serve(sockets, channel))

    async def _serve(self, sockets: Sequence[socket.socket], channel: socket.socket) -> None:
        """Until SIGTERM, or the parent has gone."""
        settings, log, certificates = self.settings, self.log, self.certificates
        queue = SqsQueue(self.client, settings.validate_queue_url)
        sending = Evidence(health.QUEUE)
        authenticate = Authenticator(DynamoAccounts(self.client, settings.accounts_table), self.clock)
        logins = Logins(authenticate.read, log, self.clock.now)
        site = self._site(authenticate, logins, WatchedQueue(queue, sending))
        stop = self._signals()
        channel.setblocking(False)
        asyncio.get_running_loop().add_reader(channel, stop.set)  # it only ever ends: with the parent
        certificates.check()  # they may have changed since the parent loaded them
        probes: dict[Evidence, Probe] = {}
        if settings.health_listen:
            probes = {sending: queue.probe, Evidence(health.ACCOUNTS): lambda: authenticate.read(f"@{site.host_name}")}
        vitals = Vitals(
            lambda report: tell(channel, report),
            lambda: len(site.connections),
            lambda: certificates.expires <= self.clock.now(),
            probes,
            log,
        )
        server = Server(site, *sockets)
        await server.start()
        tasks = [
            asyncio.create_task(work)
            for work in (
                vitals.beat(),
                logins.watch(),
                site.leases.watch(),
                _every(CHECK_EVERY, certificates.check, log),
                _every(METRICS_EVERY, lambda: log.measured(open_sessions=len(site.connections)), log),
            )
        ]
        await stop.wait()
        cut_off = await server.stop()
        for task in tasks:
            task.cancel()
        with suppress(TimeoutError):  # what isn't given back counts as sent
            async with asyncio.timeout(SETTLE):
                await site.leases.settle(all=True)
        log.measured(open_sessions=0)
        tell(channel, Report(cut_off=cut_off))
        await self.client.close()

    def _site(self, authenticate: Authenticator, logins: Logins, queue: WatchedQueue) -> Site:
        settings, clock, log = self.settings, self.clock, self.log
        store = S3Content(self.client, settings.content_bucket)
        senders = Senders(
            LambdaRulings(self.client, settings.validate_function),
            clock,
            log,
            patience=settings.verdict_patience,
            help_url=settings.help_url,
        )
        return Site(
            host_name=settings.host_name,
            tls=self.certificates,
            authenticate=authenticate,
            logins=logins,
            leases=Leases(DynamoUsage(self.client, settings.usage_table), clock, log, settings.account_limits),
            senders=senders,
            submit=Submit(queue, store, senders, clock, log, settings.host_name, shown=settings.trace_client),
            log=log,
            limits=Limits(size=settings.max_size),
            room=Room(max(settings.room // settings.workers, 2 * settings.max_size)),
            quotas=Quotas(settings.allowance),
            max_connections=settings.max_connections,
            proxy_from=settings.proxy_from,
        )

    def _signals(self) -> asyncio.Event:
        """Handled from now on; set by the one that ends it."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.certificates.reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return stop


def tell(channel: socket.socket, report: Report) -> None:
    """To the parent. With a full pipe it is behind by many, and one less is no loss; without a parent, none is."""
    try:
        channel.send(report.encode())
    except OSError:
        pass


async def _every(seconds: float, call: Callable[[], None], log: Log) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            call()
        except Exception as error:  # noqa: BLE001 - our bug: once more the next time
            log.bug(error=error)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # a platform without it: slower, the same otherwise
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
