"""`mailrelay local` and `mailrelay demo`: the whole relay on this machine (local/)."""

import argparse
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from relayctl import target
from relayctl.context import Context
from relayctl.errors import CommandError

LOCAL_EPILOG: Final = """\
examples:
  mailrelay local
  mailrelay local --port 0 --tls-port 0 --zone my.zone --mail-dir mail
  mailrelay local --account app@mycorp.se:secret --clock-speed 100

DNS: the names of the relay's own domain, of demo.example (which has signed up)
and of in.example (whose server is the mail sink) are there; those of --zone are
added, and it is read again when it changes.

The sink treats a recipient by what the local part starts with: nobody (550),
greylist (451 once), full (452), defer (451), away (421), spam (554 after DATA),
late (451 after DATA), slow (takes 3 s), drop and lost (no answer).

The AWS part is moto, in memory: when it stops, what is in it is gone. With
--aws-endpoint it is whatever answers there: CloudFormation, IAM, Lambda, Logs,
S3, SQS, DynamoDB, KMS and SNS as moto has them, with any credentials. It only
keeps the functions' settings; they run here. The stack is named mailrelay and
stays when this stops; one that is there is used again, with the mail on its
queues.
"""
DEMO_EPILOG: Final = """\
example:
  mailrelay demo

Starts the system on free ports, makes an account, publishes its DNS records,
sends real messages and shows what became of each. Exit code 0 only if every one
ended as it should.
"""


def add(commands: Any) -> None:
    demo = commands.add_parser("demo", help="the whole way once, with real messages", epilog=DEMO_EPILOG)
    demo.set_defaults(run=run_demo)
    parser = commands.add_parser("local", help="the whole relay on this machine, until Ctrl-C", epilog=LOCAL_EPILOG)
    parser.add_argument(
        "--port", type=_port, default=2587, metavar="N", help="SMTP with STARTTLS (2587; 0: any free one)"
    )
    parser.add_argument(
        "--tls-port", type=_port, default=2465, metavar="N", help="SMTP over TLS (2465; 0: any free one)"
    )
    parser.add_argument("--zone", type=Path, metavar="FILE", help="DNS master file (RFC 1035), several domains")
    parser.add_argument("--mail-dir", type=Path, metavar="DIR", help="where the mail sink keeps what it takes")
    parser.add_argument(
        "--state",
        type=Path,
        default=target.STATE_FILE,
        metavar="FILE",
        help=f"written when ready ({target.STATE_FILE})",
    )
    parser.add_argument(
        "--account",
        type=_account,
        action="append",
        default=[],
        metavar="USER:PASSWORD",
        help="an account with this password (repeatable; for tests: others see command lines)",
    )
    parser.add_argument("--dns", type=_host_port, metavar="HOST:PORT", help="use this DNS server, not the embedded one")
    parser.add_argument(
        "--clock-speed", type=_speed, default=1.0, metavar="N", help="retry delays are divided by N (1)"
    )
    parser.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of template.yaml, such as MessagesPerDay=100 (repeatable)",
    )
    parser.add_argument("--aws-endpoint", type=_url, metavar="URL", help="use this AWS endpoint instead of moto")
    parser.set_defaults(run=run_local)


def run_demo(_arguments: argparse.Namespace, context: Context) -> int:
    _require_local()
    from local.demo import run

    return run(context.out)


def run_local(arguments: argparse.Namespace, _context: Context) -> int:
    _require_local()
    from local.supervisor import Options, run

    return run(
        Options(
            port=arguments.port,
            tls_port=arguments.tls_port,
            zone=arguments.zone,
            mail_dir=arguments.mail_dir,
            state=arguments.state,
            accounts=tuple(arguments.account),
            dns=arguments.dns,
            clock_speed=arguments.clock_speed,
            aws_endpoint=arguments.aws_endpoint,
            parameters=dict(arguments.parameter),
        )
    )


def _require_local() -> None:
    try:
        import moto  # noqa: F401 - the largest of what local/ needs
    except ImportError:
        raise CommandError("the local system isn't installed here: run it from a clone with `make up`") from None


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text[:6]) < 65_536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")


def _account(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not colon or "@" not in user or not password:
        raise argparse.ArgumentTypeError("give USER:PASSWORD, such as app@mycorp.se:secret")  # don't repeat a password
    return user, password


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as MessagesPerDay=100")
    return name, value


def _host_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:5353")
    return text


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 1 <= speed <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")
    return speed


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://127.0.0.1:4566")
    return text
