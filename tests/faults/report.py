"""A run's results: a table for people, JSON for programs, docs/reliability.md."""

import datetime
import json
import subprocess
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.harness import Result
from tests.faults.rules import ROLES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
MARK = "<!-- the report below is written by `make faults` -->\n"
ORDER = ("delivered", "bounced", "rejected", "expired", "suppressed", "cancelled", "queued", "dead-lettered", "lost")


def table(results: list[Result]) -> Table:
    made = Table(box=None, pad_edge=False)
    made.add_column("Kind")
    for name in ("Seeds", "Messages", "Accepted"):
        made.add_column(name, justify="right")
    made.add_column("Outcomes")
    made.add_column("Twice", justify="right")
    made.add_column("Wrong", justify="right")
    for each in results:
        books = each.balance
        made.add_row(
            each.kind,
            str(len(each.seeds)),
            str(books.messages),
            str(books.accepted),
            outcomes(books.outcomes),
            str(books.duplicates.total()),
            str(len(books.wrong)),
        )
    return made


def outcomes(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state]) or "none"


def show(results: list[Result], console: Console) -> None:
    console.print(table(results))
    for each in results:
        for wrong in each.balance.wrong[:20]:
            console.print(f"{each.kind}: {wrong}", style="bold", highlight=False)


def as_json(results: list[Result], facts: dict[str, str]) -> str:
    return json.dumps({**facts, "kinds": [each.as_json() for each in results]}, indent=2) + "\n"


def facts(command: str) -> dict[str, str]:
    """When, of what, how."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": now, "commit": commit + (" with changes" if changed else ""), "command": command}


def read(files: list[Path]) -> tuple[list[Result], list[dict[str, str]]]:
    """What `as_json` wrote, of several runs together: results and facts. A kind that was run again counts as then."""
    runs = [json.loads(file.read_text("utf-8")) for file in files]
    results = {kind["kind"]: Result.from_json(kind) for each in runs for kind in each["kinds"]}
    return list(results.values()), [{name: each[name] for name in ("date", "commit", "command")} for each in runs]


def markdown(results: list[Result], said: list[dict[str, str]]) -> str:
    total = sum((each.balance.outcomes for each in results), Counter[str]())
    twice = sum((each.balance.duplicates for each in results), Counter[str]())
    wrong = [f"{each.kind}: {line}" for each in results for line in each.balance.wrong]
    accepted = sum(each.balance.accepted for each in results)
    lines = [
        *(f"- {each['date']}, commit {each['commit']}: `{each['command']}`" for each in said),
        f"- {len(results)} kinds, {sum(len(each.seeds) for each in results)} plans, "
        f"{sum(each.balance.messages for each in results)} messages",
        "",
        f"{accepted} recipients accepted = {outcomes(total)}. {twice.total()} got a message more than once, "
        f"{twice['unexplained']} of these without an explanation. "
        + ("Nothing is wrong." if not wrong else f"{len(wrong)} wrong, listed at the end."),
        "",
        "| kind | seeds | messages | accepted recipients | outcomes | got it again, and why |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for each in results:
        books = each.balance
        reasons = "; ".join(f"{count}: {reason}" for reason, count in sorted(books.duplicates.items())) or "nobody"
        lines.append(
            f"| {each.kind} | {_seeds(each.seeds)} | {books.messages} | {books.accepted} | {outcomes(books.outcomes)} "
            f"| {reasons} |"
        )
    lines += [
        "",
        "Beside these: messages that never got a 250, submissions whose 250 was lost, and notices (recipients each).",
        "",
    ]
    lines += [
        "| kind | never accepted | stored, 250 lost | notices | what is broken; how often, where |",
        "| --- | ---: | --- | --- | --- |",
    ]
    for each in results:
        books = each.balance
        again = outcomes(books.again) if books.again else "none"
        notices = outcomes(books.notices) if books.notices else "none"
        lines.append(
            f"| {each.kind} | {books.not_accepted} | {again} | {notices} | {each.what}{_injected(each.injected)} |"
        )
    if wrong:
        lines += ["", "Wrong:", "", *(f"- {line}" for line in wrong)]
    return "\n".join(lines) + "\n"


def _seeds(seeds: list[int]) -> str:
    return f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else str(seeds[0])


def _injected(injected: Counter[str]) -> str:
    """By act and service or stage: the calls one by one are in the JSON."""
    short: Counter[str] = Counter()
    for name, count in injected.items():
        act, _, at = name.partition(" at ")
        words = at.split(" ")
        where = " ".join(words[:3] if act.startswith("KILL") else words[1:2]) if words[0] in ROLES else at
        short[f"{act.lower().replace('_', ' ')} {where}"] += count
    return "".join(
        f"{'; ' if not at else ', '}{count} x {each}" for at, (each, count) in enumerate(sorted(short.items()))
    )


def write(results: list[Result], said: list[dict[str, str]]) -> None:
    """Everything above MARK in docs/reliability.md stays."""
    head = PAGE.read_text("utf-8").partition(MARK)[0]
    PAGE.write_text(f"{head}{MARK}\n{markdown(results, said)}", "utf-8")
