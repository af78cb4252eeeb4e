"""A granter whose register is gone: what it counts as having promised, to whom, and when that is over."""

from __future__ import annotations

import pytest

from orchestrator.agent.lease import ALWAYS, NEVER
from orchestrator.agent.register import Register
from tests.support.guards import TTL, Guards


@pytest.mark.issue("4.2 a witness that was taken away and laid down anew: the lease is armed again")
@pytest.mark.parametrize("place", ["witness", "mirror"])
def test_a_granter_that_was_laid_down_anew_grants_again_once_nobody_can_have_an_older_grant(place: str) -> None:
    """Its peers remember the register that it had, so it counts as having promised everything, to nobody known."""
    trio = Guards()
    other = "mirror" if place == "witness" else "witness"
    for _ in range(4):
        trio.run(TTL)
        trio.starts(place, boots=False)
    trio.run(TTL)
    assert trio.register("primary").seen[place] > 2
    trio.down(place)
    if place == "witness":
        trio.down(other)
        trio.starts(place, register=Register(0, ""))
        trio.run(10 * TTL)
        assert trio.seats[place].mind.silent_until == ALWAYS, f"the {other} may be active by what it granted before"
        trio.starts(other)
    else:
        trio.starts(place, register=Register(0, ""))
    trio.run(4 * TTL)
    assert trio.register(place).epoch == 1 and not trio.register("primary").without_end
    assert trio.serving == ["primary"] and trio.seats[place].mind.silent_until == NEVER
