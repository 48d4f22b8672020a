"""What a role's policy says to a call, as IAM decides it for one account (AWS: IAM User Guide, "Policy evaluation
logic"): an explicit Deny is before any Allow, and what nothing allows is denied. Only what template.yaml uses."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ask:
    """action: such as "dynamodb:GetItem". resource: its ARN, "*" if the action has none. keys: of the context that
    conditions look at, such as dynamodb:Attributes; each with all its values."""

    action: str
    resource: str
    keys: Mapping[str, frozenset[str]]


def allows(statements: Iterable[Mapping[str, Any]], ask: Ask) -> bool:
    effects = {each["Effect"] for each in statements if _is_about(each, ask)}
    return "Allow" in effects and "Deny" not in effects


def _is_about(statement: Mapping[str, Any], ask: Ask) -> bool:
    return (
        any(_matches(each, ask.action) for each in _several(statement["Action"]))
        and any(_matches(each, ask.resource) for each in _several(statement["Resource"]))
        and all(
            _holds(operator, key, frozenset(_several(values)), ask.keys)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _holds(operator: str, key: str, values: frozenset[str], keys: Mapping[str, frozenset[str]]) -> bool:
    """(AWS: IAM User Guide, "Condition operators", "Multivalued context keys".)"""
    given = keys.get(key)
    match operator:
        case "ForAllValues:StringEquals":  # true as well if there is none
            return given is None or given <= values
        case "StringEqualsIfExists":
            return given is None or bool(given & values)
    raise ValueError(f"{operator} is not known here")


def _matches(pattern: str, text: str) -> bool:
    words = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(words, text) is not None


def _several(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [value]
