"""Tests that run on either event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.gateway import LOOPS, Run


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """To the end of a coroutine, on a loop of its own."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return run
