"""The table of clocks holds at every speed."""

import pytest

from local import clocks
from relay import worker
from relay.deliver import Timing

CLAIM, LEAST_CLAIM = 330, 25  # functions/deliver


@pytest.mark.parametrize("speed", [1, 2, 10, 20, 22, 25, 60, 150, 300, 3600, 1e6])
def test_timeout_below_claim_below_visibility(speed: float) -> None:
    claim = max(CLAIM / speed, LEAST_CLAIM)
    assert clocks.timeout(300, speed) < claim < clocks.visibility(1800, speed)
    assert clocks.timeout(60, speed) < clocks.visibility(360, speed)
    assert Timing(CLAIM).scaled(claim / CLAIM).start < clocks.timeout(300, speed) - worker.ANSWER_ROOM


def test_at_speed_one_nothing_changes() -> None:
    assert clocks.timeout(300, 1) == 300
    assert clocks.timeout(5, 1) == 5
    assert clocks.visibility(1800, 1) == 1800
    assert clocks.window(1, 1) == 1
