"""The whole relay on this machine: what `mailrelay local` runs, and `System` for tests and the demo.

Started in this order, stopped in reverse: moto, DNS server, mail sink; the stack; accounts; the functions
and their event source mappings; the gateway. What they write goes to files in the state file's
neighbour folder, `<state>-files/logs`.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from local import checks, names
from local.certificates import Authority
from local.functions import WORKERS, functions, mappings, start_functions, start_mappings
from local.lambdas import Billed, LambdaService
from local.processes import Child, Spawner, StartError, base_environment
from local.stack import CREDENTIALS, NO_EDGE, REGION, ROOT, TEMPLATE, Aws, Stack, deploy, parameters_of, parse
from local.stack_check import gaps
from local.stopping import Stopped, stop_signals
from local.zone import Zone, ZoneError
from relay.account import Account
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.signing import Credentials
from relay.errors import RelayError
from relay.password import hash_password, new_password, new_salt

HOST: Final = "127.0.0.1"
DEFAULT_STATE: Final = Path(".local/state.json")
LOOPBACK: Final = "127.0.0.0/8"  # mail goes to the sink here, and to test servers beside it
PHONE: Final = "+15550100"  # of accounts that are put into the table directly; nothing is sent to it
GENEROUS: Final = {"MessagesPerSecond": "10000", "MessagesPerDay": "10000000"}  # for trials under load
CHECK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `mailrelay local`, as DESIGN §6 has them. accounts: (user, password) each."""

    port: int = 2587
    tls_port: int = 2465
    zone: Path | None = None
    mail_dir: Path | None = None
    state: Path = DEFAULT_STATE
    accounts: tuple[tuple[str, str], ...] = ()
    dns: str | None = None
    clock_speed: float = 1.0
    aws_endpoint: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Running:
    """What is there so far."""

    children: dict[str, Child] = field(default_factory=dict)
    stack: Stack | None = None
    functions: LambdaService | None = None


