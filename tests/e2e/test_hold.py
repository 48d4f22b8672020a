"""A domain that was proved and isn't any more: its mail waits, its owner is told once, and it flows by itself when the
records are back; or it is refused when the hold is over."""

import time
import uuid
from pathlib import Path

from relay.encoding import encode_submission
from relay.ids import new_id
from relay.submission import Inline, Submission
from tests.system import USER, LocalSystem, local_system, marks, message, wait_for, zone

OWNER = USER
WITHOUT = "\n".join(line for line in zone().splitlines() if "TXT" not in line or not line.startswith("proved."))


def publish(system: LocalSystem, text: str) -> None:
    path = Path(system.folder / "zone")
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def queue(system: LocalSystem, mark: str) -> str:
    """A message that was accepted before the records were gone, and comes to validation after."""
    now = time.time()
    id = new_id(now, USER)
    submission = Submission(id, USER, "news@proved.example", ("a@in.example",), now, Inline(message(mark)))
    system.client("sqs").send_message(
        QueueUrl=system.state["queues"]["ValidateQueue"], MessageBody=encode_submission(submission)
    )
    return id


def answer_to_mail(system: LocalSystem) -> tuple[int, bytes]:
    with system.connect() as client:
        client.ehlo()
        return client.mail("news@proved.example")


def proved_once(system: LocalSystem) -> None:
    mark = uuid.uuid4().hex
    system.submit("news@proved.example", ["a@in.example"], message(mark))
    wait_for("the first message", lambda: marks(system.sunk()).get((mark, "a@in.example")))


def states(system: LocalSystem, id: str) -> list[tuple[str, str]]:
    return [(row["state"], row["enhanced"]) for row in system.rows() if row["id"] == id]


def told(system: LocalSystem) -> list[str]:
    """Subjects of what came to the owner."""
    return [str(mail.parsed["Subject"]) for mail in system.sunk() if mail.rcpt_to == [OWNER]]


def test_mail_waits_for_its_records_and_flows_by_itself() -> None:
    with local_system("--clock-speed", "600") as system:
        proved_once(system)
        publish(system, WITHOUT)
        code, text = wait_for(
            "a 451 in the session", lambda: found if (found := answer_to_mail(system))[0] != 250 else None
        )
        assert code == 451
        assert b"4.7.1" in text
        assert b"elastx-mrs=" in text

        held = [queue(system, f"held-{number}") for number in range(3)]
        wait_for("all held", lambda: all(("deferred", "4.7.1") in states(system, id) for id in held))
        wait_for("the owner's notice", lambda: told(system))

        publish(system, zone())
        for number in range(3):
            wait_for("what was held", lambda mark=f"held-{number}": marks(system.sunk()).get((mark, "a@in.example")))
        for id in held:
            wait_for("its record", lambda each=id: ("delivered", "2.0.0") in states(system, each))
        assert told(system) == ["Mail from proved.example waits: its DNS records have changed"]
        assert all(count == 1 for count in marks(system.sunk()).values())
        assert wait_for("a 250", lambda: found if (found := answer_to_mail(system))[0] == 250 else None)


def test_mail_is_refused_when_the_hold_is_over() -> None:
    with local_system("--clock-speed", "8640") as system:  # 24 hours are ten seconds
        proved_once(system)
        publish(system, WITHOUT)
        wait_for("no 250 in the session", lambda: answer_to_mail(system)[0] != 250)
        id = queue(system, "late")
        wait_for("the refusal", lambda: ("rejected", "5.7.1") in states(system, id), 90)
        assert wait_for("a 550", lambda: found if (found := answer_to_mail(system))[0] == 550 else None)
        wait_for("both notices", lambda: len(told(system)) >= 2)
        assert told(system) == [
            "Mail from proved.example waits: its DNS records have changed",
            "Not sent: your mail from proved.example",
        ]
        assert not marks(system.sunk()).get(("late", "a@in.example"))
