"""One check: what is asked, what was found, why it matters, what to do. Pure.

Invariant: whatever isn't OK names its remedy; UNKNOWN is an answer of its own, and stops a failover as RED does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """From best to worst."""

    OK = "ok"
    WARN = "warn"
    UNKNOWN = "unknown"
    RED = "red"


_WORST = list(State)


@dataclass(frozen=True)
class Check:
    """The answer. `needed`: automatic failover waits while it is RED or UNKNOWN."""

    name: str
    group: str
    state: State
    found: str
    why: str
    remedy: str
    needed: bool

    @property
    def stops(self) -> bool:
        """Whether automatic failover waits for it."""
        return self.needed and self.state in (State.RED, State.UNKNOWN)


@dataclass(frozen=True)
class Finding:
    """One thing that isn't as it ought to be."""

    state: State
    found: str
    remedy: str


@dataclass(frozen=True)
class Subject:
    """What is checked. `why` it matters is said to whoever was woken by it."""

    name: str
    group: str
    why: str
    needed: bool = True

    def well(self, found: str) -> Check:
        return Check(self.name, self.group, State.OK, found, self.why, "", self.needed)

    def judged(self, findings: Sequence[Finding], well: str) -> Check:
        """By the worst of the findings, all of which are told, the worst first; `well` where there is none."""
        if not findings:
            return self.well(well)
        ordered = sorted(findings, key=lambda finding: -_WORST.index(finding.state))
        found = " ".join(dict.fromkeys(finding.found for finding in ordered))
        remedy = " ".join(dict.fromkeys(finding.remedy for finding in ordered))
        return Check(self.name, self.group, ordered[0].state, found, self.why, remedy, self.needed)


def red(found: str, remedy: str) -> Finding:
    return Finding(State.RED, found, remedy)


def warn(found: str, remedy: str) -> Finding:
    return Finding(State.WARN, found, remedy)


def unknown(found: str, remedy: str) -> Finding:
    return Finding(State.UNKNOWN, found, remedy)
