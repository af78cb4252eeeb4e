"""When the controller's own time can't be trusted."""

from __future__ import annotations

import pytest

from orchestrator.health.steadiness import QUIET, Steadiness

pytestmark = pytest.mark.issue("4.1 tilt after a clock or loop jump")


def ticks(*pairs: tuple[float, float]) -> Steadiness:
    found = Steadiness()
    for monotonic, wall in pairs:
        found = found.after(monotonic, wall, 1.0)
    return found


def test_steady_time_is_steady() -> None:
    found = ticks(*((100.0 + n * 1.4, 5000.0 + n * 1.4) for n in range(50)))
    assert found.tilted is None
    assert found.steady(1e9)


@pytest.mark.parametrize(
    ("monotonic", "wall"),
    [(110.0, 5010.0), (101.0, 5100.0), (101.0, 4900.0), (101.0, 5003.5)],
    ids=["stood still", "stepped forth", "stepped back", "stepped a little"],
)
def test_a_jump_tilts_for_a_while(monotonic: float, wall: float) -> None:
    found = ticks((100.0, 5000.0), (monotonic, wall))
    assert found.tilted == monotonic
    assert not found.steady(monotonic + QUIET - 1)
    assert found.steady(monotonic + QUIET)


def test_each_jump_begins_the_while_anew() -> None:
    found = ticks((100.0, 5000.0), (110.0, 5010.0), (111.0, 5011.0), (121.0, 5021.0))
    assert not found.steady(121.0 + QUIET - 1)
