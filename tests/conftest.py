"""Fixtures that more than one test module uses."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A timed assertion is no test: how long an example takes is for bench/ to say.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The URL of this test run's own moto server, the local system's. Name queues and tables uniquely: it is
    shared. moto's plain server won't do: of several conditional writes at once it lets more than one succeed."""
    command = [sys.executable, "-m", "local.moto_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        line = server.stdout.readline()
        assert line, "moto's server did not start"
        yield f"http://127.0.0.1:{json.loads(line)['port']}"
        server.terminate()
