"""The real `sam build` and `sam deploy` of template.yaml, against an emulator of AWS on loopback, and a message through
what they made: gateway, queues, functions that the emulator runs, a sink. `make deployed`.

The edge is off: the emulator has neither autoscaling nor NAT gateways. The functions are built for this machine's kind
of processor instead of Arm. Everything else is template.yaml as it is.
"""

import asyncio
import json
import os
import platform
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

from local.certificates import Authority
from local.stack import ROOT
from relay.account import Account
from relay.aws.accounts import DynamoAccounts
from relay.aws.client import AwsClient
from relay.aws.signing import Credentials
from relay.aws.stack import stack_facts
from relay.password import hash_password, new_salt
from relay.proof.token import records_to_publish

STACK, REGION = "relay", "eu-north-1"
USER, SENDER, TO = "app@corp.example", "news@corp.example", "you@in.example"
PASSWORD: Final = "a-pass-phrase-for-the-deployed"
RUNTIME: Final = "python3.13"
HOST: Final = "127.0.0.1"
KEYS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
EMULATOR: Final = ROOT / ".venv-emulator"
SAM: Final = ROOT / ".venv-sam" / "bin" / "sam"
NOT_HAD: Final = ("No matching distribution", "Could not find a version", "Connection", "Temporary failure")  # pip's
T = TypeVar("T")


def missing(python: str) -> str:
    """Why it can't be done here; "" if it can. python: the functions' own, "" if there is none."""
    if not python:
        return f"there is no {RUNTIME}, which the functions are built with"
    if not SAM.exists():
        return "sam isn't installed"
    why = EMULATOR / "why"
    if not (EMULATOR / "ready").exists():
        return why.read_text().strip() if why.exists() else "the emulator isn't installed"
    return ""


class SkippedError(Exception):
    """Says why."""


