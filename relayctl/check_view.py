"""How the report of `mailrelay check` looks."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from relay.proof.judge import held_until
from relay.proof.receipt import Known
from relay.proof.verdict import Proof
from relayctl import receipts, render
from relayctl.inquiry import Found, Report
from relayctl.receipts import TITLES

MOST_SHOWN: Final = 5  # records of one kind, and hints


# --- for programs --------------------------------------------------------------------------------


def fields(report: Report, now: float, *, receipt: bool) -> dict[str, Any]:
    """As the help of `mailrelay check` lists it. receipt: with the questions and answers."""
    shown: dict[str, Any] = {
        "user": report.asked.user,
        "domain": report.asked.domain,
        "accepted": report.accepted,
        "account": report.account,
        "error": report.error or None,
        "warnings": list(report.notes),
        "records": [_record_fields(proof, found) for proof, found in report.found.items()],
        "relay": _known_fields(report, now, receipt) if report.known else None,
    }
    if receipt:
        shown["receipt"] = receipts.fields(report.verdict) if report.verdict else None
    return shown


def _record_fields(proof: Proof, found: Found) -> dict[str, Any]:
    wanted, problem = found.wanted, found.problem
    return {
        "proof": proof.value,
        "ok": found.ok,
        "name": found.name,
        "type": "TXT",
        "found": list(found.records),
        "wanted": wanted.value,
        "problem": problem.what if problem else None,
        "hints": list(found.hints),
        "publish": {"name": wanted.name, "type": wanted.type, "value": wanted.value} if problem else None,
    }


def _known_fields(report: Report, now: float, whole: bool) -> dict[str, Any]:
    known = report.known
    assert known
    held = _held_until(report, known)
    shown = receipts.fields(known.verdict)
    if not whole:
        del shown["answers"]
    return {
        **shown,
        "standing": _standing(known, held, now),
        "confirmed": render.iso(known.confirmed),
        "until": render.iso(known.until),
        "failing_since": render.iso(known.failing_since) if known.failing_since else None,
        "held_until": render.iso(held) if held else None,
    }


# --- for people ----------------------------------------------------------------------------------


def blocks(report: Report, now: float, *, receipt: bool) -> Iterator[RenderableType]:
    """The whole report, from the question to the answer."""
    asked = report.asked
    yield Text(f"May {asked.user} send mail from {asked.domain}?\n", overflow="fold")
    if report.verdict is None:
        yield Text.assemble(("DNS does not answer", "yellow"), f": {render.safe(report.error)}.", overflow="fold")
        yield Text("Not known: mail is put off and tried again, not refused. Ask again later.\n")
    for proof, found in report.found.items():
        yield from _record(proof, found)
    for note in report.notes:
        yield Text.assemble(("Note", "yellow"), f": {render.safe(note)}.", overflow="fold")
    if report.account is False:
        yield Text.assemble(("Account: wrong", "red"), f": {asked.user} is not there, or is disabled.")
        yield Text("  see mailrelay accounts list")
    if receipt and report.verdict:
        yield Text("What DNS says:")
        yield from _indented(receipts.answers(report.verdict))
        yield Text("")
    if report.account is not None:
        yield from _memory(report, now, receipt=receipt)
    yield answer(report, now)


def answer(report: Report, now: float) -> Text:
    """May it? And what becomes of mail if not."""
    if report.accepted:
        return Text.assemble(("Yes", "green"), ": all is right.")
    if report.verdict is None:
        return Text.assemble(("No", "red"), ": not as long as DNS does not answer.")
    until = _would_wait(report, now)
    if report.account is not False and until:
        return Text.assemble(("No", "red"), f": mail waits until this is put right, or it is {_time(until)} (UTC).")
    return Text.assemble(("No", "red"), ": mail is refused until this is put right.")


def _would_wait(report: Report, now: float) -> float:
    """Until when mail waits for a domain that fails and was proved lately, epoch seconds; 0.0 if it is refused."""
    known = report.known
    if known is None:
        return 0.0
    failing = known if known.failing_since else replace(known, failing_since=now)  # what the relay will find out
    until = held_until(failing, report.asked.service.patience)
    return until if now < until else 0.0


def changes(before: Report, report: Report) -> Iterator[str]:
    """A line for each thing that is not as it was; nothing for those that are."""
    if before.error != report.error:
        yield f"DNS does not answer: {render.safe(report.error)}" if report.error else "DNS answers"
    for proof, found in report.found.items():
        was = before.found.get(proof)
        if was is None or _told(was) != _told(found):
            yield f"{TITLES[proof]}: {'; '.join(_told(found))}"
    if before.account != report.account:
        yield "Account: right" if report.account else "Account: not there, or disabled"


def _told(found: Found) -> tuple[str, ...]:
    """One proof in short."""
    if found.problem is None:
        return (_word(found),)
    return "wrong", render.safe(found.problem.what), *map(render.safe, found.hints[:1])


def _word(found: Found) -> str:
    if found.problem:
        return "wrong"
    return "right" if found.records else "not there, and not required"


def _record(proof: Proof, found: Found) -> Iterator[RenderableType]:
    yield Text.assemble(TITLES[proof], ": ", (_word(found), "green" if found.ok else "red"))
    lines = [f"found at {found.name}, TXT:" if found.records else f"found at {found.name}: nothing"]
    lines += [f"  {render.safe(each)}" for each in found.records[:MOST_SHOWN]]
    lines += [f"  and {len(found.records) - MOST_SHOWN} more"] * (len(found.records) > MOST_SHOWN)
    lines += [render.safe(found.problem.what)] if found.problem else []
    lines += [f"hint: {render.safe(each)}" for each in found.hints[:MOST_SHOWN]]
    if found.problem:
        instead = " instead" if found.records and proof is not Proof.TOKEN else ""
        lines += [
            f"publish{instead} at {found.wanted.name}, {found.wanted.type}:",
            f"  {render.safe(found.wanted.value)}",
        ]
    for line in [*lines, ""]:
        # a value hangs two columns further in, wherever it is folded
        yield Padding(Text(line.strip(), overflow="fold"), (0, 0, 0, 4 if line.startswith("  ") else 2))


# --- what the relay remembers --------------------------------------------------------------------


def _memory(report: Report, now: float, *, receipt: bool) -> Iterator[RenderableType]:
    known = report.known
    if known is None:
        yield Text("The relay itself has not been asked about it yet.\n")
        return
    held = _held_until(report, known)
    yield Text.assemble("The relay's own last verdict: ", receipts.decided(known.verdict))
    lines = [
        f"decided {_time(known.verdict.decided)}, confirmed {_time(known.confirmed)} (UTC)",
        f"serves until {_time(known.until)}, then DNS is asked again; its answers held for {known.verdict.ttl} s",
    ]
    if known.failing_since:
        until = {
            "held": f"mail waits until {_time(held)}, then it is refused",
            "refused": f"mail was held until {_time(held)}, now it is refused" if held else "mail is refused",
        }[_standing(known, held, now)]
        lines.append(f"failing since {_time(known.failing_since)}: {until}")
    yield from _indented(iter([Text(each, overflow="fold") for each in lines]))
    yield from _indented(receipts.findings(known.verdict))
    if receipt:
        yield Padding(Text("What DNS said:"), (0, 0, 0, 2))
        yield from _indented(receipts.answers(known.verdict))
    yield Text("")


def _indented(of: Iterator[RenderableType], by: int = 2) -> Iterator[RenderableType]:
    for each in of:
        yield Padding(each, (0, 0, 0, by))


def _held_until(report: Report, known: Known) -> float:
    return held_until(known, report.asked.service.patience) if known.failing_since else 0.0


def _standing(known: Known, held: float, now: float) -> str:
    if not known.failing_since:
        return "passed"
    return "held" if now < held else "refused"


def _time(seconds: float) -> str:
    return render.plain_time(seconds)
