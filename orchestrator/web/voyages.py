"""The metrics of journeys and drills, from what the journal has of them. Pure.

Invariant: what isn't known is left out. Steps and journeys are words of a closed list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.failover.travelled import Last, Travelled

Sample = tuple[str, tuple[str, ...], float]
"""Metric name, label values, value."""


def of_journeys(pairs: Sequence[Travelled]) -> Iterator[Sample]:
    """Every sample about journeys that have ended."""
    for told in pairs:
        for (journey, state), count in told.ended.items():
            yield "mailmirror_journeys_total", (told.pair, journey, state.replace(" ", "_")), count
        for last in told.lasts:
            yield from _of_last((told.pair, last.journey), last)
        if told.drill is not None:
            yield "mailmirror_drill_timestamp_seconds", (told.pair,), told.drill


def _of_last(labels: tuple[str, str], last: Last) -> Iterator[Sample]:
    yield "mailmirror_journey_done_timestamp_seconds", labels, last.ended
    yield "mailmirror_journey_duration_seconds", labels, last.ended - last.began
    for step, seconds in last.steps.items():
        yield "mailmirror_journey_step_duration_seconds", (*labels, step), seconds
    known = (
        ("mailmirror_journey_users_away_seconds", last.away),
        ("mailmirror_journey_lag_seconds", last.lag),
        ("mailmirror_journey_messages_at_risk", last.messages),
    )
    for name, value in known:
        if value is not None:
            yield name, labels, value
