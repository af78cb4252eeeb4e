"""What the desk and the metrics need of whoever decides: orders to the pair itself, and how it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.failover.states import State

Sample = tuple[str, tuple[str, ...], float]
"""Metric name, label values, value."""


class Decides(Protocol):
    """Who decides for the pairs. Each raises UsageError for a pair that isn't decided for, Refused by a rule."""

    def pause(self, pair: str, seconds: float, by: str, reason: str) -> dict[str, Any]: ...
    def resume(self, pair: str, by: str, reason: str) -> dict[str, Any]: ...
    def acknowledge(self, pair: str, what: str, by: str, reason: str) -> dict[str, Any]: ...
    def explain(self, pair: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Standing:
    """A pair's state, for metrics. `suppressed`: how many decisions to act were held back; `at`: when it was decided
    last, in seconds since 1970.
    """

    pair: str
    state: State
    at: float
    suppressed: int
    paused: bool
    cooldown: bool


def samples(standings: Sequence[Standing]) -> Iterator[Sample]:
    """One sample for each state: 1 for the one that the pair is in."""
    for told in standings:
        for state in State:
            yield "mailmirror_state", (told.pair, state.value), state is told.state
        yield "mailmirror_decided_timestamp_seconds", (told.pair,), told.at
        yield "mailmirror_decisions_suppressed_total", (told.pair,), told.suppressed
        yield "mailmirror_paused", (told.pair,), told.paused
        yield "mailmirror_cooldown", (told.pair,), told.cooldown