class System:
    """The local system as a context manager: `with System(options) as system:` has it all running.

    state: what the state file has. accounts: (user, password) of every account. StartError on entering
    if something can't be started, whose text is one line.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.state: dict[str, Any] = {}
        self.accounts = options.accounts or ((names.DEMO_USER, new_password()),)
        self.state_file = options.state.absolute()
        self.files = self.state_file.with_name(f"{self.state_file.stem}-files")
        self.logs = self.files / "logs"
        self.mail_dir = (options.mail_dir or self.files / "mail").absolute()
        self._running = _Running()
        self._exit = contextlib.ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> "System":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop everything that was started, last first. May be called twice."""
        self._exit.close()

    def billed(self) -> dict[str, Billed]:
        """What Lambda would bill for, by function."""
        return self._running.functions.billed() if self._running.functions else {}

    def broken(self) -> str:
        """ "" while all is well; otherwise one line about the process that has ended by itself."""
        for name, child in self._running.children.items():
            if not child.running:
                words = [line for line in child.lines() if line.strip()]
                return f"{name} has ended: {words[-1] if words else 'without a word'}; see {child.log}"
        return ""

    # --- in order ---

    def _start(self) -> None:
        options = self.options
        template = parse(TEMPLATE.read_text("utf-8"))
        parameters = parameters_of(template, options.parameters)
        given_dns = self._check(parameters["HostName"])
        zones = self._zones(parameters)
        self._clear_files()
        self._exit.callback(self.state_file.unlink, missing_ok=True)
        spawner = Spawner(self.logs)
        self._exit.callback(_log_to(self.logs / "local.log"))
        self._exit.callback(spawner.close)
        host_name = parameters["HostName"]
        authority = Authority(self.files / "tls")
        service = self._running.functions = LambdaService(spawner, self._rewrite)
        self._exit.callback(service.close)

        aws, dns, sink = self._servers(spawner, authority, service.url, zones, given_dns)
        overrides = {
            **GENEROUS,
            **NO_EDGE,
            "DnsServers": dns,
            "SmtpPort": sink.rpartition(":")[2],
            "ReachableNetworks": LOOPBACK,
            "ClockSpeed": f"{options.clock_speed:.15g}",
            "DeliverConcurrency": str(WORKERS),
            **options.parameters,
        }
        stack = self._running.stack = deploy(aws, template, overrides)
        if found := gaps(aws, stack):
            raise StartError(f"{aws.endpoint} hasn't all of template.yaml: {'; '.join(found)}")
        asyncio.run(self._create_accounts(aws, stack.resources["AccountsTable"]))
        self._exit.callback(service.close)  # before what the workers use
        start_functions(service, functions(aws, stack, options.clock_speed))
        for poller in start_mappings(aws, service, mappings(aws, stack, options.clock_speed)):
            self._exit.callback(poller.stop)
        gateway = self._gateway(spawner, authority, aws, stack, host_name, service.url)
        self._write_state(aws, stack, dns, sink, gateway, authority.ca_file)

    def _check(self, host_name: str) -> str:
        """StartError over an option that can't be; else --dns as "ip:port", "" without it."""
        options = self.options
        checks.no_second(self.state_file)
        checks.ports_free(HOST, options.port, options.tls_port)
        checks.accounts_fit([user for user, _ in self.accounts])
        checks.files_writable(self.state_file, self.mail_dir)
        if options.aws_endpoint:
            checks.endpoint_answers(options.aws_endpoint)
        return checks.dns_address(options.dns, host_name) if options.dns else ""

    def _servers(
        self, spawner: Spawner, authority: Authority, lambda_url: str, zones: list[Path], given_dns: str
    ) -> tuple[Aws, str, str]:
        """moto, DNS server, sink, started together; (AWS, "ip:port" of DNS, of the sink)."""
        options = self.options
        certificate = authority.issue("sink", ("sink.localhost", f"mx.{names.INBOX_DOMAIN}", "localhost", HOST))
        tls = ["--cert", str(certificate.cert_file), "--key", str(certificate.key_file)]
        if not options.aws_endpoint:
            self._spawn(spawner, "moto", ["-m", "local.moto_server", "--lambda-url", lambda_url])
        if not given_dns:
            self._spawn(spawner, "dns", ["-m", "local.dns", *map(str, zones)])
        self._spawn(spawner, "sink", ["-m", "local.sink", "--mail-dir", str(self.mail_dir), *tls])
        addresses = {name: f"{HOST}:{child.ready()['port']}" for name, child in self._running.children.items()}
        endpoint = options.aws_endpoint or f"http://{addresses['moto']}"
        return Aws(endpoint, REGION), given_dns or addresses["dns"], addresses["sink"]

    def _gateway(
        self, spawner: Spawner, authority: Authority, aws: Aws, stack: Stack, host_name: str, lambda_url: str
    ) -> dict[str, Any]:
        """Its "listening" event."""
        certificate = authority.issue("gateway", (host_name, "localhost", socket.gethostname(), HOST, "::1"))
        child = self._spawn(
            spawner,
            "gateway",
            ["-m", "smtp_gateway"],
            {
                **CREDENTIALS,
                "AWS_ACCESS_KEY_ID": "Gateway",
                "AWS_REGION": aws.region,
                "AWS_ENDPOINT_URL": aws.endpoint,
                "AWS_ENDPOINT_URL_LAMBDA": lambda_url,
                "AWS_EC2_METADATA_DISABLED": "true",
                "GATEWAY_HOST_NAME": host_name,
                "GATEWAY_LISTEN": f"{HOST}:{self.options.port}",
                "GATEWAY_TLS_LISTEN": f"{HOST}:{self.options.tls_port}",
                "GATEWAY_CERT_FILE": str(certificate.cert_file),
                "GATEWAY_KEY_FILE": str(certificate.key_file),
                "GATEWAY_VALIDATE_QUEUE_URL": stack.resources["ValidateQueue"],
                "GATEWAY_VALIDATE_FUNCTION": stack.resources["ValidateFunction"],
                "GATEWAY_ACCOUNTS_TABLE": stack.resources["AccountsTable"],
                "GATEWAY_USAGE_TABLE": stack.resources["UsageTable"],
                "GATEWAY_MESSAGES_PER_SECOND": stack.parameters["MessagesPerSecond"],
                "GATEWAY_MESSAGES_PER_DAY": stack.parameters["MessagesPerDay"],
                "GATEWAY_MAX_RECIPIENTS": stack.parameters["MaxRecipients"],
                "GATEWAY_CONTENT_BUCKET": stack.resources["ContentBucket"],
                "GATEWAY_WORKERS": "2",  # several, as in production, and no more on a machine with many CPUs
            },
        )
        return child.ready()

    def _spawn(
        self, spawner: Spawner, name: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> Child:
        variables = {**base_environment(), "PYTHONUNBUFFERED": "1", **(environment or {})}
        child = self._running.children[name] = spawner.python(name, arguments, variables, cwd=ROOT)
        self._exit.callback(child.stop)
        return child

    def _zones(self, parameters: dict[str, str]) -> list[Path]:
        """The DNS server's files: the given one first, the default names last. StartError if it can't be read."""
        given = [self.options.zone.absolute()] if self.options.zone else []
        try:
            for path in given:
                Zone.read(path)
        except ZoneError as error:
            raise StartError(f"--zone {error}") from error
        self.files.mkdir(parents=True, exist_ok=True)
        default = self.files / "default.zone"
        default.write_text(
            names.default_zone(
                spf_domain=parameters["SpfDomain"],
                host_name=parameters["HostName"],
                token_name=parameters["TokenName"],
            ),
            "utf-8",
        )
        return [*given, default]

    def _clear_files(self) -> None:
        """What the last run left."""
        for name in ("logs", "tls", "mail"):
            shutil.rmtree(self.files / name, ignore_errors=True)

    async def _create_accounts(self, aws: Aws, table: str) -> None:
        credentials = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], "")
        client = AwsClient(aws.region, aws.endpoint, credentials=credentials)
        try:
            store = DynamoAccounts(client, table)
            for user, password in self.accounts:
                salt = new_salt()
                account = Account(user, salt, hash_password(password, salt), PHONE, time.time())
                if not await store.create(account):  # the stack is one that was there; this password is now right
                    await store.remove(user.lower())
                    await store.create(account)
        except RelayError as error:
            raise StartError(f"accounts can't be created: {error}") from error
        finally:
            await client.close()

    # --- the state file ---

    def _write_state(self, aws: Aws, stack: Stack, dns: str, sink: str, gateway: dict[str, Any], ca_file: Path) -> None:
        queues = stack.of_type("AWS::SQS::Queue")
        self.state = {
            "host": HOST,
            "port": gateway["port"],
            "tls_port": gateway["tls_port"],
            "ca_file": str(ca_file),
            "aws_endpoint": aws.endpoint,
            "region": aws.region,
            "dns": dns,
            "sink": sink,
            "mail_dir": str(self.mail_dir),
            "page": None,
            "queues": {name: f"{aws.endpoint}/{url.split('/', 3)[3]}" for name, url in queues.items()},
            "tables": stack.of_type("AWS::DynamoDB::Table"),
            "bucket": stack.resources["ContentBucket"],
            "functions": stack.of_type("AWS::Lambda::Function"),
            "parameters": dict(stack.parameters),
            "lambda": self._running.functions.url if self._running.functions else "",
            "logs": str(self.logs),
            "pids": {},
        }
        self._rewrite()

    def _rewrite(self) -> None:
        """With the process ids as they are now; called whenever a worker starts or ends."""
        with self._lock:
            if not self.state:
                return
            workers = self._running.functions.pids() if self._running.functions else {}
            children = {name: child.pid for name, child in self._running.children.items()}
            self.state["pids"] = {"supervisor": os.getpid(), **children, **workers}
            partial = self.state_file.with_name(f".{self.state_file.name}.partial")
            partial.write_text(json.dumps(self.state, indent=2) + "\n", "utf-8")
            partial.replace(self.state_file)


