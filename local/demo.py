"""`mailrelay demo`: the whole relay once, with real messages; exit code 0 only if each ended as it should."""

import asyncio
import email
import email.policy
import json
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import dkim
import dns.resolver
from rich import box
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from local import sms
from local.demo_messages import DOMAIN, INBOX, Key, Mail, messages, new_key
from local.processes import StartError
from local.supervisor import Options, System
from relay.address import parse_address
from relay.aws.client import AwsClient
from relay.aws.lambdas import invoke
from relay.aws.messages import DynamoMessages
from relay.aws.signing import Credentials
from relay.errors import RelayError
from relay.outcome import State
from relay.ports import Row
from relay.proof.token import DnsRecord
from relayctl import render
from relayctl.errors import CommandError
from relayctl.send import Server, submit
from relayctl.trace import by_recipient

T = TypeVar("T")

FOLDER: Final = Path(".local/demo")
USER: Final = f"app@{DOMAIN}"
PHONE: Final = "+46701234567"
SPEED: Final = 100.0  # the first retry after 3 s instead of 5 min
PATIENCE: Final = 35.0  # seconds from the last message handed over to the last fate known
PAUSE: Final = 0.1  # seconds between two looks
ZONE: Final = f"""\
; What the demo publishes. Mail for {DOMAIN} itself, such as notices, goes to the sink.
{DOMAIN}. MX 10 mx.{INBOX}.
"""


class DemoError(Exception):
    """One line: what came out otherwise than it should."""


@dataclass(slots=True)
class Sent:
    """A message handed over; rows: what is recorded of it so far. Or refused, with what the gateway said."""

    mail: Mail
    id: str = ""
    rows: tuple[Row, ...] = ()
    refusal: str = ""

    @property
    def ended(self) -> set[str]:
        """The recipients whose fate is known."""
        return {row.outcome.recipient for row in self.rows if row.outcome.state.final}

    @property
    def settled(self) -> bool:
        return bool(self.refusal) or self.ended >= self.mail.fates.keys()


@dataclass(slots=True)
class Sunk:
    """A message that the sink took."""

    content: bytes
    mail_from: str
    rcpt_to: list[str] = field(default_factory=list)


