"""The gateway's settings, from environment variables alone.

    GATEWAY_HOST_NAME           the name it greets with, and that its certificate has
    GATEWAY_LISTEN              address:port for SMTP with STARTTLS, as 0.0.0.0:587 or [::]:587; port 0 = any free one
    GATEWAY_TLS_LISTEN          address:port for SMTP over TLS, as 0.0.0.0:465
    GATEWAY_CERT_FILE           certificate chain, PEM
    GATEWAY_KEY_FILE            its private key, PEM, not encrypted
    GATEWAY_CERT_FILE_2         one more certificate chain, for the other kind of key (ECDSA beside RSA); default: none
    GATEWAY_KEY_FILE_2          its private key. All four are read again when they change, and on SIGHUP
    GATEWAY_CERT_SECRET         for `python -m smtp_gateway fetch-certificates` only: name or ARN of the secret whose
                                chain and key it puts into GATEWAY_CERT_FILE (GATEWAY_KEY_FILE is the same file then)
    GATEWAY_CERT_SECRET_2       the same for GATEWAY_CERT_FILE_2; default: none
    GATEWAY_VALIDATE_QUEUE_URL  where submissions go
    GATEWAY_VALIDATE_FUNCTION   name or ARN of the function that says whether an account may send for a domain
    GATEWAY_VERDICT_PATIENCE    seconds for which its answer is waited for, 0 to 60, default 2; then the queue decides
    GATEWAY_HELP_URL            a page for senders whose DNS isn't right, at most 300 octets; its URL ends the reply
                                to them. Default: the command that checks their records
    GATEWAY_ACCOUNTS_TABLE      what AUTH is checked against
    GATEWAY_USAGE_TABLE         where messages are counted, for all gateways
    GATEWAY_MESSAGES_PER_SECOND that an account may send which has no limit of its own, default 100
    GATEWAY_MESSAGES_PER_DAY    so in a day (UTC), default 200000
    GATEWAY_MAX_RECIPIENTS      so to how many recipients a message, default 1000
    GATEWAY_CONTENT_BUCKET      where large content goes
    GATEWAY_PROXY_FROM          networks, as 10.0.0.0/24,2001:db8::/64, whose connections begin with a PROXY header,
                                version 1 or 2, and are closed without; default: none
    GATEWAY_TRACE_CLIENT        what recipients see of the client in the trace header: full, address or none;
                                default: none
    GATEWAY_WORKERS             processes, 1 to 64, default: one for each CPU
    GATEWAY_HEALTH_LISTEN       address:port where GET /health answers 200 or 503; default: none
    GATEWAY_ROOM                octets of messages over 64 KiB under way in all of them together, default 268435456;
                                each has its share, and at least two messages' worth
    GATEWAY_MAX_SIZE            octets of a message, default 41943040
    GATEWAY_MAX_CONNECTIONS     default 1000; this and what follows is of each worker
    GATEWAY_ADDRESS_SESSIONS    open at once from one address (IPv6: one /64); default: half of these
    GATEWAY_ADDRESS_CONNECTIONS from one address in a minute, default 3000
    GATEWAY_ACCOUNT_SESSIONS    open at once of one account; default: half of GATEWAY_MAX_CONNECTIONS
    GATEWAY_ACCOUNT_OCTETS      of its messages in an hour, default 100000000000
    AWS_REGION                  or AWS_DEFAULT_REGION
    AWS_ENDPOINT_URL            takes all AWS calls, for the local system; default: AWS
    AWS_ENDPOINT_URL_<SERVICE>  takes those of one service, as AWS_ENDPOINT_URL_LAMBDA

AWS credentials are found as botocore finds them.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.quota import DEFAULT_LIMITS, Limits
from relay.settings import SettingsError
from smtp_gateway.message import Shown
from smtp_gateway.proxy import Network
from smtp_gateway.quotas import Allowance

DEFAULT_MAX_CONNECTIONS: Final = 1000
DEFAULT_VERDICT_PATIENCE: Final = 2.0
MOST_WORKERS: Final = 64
DEFAULT_ROOM: Final = 268_435_456
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ENDPOINT: Final = re.compile(r"(?:\[([^\]]+)\]|([^\[\]:]+)):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """host: an IP address in text. variable: the setting's name, for messages about it."""

    host: str
    port: int
    variable: str


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, files; and the names of their settings."""

    cert_file: str
    key_file: str
    cert_variable: str
    key_variable: str


@dataclass(frozen=True, slots=True)
class Settings:
    host_name: str
    listen: Endpoint
    tls_listen: Endpoint
    certificates: tuple[KeyPair, ...]
    validate_queue_url: str
    validate_function: str
    verdict_patience: float
    help_url: str
    accounts_table: str
    usage_table: str
    account_limits: Limits
    content_bucket: str
    proxy_from: tuple[Network, ...]
    workers: int
    health_listen: Endpoint | None
    room: int
    trace_client: Shown
    max_size: int
    max_connections: int
    allowance: Allowance
    region: str
    endpoint_url: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """SettingsError names the first variable that is missing or wrong."""

        def text(*names: str) -> str:
            for name in names:
                if value := environment.get(name, ""):
                    return value
            raise SettingsError(f"{names[0]} is not set")

        def number(name: str, default: int, least: int) -> int:
            value = environment.get(name, "") or str(default)
            if not re.fullmatch(r"[0-9]{1,12}", value) or int(value) < least:
                raise SettingsError(f"{name}={value!r} is not a whole number of at least {least}")
            return int(value)

        health = environment.get("GATEWAY_HEALTH_LISTEN", "")
        max_size = number("GATEWAY_MAX_SIZE", DEFAULT_LIMITS.size, 65_536)  # RFC 5321 §4.5.3.1.7: at least 64K
        max_connections = number("GATEWAY_MAX_CONNECTIONS", DEFAULT_MAX_CONNECTIONS, 1)
        return cls(
            host_name=_host_name("GATEWAY_HOST_NAME", text("GATEWAY_HOST_NAME")),
            listen=_endpoint("GATEWAY_LISTEN", text("GATEWAY_LISTEN")),
            tls_listen=_endpoint("GATEWAY_TLS_LISTEN", text("GATEWAY_TLS_LISTEN")),
            certificates=tuple(KeyPair(text(cert), text(key), cert, key) for cert, key in _key_pairs(environment)),
            validate_queue_url=_url("GATEWAY_VALIDATE_QUEUE_URL", text("GATEWAY_VALIDATE_QUEUE_URL")),
            validate_function=text("GATEWAY_VALIDATE_FUNCTION"),
            verdict_patience=_seconds("GATEWAY_VERDICT_PATIENCE", environment.get("GATEWAY_VERDICT_PATIENCE", "")),
            help_url=_help_url("GATEWAY_HELP_URL", environment.get("GATEWAY_HELP_URL", "")),
            accounts_table=text("GATEWAY_ACCOUNTS_TABLE"),
            usage_table=text("GATEWAY_USAGE_TABLE"),
            account_limits=Limits(
                per_second=number("GATEWAY_MESSAGES_PER_SECOND", DEFAULT_LIMITS.per_second, 1),
                per_day=number("GATEWAY_MESSAGES_PER_DAY", DEFAULT_LIMITS.per_day, 1),
                recipients=number("GATEWAY_MAX_RECIPIENTS", DEFAULT_LIMITS.recipients, 100),  # RFC 5321 §4.5.3.1.8
                size=max_size,
            ),
            content_bucket=text("GATEWAY_CONTENT_BUCKET"),
            proxy_from=_networks("GATEWAY_PROXY_FROM", environment.get("GATEWAY_PROXY_FROM", "")),
            workers=_workers("GATEWAY_WORKERS", environment.get("GATEWAY_WORKERS", "")),
            health_listen=_endpoint("GATEWAY_HEALTH_LISTEN", health) if health else None,
            room=number("GATEWAY_ROOM", DEFAULT_ROOM, 1_048_576),
            trace_client=_shown("GATEWAY_TRACE_CLIENT", environment.get("GATEWAY_TRACE_CLIENT", "")),
            max_size=max_size,
            max_connections=max_connections,
            allowance=_allowance(number, max_connections),
            region=text("AWS_REGION", "AWS_DEFAULT_REGION"),
            endpoint_url=_url("AWS_ENDPOINT_URL", environment.get("AWS_ENDPOINT_URL", "")) or None,
        )


def certificate_secrets(environment: Mapping[str, str]) -> dict[str, Path]:
    """{secret: the file that it goes to}, for fetch-certificates. SettingsError names the variable."""
    found: dict[str, Path] = {}
    for secret, file in (
        ("GATEWAY_CERT_SECRET", "GATEWAY_CERT_FILE"),
        ("GATEWAY_CERT_SECRET_2", "GATEWAY_CERT_FILE_2"),
    ):
        if name := environment.get(secret, ""):
            if not environment.get(file):
                raise SettingsError(f"{file} is not set, where the certificate of {secret} should go")
            found[name] = Path(environment[file])
    if not found:
        raise SettingsError("GATEWAY_CERT_SECRET is not set")
    return found


def _allowance(number: Callable[[str, int, int], int], max_connections: int) -> Allowance:
    half = (max_connections + 1) // 2
    default = Allowance(address_sessions=half, account_sessions=half)
    return Allowance(
        address_sessions=number("GATEWAY_ADDRESS_SESSIONS", default.address_sessions, 1),
        address_connections=number("GATEWAY_ADDRESS_CONNECTIONS", default.address_connections, 1),
        account_sessions=number("GATEWAY_ACCOUNT_SESSIONS", default.account_sessions, 1),
        account_octets=number("GATEWAY_ACCOUNT_OCTETS", default.account_octets, 1),
    )


def _key_pairs(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variables of the first pair, and those of the second if one of them is set."""
    first, second = ("GATEWAY_CERT_FILE", "GATEWAY_KEY_FILE"), ("GATEWAY_CERT_FILE_2", "GATEWAY_KEY_FILE_2")
    return [first, second] if any(environment.get(name) for name in second) else [first]


