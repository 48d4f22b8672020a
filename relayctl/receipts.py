"""How a receipt looks: what was decided about a sender domain, when, by which rules, from which answers."""

from collections.abc import Iterator
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from relay.ports import AddressAnswer, MxAnswer, PtrAnswer, TxtAnswer
from relay.proof.lookup import Answer
from relay.proof.receipt import encode_answer
from relay.proof.verdict import Proof, Verdict
from relayctl import render

TITLES: Final = {Proof.TOKEN: "Ownership token", Proof.SPF: "SPF", Proof.DMARC: "DMARC"}
FIELDS: Final = """\
A receipt is an object: receipt (its name), domain, user, sender ("" unless the
SPF record depends on it), decided, passed, rules (by proof: what decided),
problems (a list of proof, what, hint, publish), unanswered (by proof: why DNS
could not tell), warnings (a list), ttl (seconds), answers (a list of name,
type, status, ttl, records)."""


def fields(verdict: Verdict) -> dict[str, Any]:
    """As `--json` has it; FIELDS lists them."""
    return {
        "receipt": verdict.name,
        "domain": verdict.domain,
        "user": verdict.user,
        "sender": verdict.sender,
        "decided": render.iso(verdict.decided),
        "passed": verdict.passed,
        "rules": {proof.value: rule for proof, rule in verdict.rules.items()},
        "problems": [
            {"proof": each.proof.value, "what": each.what, "hint": each.hint, "publish": each.publish}
            for each in verdict.problems
        ],
        "unanswered": {proof.value: why for proof, why in unanswered(verdict).items()},
        "warnings": list(verdict.warnings),
        "ttl": verdict.ttl,
        "answers": [encode_answer(question, answer) for question, answer in verdict.answers.items()],
    }


def unanswered(verdict: Verdict) -> dict[Proof, str]:
    """Why DNS could not tell, by proof: of those that have neither a rule nor a problem."""
    told = {*verdict.rules, *(each.proof for each in verdict.problems)}
    return dict(zip((each for each in Proof if each not in told), verdict.unanswered, strict=False))


def decided(verdict: Verdict) -> Text:
    """passed, or failed, in colour."""
    return Text("passed", "green") if verdict.passed else Text("failed", "red")


def findings(verdict: Verdict) -> Iterator[RenderableType]:
    """What decided about each proof, one below the other."""
    problems = {each.proof: each.what for each in verdict.problems}
    unknown = unanswered(verdict)
    for proof, title in TITLES.items():
        what = problems.get(proof) or unknown.get(proof) or verdict.rules.get(proof)
        if what:
            sign = ("no: ", "red") if proof in problems else ("not known: ", "yellow") if proof in unknown else ("", "")
            yield Text.assemble(f"{title}: ", sign, render.safe(what), overflow="fold")


def answers(verdict: Verdict) -> Iterator[RenderableType]:
    """What was asked and answered, in that order."""
    for question, answer in verdict.answers.items():
        yield Text(f"{render.safe(question.name)} {question.type}: {answer.status.value}, TTL {answer.ttl} s")
        for record in _records(answer):
            yield Padding(Text(render.safe(record), overflow="fold"), (0, 0, 0, 2))
    if not verdict.answers:
        yield Text("none are kept: there was too much of them")


def _records(answer: Answer) -> tuple[str, ...]:
    match answer:
        case TxtAnswer(records=texts):
            return tuple(each.decode("utf-8", "replace") for each in sorted(texts))  # DNS gives them in any order
        case MxAnswer(records=hosts):
            return tuple(f"{preference} {host or '.'}" for preference, host in hosts)
        case AddressAnswer(addresses=names) | PtrAnswer(names=names):
            return names
