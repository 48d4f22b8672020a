"""The table of programs and messages: `python -m tests.clients.table` writes docs/clients.md.

test_programs.py runs a part of it.
"""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dkim

from relay.header import read_header
from tests.clients import null_client
from tests.clients.programs import ROOT, Program, Relay, programs
from tests.messages.make import RECIPES
from tests.system import PASSWORD, USER, LocalSystem, local_system, wait_for

MESSAGES: Final = ROOT / "tests" / "messages"
LF: Final = "python-dots, LF line ends"  # a file as Unix has them
SAME: Final = "="


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message. recipient: unique. said: the program's or the relay's words where it failed."""

    recipient: str
    said: str = ""


def relay_of(system: LocalSystem, password: str = PASSWORD) -> Relay:
    state = system.state
    return Relay("localhost", state["port"], state["tls_port"], state["ca_file"], USER, password)


def content_of(message: str) -> bytes:
    """As the file has it."""
    if message == LF:
        return (MESSAGES / "python-dots.eml").read_bytes().replace(b"\r\n", b"\n")
    return (MESSAGES / f"{message}.eml").read_bytes()


def envelope(program: Program, message: str) -> tuple[str, str]:
    mark = re.sub(r"\W+", "-", f"{program.id}-{message}")
    if "smtputf8" in message:
        return "från@proved.example", f"å-{mark}@in.example"
    return "news@proved.example", f"{mark}@in.example"


def send(program: Program, message: str, relay: Relay, postfix: Path | None) -> Sent:
    """postfix: where our instance is, for the guide's Postfix."""
    sender, recipient = envelope(program, message)
    with tempfile.TemporaryDirectory(prefix="mailrelay-client-") as name:
        home = postfix or Path(name)
        if not postfix:
            program.write(home, relay, sender, recipient, tls=False)
        (home / "message.eml").write_bytes(content_of(message))
        done = program.run(home, relay, sender, recipient)
    return Sent(recipient, why(done.stdout + done.stderr) if done.returncode else "")


def why(output: str) -> str:
    """The relay's reply in a program's output, else its last words."""
    if reply := re.search(r"\b([45]\d\d)\b\W+(?:b')?([45]\.\d+\.\d+ [ -&(-~]+)", output):
        return f"{reply[1]} {reply[2]}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no word"


def cell(message: str, arrived: bytes) -> str:
    """How what arrived differs from the file: "=" if not at all below the trace header."""
    content = re.sub(rb"\r?\n", b"\r\n", content_of(message))
    content = content if content.endswith(b"\r\n") else content + b"\r\n"
    header, body = _parts(content)
    header_now, body_now = _parts(arrived)
    names = {name for name, _ in header}
    ours = {b"received"} | (set() if b"dkim-signature" in names else {b"date", b"message-id"} - names)
    said = []
    left = iter(header)
    expected = next(left, None)
    for field in header_now:
        if field == expected:
            expected = next(left, None)
        elif field[0] in ours:
            ours.remove(field[0])
        else:
            said.append(f"+{field[0].decode().title()}")
    if expected:
        said.append(f"changed: {expected[0].decode().title()}")
    if body_now == body + b"\r\n":
        said.append("blank line at the end")
    elif body_now != body:
        said.append(f"changed: {_difference(body, body_now)}")
    if (MESSAGES / f"{message}.txt").exists():
        record = (MESSAGES / f"{message}.txt").read_bytes().strip()
        if not dkim.verify(arrived, dnsfunc=lambda *_, **__: record):
            said.append("signature broken")
    return ", ".join(said) or SAME


