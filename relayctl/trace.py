"""`mailrelay trace`: one message's life, recipient by recipient, attempt by attempt."""

import argparse
import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from relay.errors import PermanentError
from relay.outcome import State
from relay.ports import Row
from relay.proof.verdict import Verdict
from relayctl import ids, receipts, render, target
from relayctl.context import Cloud, Context
from relayctl.errors import DONE, CommandError

MOST_NAMED: Final = 3  # recipients that one line of the timeline names

EPILOG: Final = f"""\
example:
  mailrelay trace {ids.EXAMPLE}

The id is in the relay's answer to the message: 250 2.0.0 queued as <id>. What
is the same for several recipients is one entry of the timeline.

--json prints an object: id, account, mail_from, received, notice, recipients: a
list of recipient, state, attempts: a list, oldest first, of stage, attempt,
time, state, code, enhanced, text, remote, tls, via (the back end: mx, smarthost
or ses; "" if none was asked), failure (its class, or null),
next_try (null when final), receipts (their names); proof: receipts (a list)
and warnings about the message (a list). Times are UTC, ISO 8601.
{receipts.FIELDS}
One that is no longer kept has only receipt, domain and passed (null).
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("trace", help="one message's life", epilog=EPILOG)
    parser.add_argument("id", metavar="ID", help="the message's id")
    parser.add_argument("--json", action="store_true", help="for programs")
    target.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    id = ids.message_id(arguments.id)
    rows, proof = asyncio.run(_ask(id, arguments, context))
    if not rows:
        raise CommandError(f"nothing is recorded about {id}: check the id, or ask again when it has been tried")
    if arguments.json:
        render.print_json(context.out, _fields(rows, proof))
    else:
        render.show(context.out, *_blocks(rows, proof, context.now()))
    return DONE


Kept = Mapping[str, Verdict | None]  # by the receipt's name; None for one that is gone


async def _ask(id: str, arguments: argparse.Namespace, context: Context) -> tuple[tuple[Row, ...], Kept]:
    async with context.connect(target.find(arguments, context)) as cloud:
        rows = await cloud.messages.of_id(id)
        names = sorted({name for row in rows for name in row.proved.receipts})  # by domain and time
        found = await asyncio.gather(*(_receipt(cloud, name, rows[0].account) for name in names))
    return rows, dict(zip(names, found, strict=True))


async def _receipt(cloud: Cloud, name: str, account: str) -> Verdict | None:
    try:
        return await cloud.receipts.receipt(name.rpartition("@")[0], account, name)
    except PermanentError:  # of a version that we don't know
        return None


def happened(row: Row) -> tuple[bool, int, bool, float]:
    """Sorts one recipient's rows in the order they happened: validate before deliver, a final state last."""
    return row.stage != "validate", row.outcome.attempt, row.outcome.state.final, row.outcome.time


