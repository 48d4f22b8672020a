"""How results look: tables for people at 80 columns or more, JSON for programs. Times are UTC."""

import io
import json
import unicodedata
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from relay.outcome import Outcome, State
from relay.ports import Row

STYLES: Final = {
    State.DEFERRED: "yellow",
    State.DELIVERED: "green",
    State.BOUNCED: "red",
    State.REJECTED: "red",
    State.EXPIRED: "red",
    State.SUPPRESSED: "magenta",
    State.CANCELLED: "magenta",
}


def console(out: TextIO) -> Console:
    """Colours and bold only where `out` is a terminal and NO_COLOR is unset; nothing in the text is markup."""
    made = Console(file=out, markup=False, emoji=False, highlight=False)
    if made.no_color:  # rich would still print bold
        return Console(file=out, markup=False, emoji=False, highlight=False, color_system=None)
    return made


def show(out: TextIO, *blocks: RenderableType) -> None:
    """Print one below the other; into a file without the blanks that rich fills lines with."""
    if out.isatty():
        console(out).print(*blocks, sep="\n")
        return
    text = io.StringIO()
    for block in blocks:
        console(text).print(block)
    out.writelines(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def print_json(out: TextIO, value: object) -> None:
    out.write(json.dumps(value, indent=2) + "\n")


def iso(time: float) -> str:
    """2026-11-23T10:00:00Z."""
    return datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain_time(time: float) -> str:
    return datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%d %H:%M:%S")


def hanging(first: str, rest: Text | str) -> RenderableType:
    """`first`, and beside it `rest`, folded in a column of its own."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(first, rest)
    return grid


def age(seconds: float) -> str:
    """For people: 5 s, 3 min, 2 h, 9 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit}"
    return f"{max(0, int(seconds))} s"


def counted(number: int, thing: str) -> str:
    """1 message, 2 messages."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def safe(text: str) -> str:
    """Text from elsewhere, without anything that a terminal would act on."""
    return "".join("\ufffd" if unicodedata.category(each) in ("Cc", "Cf", "Cs") else each for each in text)


def state_text(state: State) -> Text:
    return Text(state.value, style=STYLES[state])


def words(outcome: Outcome, limit: int = 2000) -> str:
    """The answer: code, status and words, as far as there are any; at most `limit` characters."""
    code = str(outcome.code) if outcome.code else ""
    said = safe(" ".join(filter(None, (code, outcome.enhanced, outcome.text))))
    return said if len(said) <= limit else said[: limit - 3] + "..."


def attempt_fields(row: Row) -> dict[str, Any]:
    """One attempt at one recipient, as `--json` has it (the help of `mailrelay trace` lists the fields)."""
    outcome = row.outcome
    return {
        "stage": row.stage,
        "attempt": outcome.attempt,
        "time": iso(outcome.time),
        "state": outcome.state.value,
        "code": outcome.code,
        "enhanced": outcome.enhanced,
        "text": outcome.text,
        "remote": outcome.remote,
        "tls": outcome.tls,
        "via": outcome.via,
        "failure": outcome.failure,
        "next_try": iso(outcome.next_due) if outcome.next_due else None,
    }
