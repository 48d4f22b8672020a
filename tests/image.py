"""The Dockerfile, read and followed without Docker: what its steps copy and run, in a folder instead of an image."""

import fnmatch
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"


class Step(NamedTuple):
    """stage: its number, 0 the first. words: as a shell splits them, or of JSON if it is that."""

    stage: int
    instruction: str
    words: tuple[str, ...]


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    stage = -1
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if not instruction:
            continue
        stage += instruction == "FROM"
        if rest.startswith("["):
            found.append(Step(stage, instruction, tuple(json.loads(rest))))
        else:
            found.append(Step(stage, instruction, tuple(shlex.split(rest))))
    return found


def dockerfile() -> list[Step]:
    return steps((ROOT / "Dockerfile").read_text())


def health_check() -> list[str]:
    line = next(line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("HEALTHCHECK"))
    words: list[str] = json.loads(line.partition(" CMD ")[2])
    return words


def command() -> list[str]:
    (found,) = [each for each in dockerfile() if each.instruction == "CMD"]
    return list(found.words)


def let_through(path: str) -> bool:
    """Whether .dockerignore lets a file of the repository into the build."""
    taken = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            inside = any(fnmatch.fnmatch(part, pattern) for part in path.split("/")) if "**/" in line else False
            if inside or path == pattern or path.startswith(f"{pattern}/") or pattern == "*":
                taken = line.startswith("!")
    return taken


class Folder(NamedTuple):
    """Plays the image: its paths are those of the image, below `root`."""

    root: Path

    def path(self, of: str) -> Path:
        return self.root / of.replace("python3.13", PYTHON).lstrip("/")

    def words(self, words: tuple[str, ...] | list[str]) -> list[str]:
        """A command of the image's for this machine: with this Python, and the paths in the folder."""
        moved = [str(self.path(each)) if each.startswith(("/opt/", "/build/", "/run/")) else each for each in words]
        return [sys.executable if each == "python" else each for each in moved if each != "--no-cache-dir"]

    def build(self) -> None:
        """The steps of the first stage, as far as they don't need root. CalledProcessError if one fails."""
        for step in dockerfile():
            if step.stage:
                return
            match step.instruction:
                case "COPY":
                    self._copy(*step.words)
                case "RUN":
                    subprocess.run(self.words(step.words), check=True, capture_output=True, text=True)

    def _copy(self, source: str, target: str) -> None:
        found, to = ROOT / source, self.path(target)
        to.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, to)

    def environment(self) -> dict[str, str]:
        """Of the last stage's ENV; OPENSSL_CONF in the folder."""
        pairs = [word for step in dockerfile() if step.instruction == "ENV" for word in step.words]
        found = dict(pair.split("=", 1) for pair in pairs)
        return {name: str(self.path(value)) if name != "PATH" else value for name, value in found.items()}

    def run(self, words: list[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        """As the container would, with the image's Python and nothing else in the environment."""
        python = str(self.path("/opt/gateway/bin/python"))
        return subprocess.Popen(
            [python if each == "python" else each for each in words],
            cwd="/",
            env={**self.environment(), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
