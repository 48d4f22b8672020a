"""Starting, describing and stopping the whole."""

import asyncio
import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import dns.message
import dns.query
import pytest

from local import supervisor
from local.processes import Spawner, StartError, base_environment
from local.stack import ROOT
from local.supervisor import Options, System, greeting
from relayctl.cloud import connect
from relayctl.context import Target

FIELDS = {
    "host", "port", "tls_port", "ca_file", "aws_endpoint", "region", "dns", "sink",
    "mail_dir", "page", "queues", "tables", "bucket", "pids",
}  # fmt: skip
RUN = "import sys; from pathlib import Path; from local.supervisor import *; sys.exit(run(Options(%s)))"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    (folder / "zone").write_text('mine.example. TXT "here"\nsmtp.elastx.email. A 192.0.2.9\n')
    options = Options(port=0, tls_port=0, state=folder / "state.json", zone=folder / "zone", clock_speed=100)
    with System(options) as system:
        yield system


def alive(pid: int) -> bool:
    try:
        return b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, [pid for pid in pids if alive(pid)]
        time.sleep(0.05)


def test_the_state_file_describes_it(system: System) -> None:
    state = json.loads(system.state_file.read_text())
    assert state == system.state
    assert state.keys() >= FIELDS
    assert {"ValidateQueue", "RecordDeadLetterQueue"} <= state["queues"].keys()
    tables = "Ledger Messages Accounts Audit Usage Notices Receipts Suppressions Policies Sites DkimKeys"
    assert state["tables"].keys() == {f"{each}Table" for each in tables.split()}
    assert all(map(alive, state["pids"].values()))
    assert {"supervisor", "moto", "dns", "sink", "gateway", "DeliverFunction/1"} <= state["pids"].keys()
    sqs = boto3.client(
        "sqs",
        endpoint_url=state["aws_endpoint"],
        region_name=state["region"],
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    for url in state["queues"].values():
        assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS"])
def test_both_ports_have_a_certificate_of_the_ca(system: System, implicit: bool) -> None:
    context = ssl.create_default_context(cafile=system.state["ca_file"])
    host, port = system.state["host"], system.state["tls_port" if implicit else "port"]
    if implicit:
        client: smtplib.SMTP = smtplib.SMTP_SSL(host, port, context=context, timeout=10)
    else:
        client = smtplib.SMTP("localhost", port, timeout=10)
        client.starttls(context=context)
    assert client.login(*system.accounts[0])[0] == 235
    client.quit()


def test_the_greeting_says_where_everything_is(system: System) -> None:
    user, password = system.accounts[0]
    text = greeting(system)
    for each in ("127.0.0.1", str(system.state["port"]), str(system.state["tls_port"]), user, password, "ca.pem"):
        assert each in text
    assert "curl" in text
    assert max(len(line) for line in text.replace(str(system.files.parent), ".local").splitlines()) <= 80


@pytest.mark.parametrize(
    ("name", "rdtype", "answer"),
    [
        ("mine.example", "TXT", '"here"'),
        ("smtp.elastx.email", "A", "192.0.2.9"),
        ("elastx.email", "TXT", '"v=spf1 ip4:127.0.0.1 -all"'),
        ("in.example", "MX", "10 mx.in.example."),
        ("_dmarc.demo.example", "TXT", '"v=DMARC1; p=none"'),
    ],
)
def test_the_zone_file_comes_before_the_defaults(system: System, name: str, rdtype: str, answer: str) -> None:
    host, _, port = system.state["dns"].rpartition(":")
    message = dns.message.make_query(name, rdtype)
    (rrset,) = dns.query.udp(message, host, port=int(port), timeout=5).answer
    assert answer in [str(rdata) for rdata in rrset]


def test_a_worker_that_dies_is_replaced_in_the_state_file(system: System) -> None:
    before = system.state["pids"]["AccountsFunction/1"]
    service, name = system._running.functions, system.state["functions"]["AccountsFunction"]
    assert service
    (worker,) = service.workers(name)
    os.kill(before, signal.SIGKILL)
    worker.gone.wait(20)
    assert service.invoke(name, b'{"action": "list"}').ok
    pids = json.loads(system.state_file.read_text())["pids"]
    assert before not in pids.values()
    assert "AccountsFunction/2" in pids


def test_one_state_file_describes_one_system(system: System) -> None:
    with pytest.raises(StartError, match="is running"), System(Options(port=0, tls_port=0, state=system.state_file)):
        pass
    assert system.state_file.exists()


def test_accounts_and_other_servers_as_given(system: System, folder: Path) -> None:
    options = Options(
        port=0,
        tls_port=0,
        state=folder / "s.json",
        mail_dir=folder / "mail",
        accounts=(("One@x.example", "first"), ("two@x.example", "second")),
        dns=system.state["dns"],
    )
    with System(options) as other:
        assert other.state["dns"] == system.state["dns"]
        assert "dns" not in other.state["pids"]
        assert other.state["mail_dir"] == str(folder / "mail")
        assert "second" not in greeting(other)
        for user, password in options.accounts:
            with smtplib.SMTP("127.0.0.1", other.state["port"], timeout=10) as client:
                client.starttls(context=ssl.create_default_context(cafile=other.state["ca_file"]))
                assert client.login(user, password)[0] == 235
        pids = [pid for name, pid in other.state["pids"].items() if name != "supervisor"]
    assert not any(map(alive, pids))
    assert not (folder / "s.json").exists()


async def users(state: dict[str, Any]) -> list[str]:
    async with connect(Target("it", state["region"], state["aws_endpoint"], "", state)) as cloud:
        return [each["user"] for each in (await cloud.accounts({"action": "list"}))["accounts"]]


def test_an_endpoint_that_outlives_it(folder: Path) -> None:
    spawner = Spawner(folder / "logs")
    try:
        moto = spawner.python("moto", ["-m", "local.moto_server"], base_environment(), cwd=ROOT).ready()
        options = Options(
            port=0,
            tls_port=0,
            state=folder / "s.json",
            accounts=(("one@x.example", "secret"),),
            aws_endpoint=f"http://127.0.0.1:{moto['port']}",
        )
        tables = []
        for _ in range(2):
            with System(options) as system:
                tables.append(system.state["tables"])
                assert "moto" not in system.state["pids"]
                assert asyncio.run(users(system.state)) == ["one@x.example"]
        assert tables[0] == tables[1]
    finally:
        spawner.close()


# --- what can't be started: one line, exit 1 ---


Case = tuple[Options, str]


def given(folder: Path, **options: Any) -> Options:
    return Options(**{"port": 0, "tls_port": 0, "state": folder / "s", **options})


def taken(folder: Path) -> Case:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    test_what_cannot_be_started.listener = listener  # type: ignore[attr-defined]
    return given(folder, port=port), f"--port {port} is taken: "


def one_port_twice(folder: Path) -> Case:
    return given(folder, port=2999, tls_port=2999), "--port and --tls-port are both 2999: "


def bad_zone(folder: Path) -> Case:
    path = folder / "bad.zone"
    path.write_text("a.example. TXT x\nb.example. A 1.2.3\n")
    return given(folder, zone=path), f"--zone {path}:2: "


def no_text_in_zone(folder: Path) -> Case:
    path = folder / "bad.zone"
    path.write_bytes(b"\xff\xfe")
    return given(folder, zone=path), f"--zone {path}: not a master file: "


def no_zone(folder: Path) -> Case:
    path = folder / "none"
    return given(folder, zone=path), f"--zone {path}: No such file"


def no_aws(folder: Path) -> Case:
    url = "http://127.0.0.1:1"
    return given(folder, aws_endpoint=url), f"--aws-endpoint {url}: nothing answers there (Connection refused)"


def no_dns_host(folder: Path) -> Case:
    return given(folder, dns="a..b:53"), "--dns a..b:53: there is no host a..b"


def no_dns_server(folder: Path) -> Case:
    return given(folder, dns="127.0.0.1:1"), "--dns 127.0.0.1:1: no DNS server is there (Connection refused)"


def no_state_folder(folder: Path) -> Case:
    (folder / "file").write_text("")
    path = folder / "file" / "s"
    return given(folder, state=path), f"--state {path}: the folder can't be made: File exists"


def state_is_folder(folder: Path) -> Case:
    return given(folder, state=folder), f"--state {folder} is a folder"


def mail_dir_is_file(folder: Path) -> Case:
    path = folder / "file"
    path.write_text("")
    return given(folder, mail_dir=path), f"--mail-dir {path}: the folder can't be made: File exists"


def one_account_twice(folder: Path) -> Case:
    return given(folder, accounts=(("a@x.se", "p"), ("A@x.se", "q"))), "--account A@x.se is given twice"


def account_not_ascii(folder: Path) -> Case:
    return given(folder, accounts=(("å@x.se", "p"),)), "--account å@x.se: the user name must be "


@pytest.mark.parametrize(
    "case",
    [
        taken,
        one_port_twice,
        bad_zone,
        no_text_in_zone,
        no_zone,
        no_aws,
        no_dns_host,
        no_dns_server,
        no_state_folder,
        state_is_folder,
        mail_dir_is_file,
        one_account_twice,
        account_not_ascii,
    ],
)
def test_what_cannot_be_started(case: Callable[[Path], Case], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, line = case(folder)
    assert supervisor.run(options) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"mailrelay: {line}")
    assert said.err.count("\n") == 1
    assert not options.state.is_file()


# --- ends ---


def started(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    arguments = f"port=0, tls_port=0, state=Path({str(folder / 's.json')!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN % arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert b"is running" in process.stdout.readline()
    return process, json.loads((folder / "s.json").read_text())["pids"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(folder: Path, number: int) -> None:
    process, pids = started(folder)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == (-number if number == signal.SIGKILL else 0)
    assert errors == b""
    wait_until_gone(list(pids.values()))
    assert (folder / "s.json").exists() == (number == signal.SIGKILL)


def test_a_server_that_ends_by_itself_ends_the_whole(folder: Path) -> None:
    process, pids = started(folder)
    os.kill(pids["dns"], signal.SIGKILL)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith(b"mailrelay: dns has ended")
    wait_until_gone(list(pids.values()))