def _host_name(name: str, value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        raise SettingsError(f"{name}={value!r} is not a host name")
    return value.lower()


def _endpoint(name: str, value: str) -> Endpoint:
    match = _ENDPOINT.fullmatch(value)
    try:
        if match and int(match[3]) < 65_536:
            return Endpoint(str(ipaddress.ip_address(match[1] or match[2])), int(match[3]), name)
    except ValueError:
        pass
    raise SettingsError(f"{name}={value!r} is not IP address:port, as 127.0.0.1:2587 or [::1]:2587")


def _networks(name: str, value: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(each.strip()) for each in value.split(",") if value)
    except ValueError:  # also for an address with bits outside its network: which of the two is meant?
        raise SettingsError(f"{name}={value!r} is not a list of networks, as 10.0.0.0/24,2001:db8::/64") from None


def _workers(name: str, value: str) -> int:
    if not value:
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    if not re.fullmatch(r"[0-9]{1,2}", value) or not 1 <= int(value) <= MOST_WORKERS:
        raise SettingsError(f"{name}={value!r} is not a whole number from 1 to {MOST_WORKERS}")
    return int(value)


def _shown(name: str, value: str) -> Shown:
    try:
        return Shown(value or Shown.NONE)
    except ValueError:
        raise SettingsError(f"{name}={value!r} is not one of {', '.join(Shown)}") from None


def _seconds(name: str, value: str) -> float:
    if not value:
        return DEFAULT_VERDICT_PATIENCE
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", value) or float(value) > 60:
        raise SettingsError(f"{name}={value!r} is not a number of seconds from 0 to 60")
    return float(value)


def _help_url(name: str, value: str) -> str:
    if len(value) > 300 or not re.fullmatch(r"[!-~]*", value):  # it has to fit a line of a reply
        raise SettingsError(f"{name}={value!r} is not an http:// or https:// URL in ASCII, of at most 300 octets")
    return _url(name, value)


def _url(name: str, value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise SettingsError(f"{name}={value!r} is not an http:// or https:// URL")
    return value