def run(out: TextIO) -> int:
    """The exit code; what is wrong goes to standard error, a line each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped on the way out
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        zone = FOLDER / "demo.zone"
        zone.write_text(ZONE, "utf-8")
        options = Options(port=0, tls_port=0, zone=zone, state=FOLDER / "state.json", clock_speed=SPEED)
        started = time.monotonic()
        render.show(out, Text("Starting the relay on this machine ..."))
        with System(options) as system:
            demo = Demo(out, system, zone)
            demo.say(
                f"It runs after {time.monotonic() - started:.0f} s: SMTP gateway, queues, functions, DNS, mail sink."
            )
            problems = demo.run()
    except (StartError, CommandError, DemoError, RelayError, OSError) as error:
        problems = [str(error)]
    for problem in problems:
        sys.stderr.write(f"mailrelay demo: {' '.join(problem.split())}\n")
    return 1 if problems else 0


class Demo:
    """One run against a running system."""

    def __init__(self, out: TextIO, system: System, zone: Path) -> None:
        self._out = out
        self._console = render.console(out)
        self._system = system
        self._state = system.state
        self._zone = zone

    def run(self) -> list[str]:
        """What came out otherwise than it should; [] if all is well."""
        password, records = self._account()
        key = self._publish(records)
        sent = self._send(messages(key), password)
        self._wait(sent)
        self._table(sent)
        problems = [problem for each in sent for problem in fates_missed(each)]
        problems += self._arrived(sent)
        problems += self._refusals(sent)
        problems += self._notices(sent)
        self._where_next(sent, problems)
        return problems

    def say(self, text: str) -> None:
        render.show(self._out, Text(text))

    # --- the steps ---

    def _account(self) -> tuple[str, tuple[DnsRecord, ...]]:
        self._title("An account", f"mailrelay accounts create {USER} --phone {PHONE}")
        event = {"action": "create", "user": USER, "phone": PHONE}
        answer = self._aws(lambda client: invoke(client, self._state["functions"]["AccountsFunction"], event))
        if not answer.get("ok"):
            raise DemoError(f"no account was made: {answer.get('error')}")
        text = sms.latest(self._state["aws_endpoint"], PHONE)
        render.show(
            self._out, Padding(Panel(text, title=f"SMS to {PHONE}", title_align="left", width=72), (0, 0, 0, 2))
        )
        found = re.search(r"password (\S+)", text)
        if not found:
            raise DemoError(f"no SMS with a password was sent to {PHONE}: {text!r}")
        return found[1], tuple(DnsRecord(**record) for record in answer["records"])

    def _publish(self, records: tuple[DnsRecord, ...]) -> Key:
        self._title("The sign-up: DNS records", f"mailrelay dns {USER}")
        key = new_key()
        for record in records:
            self.say(f"  {record.name}  {record.type}\n    {record.value}")
        with self._zone.open("a", encoding="utf-8") as file:
            file.writelines(f"{record}\n" for record in (*records, key.record))
        self.say("\nThey are in the local DNS server now, beside the sender's own DKIM key.")
        return key

    def _send(self, mails: tuple[Mail, ...], password: str) -> list[Sent]:
        server = Server(self._state["host"], self._state["port"], ca_file=self._state["ca_file"])
        self._title("Mail", f"SMTP to {server.host}:{server.port}, STARTTLS, AUTH as {USER}")
        sent = []
        with self._progress() as progress:
            task = progress.add_task("handed over", total=len(mails))
            for mail in mails:
                sent.append(self._hand_over(server, password, mail))
                progress.advance(task)
        return sent

    def _hand_over(self, server: Server, password: str, mail: Mail) -> Sent:
        recipients = [parse_address(each) for each in mail.fates]
        try:
            return Sent(mail, submit(server, USER, password, parse_address(mail.sender), recipients, mail.content).id)
        except CommandError as error:
            if not mail.refused:
                raise
            return Sent(mail, refusal=str(error).partition("refused it: ")[2] or str(error))

    def _wait(self, sent: list[Sent]) -> None:
        """Until every fate is known, or patience is at its end."""
        deadline = time.monotonic() + PATIENCE
        total = sum(len(each.mail.fates) for each in sent if not each.refusal)

        async def look(client: AwsClient) -> None:
            table = DynamoMessages(client, self._state["tables"]["MessagesTable"])
            with self._progress() as progress:
                task = progress.add_task("fates known", total=total)
                while True:
                    for each in sent:
                        if not each.settled:
                            each.rows = await table.of_id(each.id)
                    ended = {
                        (row.id, row.outcome.recipient) for each in sent for row in each.rows if row.outcome.state.final
                    }
                    progress.update(task, completed=len(ended))
                    if all(each.settled for each in sent) or time.monotonic() > deadline:
                        return
                    await asyncio.sleep(PAUSE)

        self._aws(look)

    def _table(self, sent: list[Sent]) -> None:
        self._title("What became of it", "mailrelay messages; mailrelay trace ID")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("Message", max_width=16)
        table.add_column("Recipient", overflow="fold", max_width=19)
        table.add_column("State", no_wrap=True)
        table.add_column("The remote server's words, or ours", overflow="fold")
        for each in sent:
            name = each.mail.name
            if each.refusal:
                words = f"{each.refusal.splitlines()[0]}; the whole reply is below"
                table.add_row(name, next(iter(each.mail.fates)), render.state_text(State.REJECTED), words)
            for recipient, rows in by_recipient(each.rows):
                for row in rows:
                    table.add_row(name, recipient, render.state_text(row.outcome.state), render.words(row.outcome))
                    name = recipient = ""
        render.show(self._out, table)

    def _arrived(self, sent: list[Sent]) -> list[str]:
        """What the sink has, byte for byte; and the signature."""
        problems = []
        sunk = self._sunk()
        for each in sent:
            for recipient, fate in each.mail.fates.items():
                taken = [one for one in sunk if recipient in one.rcpt_to and one.content.endswith(each.mail.content)]
                expected = int(fate[-1] is State.DELIVERED)
                if len(taken) != expected:
                    problems.append(f"{each.mail.name}: {recipient} got it {len(taken)} times, not {expected}")
                if each.mail.content.startswith(b"DKIM-Signature:") and not (taken and self._verifies(taken[0])):
                    problems.append(f"{each.mail.name}: the signature does not verify at the recipient")
        if not problems:
            self.say("\nEach message arrived once, byte for byte below the trace header; the DKIM signature verifies.")
        return problems

    def _verifies(self, mail: Sunk) -> bool:
        host, _, port = str(self._state["dns"]).rpartition(":")
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [host], int(port)

        def txt(name: bytes, timeout: float = 5) -> bytes:
            answer = resolver.resolve(name.decode(), "TXT", lifetime=timeout)
            return b"".join(next(iter(answer)).strings)

        return bool(dkim.verify(mail.content, dnsfunc=txt))

    def _refusals(self, sent: list[Sent]) -> list[str]:
        """What the session said to a sender who hasn't signed up, and whether that tells what to publish."""
        for each in sent:
            if each.refusal:
                self._title("Refused in the session", f"MAIL FROM:<{each.mail.sender}>")
                for line in each.refusal.splitlines():
                    render.show(self._out, Padding(Text(line, overflow="fold"), (0, 0, 0, 2)))
        return list(refusals_missed(sent))

    def _notices(self, sent: list[Sent]) -> list[str]:
        """Those that are due: to the senders of bounced messages."""
        problems = []
        for each in sent:
            if next(iter(each.mail.fates.values()))[-1] is not State.BOUNCED:
                continue
            to = each.mail.sender
            self._title(f"The notice in {to}'s mailbox", f"about the message: {each.mail.name}")
            notice = self._notice(to, each.id)
            if notice is None:
                problems.append(f"{each.mail.name}: no notice came to {to}")
                continue
            self._out.write("\n".join(notice.splitlines()) + "\n")
        return problems

    def _notice(self, to: str, about: str) -> str | None:
        """The words of the notice to `to` about the message of id `about`, once it has come."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for mail in self._sunk():
                if mail.mail_from == "" and mail.rcpt_to == [to] and about.encode() in mail.content:
                    whole = email.message_from_bytes(mail.content, policy=email.policy.default)
                    first: Any = next(part for part in whole.walk() if part.get_content_type() == "text/plain")
                    return str(first.get_content())
            time.sleep(PAUSE)
        return None

    def _where_next(self, sent: list[Sent], problems: list[str]) -> None:
        self._title("Where to look further", "")
        lines = [
            ("the mail as it arrived", self._state["mail_dir"]),
            ("what each part logged", self._state["logs"]),
            ("keep it running, send your own", "make up"),
            ("how it works", "docs/flow.md"),
        ]
        for what, where in lines:
            self.say(f"  {what:<32}{_short(where)}")
        good = len(sent) - len({problem.partition(":")[0] for problem in problems})
        self.say(f"\n{good} of {len(sent)} messages ended as they should.")

    # --- helpers ---

    def _title(self, title: str, detail: str) -> None:
        render.show(self._out, Text.assemble("\n", (title, "bold"), f"  {detail}" if detail else "", "\n"))

    def _progress(self) -> Progress:
        columns = (TextColumn("  {task.description}"), BarColumn(32), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self._console)

    def _aws(self, work: Callable[[AwsClient], Awaitable[T]]) -> T:
        async def whole() -> T:
            credentials = Credentials("local", "local")
            client = AwsClient(self._state["region"], self._state["aws_endpoint"], credentials=credentials)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(whole())

    def _sunk(self) -> list[Sunk]:
        return list(sunk(Path(self._state["mail_dir"])))


def sunk(folder: Path) -> Iterable[Sunk]:
    for facts_file in folder.glob("*.json"):
        facts = json.loads(facts_file.read_text("utf-8"))
        yield Sunk(facts_file.with_suffix(".eml").read_bytes(), facts["mail_from"], facts["rcpt_to"])


def refusals_missed(sent: Iterable[Sent]) -> Iterable[str]:
    """What should have been refused in the session and wasn't, or not for its DNS; a line each."""
    for each in sent:
        if each.mail.refused and not each.refusal:
            yield f"{each.mail.name}: it was not refused in the session"
        elif each.refusal and not re.search(r" publish: \S+ TXT \"\S+=[0-9a-f]{64}\"", each.refusal):
            yield f"{each.mail.name}: the reply does not name the record to publish: {each.refusal}"


def fates_missed(sent: Sent) -> Iterable[str]:
    """What is recorded otherwise than expected, a line each; of what was refused in the session nothing is."""
    if sent.refusal:
        return
    recorded = dict(by_recipient(sent.rows))
    for recipient, expected in sent.mail.fates.items():
        states = tuple(row.outcome.state for row in recorded.get(recipient, ()))
        # more than one deferral may come before the end: a busy machine is not a failure
        if tuple(dict.fromkeys(states)) != expected:
            yield f"{sent.mail.name}: {recipient} is {', '.join(states) or 'unknown'}, not {', '.join(expected)}"


def _short(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
