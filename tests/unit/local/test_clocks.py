"""The table of clocks holds at every speed."""

import pytest

from local import clocks

CLAIM, LEAST_CLAIM = 330, 15  # functions/deliver


@pytest.mark.parametrize("speed", [1, 2, 10, 20, 22, 25, 60, 150, 300, 3600, 1e6])
def test_timeout_below_claim_below_visibility(speed: float) -> None:
    claim = max(CLAIM / speed, LEAST_CLAIM)
    assert clocks.timeout("DeliverFunction", 300, speed) < claim < clocks.visibility(1800, speed)
    assert clocks.timeout("ValidateFunction", 60, speed) < clocks.visibility(360, speed)


def test_at_speed_one_nothing_changes() -> None:
    assert clocks.timeout("DeliverFunction", 300, 1) == 300
    assert clocks.timeout("AccountsFunction", 5, 1) == 5
    assert clocks.visibility(1800, 1) == 1800
    assert clocks.window(1, 1) == 1
