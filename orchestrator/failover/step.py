"""What a step of a journey is: it can be looked at, done, proven and undone; and what it is told of its journey.

The contract, which the conductor counts on:
- `probe` and `verify` change nothing. They answer UNKNOWN where they can't tell (a host that doesn't answer, too);
  UNKNOWN is never read as NOT_DONE. What they raise of MailmirrorError is taken for UNKNOWN.
- `act` and `undo` return when the call is over, and prove nothing: reading back does. They may be called again after a
  death or a lost reply, `act` only where the verb is repeatable. Refused says that trying again won't help.
- `undo` is undone when `probe` says NOT_DONE.
- The step that carries the point of no return answers NOT_DONE only where nothing of it has happened; where it is half
  done (one of two granters) it answers UNKNOWN. Its `undo` sees to it that a late one can no longer succeed.

This module decides nothing and knows no host: what the verbs work on is the `world` of whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from orchestrator.failover.verbs import Parameters
from orchestrator.records.marks import Json

W = TypeVar("W")


class Proof(StrEnum):
    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


DONE, NOT_DONE, UNKNOWN = Proof.DONE, Proof.NOT_DONE, Proof.UNKNOWN


class Found(NamedTuple):
    """What a look came to, and what was seen, for people."""

    state: Proof
    said: str


class Step(Protocol):
    """One line of a playbook, ready to be asked; see the contract above."""

    def probe(self) -> Found: ...

    def act(self) -> None: ...

    def verify(self) -> Found: ...

    def undo(self) -> None: ...


class Clock(Protocol):
    """Seconds that also count while the machine is suspended, from any beginning. `pause` may end early (the process is
    to end).
    """

    def now(self) -> float: ...

    def pause(self, seconds: float) -> None: ...


class Notes(Protocol):
    """What steps leave for later ones: JSON by key, durable when `put` returns. A later note of a key replaces one."""

    def get(self, key: str) -> Json: ...

    def put(self, key: str, facts: Json) -> None: ...


@dataclass(frozen=True)
class Voyage(Generic[W]):
    """One run of a journey, as a step sees it.

    `active` and `passive` are the places (primary, mirror) that had these roles when it began, also after the roles
    have moved; `leaves` and `leads` are the epochs, equal where nobody is promoted. `deadline` ends the step, by
    `clock`. `number` is the step's in its playbook; `begun` says that an act of it may have happened already.
    """

    operation: str
    pair: str
    journey: str
    leaves: int
    leads: int
    active: str
    passive: str
    world: W
    notes: Notes
    clock: Clock
    deadline: float
    number: int
    begun: bool

    @property
    def left(self) -> float:
        """Seconds until the deadline; never less than 0."""
        return max(0.0, self.deadline - self.clock.now())


Maker = Callable[[Voyage[W], Parameters], Step]
"""A verb, as `failover/steps` has it: the step that a line of a playbook means on this voyage."""


class Remembered:
    """Notes in memory alone, for a look without an operation."""

    def __init__(self) -> None:
        self._facts: dict[str, Json] = {}

    def get(self, key: str) -> Json:
        return self._facts.get(key)

    def put(self, key: str, facts: Json) -> None:
        self._facts[key] = facts
