"""One provider says 421 to everything for a while, through the whole local system."""

import asyncio
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.system import LocalSystem, local_system, mailrelay, marks, message, wait_for, zone
from tests.unit.smtp.scripted import Script, Sink

SPEED = 30  # a pause of a minute is 2 s, the first retry comes after 10 s
ANGRY = "421 4.7.0 Too much mail from you, try again later"
BAD = ("one.bad.example", "two.bad.example", "three.bad.example")
EACH = 20  # messages for each of these
GOOD = 30
ZONE = (
    zone() + "".join(f"{name}. 60 IN MX 10 mx.bad.example.\n" for name in BAD) + "mx.bad.example. 60 IN A 127.0.0.2\n"
)


@contextmanager
def provider(port: int) -> Iterator[Sink]:
    """A server on 127.0.0.2 in a thread of its own, which says 421 until its greeting is changed."""
    loop, sink = asyncio.new_event_loop(), Sink(Script(greeting=ANGRY), port=port, address="127.0.0.2")
    loop.run_until_complete(sink.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield sink
    finally:
        asyncio.run_coroutine_threadsafe(sink.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def taken(sink: Sink) -> Counter[tuple[str, str]]:
    """How often each (X-Mark, recipient) was taken by the provider."""
    return Counter(
        (line.split()[1].decode(), recipient)
        for mail in list(sink.received)
        for line in mail.content.splitlines()
        if line.startswith(b"X-Mark:")
        for recipient in mail.rcpts
    )


def paused(system: LocalSystem) -> list[dict[str, dict[str, str]]]:
    return list(system.client("dynamodb").scan(TableName=system.state["tables"]["SitesTable"])["Items"])


def left_alone(system: LocalSystem) -> list[dict[str, str]]:
    """As operators see it; a pause may just be over."""
    command = [mailrelay(), "sites", "list", "--json", "--state-file", str(system.folder / "state.json")]
    return list(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def test_a_provider_that_says_421_to_everything_for_a_while() -> None:
    bad = {(f"bad-{n}", f"u{n}@{BAD[n % 3]}"): 1 for n in range(3 * EACH)}
    good = {(f"good-{n}", f"g{n}@in.example"): 1 for n in range(GOOD)}
    with (
        local_system("--clock-speed", str(SPEED), zone_text=ZONE) as system,
        provider(int(system.state["sink"].rpartition(":")[2])) as sink,
    ):
        for mark, recipient in bad:
            system.enqueue("news@proved.example", [recipient], message(mark))
        wait_for("the provider to be left alone", lambda: paused(system))
        for mark, recipient in good:
            system.enqueue("news@proved.example", [recipient], message(mark))
        wait_for("the others' mail, while the provider takes none", lambda: marks(system.sunk()) == good)
        began = sink.connections
        wait_for("it to be tried three times", lambda: sink.connections >= began + 3)
        assert sink.received == []
        (listed,) = wait_for("mailrelay sites to have it", lambda: left_alone(system))
        assert (listed["site"], listed["why"]) == ("mx.bad.example", "slow")
        assert listed["reply"] == ANGRY
        met = sink.connections
        sink.script.greeting = "220 sink ESMTP"
        wait_for("all its mail", lambda: len(taken(sink)) == len(bad), seconds=120)
        wait_for("the books", lambda: {row["state"] for row in final(system)} == {"delivered"} and not paused(system))
        assert taken(sink) == bad
        print(f"{met} connections while it said 421 ({began} before the first trial), {sink.connections - met} after")
        assert met <= 15, "connections while it said 421, for 60 messages"
        deferred = [row for row in system.rows() if row["state"] == "deferred"]
        assert len(deferred) <= met, "an attempt is spent on what no server was asked about"
        assert system.depth("DeliverDeadLetterQueue") == 0


def final(system: LocalSystem) -> list[dict[str, str]]:
    """The last row of each recipient."""
    rows = sorted(system.rows(), key=lambda row: float(row["time"]))
    return list({(row["id"], row["recipient"]): row for row in rows}.values())
