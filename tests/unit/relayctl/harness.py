"""What the command's tests share: a Ctl that runs it against fakes, and rows as the relay records them."""

import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay.outcome import Outcome, State
from relay.ports import Row
from relayctl.context import STAGES, Cloud, Context, Service, Target
from relayctl.main import run
from tests.fakes import (
    FakeAccounts,
    FakeAudit,
    FakeContent,
    FakeDeadLetters,
    FakeLedger,
    FakeMessages,
    FakePauses,
    FakeQueue,
    FakeReceipts,
    FakeSuppressions,
    FakeUsage,
)

RECEIVED = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
ID = "0192f0c4-0000-7000-8000-000000000001"
OTHER = "0192f0c4-0000-7000-8000-000000000002"
NOTICE = "0192f0c4-0000-7000-8000-000000000003"
REMOTE = "mx.there.example[192.0.2.7]"
STATE = {
    "host": "127.0.0.1",
    "port": 1,
    "tls_port": 1,
    "ca_file": "",
    "aws_endpoint": "http://127.0.0.1:1",
    "region": "eu-north-1",
    "tables": {"MessagesTable": "messages"},
    "functions": {"AccountsFunction": "accounts"},
}


def row(recipient: str, state: State, attempt: int = 1, *, id: str = ID, **changes: Any) -> Row:
    words = {
        State.DELIVERED: (250, "2.0.0", "OK queued as 4711"),
        State.DEFERRED: (451, "4.7.1", "Greylisted, try again later"),
        State.BOUNCED: (550, "5.1.1", "No such user here"),
    }
    code, enhanced, text = words.get(state, (550, "5.7.1", "publish TXT token=0000 at shop.example"))
    time = RECEIVED + 300 * (attempt - 1) + 1
    due = time + 300 if state is State.DEFERRED else 0.0
    outcome = Outcome(recipient, state, time, attempt, code, enhanced, text, REMOTE, "TLSv1.3", due, via="mx")
    fields: dict[str, Any] = {
        "account": "user@login.example",
        "mail_from": "news@shop.example",
        "domain": recipient.rpartition("@")[2],
        "received": RECEIVED,
        "stage": "deliver",
        **changes,
    }
    return Row(id=id, outcome=outcome, **fields)


@dataclass
class FakeStage:
    queue: FakeQueue = field(default_factory=FakeQueue)
    live: FakeDeadLetters = field(default_factory=FakeDeadLetters)
    dead: FakeDeadLetters = field(default_factory=FakeDeadLetters)


class FakeCloud:
    def __init__(self) -> None:
        self.messages = FakeMessages()
        self.ledger = FakeLedger()
        self.content = FakeContent()
        self.users = FakeAccounts()
        self.receipts = FakeReceipts()
        self.suppressions = FakeSuppressions()
        self.pauses = FakePauses()
        self.audit = FakeAudit()
        self.usage = FakeUsage()
        self.stages = {stage: FakeStage() for stage in STAGES}
        self.service = Service("token", "spf.example", "smtp.example")
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"ok": True, "accounts": [{"user": "User@login.example"}]}

    async def dkim(self, event: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(event)
        return self.answer

    async def accounts(self, event: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(event)
        return self.answer


def nothing() -> None:
    """While the command waits."""


@dataclass
class Ctl:
    """meanwhile: called each time that the command waits, with its output so far in `out`. pauses: for how long."""

    folder: Path
    cloud: FakeCloud = field(default_factory=FakeCloud)
    environment: Mapping[str, str] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    out: str = ""
    meanwhile: Callable[[], None] = nothing
    pauses: list[float] = field(default_factory=list)

    def __call__(self, *argv: str) -> int:
        out = io.StringIO()

        @asynccontextmanager
        async def connect(target: Target) -> AsyncIterator[Cloud]:
            self.targets.append(target)
            yield self.cloud

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.out = out.getvalue()
            self.meanwhile()

        now = lambda: RECEIVED + 3600 + sum(self.pauses)  # noqa: E731
        context = Context(out, self.environment, self.folder, now, lambda _: "secret", connect, pause)
        code = run(argv, context)
        self.out = out.getvalue()
        return code
