"""The gateway's processes, as they are: `python -m smtp_gateway` with several workers."""

import errno
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from relay.aws.accounts import item_of
from smtp_gateway.health import DEATHS, DYING
from smtp_gateway.log import Log
from smtp_gateway.workers import LATEST, TICK, Workers, _Worker
from tests.fakes import FakeClock
from tests.gateway import PASSWORD, USER, account, client_context
from tests.unit.smtp_gateway.test_gateway_main import start

PATIENCE = 20.0  # seconds
GREETING = b"220 gw.example ESMTP\r\n"


class Aws(BaseHTTPRequestHandler):
    """Every account there is, every message is taken; no ruling."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found: dict[str, Any] = {}
        match (self.headers["X-Amz-Target"] or "").rpartition(".")[2]:
            case "GetItem":
                found = {"Item": item_of(account())}
            case "SendMessageBatch":
                found = {"Successful": [{"Id": each["Id"]} for each in asked["Entries"]]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Running:
    """events: what it has logged so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.listening = until(lambda: self.of("listening"))[0]

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.listening["port"]), PATIENCE)

    def greet(self, times: int = 1) -> None:
        for _ in range(times):
            with self.connect() as client:
                assert client.recv(100) == GREETING

    @property
    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def health(self) -> tuple[int, dict[str, Any]]:
        url = f"http://127.0.0.1:{self.listening['health_port']}/health"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


def until(what: Callable[[], Any]) -> Any:
    """What it is once it is true."""
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)
    return found


@contextmanager
def gateway(workers: int = 2, **changes: str) -> Iterator[Running]:
    process = start(GATEWAY_WORKERS=str(workers), GATEWAY_HEALTH_LISTEN="127.0.0.1:0", **changes)
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def aws() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Aws) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_all_workers_take_connections() -> None:
    with gateway(3) as running:
        clients = [running.connect() for _ in range(60)]
        assert {client.recv(100) for client in clients} == {GREETING}
        assert all(_sockets(pid) for pid in running.workers)
        for client in clients:
            client.close()
        assert running.end() == 0


def _sockets(pid: int) -> int:
    """Beyond what a worker has open without connections."""
    names = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(name.startswith("socket:") for name in names) - 4  # listening: 2, channel, the loop's


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_is_replaced_and_who_waits_is_served(workers: int) -> None:
    with gateway(workers) as running:
        victim = running.workers[0]
        os.kill(victim, signal.SIGKILL)
        running.greet(20)  # some of them hash to the dead one's socket
        assert victim not in until(lambda: len(running.workers) == workers and running.workers)
        assert [each["worker"] for each in running.of("worker_ended")] == [0]
        assert running.end() == 0


def test_health_says_that_a_worker_dies_again_and_again() -> None:
    with gateway() as running:
        victim, other = running.workers
        for deaths in range(1, DEATHS + 1):
            os.kill(victim, signal.SIGKILL)
            until(lambda deaths=deaths: len(running.of("worker_ended")) == deaths)
            assert (DYING in running.health()[1]["reasons"]) == (deaths == DEATHS)
            (victim,) = until(lambda dead=victim: set(running.workers) - {other, dead})
        assert running.end() == 0


def test_a_worker_that_crashes_in_the_drain_is_told_of() -> None:
    with gateway(1) as running:
        (worker,) = running.workers
        os.kill(worker, signal.SIGSTOP)  # so that it doesn't end
        running.process.send_signal(signal.SIGTERM)
        until(lambda: running.of("stopping"))
        os.kill(worker, signal.SIGKILL)
        assert running.process.wait(PATIENCE) == 1
        assert until(lambda: running.of("worker_ended"))


@pytest.mark.parametrize("call", ["os.fork", "socket.socketpair"])
def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    lines: list[str] = []
    made = Workers((), lambda *_: None, Log(FakeClock(), lines.append), lambda: None)
    worker = _Worker(3, ())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def full() -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(call, full)
    made._start(worker, 100.0)
    assert (worker.pid, worker.start_at) == (0, 100.0 + LATEST)
    (line,) = map(json.loads, lines)
    assert (line["event"], line["worker"], line["error"]) == (
        "worker_not_started",
        3,
        "Resource temporarily unavailable",
    )
    assert not made.selector.get_map()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    made.selector.close()


def _connects(running: Running) -> bool:
    try:
        running.connect().close()
    except ConnectionError:
        return False
    return True


