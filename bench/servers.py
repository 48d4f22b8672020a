"""The servers that bench/gateway.py measures: how each is started, and what its processes have used."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.canned import PASSWORD, USER
from local.certificates import Certificate

HERE: Final = Path(__file__).parent
TICK: Final = os.sysconf("SC_CLK_TCK")
PATIENCE: Final = 30.0  # seconds to start, and to end
LOGIN: Final = f"{USER}:{PASSWORD}"


class StartError(Exception):
    """Says which server, and what it said."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to run. aws: the port of the canned AWS. node_modules: None if there are none."""

    folder: Path
    port: int
    certificate: Certificate
    aws: int
    node_modules: Path | None


Command = tuple[list[str], Mapping[str, str] | None]  # and its environment; None: ours


@dataclass(frozen=True, slots=True)
class Server:
    """command: to start it. missing: what there isn't, "" if it can run."""

    name: str
    command: Callable[[Place], Command]
    missing: Callable[[Path | None], str] = lambda _modules: ""


def _gateway(place: Place) -> Command:
    endpoint = f"http://127.0.0.1:{place.aws}"
    environment = {
        "PATH": "/usr/bin:/bin",
        "GATEWAY_HOST_NAME": "gw.bench.example",
        "GATEWAY_LISTEN": f"127.0.0.1:{place.port}",
        "GATEWAY_TLS_LISTEN": "127.0.0.1:0",
        "GATEWAY_CERT_FILE": str(place.certificate.cert_file),
        "GATEWAY_KEY_FILE": str(place.certificate.key_file),
        "GATEWAY_VALIDATE_QUEUE_URL": f"{endpoint}/123456789012/ValidateQueue",
        "GATEWAY_VALIDATE_FUNCTION": "validate",
        "GATEWAY_ACCOUNTS_TABLE": "Accounts",
        "GATEWAY_USAGE_TABLE": "Usage",
        "GATEWAY_MESSAGES_PER_SECOND": "1000000",
        "GATEWAY_MESSAGES_PER_DAY": "1000000000",
        "GATEWAY_CONTENT_BUCKET": "content",
        "GATEWAY_MAX_CONNECTIONS": "5000",
        "GATEWAY_WORKERS": "1",  # the load has the other CPU
        "AWS_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    return [sys.executable, "-m", "smtp_gateway"], environment


def _aiosmtpd(loop: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        files = map(str, (place.certificate.cert_file, place.certificate.key_file))
        script = str(HERE / "peers" / "aiosmtpd_discard.py")
        return [sys.executable, "-W", "ignore", script, str(place.port), *files, LOGIN, loop], None

    return command


def _floor(place: Place) -> Command:
    files = map(str, (place.certificate.cert_file, place.certificate.key_file))
    return [sys.executable, "-m", "bench.peers.floor", str(place.port), *files], None


def _smtp_server(place: Place) -> Command:
    files = map(str, (place.certificate.cert_file, place.certificate.key_file))
    script = str(HERE / "peers" / "smtp_server.js")
    return ["node", script, str(place.node_modules), str(place.port), *files, LOGIN], None


def _haraka(place: Place) -> Command:
    files = map(str, (place.certificate.cert_file, place.certificate.key_file))
    script = str(HERE / "peers" / "haraka.sh")
    where = [str(place.folder / "haraka"), str(place.node_modules), str(place.port)]
    return [script, *where, *files, USER, PASSWORD], None


def _postfix(place: Place) -> Command:
    files = map(str, (place.certificate.cert_file, place.certificate.key_file))
    script = str(HERE / "peers" / "postfix.sh")
    return [script, str(place.folder / "postfix"), str(place.port), *files, USER, PASSWORD], None


def _node(package: str) -> Callable[[Path | None], str]:
    def missing(modules: Path | None) -> str:
        if not shutil.which("node"):
            return "no node"
        if modules is None or not (modules / package).is_dir():
            return f"npm install --prefix .bench {package}"
        return ""

    return missing


def postfix_missing(_modules: Path | None) -> str:
    path = "/usr/sbin:/usr/bin"
    if not shutil.which("postfix", path=path) or not shutil.which("saslpasswd2", path=path):
        return "Debian: postfix sasl2-bin libsasl2-modules"
    return "" if os.geteuid() == 0 else "needs root"


SERVERS: Final = (
    Server("gateway", _gateway),
    Server("floor", _floor),
    Server("aiosmtpd", _aiosmtpd("asyncio")),
    Server("aiosmtpd-uvloop", _aiosmtpd("uvloop")),
    Server("smtp-server", _smtp_server, _node("smtp-server")),
    Server("haraka", _haraka, _node("Haraka")),
    Server("postfix", _postfix, postfix_missing),
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def running(name: str, command: Command, port: int, log: Path) -> Iterator[int]:
    """The process id of a server that answers on `port`. It and what it started have ended afterwards."""
    arguments, environment = command
    with log.open("w") as out:
        process = subprocess.Popen(arguments, env=environment, stdout=out, stderr=out, start_new_session=True)  # noqa: S603
    try:
        _wait(name, process, port, log)
        yield process.pid
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = tree(process.pid)
            for pid in left:
                _signal(pid, number)
            if all(_ended(process, pid) for pid in left):
                break


def _wait(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise StartError(f"{name} does not start: {log.read_text()[-500:].strip() or 'no word'}")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _ended(process: subprocess.Popen[bytes], pid: int) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        process.poll()
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.02)
    return False


def stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (proc(5)); [] if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def tree(root: int) -> list[int]:
    """`root` and all that descends from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu(root: int) -> float:
    """Seconds of user and system time of the tree, those of its processes that have ended included."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := stat(pid))) / TICK


def memory(root: int) -> int:
    """Octets of the tree: proportional set size (proc(5), smaps_rollup)."""
    total = 0
    for pid in tree(root):
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total
