"""`python -m tests.iam`: the whole relay under its roles, and the matrix of what these allow and deny."""

import sys

from rich.console import Console
from rich.table import Column, Table

from tests.iam.matrix import UNSEEN, denied, seen, unseen
from tests.iam.run import everything, gated


def main() -> int:
    console = Console(width=80 if not sys.stdout.isatty() else None, highlight=False)
    with gated() as (system, gate, roles):
        everything(system)
        table = Table("who", "on", "did, and was allowed to", title="seen", box=None, title_justify="left")
        for caller, resources in seen(gate, roles).items():
            for resource, actions in sorted(resources.items()):
                table.add_row(caller, resource, ", ".join(sorted(each.partition(":")[2] for each in actions)))
        console.print(table)
        table = Table(
            "who",
            Column("may", overflow="fold"),
            "on",
            "needed",
            title="\nallowed, not seen",
            box=None,
            title_justify="left",
        )
        for caller, action, resource in sorted(unseen(gate, roles)):
            table.add_row(caller, action, resource.rpartition(":")[2], UNSEEN.get((caller, action), "FOR NOTHING"))
        console.print(table)
        table = Table("who", "would", "by", "is", title="\ndenied", box=None, title_justify="left")
        wrong = len(gate.denied)
        for attempt, was in denied(roles):
            wrong += not was
            table.add_row(attempt.caller, attempt.why, attempt.operation, "denied" if was else "ALLOWED")
        console.print(table)
        for caller, action, resource in gate.denied:
            console.print(f"DENIED although it was needed: {caller} {action} {resource}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