def test_without_the_parent_the_workers_end() -> None:
    with gateway() as running:
        workers = running.workers
        with running.connect() as idle:
            assert idle.recv(100) == GREETING
            running.end(signal.SIGKILL)
            assert idle.recv(100) == b"421 4.3.2 Shutting down; try again\r\n"
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_transaction_in_progress_is_finished_and_health_says_shutting_down(aws: str) -> None:
    with gateway(AWS_ENDPOINT_URL=aws) as running:
        with logged_in(running.listening) as client:
            for line, code in ((b"MAIL FROM:<>", b"250 "), (b"RCPT TO:<a@b.example>", b"250 "), (b"DATA", b"354 ")):
                client.sendall(line + b"\r\n")
                assert client.recv(100).startswith(code)
            client.sendall(b"From: jo@example.com\r\n\r\nhi\r\n")
            until(lambda: running.health()[0] == 200)
            running.process.send_signal(signal.SIGTERM)
            assert until(lambda: running.health()[0] == 503 and running.health()[1])["reasons"] == ["shutting down"]
            until(lambda: not _connects(running))
            client.sendall(b".\r\n")
            answers = client.makefile("rb")
            assert answers.readline().startswith(b"250 2.0.0 queued as ")
            assert answers.readline() == b"421 4.3.2 Shutting down; try again\r\n"
        assert running.process.wait(PATIENCE) == 0
        assert until(lambda: running.of("stopped"))[0]["cut_off"] == 0


WAITS = {
    "all run": ([1, 2], 0.0, 0.0, TICK),
    "one is to be started": ([1, 0], 0.0, 100.25, 0.25),
    "one is overdue": ([1, 0], 0.0, 99.0, 0.0),
    "one has ended for good": ([1, 0], 99.5, 0.0, TICK),
}


@pytest.mark.parametrize(("pids", "draining", "start_at", "wait"), WAITS.values(), ids=WAITS)
def test_the_parent_turns_only_when_there_is_something_to_do(
    pids: list[int], draining: float, start_at: float, wait: float
) -> None:
    made = Workers((), lambda *_: None, Log(FakeClock()), lambda: None)
    made._all = [_Worker(number, (), pid=pid, start_at=start_at) for number, pid in enumerate(pids)]
    made._draining = draining
    assert made._wait(100.0) == wait
    made.selector.close()


@contextmanager
def logged_in(listening: dict[str, Any]) -> Iterator[ssl.SSLSocket]:
    """listening: the event."""
    port = listening["tls_port"]
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    with client_context().wrap_socket(plain, server_hostname="localhost") as client:
        token = b64encode(f"\0{USER}\0{PASSWORD}".encode())
        client.recv(100)
        client.sendall(b"EHLO x\r\n")
        client.recv(1000)
        client.sendall(b"AUTH PLAIN " + token + b"\r\n")
        assert client.recv(100).startswith(b"235 ")
        yield client


def test_health_is_well_with_aws(aws: str) -> None:
    with gateway(AWS_ENDPOINT_URL=aws) as running:
        assert running.health() == (200, {"status": "ok", "reasons": [], "workers": 2, "connections": 0})


def test_health_says_what_is_away() -> None:
    with gateway() as running:  # whose AWS is a port that refuses
        found = until(lambda: len(running.health()[1]["reasons"]) == 2 and running.health())
        assert found[0] == 503
        assert set(found[1]["reasons"]) == {"the queue does not acknowledge messages", "the accounts cannot be read"}
        running.greet()  # it is for the balancer to draw conclusions


def test_mail_goes_on_when_nobody_reads_the_log_any_more(aws: str) -> None:
    with start(GATEWAY_WORKERS="1", AWS_ENDPOINT_URL=aws) as process:
        try:
            assert process.stdout
            listening: dict[str, Any] = {}
            while listening.get("event") != "listening":
                listening = json.loads(process.stdout.readline())
            process.stdout.close()
            for _ in range(2):
                with logged_in(listening) as client:
                    answers = client.makefile("rb")
                    client.sendall(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
                    client.sendall(b"From: jo@example.com\r\n\r\nhi\r\n.\r\n")
                    assert [answers.readline()[:3] for _ in range(4)] == [b"250", b"250", b"354", b"250"]
            process.terminate()
            process.wait(PATIENCE)
            assert process.stderr
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_a_port_that_another_gateway_has_is_taken() -> None:
    """SO_REUSEPORT alone would share it between the two."""
    with gateway() as running:
        with start(GATEWAY_WORKERS="2", GATEWAY_LISTEN=f"127.0.0.1:{running.listening['port']}") as second:
            _, err = second.communicate(timeout=PATIENCE)
        assert "cannot be listened on: Address already in use" in err
        assert second.returncode == 1


def test_ctrl_c_ends_it_as_sigterm_does() -> None:
    with gateway() as running:
        for pid in running.workers:  # a terminal sends it to all of them
            os.kill(pid, signal.SIGINT)
        assert running.end(signal.SIGINT) == 0
        assert [each["event"] for each in running.events][-1] == "stopped"
        assert not running.of("worker_ended")
