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


def fields(report: Report, *, receipt: bool) -> dict[str, Any]:
    """As the help of `mailrelay check` lists it. receipt: with the questions and answers."""
    shown: dict[str, Any] = {
        "user": report.asked.user,
        "domain": report.asked.domain,
        "accepted": report.accepted,
        "accepted_from": _iso(report.no_until if report.right else 0.0),
        "accepted_until": _iso(report.good_until if report.accepted else 0.0),
        "account": report.account,
        "error": report.error or None,
        "warnings": list(report.notes),
        "records": [_record_fields(proof, found) for proof, found in report.found.items()],
        "relay": _known_fields(report, receipt) if report.known else None,
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
        "unknown": found.unknown or None,
        "hints": list(found.hints),
        "publish": {"name": wanted.name, "type": wanted.type, "value": wanted.value} if problem else None,
    }


def _known_fields(report: Report, whole: bool) -> dict[str, Any]:
    known = report.known
    assert known
    held = _held_until(report, known)
    shown = receipts.fields(known.verdict)
    if not whole:
        del shown["answers"]
    return {
        **shown,
        "standing": _standing(known, held, report.now),
        "confirmed": render.iso(known.confirmed),
        "until": render.iso(known.until),
        "failing_since": _iso(known.failing_since),
        "held_until": _iso(held),
    }


def _iso(time: float) -> str | None:
    return render.iso(time) if time else None


# --- for people ----------------------------------------------------------------------------------


def blocks(report: Report, *, receipt: bool) -> Iterator[RenderableType]:
    """The whole report, from the question to the answer."""
    asked = report.asked
    yield Text(f"May {asked.user} send mail from {asked.domain}?\n", overflow="fold")
    if report.verdict is None:
        what = "Not known" if report.ours else "DNS does not answer"
        yield Text.assemble((what, "yellow"), f": {render.safe(report.error)}.\n", overflow="fold")
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
        yield from _memory(report, receipt=receipt)
    yield answer(report)


def answer(report: Report) -> Text:
    """May it? And what becomes of mail if not."""
    if report.account is not False and report.verdict is None:
        return _unknown(report)
    if report.accepted:
        return Text.assemble(("Yes", "green"), ": all is right.")
    if report.right:
        from_then = f", from {_time(report.no_until)} (UTC) on: the relay remembers its last no until then."
        return Text.assemble(("Yes", "yellow"), from_then, overflow="fold")
    until = _would_wait(report)
    if report.account is not False and until:
        return Text.assemble(("No", "red"), f": mail waits until this is put right, or it is {_time(until)} (UTC).")
    return Text.assemble(("No", "red"), ": mail is refused until this is put right.")


def _unknown(report: Report) -> Text:
    """As relay.proof.judge has it while it can't be told: the relay goes by what it remembers, if that serves."""
    why = "the relay's own records are wrong" if report.ours else "DNS does not answer"
    if report.good_until:
        serves = f": {why}; the relay goes by its last good verdict until {_time(report.good_until)} (UTC)."
        return Text.assemble(("Yes", "green"), serves, overflow="fold")
    refused = ""
    if report.no_until and report.known and not report.now < _held_until(report, report.known):
        refused = f" From {_time(report.no_until)} (UTC) on: until then the relay remembers its last no and refuses it."
    return Text.assemble(("No", "red"), f": {why}, so mail is put off and tried again, not refused.{refused}")


def _would_wait(report: Report) -> float:
    """Until when mail waits for a domain that fails and was proved lately, epoch seconds; 0.0 if it is refused."""
    known = report.known
    if known is None:
        return 0.0
    failing = known if known.failing_since else replace(known, failing_since=report.now)  # what the relay will find out
    until = held_until(failing, report.asked.service.patience)
    return until if report.now < until else 0.0


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
    if report.right and before.right and before.no_until and not report.no_until:
        yield "The relay's last no is over"


def _told(found: Found) -> tuple[str, ...]:
    """One proof in short."""
    if found.unknown:
        return "not known", render.safe(found.unknown)
    if found.problem is None:
        return (_word(found),)
    return "wrong", render.safe(found.problem.what), *map(render.safe, found.hints[:1])


def _word(found: Found) -> str:
    if found.problem:
        return "wrong"
    if found.unknown:
        return "not known"
    return "right" if found.records else "not there, and not required"


def _record(proof: Proof, found: Found) -> Iterator[RenderableType]:
    if found.unknown:
        yield Text.assemble(
            TITLES[proof], ": ", ("not known", "yellow"), f": {render.safe(found.unknown)}", overflow="fold"
        )
        yield Text("")
        return
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


def _memory(report: Report, *, receipt: bool) -> Iterator[RenderableType]:
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
        }[_standing(known, held, report.now)]
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
