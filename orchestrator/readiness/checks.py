"""All checks of a pair, and whether automatic failover may rely on them. Pure.

A failover is decided when the active place doesn't answer, and then much of this is UNKNOWN. Who decides it judges by
the last readiness from before the suspicion.

Invariant: the same facts give the same checks, each name at most once; one that is UNKNOWN counts as RED.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.readiness import copying, machines, moving, serving
from orchestrator.readiness.check import Check
from orchestrator.readiness.facts import Device, Facts

OF_A_COPY: tuple[Callable[[Facts], Check | None], ...] = (
    copying.daemon,
    copying.lag,
    copying.equality,
    machines.clock,
    machines.disk,
)
"""What a pair that only replicates is asked."""
OF_A_FAILOVER: tuple[Callable[[Facts], Check | None], ...] = (
    serving.observers,
    serving.guards,
    serving.lease,
    serving.gate,
    serving.fence,
    serving.paused,
    *OF_A_COPY[:3],
    copying.canary,
    copying.accounts,
    copying.mode,
    *OF_A_COPY[3:],
    machines.archive,
    moving.address,
    moving.dns,
    moving.command,
    moving.users,
    moving.mx,
    moving.queueing,
)


@dataclass(frozen=True)
class Readiness:
    """`reasons` against automatic failover, each as "check: what was found"."""

    ready: bool
    reasons: tuple[str, ...]


def checks(facts: Facts) -> tuple[Check, ...]:
    """Every check that concerns this pair, in the order in which people read them."""
    which = OF_A_FAILOVER if facts.may_fail_over else OF_A_COPY
    return tuple(found for check in which if (found := check(facts)) is not None)


def ready(found: Sequence[Check]) -> Readiness:
    """Whether automatic failover may rely on what was found."""
    reasons = tuple(f"{check.name}: {check.found}" for check in found if check.stops)
    return Readiness(bool(found) and not reasons, reasons)


@dataclass(frozen=True)
class On:
    """The journey that hasn't ended: since when, in seconds since 1970; `state` is open or stuck."""

    journey: str
    state: str
    began: float


@dataclass(frozen=True)
class Readied:
    """What was found of a pair `at`, in seconds since 1970; 0 and nothing before the first look."""

    pair: str
    at: float = 0.0
    checks: tuple[Check, ...] = ()
    fences: tuple[Device, ...] = ()
    on: On | None = None

    def told(self) -> dict[str, Any]:
        """For `status --format json`."""
        judged = ready(self.checks)
        states = {check.name: check.state.value for check in self.checks}
        return {"at": self.at, "ready": judged.ready, "reasons": list(judged.reasons), "checks": states}
