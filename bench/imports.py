"""What a function imports before its first invocation, and how long that takes: its cold start, but for what Lambda
itself does. Each function in a process of its own, as Lambda starts it: the module, then `compose()`.

`python -m bench.imports` prints milliseconds, the best of several runs, with the packages that take most of it.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from typing import Final

from rich.console import Console
from rich.table import Table

from local.stack import ROOT
from tests.functions import process

FUNCTIONS: Final = ("validate", "deliver", "record", "accounts", "dkim")
START: Final = "import json, sys; before = set(sys.modules); import app; app.compose()"
TELL: Final = "; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)))"


def packages(function: str) -> set[str]:
    """The top-level names, but for the standard library's, that are there once the function is ready."""
    return set(json.loads(_run(function, START + TELL).stdout)) - {"__main__", "app"}


def times(function: str) -> tuple[float, Counter[str]]:
    """Milliseconds until the function is ready; and of each package, its own."""
    done = _run(function, f"import time; began = time.perf_counter(); {START}; print(time.perf_counter() - began)")
    own: Counter[str] = Counter()
    for line in _run(function, START, "-X", "importtime").stderr.splitlines():
        head, _, name = line.rpartition("|")
        if head.startswith("import time:") and head.split()[2].isdecimal():
            own[name.strip().partition(".")[0]] += int(head.split()[2])
    return 1000 * float(done.stdout), Counter({name: round(each / 1000) for name, each in own.items()})


def _run(function: str, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    folder = ROOT / "functions" / function
    environment = {**process(function), "PYTHONPATH": f"{folder}:{ROOT / 'layers' / 'relay'}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-P", *options, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)  # noqa: S603


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    table = Table("function", "ms", "of these, by package", title=f"until ready, Python {sys.version.split()[0]}")
    for function in FUNCTIONS:
        best, own = min((times(function) for _ in range(options.rounds)), key=lambda each: each[0])
        most = ", ".join(f"{name} {milliseconds}" for name, milliseconds in own.most_common(7))
        table.add_row(function, f"{best:.0f}", most)
    Console(width=None if sys.stdout.isatty() else 80).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
