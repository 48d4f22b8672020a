"""Promise 1: 250 means stored, also when SQS refuses connections in the middle of a run."""

import json
import os
import smtplib
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.faults.proxy import Proxy
from tests.system import LocalSystem, local_system, marks, message, submit_on, wait_for

MESSAGES = 500
AWAY_AFTER = 100
AWAY_SECONDS = 5.0


@contextmanager
def gateway_behind(proxy: Proxy, system: LocalSystem) -> Iterator[int]:
    """A second gateway of the same system that reaches AWS through `proxy`; its STARTTLS port."""
    running = system.state["pids"]["gateway"]
    with open(f"/proc/{running}/environ", "rb") as environ:
        environment = dict(entry.split("=", 1) for entry in environ.read().decode().split("\0") if "=" in entry)
    environment |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_TLS_LISTEN": "127.0.0.1:0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "smtp_gateway"], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        listening = next(event for event in map(json.loads, process.stdout) if event["event"] == "listening")
        threading.Thread(target=process.stdout.read, daemon=True).start()  # keeps the pipe from filling
        yield listening["port"]
    finally:
        process.terminate()
        process.wait(30)


def test_every_250_is_delivered_once_and_every_other_got_4xx() -> None:
    answers: dict[str, int] = {}
    underway, back = threading.Event(), threading.Event()

    def run(client: smtplib.SMTP, mark: str) -> None:
        try:
            submit_on(client, "news@proved.example", ["a@in.example"], message(mark))
            answers[mark] = 250
        except AssertionError as refused:
            answers[mark] = refused.args[0][0] if refused.args else 0
            client.rset()
        if len(answers) == AWAY_AFTER:
            underway.set()

    with local_system() as system:
        endpoint = urlsplit(system.state["aws_endpoint"])
        proxy = Proxy(str(endpoint.hostname), int(endpoint.port or 80))
        with gateway_behind(proxy, system) as port:

            def connection(number: int) -> None:
                with system.connect(port=port) as client:
                    for count in range(MESSAGES // 10):
                        if number < 5 and count == MESSAGES // 20:
                            back.wait(60)  # half of the connections go on after the fault
                        run(client, f"m-{number}-{count}")

            with ThreadPoolExecutor(10) as pool:
                runs = [pool.submit(connection, number) for number in range(10)]
                assert underway.wait(60)
                with proxy.away():
                    threading.Event().wait(AWAY_SECONDS)
                back.set()
                for each in runs:
                    each.result()
        proxy.close()
        assert len(answers) == MESSAGES
        accepted = {(mark, "a@in.example") for mark, code in answers.items() if code == 250}
        refused = {code for code in answers.values() if code != 250}
        assert all(400 <= code < 500 for code in refused), refused

        wait_for("every accepted message", lambda: accepted <= marks(system.sunk()).keys(), 120)
        wait_for(
            "empty queues", lambda: not sum(system.depth(f"{each}Queue") for each in ("Validate", "Deliver", "Record"))
        )
        counts = marks(system.sunk())
        assert {mark: counts[mark] for mark in accepted} == dict.fromkeys(accepted, 1)
        print(f"{len(accepted)} accepted and delivered once, {MESSAGES - len(accepted)} put off with {refused or '-'}")
