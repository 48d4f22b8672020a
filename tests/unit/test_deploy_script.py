"""deploy.sh with programs that only note how they are called: what `make deploy` does, in which order, and when not."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/mailrelay-gateway"
# What each stands in for; $0's name is what it is called as. FAILS: words of calls that fail.
FAKE = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$CALLS"
for each in $FAILS; do case "$*" in *"$each"*) exit 255 ;; esac; done
case "$*" in
  *get-caller-identity*) echo 123456789012 ;;
  *get-login-password*) echo password ;;
  *-stdin*) cat > /dev/null ;;
esac
"""


class Run(NamedTuple):
    code: int
    out: str
    error: str
    calls: list[str]


class Clone(NamedTuple):
    """A repository with deploy.sh and nothing else in it, and programs beside it."""

    folder: Path
    programs: Path

    def deploy(self, *more: str, fails: str = "", **environment: str) -> Run:
        calls = self.programs / "calls"
        calls.write_text("")
        done = subprocess.run(
            ["bash", "deploy.sh", str(self.programs / "sam"), *more],
            cwd=self.folder,
            env={
                "PATH": str(self.programs),
                "CALLS": str(calls),
                "FAILS": fails,
                "AWS_REGION": "eu-north-1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=30,
        )
        return Run(done.returncode, done.stdout, done.stderr, calls.read_text().splitlines())


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    folder, programs = tmp_path / "clone", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    for name in ("git", "bash", "basename", "dirname", "cat", "grep", "sed", "rm"):  # these are the real ones
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    for name in ("aws", "docker", "sam", "python3.13"):
        (programs / name).write_text(FAKE)
        (programs / name).chmod(0o755)
    shutil.copy(ROOT / "deploy.sh", folder)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@a.example"]
    for words in (["init", "-q"], ["add", "deploy.sh"], [*git[1:], "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})
    return Clone(folder, programs)


def image(clone: Clone) -> str:
    words = ["git", "rev-parse", "--short=12", "HEAD"]
    return (
        f"{IMAGE}:{subprocess.run(words, cwd=clone.folder, capture_output=True, text=True, check=True).stdout.strip()}"
    )


def names(run: Run) -> list[str]:
    """The calls, their first words."""
    return [" ".join(each.split()[:3]) if each.startswith("aws") else " ".join(each.split()[:2]) for each in run.calls]


def test_the_first_time_makes_the_repository_and_asks_for_everything(clone: Clone) -> None:
    run = clone.deploy(fails="describe-repositories describe-images")
    assert run.code == 0, run.error
    called = names(run)
    called[5:7] = sorted(called[5:7])  # two ends of one pipe
    assert called == [
        "aws sts get-caller-identity",
        "aws ecr describe-repositories",
        "aws ecr create-repository",
        "aws ecr put-lifecycle-policy",
        "aws ecr describe-images",
        "aws ecr get-login-password",
        "docker login",
        "docker buildx",
        "python3.13 --version",
        "sam build",
        "sam deploy",
    ]
    assert "--image-tag-mutability IMMUTABLE" in run.calls[2]
    build = next(each for each in run.calls if each.startswith("docker buildx"))
    assert f"--platform linux/arm64 --provenance=false --tag {image(clone)} --push ." in build
    assert run.calls[-1] == (
        f"sam deploy --region eu-north-1 --guided --confirm-changeset --parameter-overrides GatewayImage={image(clone)}"
    )
    assert "password" not in run.out + run.error


# As SAM writes it, and as people may.
ANSWERS = [
    'parameter_overrides = "Edge=\\"off\\" GatewayImage=\\"{}\\" BackEnds=\\"mx\\""\n',
    'parameter_overrides = ["Edge=off", "GatewayImage={}"]\n',
]


@pytest.mark.parametrize("answers", ANSWERS, ids=["SAM's", "a list"])
def test_later_it_builds_only_what_is_new_and_goes_by_the_answers(clone: Clone, answers: str) -> None:
    kept = clone.folder / "samconfig.toml"
    kept.write_text(answers.format(f"{IMAGE}:0123456789ab"))
    run = clone.deploy()
    assert run.code == 0, run.error
    assert not [each for each in run.calls if each.startswith("docker") or "create-repository" in each]
    assert run.calls[-1] == "sam deploy --region eu-north-1 --confirm-changeset"
    assert kept.read_text() == answers.format(image(clone))
    assert sorted(each.name for each in clone.folder.iterdir()) == [".git", "deploy.sh", "samconfig.toml"]


def test_answers_without_an_image_are_not_guessed_at(clone: Clone) -> None:
    (clone.folder / "samconfig.toml").write_text('parameter_overrides = "Edge=on"\n')
    run = clone.deploy()
    assert (run.code, run.error.count("\n")) == (1, 1)
    assert run.error.startswith("deploy: samconfig.toml has no GatewayImage among its parameter_overrides")


def test_answers_that_have_changed_are_no_reason_to_refuse(clone: Clone) -> None:
    kept = clone.folder / "samconfig.toml"
    kept.write_text(ANSWERS[0].format("x"))
    for words in (
        ["add", "samconfig.toml"],
        ["-c", "user.name=x", "-c", "user.email=x@a.example", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=clone.folder, check=True)
    kept.write_text(ANSWERS[0].format("y"))
    assert clone.deploy().code == 0


def test_without_the_functions_python_they_are_built_in_a_container(clone: Clone) -> None:
    run = clone.deploy(fails="--version")
    assert "sam build --use-container" in run.calls


def test_a_step_that_fails_ends_it(clone: Clone) -> None:
    for failing, last in (("buildx", "docker buildx"), ("sts", "aws sts"), ("build", "sam build")):
        run = clone.deploy(fails=f"{failing} describe-images")
        assert run.code != 0
        assert not [each for each in run.calls if each.startswith("sam deploy")], last


def test_what_is_not_committed_is_not_deployed(clone: Clone) -> None:
    (clone.folder / "deploy.sh").write_text((clone.folder / "deploy.sh").read_text() + "\n")
    run = clone.deploy()
    assert (run.code, run.calls) == (1, [])
    assert run.error == "deploy: there are changes that are not committed; the image is named by its commit\n"


@pytest.mark.parametrize("tool", ["docker", "aws"])
def test_a_missing_tool_is_named(clone: Clone, tool: str) -> None:
    (clone.programs / tool).unlink()
    run = clone.deploy()
    assert (run.code, run.calls) == (1, [])
    assert run.error.startswith(f"deploy: {tool} is missing; install it")
    assert run.error.count("\n") == 1


def test_without_a_region_it_says_how_to_set_one(clone: Clone) -> None:
    run = clone.deploy(AWS_REGION="")
    assert (run.code, run.error) == (1, "deploy: no region; set AWS_REGION, as AWS_REGION=eu-north-1\n")


def test_wrong_usage(clone: Clone) -> None:
    run = clone.deploy("BackEnds=ses")
    assert (run.code, run.error) == (2, "usage: deploy.sh SAM\n")
