"""How long a refused AUTH takes for user names that exist and for names that don't. The answer must tell nobody which.

200 of each in random order against the whole local system's gateway, each from an address of its own (127.0.0.0/8), so
that no delay for earlier failures is in the figures; one pass with nothing remembered, one a moment later. The accounts
table is moto's, whose own times are far above the difference that is looked for: so the share of pairs in which the
known name took longer is printed, too. Half of them is no difference; 0.06 to either side is chance (Mann-Whitney, 200
against 200, 95 %).
"""

import argparse
import json
import random
import smtplib
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from local.supervisor import Options, System

NAMES: Final = 200
PASSWORD: Final = "not-one-of-them"  # noqa: S105 - that is the point


def refused(state: dict[str, Any], user: str, number: int, context: ssl.SSLContext) -> float:
    """Seconds until 535."""
    source = f"127.{number // 250 + 1}.{number % 250 + 1}.1"
    with smtplib.SMTP(state["host"], state["port"], timeout=60, source_address=(source, 0)) as client:
        client.starttls(context=context)
        client.ehlo()
        client.user, client.password = user, PASSWORD
        started = time.perf_counter()
        try:
            client.auth("PLAIN", client.auth_plain, initial_response_ok=True)
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code == 535:
                return time.perf_counter() - started
            raise
    raise AssertionError(f"{user} has logged in")


def times(state: dict[str, Any], names: dict[str, bool], first: int) -> dict[bool, list[float]]:
    """Seconds by whether the name exists. first: of the addresses."""
    context = ssl.create_default_context(cafile=state["ca_file"])
    found: dict[bool, list[float]] = {True: [], False: []}
    order = list(names)
    random.Random(first).shuffle(order)  # noqa: S311 - an order
    for number, name in enumerate(order, first):
        found[names[name]].append(refused(state, name, number, context))
    return found


def longer(known: list[float], unknown: list[float]) -> float:
    """The share of pairs in which the known one took longer."""
    return sum(each > other for each in known for other in unknown) / (len(known) * len(unknown))


def figures(found: dict[bool, list[float]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for exists, name in ((True, "known"), (False, "unknown")):
        ordered = sorted(found[exists])
        ranks = {"median": 0.5, "p95": 0.95, "p99": 0.99}
        told[name] = {rank: round(1000 * ordered[int(at * len(ordered))], 2) for rank, at in ranks.items()}
        told[name]["count"] = len(ordered)
    return {**told, "known_longer": round(longer(found[True], found[False]), 3)}


def show(results: dict[str, dict[str, Any]]) -> None:
    table = Table("pass", "names", "count", "median", "95 %", "99 %", "known longer", title="from AUTH to 535: ms")
    for name, result in results.items():
        for kind in ("known", "unknown"):
            of = result[kind]
            cells = (str(of[each]) for each in ("count", "median", "p95", "p99"))
            table.add_row(name, kind, *cells, str(result["known_longer"]) if kind == "known" else "")
    Console().print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", type=int, default=NAMES, help="of each kind")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    known = [f"known-{number}@auth.example" for number in range(options.names)]
    names = dict.fromkeys(known, True) | {f"other-{number}@auth.example": False for number in range(options.names)}
    with tempfile.TemporaryDirectory() as folder:
        accounts = tuple((name, f"password-of-{name}") for name in known)
        system = Options(port=0, tls_port=0, state=Path(folder) / "state.json", accounts=accounts)
        with System(system) as running:
            results = {
                name: figures(times(running.state, names, first))
                for name, first in (("first", 0), ("second", 2 * options.names))
            }
    if options.json:
        print(json.dumps(results))
    else:
        show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
