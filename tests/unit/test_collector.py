import gc
from collections.abc import Iterator

import pytest

from relay import collector


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_there_is_left_out_and_cycles_are_still_found() -> None:
    collector.settle()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[0] == collector.YOUNG
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
