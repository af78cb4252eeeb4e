"""What the steps share: the guards' words, what several places come to together, and waiting for what was begun.

Invariant: a place that doesn't answer is UNKNOWN, in whatever company.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import HostError, StillRunning
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Voyage
from orchestrator.failover.world import Head, World
from orchestrator.inventory.model import WITNESS

PATIENCE = 5.0
"""Seconds for one answer of a guard."""
EVERY = 0.05


def together(founds: Sequence[Found]) -> Found:
    """DONE where all are, UNKNOWN where one is, else NOT_DONE; what was said is told of those that aren't done."""
    open_ = [found for found in founds if found.state is not DONE]
    if not open_:
        return Found(DONE, "; ".join(found.said for found in founds))
    state = UNKNOWN if any(found.state is UNKNOWN for found in open_) else NOT_DONE
    return Found(state, "; ".join(found.said for found in open_))


@dataclass(frozen=True)
class Guarded:
    """A step that asks guards. `name` is what its orders are known by: ordered again, they aren't done again."""

    voyage: Voyage[World]

    @property
    def name(self) -> str:
        return f"{self.voyage.operation}.{self.voyage.number}"

    @property
    def quiet(self) -> str:
        """The name of the order by which the active is quiet, also for those who rely on it."""
        return f"{self.voyage.operation}.quiesce"

    @property
    def granters(self) -> tuple[str, ...]:
        """Those who grant the lease and keep the register, the witness first: its word comes before the mirror's."""
        witness = (WITNESS,) if self.voyage.world.has(WITNESS) else ()
        return (*witness, self.voyage.passive)

    def within(self) -> float:
        return min(PATIENCE, self.voyage.left)

    def told(self, place: str) -> Head:
        """What a guard says of itself. Raises HostError, AgentFault."""
        return self.voyage.world.ask(place, "guard", {"order": {"verb": "status"}}, self.within()).head

    def order(self, place: str, verb: str, name: str = "", **words: Any) -> Head:
        """Have a guard do something. Raises HostError, and AgentFault where it refuses."""
        order = {"verb": verb, "operation": name or f"{self.name}.{verb}", **words}
        return self.voyage.world.ask(place, "guard", {"order": order}, self.within()).head

    def look(self, place: str, judge: Callable[[Head], Found]) -> Found:
        """What a guard's word comes to; UNKNOWN without one."""
        try:
            return judge(self.told(place))
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))

    def wait(self, look: Callable[[], Found]) -> None:
        """Until it is so, or the step's time is over: who looks next says which."""
        while look().state is not DONE and self.voyage.left > EVERY:
            self.voyage.clock.pause(EVERY)
