"""`make faults`: each kind of fault with each seed, on the whole local system; exit 1 if the books don't balance."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.faults import report
from tests.faults.harness import Result, run
from tests.faults.kinds import KINDS, Kind

LONGEST = ("content-missing", "poison")  # begun first: a dead letter's five receives take minutes
OUTPUT = Path(".local/faults")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--kinds", default="", help=f"with commas between; default all: {', '.join(KINDS)}")
    parser.add_argument("--seeds", type=int, default=10, help="how many of each kind (10)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them (1)")
    parser.add_argument("--messages", type=int, default=20, help="for each kind and seed (20)")
    parser.add_argument("--jobs", type=int, default=2, help="systems at once (2): they mostly wait")
    parser.add_argument("--json", type=Path, default=OUTPUT / "report.json", help="where the JSON goes")
    parser.add_argument("--report", action="store_true", help="write docs/reliability.md")
    parser.add_argument(
        "--of", type=Path, nargs="+", help="run nothing: docs/reliability.md from the JSON of these runs"
    )
    options = parser.parse_args(arguments)
    if options.of:
        report.write(*report.read(options.of))
        return 0
    names = [each.strip() for each in options.kinds.split(",") if each.strip()] or list(KINDS)
    if unknown := [name for name in names if name not in KINDS]:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    console = Console()
    said = report.facts("make faults" + _options(options))
    results = _run([KINDS[name] for name in names], seeds, options, console)
    report.show(results, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(report.as_json(results, said), "utf-8")
    console.print(f"JSON: {options.json}; journals and logs: {OUTPUT}", highlight=False)
    if options.report:
        report.write(results, [said])
    return 1 if any(each.balance.wrong for each in results) else 0


def _run(kinds: list[Kind], seeds: range, options: argparse.Namespace, console: Console) -> list[Result]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    turn = threading.Lock()
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(options.jobs) as pool:
        all_ = progress.add_task("plans", total=len(kinds) * len(seeds))
        under_way: list[str] = []

        def one(kind: Kind) -> Result:
            with turn:
                under_way.append(kind.name)
                progress.update(all_, description=", ".join(under_way))
            try:
                return run(kind, seeds, options.messages, OUTPUT / kind.name, lambda: progress.advance(all_))
            finally:
                with turn:
                    under_way.remove(kind.name)
                    progress.update(all_, description=", ".join(under_way) or "done")

        first = sorted(kinds, key=lambda kind: kind.name not in LONGEST)
        results = {kind.name: pool.submit(one, kind) for kind in first}
        try:
            return [results[kind.name].result() for kind in kinds]
        except KeyboardInterrupt:
            _stop()  # here: the pool would wait for its threads
            raise


def _options(options: argparse.Namespace) -> str:
    """As make takes them."""
    given = {
        "KINDS": (options.kinds, ""),
        "SEEDS": (options.seeds, 10),
        "FIRST_SEED": (options.first_seed, 1),
        "MESSAGES": (options.messages, 20),
        "JOBS": (options.jobs, 2),
    }
    return "".join(f" {name}={value}" for name, (value, usual) in given.items() if value != usual)


def _stop() -> None:
    """What was started by us, each of which stops what it has started itself; the threads end with this process."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            for pid in (task / "children").read_text().split():
                os.kill(int(pid), signal.SIGTERM)
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
