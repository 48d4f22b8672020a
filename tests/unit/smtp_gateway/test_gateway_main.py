"""python -m smtp_gateway as a process: how it starts, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.gateway import certificate

ROOT = Path(__file__).parents[3]


def environment(**changes: str) -> dict[str, str]:
    cert_file, key_file = certificate()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GATEWAY_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers/relay")]),
        "GATEWAY_HOST_NAME": "gw.example",
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_TLS_LISTEN": "127.0.0.1:0",
        "GATEWAY_CERT_FILE": str(cert_file),
        "GATEWAY_KEY_FILE": str(key_file),
        "GATEWAY_VALIDATE_QUEUE_URL": "http://127.0.0.1:1/123456789012/validate",
        "GATEWAY_VALIDATE_FUNCTION": "validate",
        "GATEWAY_ACCOUNTS_TABLE": "accounts",
        "GATEWAY_USAGE_TABLE": "usage",
        "GATEWAY_CONTENT_BUCKET": "content",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        **changes,
    }


def start(under: Sequence[str] = (), **changes: str) -> subprocess.Popen[str]:
    """under: a command that runs it."""
    return subprocess.Popen(
        [*under, sys.executable, "-m", "smtp_gateway"],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_says_where_it_listens_and_stops_on_sigterm() -> None:
    with start() as process:
        assert process.stdout
        loaded, listening = (json.loads(process.stdout.readline()) for _ in range(2))
        assert (loaded["event"], loaded["kind"]) == ("certificate_loaded", "ECDSA")
        assert listening["event"] == "listening"
        with socket.create_connection(("127.0.0.1", listening["port"]), 10) as client:
            assert client.recv(100) == b"220 gw.example ESMTP\r\n"
            process.send_signal(signal.SIGTERM)
            assert client.recv(100) == b"421 4.3.2 Shutting down; try again\r\n"
        out, err = process.communicate(timeout=20)
        assert [json.loads(line)["event"] for line in out.splitlines()][-2:] == ["metrics", "stopped"]
        assert err == ""
        assert process.returncode == 0


def test_sighup_reads_the_certificate_again() -> None:
    with start() as process:
        assert process.stdout
        while json.loads(process.stdout.readline())["event"] != "listening":
            pass
        process.send_signal(signal.SIGHUP)
        assert json.loads(process.stdout.readline())["event"] == "certificate_loaded"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 0


WRONG = {
    "missing": ({"GATEWAY_ACCOUNTS_TABLE": ""}, 2, "smtp_gateway: GATEWAY_ACCOUNTS_TABLE is not set\n"),
    "bad number": (
        {"GATEWAY_MAX_SIZE": "lots"},
        2,
        "smtp_gateway: GATEWAY_MAX_SIZE='lots' is not a whole number of at least 65536\n",
    ),
    "bad endpoint": (
        {"AWS_ENDPOINT_URL_LAMBDA": "127.0.0.1:5001"},
        2,
        "smtp_gateway: AWS_ENDPOINT_URL_LAMBDA='127.0.0.1:5001' is not http://host:port or https://host:port\n",
    ),
    "no such file": (
        {"GATEWAY_CERT_FILE": "nowhere.pem"},
        2,
        "smtp_gateway: GATEWAY_CERT_FILE='nowhere.pem' cannot be read: No such file or directory\n",
    ),
}


@pytest.mark.parametrize(("changes", "code", "line"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_one_line(changes: dict[str, str], code: int, line: str) -> None:
    with start(**changes) as process:
        assert process.communicate(timeout=20) == ("", line)
        assert process.returncode == code


@pytest.mark.parametrize(
    ("soft", "hard", "starts"), [(200, 1000, True), (200, 499, False)], ids=["raised", "not allowed"]
)
def test_open_files_for_all_connections(soft: int, hard: int, starts: bool) -> None:
    limits = ["prlimit", f"--nofile={soft}:{hard}"]
    with start(limits, GATEWAY_MAX_CONNECTIONS="100", GATEWAY_WORKERS="1") as process:
        assert process.stdout
        if starts:
            while json.loads(process.stdout.readline())["event"] != "listening":
                pass
            lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
            (row,) = (line.split() for line in lines if line.startswith("Max open files"))
            assert row[3:5] == [str(hard), str(hard)]
            process.terminate()
        out, err = process.communicate(timeout=20)
        assert process.returncode == (0 if starts else 2)
    if not starts:
        why = "needs 500 open files in each worker, and the system allows 499 (ulimit -Hn)"
        assert (out, err) == ("", f"smtp_gateway: GATEWAY_MAX_CONNECTIONS=100 {why}\n")


def test_a_taken_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start(GATEWAY_TLS_LISTEN=f"127.0.0.1:{port}") as process:
            out, err = process.communicate(timeout=20)
        assert "listening" not in out
    why = "cannot be listened on: Address already in use"
    assert err == f"smtp_gateway: GATEWAY_TLS_LISTEN: port {port} of 127.0.0.1 {why}\n"
    assert process.returncode == 1
