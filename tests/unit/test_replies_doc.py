"""docs/replies.md lists each 4xx and 5xx that the gateway and validate say, and nothing else.

What they say is read out of the source: the named replies, and the literals that become a reason. In both a
value that changes is "…".
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import validate
from smtp_gateway import replies
from smtp_gateway.replies import Reply

DOC = Path(__file__).parents[2] / "docs" / "replies.md"
GATEWAY = Path(replies.__file__).parent
ROW = re.compile(r"\| `([^`]+)` \|(.+)\|(.+)\|")
# Where reasons are made: {module: calls, and variables, whose texts are shown to a sender}.
REASONS = {
    "smtp_gateway.data": {"Flaw"},
    "smtp_gateway.message": {"PermanentError"},
    "relay.address": {"AddressError"},
    "relay.header": {"HeaderError", "_Syntax"},
    "relay.validate": {"HeaderError", "TemporaryError", "text"},
    "relay.proof.verdict": {"Problem", "TemporaryError", "what", "text"},
    "relay.proof.spf": {"SpfPermError", "SpfReach", "_note"},
    "relay.proof.spf_walk": {"SpfPermError"},
    "relay.proof.spf_record": {"SpfPermError"},
    "relay.proof.dmarc": {"DmarcError", "return", "problem"},
    "relay.dns": {"TemporaryError", "reason"},
}
NEVER_SHOWN = {
    "it is too large",  # replies.too_big says it
    "there is no room for it now",  # replies.NO_ROOM says it
    "… …",  # a longer text put together of others
    "… And … more problem….",
    "…",
}


def named_replies() -> set[str]:
    """Constants, and functions called with "…" for each argument."""
    made = [each for each in vars(replies).values() if inspect.isfunction(each)]
    found = [each for each in vars(replies).values() if isinstance(each, Reply)] + [
        each(*["…" for _ in inspect.signature(each).parameters])
        for each in made
        if inspect.signature(each).return_annotation is Reply
    ]
    return {f"{each.code} {each.enhanced} {each.text}" for each in found if not each.ok}


def reasons(module: str) -> set[str]:
    source = importlib.import_module(module)
    tree = ast.parse(inspect.getsource(source))
    found = {text for node in _shown(tree, REASONS[module]) for text in _texts(node, vars(source)) if " " in text}
    return found - NEVER_SHOWN


def verdicts() -> set[str]:
    """Code and enhanced code of what validate decides."""
    tree = ast.parse(inspect.getsource(validate))
    calls = [node.args for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) == "_Final"]
    return {" ".join([*(code for each in args[1:3] for code in _code(each)), "…"]) for args in calls}


def _code(node: ast.expr) -> list[str]:
    match node:
        case ast.Constant(value=value):
            return [str(value)]
        case ast.Name(id=name) if name.isupper():
            return [str(getattr(validate, name))]
    return []


def _shown(tree: ast.AST, names: set[str]) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in names:
                yield from args
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in names:
                yield value
            case ast.ClassDef(name=name, body=body) if name in names:  # an enum of reasons
                yield from (each.value for each in body if isinstance(each, ast.Assign))
            case ast.Return(value=ast.Tuple(elts=elements)) if "return" in names:
                yield from elements


def _texts(node: ast.expr, constants: dict[str, object]) -> list[str]:
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(_part(each, constants) for each in parts)]
        case ast.IfExp(body=yes, orelse=no):
            return _texts(yes, constants) + _texts(no, constants)
        case ast.BoolOp(values=values):
            return [text for each in values for text in _texts(each, constants)]
    return []


def _part(node: ast.expr, constants: dict[str, object]) -> str:
    match node:
        case ast.Constant(value=value):
            return str(value)
        case ast.FormattedValue(value=ast.Name(id=name)) if name.isupper():
            return f"{constants[name]:.0f}"
    return "…"


def documented() -> list[str]:
    return [match[1] for match in map(ROW.match, DOC.read_text("utf-8").splitlines()) if match]


def test_each_reply_and_reason_is_listed_and_nothing_else() -> None:
    said = named_replies().union(verdicts(), *map(reasons, REASONS))
    listed = set(documented())
    assert said - listed == set(), "said, but not in docs/replies.md"
    assert listed - said == set(), "in docs/replies.md, but never said"


def test_each_is_listed_once_with_cause_and_remedy() -> None:
    assert len(documented()) == len(set(documented()))
    rows = [line for line in DOC.read_text("utf-8").splitlines() if line.startswith("| `")]
    for row in rows:
        match = ROW.fullmatch(row)
        assert match, row
        assert match[2].strip(), row
        assert match[3].strip(), row


@pytest.mark.parametrize("path", sorted(GATEWAY.glob("*.py")), ids=lambda path: path.stem)
def test_replies_are_made_in_one_place(path: Path) -> None:
    made = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and _name(node) == "Reply"
    ]
    assert path.name == "replies.py" or not made


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


@pytest.mark.parametrize("module", REASONS)
def test_reasons_are_found_in_each_module(module: str) -> None:
    assert reasons(module)