def _parts(content: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    header = read_header(content)
    return [(each.name, content[each.start : each.end]) for each in header.fields], content[header.end :]


def _difference(body: bytes, arrived: bytes) -> str:
    lost = Counter(body.split(b"\r\n")) - Counter(arrived.split(b"\r\n"))
    line = next(iter(lost), b"")
    return "a long line is broken" if len(line) > 998 else f"`{line[:30].decode('utf-8', 'replace')}` is lost"


def run(system: LocalSystem, messages: Iterable[str]) -> dict[str, dict[str, str]]:
    """{program: {message: cell}} of every program that is here and takes messages that are made already."""
    relay = relay_of(system)
    trying = [each for each in programs() if each.takes_messages and not each.absent()]
    sent: dict[tuple[str, str], Sent] = {}
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        log = None
        jobs = {}
        for program in trying:
            home = None
            if program.id == "Postfix":
                home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailrelay-client-")))
                program.write(home, relay, "news@proved.example", "you@in.example", tls=False)
                log = stack.enter_context(null_client.running(home))
                for message in messages:  # they share a folder
                    sent[program.id, message] = send(program, message, relay, home)
                continue
            for message in messages:
                jobs[program.id, message] = pool.submit(send, program, message, relay, None)
        sent |= {key: job.result() for key, job in jobs.items()}
        if log:
            settle(log, sent)
    expected = {each.recipient for each in sent.values() if not each.said}
    arrived = wait_for("the mail", lambda: taken(system, expected), 90)
    table: dict[str, dict[str, str]] = {}
    for (program, message), each in sent.items():
        table.setdefault(program, {})[message] = each.said or cell(message, arrived[each.recipient])
    return table


def settle(log: Path, sent: dict[tuple[str, str], Sent]) -> None:
    """Postfix's last word on each message, from its log."""
    until = time.monotonic() + 60
    waiting = [key for key, each in sent.items() if key[0] == "Postfix" and not each.said]
    while waiting:
        lines = log.read_text(errors="replace")
        for key in list(waiting):
            recipient = sent[key].recipient
            found = re.search(rf"to=<{re.escape(recipient)}>.*status=(\w+) \((.*)\)", lines)
            if found and found[1] != "sent":
                sent[key] = Sent(recipient, why(found[2]))
            if found:
                waiting.remove(key)
        assert time.monotonic() < until, f"Postfix has not sent {waiting}"
        time.sleep(0.2)


def taken(system: LocalSystem, expected: set[str]) -> dict[str, bytes] | None:
    mails = {mail.rcpt_to[0]: mail.content for mail in system.sunk()}
    return mails if expected <= mails.keys() else None


def page(table: dict[str, dict[str, str]]) -> str:
    everything = programs()
    columns = [each for each in everything if each.id in table]
    lines = [
        "# Programs and messages",
        "",
        "What became of each message of [tests/messages](../tests/messages/README.md) that each program of the",
        "[sender's guide](senders.md) submitted with the guide's settings. `make clients` writes this page;",
        "`make test` runs a part of the table.",
        "",
        "| program | version | |",
        "| --- | --- | --- |",
    ]
    for each in everything:
        kind = (
            "sends what it is given"
            if each.takes_messages
            else "sends only what it composes itself: see test_programs.py"
        )
        lines.append(f"| {each.name} | {each.version() or '-'} | {each.absent() or kind} |")
    lines += [
        "",
        f"`{SAME}`: byte for byte below the trace header. `+Field`: the program adds that field. A number is a note.",
        "Every DKIM signature verifies but where the table says otherwise.",
        "",
    ]
    lines += ["| message | " + " | ".join(each.id for each in columns) + " |", "| --- |" + " --- |" * len(columns)]
    notes: list[str] = []
    for message in (*RECIPES, "dkim", LF):
        cells = [table[each.id][message] for each in columns]
        for text in cells:
            if len(text) > 24 and text not in notes:
                notes.append(text)
        shown = [f"{notes.index(text) + 1}" if text in notes else text for text in cells]
        lines.append(f"| {message} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1)), ""])


def main() -> None:
    with local_system() as system:
        table = run(system, (*RECIPES, "dkim", LF))
    (ROOT / "docs" / "clients.md").write_text(page(table), "utf-8")


if __name__ == "__main__":
    main()
