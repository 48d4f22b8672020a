"""The rules of the house that import contracts can't hold (pyproject.toml has those)."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
)
SOURCES = [path for path in FILES if path.is_file() and "tests" not in path.relative_to(ROOT).parts]
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
SANS_IO = (
    "session",
    "states",
    "events",
    "commands",
    "data",
    "auth",
    "replies",
    "limits",
    "quotas",
    "deadlines",
    "proxy",
    "health",
)
MAY_READ_ENVIRONMENT = re.compile(r"smtp_gateway/__main__\.py|functions/\w+/app\.py|relayctl/|local/")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module)
    return found


def test_sources_are_found() -> None:
    assert {"layers/relay/relay/ports.py", "smtp_gateway/session.py", "functions/validate/app.py"} <= set(
        map(name, SOURCES)
    )


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_stays_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_function_stays_short(path: Path) -> None:
    long = [
        f"{function.name}: {function.end_lineno - function.lineno + 1} lines"
        for function in functions(path)
        if function.end_lineno and function.end_lineno - function.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_environment_is_read_at_composition_only(path: Path) -> None:
    if not MAY_READ_ENVIRONMENT.match(name(path)):
        assert not re.search(r"\bos\.(environ|getenv)\b", path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_client_is_made_at_import(path: Path) -> None:
    def calls(node: ast.AST) -> Iterator[ast.Call]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Call):
            yield node
        for child in ast.iter_child_nodes(node):
            yield from calls(child)

    made = [ast.unparse(call.func) for call in calls(ast.parse(path.read_text()))]
    assert not [call for call in made if re.search(r"boto3|\bclient$|AwsClient|get_event_loop|from_environment", call)]


@pytest.mark.parametrize("module", SANS_IO)
def test_the_session_is_sans_io(module: str) -> None:
    allowed = {"relay.address", "relay.header", "relay.errors"}
    for imported in imports(ROOT / "smtp_gateway" / f"{module}.py"):
        top = imported.split(".")[0]
        assert top not in {"asyncio", "ssl", "socket", "os", "time", "boto3", "botocore", "uvloop", "threading"}
        assert top != "relay" or imported in allowed, imported


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_relay_aws_and_what_runs_or_measures_it_here_know_boto(path: Path) -> None:
    if not re.match(r"layers/relay/relay/aws/|local/|bench/", name(path)):
        assert not {imported.split(".")[0] for imported in imports(path)} & {"boto3", "botocore"}


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    places = re.compile(
        r"py" + r"pi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian|--(extra-)?index-url|/ro" + r"ot/"
    )
    found = []
    for each in listed:
        path = ROOT / each
        if path.suffix in {".eml", ".png"} or not path.is_file() or each == "tests/unit/test_house.py":
            continue
        if places.search(path.read_text(errors="replace")):
            found.append(each)
    assert not found