def _log_to(path: Path) -> Callable[[], None]:
    """What our own threads log goes to `path`; returns what ends that."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("local")
    logger.addHandler(handler)
    logger.propagate = False

    def close() -> None:
        logger.removeHandler(handler)
        handler.close()

    return close


def run(options: Options) -> int:
    """Start, say where everything is, wait for a signal to stop, stop. The exit code: 0, or 1 with one
    line on standard error if something could not be started or has ended by itself."""
    try:
        with stop_signals(), System(options) as system:
            _write(greeting(system))
            while not (broken := system.broken()):
                time.sleep(CHECK_SECONDS)
    except Stopped:
        return 0
    except StartError as error:
        broken = str(error)
    sys.stderr.write(f"mailrelay: {' '.join(broken.split())}\n")
    return 1


def _write(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody reads it, which is no reason to stop
        sys.stdout.write(text)
        sys.stdout.flush()


def greeting(system: System) -> str:
    """What `make up` prints: where everything is, and a line that sends a first message."""
    state, (user, password) = system.state, system.accounts[0]
    show: Callable[[str], str] = lambda path: os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path  # noqa: E731
    rows = [
        ("host", state["host"]),
        ("port, STARTTLS", state["port"]),
        ("port, TLS", state["tls_port"]),
        ("user", ", ".join(each for each, _ in system.accounts)),
        ("password", "as given" if system.options.accounts else password),
        ("CA file", show(state["ca_file"])),
        ("mail that arrives", show(state["mail_dir"])),
        ("DNS server", state["dns"]),
        ("AWS endpoint", state["aws_endpoint"]),
        ("logs", show(state["logs"])),
    ]
    lines = [f"  {name:<18} {value}" for name, value in rows]
    memory = "" if system.options.aws_endpoint else "\nIt is all in memory: what isn't delivered when it stops is gone."
    text = "\n".join(["The relay is running; Ctrl-C stops it." + memory, "", *lines, ""])
    if not system.options.accounts:
        sender, recipient = f"news@{names.DEMO_DOMAIN}", f"you@{names.INBOX_DOMAIN}"
        where = "" if system.options.state == DEFAULT_STATE else f" \\\n    --state {show(str(system.state_file))}"
        text += f"""
Send a first message, with our own command or by any mail program:

  MAILRELAY_PASSWORD={password} \\
    .venv/bin/mailrelay send --user {user} --to {recipient}{where}

  printf 'From: {sender}\\nSubject: Hello\\n\\nIt works\\n' |
    curl -v --crlf --ssl-reqd --cacert {show(state["ca_file"])} \\
      --url smtp://{state["host"]}:{state["port"]} \\
      --user '{user}:{password}' \\
      --mail-from {sender} --mail-rcpt {recipient} --upload-file -
"""
    return text + "\n"