def by_recipient(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """(recipient, its rows in the order they happened), by recipient."""

    def recipient(row: Row) -> str:
        return row.outcome.recipient

    return [(each, sorted(of, key=happened)) for each, of in groupby(sorted(rows, key=recipient), key=recipient)]


def _warnings(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(warning for row in rows for warning in row.proved.warnings))


def _fields(rows: tuple[Row, ...], proof: Kept) -> dict[str, Any]:
    first = rows[0]
    return {
        "id": first.id,
        "account": first.account,
        "mail_from": first.mail_from,
        "received": render.iso(first.received),
        "notice": first.notice,
        "recipients": [
            {
                "recipient": recipient,
                "state": attempts[-1].outcome.state.value,
                "attempts": [
                    {**render.attempt_fields(each), "receipts": list(each.proved.receipts)} for each in attempts
                ],
            }
            for recipient, attempts in by_recipient(rows)
        ],
        "proof": {
            "receipts": [
                receipts.fields(verdict)
                if verdict
                else {"receipt": name, "domain": name.rpartition("@")[0], "passed": None}
                for name, verdict in proof.items()
            ],
            "warnings": _warnings(rows),
        },
    }


def _blocks(rows: tuple[Row, ...], proof: Kept, now: float) -> Iterator[RenderableType]:
    """Who and where they stand, what was proved, then the timeline."""
    first = rows[0]
    sender = "the relay itself, as a notice" if first.notice else render.safe(first.mail_from) or "<>"
    yield Text(first.id, style="bold")
    yield Text(f"  from     {sender}", overflow="fold")
    yield Text(f"  account  {render.safe(first.account)}\n", overflow="fold")
    latest = [attempts[-1] for _, attempts in by_recipient(rows)]
    for row in latest:
        state = render.state_text(row.outcome.state)
        yield Text.assemble("  ", (render.safe(row.outcome.recipient), "bold"), ": ", state, overflow="fold")
    yield from _proof(proof, _warnings(rows))
    yield Text(f"\n{render.plain_time(first.received)}  accepted (all times UTC)")
    for alike in _together(rows, _event):
        yield from _attempt(alike)
    put_off = [row for row in latest if row.outcome.state is State.DEFERRED and row.outcome.next_due]
    for alike in _together(put_off, lambda row: (row.outcome.next_due, row.stage, row.outcome.attempt)):
        due = alike[0].outcome.next_due
        late = ", under way" if due <= now else ""
        yield render.hanging(render.plain_time(due), f"next {_doing(alike[0])} for {_names(alike)}{late}")


def _proof(proof: Kept, warnings: list[str]) -> Iterator[RenderableType]:
    """For each sender domain what decided, and what the message's sender should know."""
    if proof:
        yield Text("\nWhat the sender's DNS said:")
    for name, verdict in proof.items():
        domain = render.safe(name.rpartition("@")[0])
        if verdict is None:
            yield Text(f"  {domain}: the receipt {render.safe(name)} is not kept any more", overflow="fold")
            continue
        when = f", decided {render.plain_time(verdict.decided)}"
        yield Text.assemble(f"  {domain}: ", receipts.decided(verdict), when, overflow="fold")
        for finding in receipts.findings(verdict):
            yield Padding(finding, (0, 0, 0, 4))
    for warning in warnings:
        note = Text.assemble(("Note", "yellow"), f": {render.safe(warning)}.", overflow="fold")
        yield Padding(note, (0, 0, 0, 2))


def _together(rows: Iterable[Row], key: Callable[[Row], tuple[Any, ...]]) -> Iterator[list[Row]]:
    for _, alike in groupby(sorted(rows, key=key), key=key):
        yield list(alike)


def _event(row: Row) -> tuple[Any, ...]:
    """By time; what is the same for several recipients is one event."""
    outcome = row.outcome
    same = outcome.state, outcome.remote, outcome.tls, outcome.code, outcome.enhanced, outcome.text
    return outcome.time, row.stage != "validate", outcome.attempt, *same


def _names(rows: list[Row]) -> str:
    names = [render.safe(row.outcome.recipient) for row in rows]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _doing(row: Row) -> str:
    return "check" if row.stage == "validate" else "try"


def _attempt(alike: list[Row]) -> Iterator[RenderableType]:
    row, outcome = alike[0], alike[0].outcome
    what = f"{_doing(row)} {outcome.attempt} for " if outcome.state is not State.CANCELLED else ""
    became = Text.assemble(f"{what}{_names(alike)}: ", render.state_text(outcome.state))
    yield render.hanging(render.plain_time(outcome.time), became)
    lines = [render.words(outcome)]
    if outcome.remote:
        via = f", by {outcome.via}" if outcome.via not in ("", "mx") else ""
        lines.insert(0, render.safe(f"{outcome.remote}, {outcome.tls or 'no TLS'}{via}"))
    for line in lines:
        yield Padding(Text(line, overflow="fold"), (0, 0, 0, 4))
