"""python -m smtp_gateway: the gateway, configured by environment variables (smtp_gateway/settings.py).
python -m smtp_gateway fetch-certificates: beside it, keeps its certificate files fresh (smtp_gateway/fetched.py).

Exit: 0 after SIGTERM or SIGINT, 1 if it can't listen or its end took too long, 2 for a wrong setting; one line on
stderr says which.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from relay.aws.client import AwsClient
from relay.aws.secrets import secret_text
from relay.clock import SystemClock
from relay.settings import SettingsError
from smtp_gateway import server
from smtp_gateway.certificates import Certificates
from smtp_gateway.fetched import CertificateFile, keep_fetched
from smtp_gateway.health_port import HealthPort
from smtp_gateway.log import Log
from smtp_gateway.server import ListenError
from smtp_gateway.settings import Settings, certificate_secrets
from smtp_gateway.worker import Worker
from smtp_gateway.workers import Workers

FETCH: Final = "fetch-certificates"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    if arguments and list(arguments) != [FETCH]:
        sys.stderr.write(
            f"smtp_gateway: {' '.join(arguments)!r} is not {FETCH!r}, and there is nothing else to ask for\n"
        )
        return 2
    return fetch(environment) if arguments else serve(environment)


def fetch(environment: Mapping[str, str]) -> int:
    try:
        secrets = certificate_secrets(environment)
        client = AwsClient.from_environment(environment)
    except SettingsError as error:
        sys.stderr.write(f"smtp_gateway: {error}\n")
        return 2
    log = Log(SystemClock())
    keep_fetched([CertificateFile(partial(secret_text, client, name), path, log) for name, path in secrets.items()])
    return 0


def serve(environment: Mapping[str, str]) -> int:
    try:
        settings = Settings.from_environment(environment)
        server.open_files(settings.max_connections)
        client = AwsClient.from_environment(environment)
        clock = SystemClock()
        log = Log(clock)
        certificates = Certificates(settings.certificates, clock, log)
        plain, tls = (server.bind(each, settings.workers) for each in (settings.listen, settings.tls_listen))
        health = server.bind(settings.health_listen)[0] if settings.health_listen else None
    except (SettingsError, ListenError) as error:
        sys.stderr.write(f"smtp_gateway: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1

    def ready() -> None:
        health_port = health.getsockname()[1] if health else None
        log.listening(port=plain[0].getsockname()[1], tls_port=tls[0].getsockname()[1], health_port=health_port)

    work = Worker(settings, client, clock, log, certificates)
    workers = Workers(tuple(zip(plain, tls, strict=True)), work, log, ready)
    if health:
        port = HealthPort(health, workers.selector, lambda: workers.health, settings.proxy_from)
        port.start()
        workers.ticks.append(port.tick)
    return workers.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