class Deployed:
    """folder: for all of it. python: what the functions are built with, and run. url: the emulator's."""

    def __init__(self, folder: Path, python: Path, exits: ExitStack) -> None:
        self._folder = folder
        self._exits = exits
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"
        self.aws = {**KEYS, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": self.url, "SAM_CLI_TELEMETRY": "0"}
        bin = folder / "bin"
        bin.mkdir()
        for name in (RUNTIME, "python3"):  # the emulator runs functions by the second, sam builds them by the first
            (bin / name).symlink_to(python.resolve())
        self._path = f"{bin}:{os.defpath}"

    def start(self, name: str, command: list[str], environment: Mapping[str, str]) -> Path:
        """A process until the end; its log."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as out:
            environment = {"PATH": self._path, "HOME": str(self._folder), **environment}
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        self._exits.callback(_end, process)
        return log

    def emulator(self) -> None:
        environment = {"GATEWAY_PORT": str(self._port), "BIND_HOST": HOST, "IOT_MTLS_ENABLED": "0", **KEYS}
        script = str(Path(__file__).with_name("emulator.py"))
        log = self.start("emulator", [str(EMULATOR / "bin" / "python"), script], environment)
        wait_for(f"the emulator; see {log}", lambda: _answers(f"{self.url}/_ministack/health"))

    def servers(self) -> tuple[int, int]:
        """Ports of the DNS server and of the sink."""
        zone = self._folder / "zone"
        lines = [str(each) for each in records_to_publish("corp.example", USER, "elastx-mrs", "elastx.email")]
        lines += ["in.example. MX 10 mx.in.example.", f"mx.in.example. A {HOST}", 'elastx.email. TXT "v=spf1 a -all"']
        zone.write_text("".join(f"{line}\n" for line in lines))
        python = {"PYTHONUNBUFFERED": "1"}
        dns = self.start("dns", [sys.executable, "-m", "local.dns", str(zone)], python)
        pair = Authority(self._folder / "sink").issue("sink", ("mx.in.example",))
        mail = ["--mail-dir", str(self._folder / "mail"), "--cert", str(pair.cert_file), "--key", str(pair.key_file)]
        sink = self.start("sink", [sys.executable, "-m", "local.sink", *mail], python)
        return tuple(int(_event(log, "listening")["port"]) for log in (dns, sink))  # type: ignore[return-value]

    def sam(self, *arguments: str) -> None:
        environment = {"PATH": self._path, "HOME": str(self._folder), **self.aws}
        command = [str(SAM), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode and arguments[0] == "build" and any(each in said for each in NOT_HAD):
            raise SkippedError("sam build can't have the packages that functions need here")
        if done.returncode:
            raise RuntimeError(f"sam {arguments[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")

    def deploy(self, parameters: Mapping[str, str]) -> None:
        template, built = self._folder / "template.yaml", self._folder / "built"
        kind = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
        template.write_text(
            (ROOT / "template.yaml")
            .read_text("utf-8")
            .replace("[arm64]", f"[{kind}]")
            .replace("BuildArchitecture: arm64", f"BuildArchitecture: {kind}"),
            "utf-8",
        )
        places = ["--build-dir", str(built), "--cache-dir", str(self._folder / "cache"), "--base-dir", str(ROOT)]
        self.sam("build", "--template", str(template), *places)
        given = [f"{name}={value}" for name, value in parameters.items()]
        names = ["--stack-name", STACK, "--region", REGION, "--capabilities", "CAPABILITY_IAM", "--resolve-s3"]
        once = ["--no-confirm-changeset", "--no-progressbar"]
        self.sam(
            "deploy", "--template-file", str(built / "template.yaml"), *names, *once, "--parameter-overrides", *given
        )

    def outputs(self) -> dict[str, str]:
        os.environ.update(KEYS)  # boto3's, for the emulator alone
        return stack_facts(STACK, REGION, self.url).outputs

    def gateway(self, outputs: Mapping[str, str]) -> tuple[int, Path]:
        """Its port with STARTTLS, and the CA that its certificate is of."""
        authority = Authority(self._folder / "tls")
        pair = authority.issue("gateway", ("localhost", HOST))
        log = self.start(
            "gateway",
            [sys.executable, "-m", "smtp_gateway"],
            {
                **self.aws,
                "GATEWAY_HOST_NAME": "smtp.corp.example",
                "GATEWAY_LISTEN": f"{HOST}:0",
                "GATEWAY_TLS_LISTEN": f"{HOST}:0",
                "GATEWAY_CERT_FILE": str(pair.cert_file),
                "GATEWAY_KEY_FILE": str(pair.key_file),
                "GATEWAY_VALIDATE_QUEUE_URL": outputs["ValidateQueueUrl"],
                "GATEWAY_VALIDATE_FUNCTION": outputs["ValidateFunctionName"],
                "GATEWAY_ACCOUNTS_TABLE": outputs["AccountsTableName"],
                "GATEWAY_USAGE_TABLE": outputs["UsageTableName"],
                "GATEWAY_CONTENT_BUCKET": outputs["ContentBucketName"],
                "GATEWAY_WORKERS": "1",
                "GATEWAY_VERDICT_PATIENCE": "30",
            },
        )
        return int(_event(log, "listening")["port"]), authority.ca_file

    async def account(self, table: str) -> None:
        """One whose password is known here: no phone rings."""
        client, salt = AwsClient(REGION, self.url, credentials=Credentials("test", "test")), new_salt()
        account = Account(USER, salt, hash_password(PASSWORD, salt), "+46701234567", time.time())
        await DynamoAccounts(client, table).create(account)
        await client.close()

    def mailrelay(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("mailrelay")), *arguments, "--stack", STACK, "--region", REGION]
        environment = {"PATH": self._path, **self.aws}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mailrelay {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def arrived(self) -> bytes:
        """What the sink has; b"" if nothing."""
        return b"".join(path.read_bytes() for path in (self._folder / "mail").glob("*.eml"))


def submit(port: int, ca_file: Path) -> str:
    """A message by SMTP; its id."""
    with smtplib.SMTP(HOST, port, timeout=60) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(ca_file)))
        client.login(USER, PASSWORD)
        client.mail(SENDER)
        client.rcpt(TO)
        code, said = client.data(f"From: {SENDER}\r\nTo: {TO}\r\nSubject: deployed\r\n\r\nIt works.\r\n".encode())
    if code != 250:
        raise RuntimeError(f"the gateway said {code} {said.decode()}")
    return said.decode().rpartition(" ")[2]


def run(deployed: Deployed) -> None:
    deployed.emulator()
    dns, sink = deployed.servers()
    began = time.monotonic()
    deployed.deploy(
        {
            "Edge": "off",
            "Alarms": "off",
            "DnsServers": f"{HOST}:{dns}",
            "SmtpPort": str(sink),
            "ReachableNetworks": "127.0.0.0/8",
        }
    )
    outputs = deployed.outputs()
    print(f"sam build and sam deploy: {len(outputs)} outputs after {time.monotonic() - began:.0f} s")
    made = deployed.mailrelay("accounts", "create", "made@in.example", "--phone", "+46701234567")
    print(made.splitlines()[0])
    asyncio.run(deployed.account(outputs["AccountsTableName"]))
    port, ca_file = deployed.gateway(outputs)
    id = submit(port, ca_file)
    print(f"accepted: {id}")
    content = wait_for("the message at the sink", deployed.arrived, 90.0)
    if b"It works." not in content:
        raise RuntimeError("the sink has another message")
    traced = wait_for("the record", lambda: _state(deployed, id), 60.0)
    print(f"delivered to the sink; mailrelay trace: {traced}")
    print(next(line for line in deployed.mailrelay("status").splitlines() if line.startswith("last hour")))


def _state(deployed: Deployed, id: str) -> str:
    """As `mailrelay trace` has it; "" until all are delivered."""
    try:
        recipients = json.loads(deployed.mailrelay("trace", id, "--json"))["recipients"]
    except RuntimeError:  # nothing is recorded yet
        return ""
    return "delivered" if {each["state"] for each in recipients} == {"delivered"} else ""


def main(python: str) -> int:
    """python: the path of a python3.13, "" if there is none."""
    if why := missing(python):
        print(f"deployed: skipped, {why}")
        return 0
    with tempfile.TemporaryDirectory(prefix="deployed-") as name, ExitStack() as exits:
        folder = Path(name)
        try:
            run(Deployed(folder, Path(python), exits))
        except SkippedError as error:
            print(f"deployed: skipped, {error}")
        except (RuntimeError, TimeoutError) as error:
            print(f"deployed: {error}", file=sys.stderr)
            for log in sorted(folder.glob("*.log")):
                print(f"--- the end of {log.name}\n{log.read_text('utf-8', 'replace')[-2000:]}", file=sys.stderr)
            return 1
    return 0


def wait_for(what: str, check: Callable[[], T | None], seconds: float = 30.0) -> T:
    until = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)
    return found


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _event(log: Path, name: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        lines = [line for line in log.read_text("utf-8").splitlines() if line.startswith("{")]
        return next((each for each in map(json.loads, lines) if each.get("event") == name), None)

    return wait_for(f"{name} in {log.name}", found)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
