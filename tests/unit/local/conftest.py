"""The local cloud's own servers, started once for these tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.processes import Spawner, base_environment
from local.stack import REGION, ROOT, Aws


@pytest.fixture(scope="session")
def spawner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spawner]:
    spawner = Spawner(tmp_path_factory.mktemp("logs"))
    yield spawner
    spawner.close()


@pytest.fixture(scope="session")
def aws(spawner: Spawner) -> Aws:
    """moto as the local system runs it; the tests that share it use names of their own."""
    child = spawner.python("moto", ["-m", "local.moto_server"], base_environment(), cwd=ROOT)
    return Aws(f"http://127.0.0.1:{child.ready()['port']}", REGION)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
