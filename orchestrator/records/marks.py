"""The words of the journal: what may happen to a step, and where an operation stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


class Phase(StrEnum):
    """Of a step. ACTED says that the call came back, well or not; only VERIFIED says that it is so."""

    INTENDED = "intended"
    ACTING = "acting"
    ACTED = "acted"
    VERIFIED = "verified"
    UNDOING = "undoing"
    UNDONE = "undone"
    FAILED = "failed"


class State(StrEnum):
    """Of an operation. STUCK waits for an operator, and holds the pair as OPEN does."""

    OPEN = "open"
    STUCK = "stuck"
    DONE = "done"
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"


class Course(StrEnum):
    """Which way an operation goes."""

    FORWARD = "forward"
    BACK = "back"


class Mark(NamedTuple):
    """One thing that happened to a step. `number` counts from 1; `parameters` stand at INTENDED only."""

    at: float
    number: int
    verb: str
    phase: Phase
    said: str
    parameters: Json
