"""DNS that stops answering in the middle of a run refuses nothing: what it can't prove or find waits, and is delivered
when it is back. `python -m tests.faults.test_dns_away 1000 60` is the long form: messages, seconds."""

import os
import signal
import smtplib
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.system import LocalSystem, local_system, marks, message, submit_on, wait_for, zone

SENDERS = ("proved.example", "new.example")  # one is proved before DNS goes away, one isn't
RECIPIENTS = ("a@in.example", "a@other.example")  # the second one's server is first looked for when DNS is away
CONNECTIONS = 10


def both_signed_up() -> str:
    """The usual zone, and a second sender domain alike."""
    mine = [line for line in zone().splitlines() if "proved.example" in line and "unproved" not in line]
    return zone() + "".join(line.replace("proved.example", "new.example") + "\n" for line in mine)


def run(messages: int, away: Callable[[LocalSystem], None]) -> Counter[str]:
    """Half of the messages, then `away` while DNS is silent and the other half goes on. States of all recipients."""
    answers: dict[tuple[str, str], int | str] = {}
    half = threading.Event()

    def submit(client: smtplib.SMTP, mark: str, domain: str, recipient: str) -> None:
        sender = f"news@{domain}"
        try:
            submit_on(client, sender, [recipient], message(mark, sender=sender))
            answers[mark, recipient] = 250
        except AssertionError as refused:
            answers[mark, recipient] = str(refused.args)
            client.rset()

    def connection(system: LocalSystem, number: int) -> None:
        with system.connect() as client:
            for count in range(messages // CONNECTIONS):
                if count == messages // CONNECTIONS // 2:
                    half.wait(120)
                away = half.is_set()
                submit(client, f"m-{number}-{count}", SENDERS[away and number % 2], RECIPIENTS[away])

    with local_system("--clock-speed", "60", zone_text=both_signed_up()) as system:
        dns = system.state["pids"]["dns"]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            runs = [pool.submit(connection, system, number) for number in range(CONNECTIONS)]
            wait_for("half of the messages", lambda: len(answers) >= messages // 2, 120)
            os.kill(dns, signal.SIGSTOP)
            try:
                half.set()
                away(system)
            finally:
                os.kill(dns, signal.SIGCONT)
            for each in runs:
                each.result()
        assert answers == dict.fromkeys(answers, 250)
        assert len(answers) == messages
        expected = dict.fromkeys(answers, 1)
        wait_for("every message", lambda: expected.keys() <= marks(system.sunk()).keys(), 300)
        assert marks(system.sunk()) == expected
        return Counter(row["state"] for row in system.rows())


def until_something_waits(system: LocalSystem) -> None:
    """DNS stays away until validation and delivery have both met that."""

    def stages() -> bool:
        return {row["stage"] for row in system.rows() if row["state"] == "deferred"} == {"validate", "deliver"}

    wait_for("a deferral by either stage", stages, 120)


def test_nothing_is_refused_and_all_is_delivered() -> None:
    states = run(100, until_something_waits)
    assert states.keys() == {"deferred", "delivered"}
    print(f"{states['delivered']} delivered, {states['deferred']} deferrals while DNS was away")


if __name__ == "__main__":
    seconds = float(sys.argv[2])
    print(dict(run(int(sys.argv[1]), lambda _: threading.Event().wait(seconds) and None)))
