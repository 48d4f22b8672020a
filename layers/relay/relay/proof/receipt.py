"""What is remembered of a domain and user: the verdict in force, the last good one, since when it fails.

Verdicts as JSON texts, and the port to the table that keeps them.
"""

import json
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

from relay.errors import PermanentError
from relay.ports import AddressAnswer, DnsStatus, MxAnswer, PtrAnswer, TxtAnswer
from relay.proof.lookup import KINDS, Answer, Question
from relay.proof.verdict import Policy, Problem, Proof, Terms, Verdict

VERSION: Final = 1
LARGEST: Final = 100_000  # octets of a receipt; a DynamoDB item has 400 KB, and honest receipts have 2


@dataclass(frozen=True, slots=True)
class Known:
    """Of one domain and account. All times are epoch seconds.

    verdict: the last one. until: how long it serves without asking DNS. confirmed: when DNS last said so.
    good: the last verdict that passed, None if there is none; good_at: when DNS last said that.
    failing_since: when it began to fail, 0.0 while it passes. version: counts the writes.
    """

    verdict: Verdict
    until: float
    confirmed: float
    good: Verdict | None = None
    good_at: float = 0.0
    failing_since: float = 0.0
    version: int = 1


class Receipts(Protocol):
    """Raises as the ports do."""

    async def find(self, domain: str, account: str) -> Known | None: ...

    async def put(self, account: str, known: Known, before: Known | None) -> bool:
        """Replace `before` (from `find`) by `known`; False if somebody else has replaced it since. A verdict that
        is superseded by one that doesn't say the same is kept as a receipt."""
        ...

    async def keep(self, account: str, verdict: Verdict, now: float) -> None:
        """As a receipt only, beside the one in force: of one sender."""
        ...

    async def receipt(self, domain: str, account: str, name: str) -> Verdict | None:
        """The verdict of that `Verdict.name`, in force now or once; None if it is gone."""
        ...


def encode_verdict(verdict: Verdict) -> str:
    """JSON. One that would be larger than LARGEST leaves out the answers, and says so: `replay` then fails."""
    text = json.dumps(_fields(verdict), separators=(",", ":"))
    if len(text) > LARGEST:
        text = json.dumps({**_fields(verdict), "answers": [], "cut": True}, separators=(",", ":"))
    return text


def decode_verdict(text: str) -> Verdict:
    """PermanentError if it is none of a version that we know."""
    try:
        found = json.loads(text)
        if found["v"] != VERSION:
            raise ValueError(f"version {found['v']}")
        return Verdict(
            domain=found["domain"],
            user=found["user"],
            sender=found["sender"],
            decided=found["decided"],
            problems=tuple(Problem(Proof(proof), *texts) for proof, *texts in found["problems"]),
            warnings=tuple(found["warnings"]),
            unanswered=tuple(found["unanswered"]),
            rules={Proof(proof): rule for proof, rule in found["rules"].items()},
            policy=Policy(**found["policy"]),
            answers=dict(map(decode_answer, found["answers"])),
            ttl=found["ttl"],
            per_sender=found["per_sender"],
            terms=Terms(**{**found["terms"], "egress": tuple(found["terms"]["egress"])}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PermanentError("not a verdict", f"{type(error).__name__}: {error}") from error


def _fields(verdict: Verdict) -> dict[str, Any]:
    plain: dict[str, Any] = {each.name: getattr(verdict, each.name) for each in fields(verdict)}
    return {
        "v": VERSION,
        **plain,
        "problems": [[each.proof, each.what, each.publish, each.hint] for each in verdict.problems],
        "policy": {each.name: getattr(verdict.policy, each.name) for each in fields(verdict.policy)},
        "answers": [encode_answer(question, answer) for question, answer in verdict.answers.items()],
        "terms": {each.name: getattr(verdict.terms, each.name) for each in fields(verdict.terms)},
    }


def encode_answer(question: Question, answer: Answer) -> dict[str, Any]:
    """As JSON types: name, type, status, ttl, records. A TXT record's octets are Latin-1 text."""
    records: list[Any]
    match answer:
        case TxtAnswer(records=texts):
            records = [each.decode("latin-1") for each in texts]
        case MxAnswer(records=hosts):
            records = [list(each) for each in hosts]
        case AddressAnswer(addresses=names) | PtrAnswer(names=names):
            records = list(names)
    return {
        "name": question.name,
        "type": question.type,
        "status": answer.status.value,
        "ttl": answer.ttl,
        "records": records,
    }


def decode_answer(found: dict[str, Any]) -> tuple[Question, Answer]:
    """The inverse of encode_answer; KeyError, TypeError or ValueError for anything else."""
    records: tuple[Any, ...] = tuple(found["records"])
    match found["type"]:
        case "TXT":
            records = tuple(each.encode("latin-1") for each in records)
        case "MX":
            records = tuple((int(preference), str(host)) for preference, host in records)
    answer = KINDS[found["type"]](DnsStatus(found["status"]), records, int(found["ttl"]))
    return Question(found["name"], found["type"]), answer
