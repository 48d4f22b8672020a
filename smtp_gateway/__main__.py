"""python -m smtp_gateway: the gateway, configured by environment variables (smtp_gateway/settings.py).

Exit: 0 after SIGTERM or SIGINT, 1 if it can't listen, 2 for a wrong setting; one line on stderr says which.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping

from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.content import S3Content
from relay.aws.queue import SqsQueue
from relay.aws.rulings import LambdaRulings
from relay.clock import SystemClock
from relay.ports import Clock
from relay.settings import SettingsError
from smtp_gateway import server
from smtp_gateway.accounts import Authenticator
from smtp_gateway.certificates import CHECK_EVERY, Certificates
from smtp_gateway.limits import Limits
from smtp_gateway.log import Log
from smtp_gateway.logins import Logins
from smtp_gateway.metrics import METRICS_EVERY
from smtp_gateway.quotas import Quotas
from smtp_gateway.senders import Senders
from smtp_gateway.server import ListenError, Server
from smtp_gateway.settings import Settings
from smtp_gateway.site import Site
from smtp_gateway.submit import Submit


def main(environment: Mapping[str, str]) -> int:
    try:
        settings = Settings.from_environment(environment)
        client = AwsClient.from_environment(environment)
        clock = SystemClock()
        log = Log(clock)
        certificates = Certificates(settings.certificates, clock, log)
        sockets = server.bind(settings.listen), server.bind(settings.tls_listen)
    except (SettingsError, ListenError) as error:
        sys.stderr.write(f"smtp_gateway: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, client, clock, log, certificates, *sockets))
    return 0


async def serve(
    settings: Settings,
    client: AwsClient,
    clock: Clock,
    log: Log,
    certificates: Certificates,
    plain_socket: socket.socket,
    tls_socket: socket.socket,
) -> None:
    """Until SIGTERM or SIGINT."""
    queue = SqsQueue(client, settings.validate_queue_url)
    store = S3Content(client, settings.content_bucket)
    senders = Senders(
        LambdaRulings(client, settings.validate_function),
        clock,
        log,
        patience=settings.verdict_patience,
        help_url=settings.help_url,
    )
    authenticate = Authenticator(DynamoAccounts(client, settings.accounts_table), clock)
    logins = Logins(authenticate.read, log)
    site = Site(
        host_name=settings.host_name,
        tls=certificates,
        authenticate=authenticate,
        logins=logins,
        senders=senders,
        submit=Submit(queue, store, senders, clock, log, settings.host_name, shown=settings.trace_client),
        log=log,
        limits=Limits(size=settings.max_size),
        quotas=Quotas(settings.allowance),
        max_connections=settings.max_connections,
        proxy_from=settings.proxy_from,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, certificates.reload)
    checks = asyncio.create_task(_every(CHECK_EVERY, certificates.check, log))
    measures = asyncio.create_task(
        _every(METRICS_EVERY, lambda: log.measured(open_sessions=len(site.connections)), log)
    )
    watch = asyncio.create_task(logins.watch())
    running = Server(site, plain_socket, tls_socket)
    await running.start()
    await stop.wait()
    await running.stop()
    watch.cancel()
    checks.cancel()
    measures.cancel()
    log.measured(open_sessions=0)
    await client.close()


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


if __name__ == "__main__":
    sys.exit(main(os.environ))
