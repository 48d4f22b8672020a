"""The Dockerfile, as far as it can be judged without building it; tests/e2e/test_image.py follows its steps."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests import image
from tests.conditions import load
from tests.image import ROOT, Step, dockerfile, let_through, steps

STEPS = dockerfile()
LAST = STEPS[-1].stage
PROGRAMS = {"python", "/opt/gateway/bin/python", "useradd", "install"}  # what python:slim has, or an earlier step made
TEMPLATE = load()["Resources"]


def of(instruction: str, stage: int | None = None) -> list[Step]:
    return [each for each in STEPS if each.instruction == instruction and stage in (None, each.stage)]


def test_it_is_read_as_it_is_meant() -> None:
    found = steps('# x\nFROM a AS b\nRUN one "two three" \\\n    four\nFROM c\nCMD ["x", "y z"]\n')
    assert found == [
        Step(0, "FROM", ("a", "AS", "b")),
        Step(0, "RUN", ("one", "two three", "four")),
        Step(1, "FROM", ("c",)),
        Step(1, "CMD", ("x", "y z")),
    ]


@pytest.mark.parametrize(
    "step", [each for each in of("COPY") if "--from" not in each.words[0]], ids=lambda s: s.words[0]
)
def test_what_is_copied_exists_and_reaches_the_build(step: Step) -> None:
    source = ROOT / step.words[0]
    assert source.exists()
    files = [source] if source.is_file() else [each for each in source.rglob("*") if each.is_file()]
    passed = {str(each.relative_to(ROOT)) for each in files if let_through(str(each.relative_to(ROOT)))}
    assert passed == {str(each.relative_to(ROOT)) for each in files if "__pycache__" not in each.parts}


@pytest.mark.parametrize("path", ["template.yaml", ".git/config", "tests/image.py", "smtp_gateway/__pycache__/x.pyc"])
def test_nothing_else_reaches_it(path: str) -> None:
    assert not let_through(path)


def test_what_one_stage_takes_from_another_was_made_there() -> None:
    (step,) = of("COPY", LAST)
    assert step.words[0] == f"--from={of('FROM')[0].words[2]}"
    assert any(step.words[1] in each.words for each in of("RUN", 0))


@pytest.mark.parametrize("step", of("RUN"), ids=lambda step: " ".join(step.words)[:40])
def test_every_program_that_is_run_is_there(step: Step) -> None:
    assert step.words[0] in PROGRAMS
    assert not {"&&", "||", "|", ";", ">"} & set(step.words), "one command a step, so that each can be followed"


def test_both_stages_have_the_functions_python() -> None:
    """A virtual environment works beside the interpreter that it was made with only."""
    runtime = str(TEMPLATE["DkimFunction"]["Properties"].get("Runtime") or load()["Globals"]["Function"]["Runtime"])
    assert [each.words[0] for each in of("FROM")] == [f"{runtime.replace('python', 'python:')}-slim"] * 2
    paths = re.findall(r"/lib/(python3\.\d+)/", (ROOT / "Dockerfile").read_text())
    assert set(paths) == {runtime}


def test_packages_are_the_pinned_ones_by_their_hashes() -> None:
    (install,) = [each.words for each in of("RUN") if "pip" in each.words]
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(install)
    pinned = re.findall(r"^([a-z0-9-]+)==", (ROOT / "locks" / "gateway.txt").read_text(), re.MULTILINE)
    assert {"botocore", "h11", "orjson", "uvloop"} <= set(pinned)


def test_it_runs_as_nobody_and_its_volume_is_the_task_s() -> None:
    (user,), (volume,) = of("USER"), of("VOLUME")
    number = user.words[0]
    assert int(number) >= 10_000
    made = " ".join(next(each.words for each in of("RUN") if each.words[0] == "useradd"))
    assert f"--uid {number}" in made
    containers = TEMPLATE["GatewayTask"]["Properties"]["ContainerDefinitions"]
    assert {mount["ContainerPath"] for each in containers for mount in each["MountPoints"]} == {volume.words[0]}
    owned = next(each.words for each in of("RUN") if each.words[0] == "install")
    assert owned[-1] == volume.words[0]
    assert "0700" in owned


def test_its_ports_are_the_task_s() -> None:
    containers = TEMPLATE["GatewayTask"]["Properties"]["ContainerDefinitions"]
    mapped = {each["ContainerPort"] for one in containers for each in one.get("PortMappings", ())}
    assert set(map(int, of("EXPOSE")[0].words)) == mapped


def test_the_commands_are_isolated_and_the_task_s_begin_like_the_image_s() -> None:
    assert image.command() == ["python", "-I", "-m", "smtp_gateway"]
    containers = {each["Name"]: each for each in TEMPLATE["GatewayTask"]["Properties"]["ContainerDefinitions"]}
    assert "Command" not in containers["gateway"]
    assert containers["certificates"]["Command"] == [*image.command(), "fetch-certificates"]
    assert importlib.util.find_spec("smtp_gateway.__main__")


def test_the_health_check_is_a_program_that_python_takes() -> None:
    *start, program = image.health_check()
    assert start == ["python", "-I", "-c"]
    compile(program, "HEALTHCHECK", "exec")
    assert "GATEWAY_HEALTH_LISTEN" in program


def test_openssl_s_configuration_is_in_the_image() -> None:
    (env,) = of("ENV")
    values = dict(each.split("=", 1) for each in env.words)
    (copied,) = [each for each in of("COPY") if each.words[0] == "smtp_gateway"]
    assert values["OPENSSL_CONF"].startswith(f"{copied.words[1]}/")
    assert (ROOT / "smtp_gateway" / Path(values["OPENSSL_CONF"]).name).is_file()
