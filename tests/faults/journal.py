"""What the harness did and saw, in order: the evidence by which a duplicate is explained."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """time: epoch seconds. what: one of the words below.

    fault     injected: kind, seed, at (the call or the stage), pid if a process was killed
    killed    a process of the relay got SIGKILL: pid, role
    stored    a submission's entry was taken by ValidateQueue: id, rcpt_to, pid, answered (the gateway got it)
    settled   the ledger took what became of a delivery: id, part
    """

    time: float
    what: str
    fields: dict[str, Any] = field(default_factory=dict)


class Journal:
    """Written by many threads; read when all is quiet."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def note(self, what: str, **fields: Any) -> None:
        with self._lock:
            self._events.append(Event(time.time(), what, fields))

    def of(self, what: str, **fields: Any) -> Iterator[Event]:
        with self._lock:
            events = list(self._events)
        for event in events:
            if event.what == what and all(event.fields.get(name) == value for name, value in fields.items()):
                yield event

    def write(self, path: Path) -> None:
        with self._lock:
            lines = [json.dumps({"time": event.time, "what": event.what, **event.fields}) for event in self._events]
        path.write_text("\n".join(lines) + "\n", "utf-8")
