"""The lag of the last hour, kept in memory for the status page, and drawn as a line. Its drawing is pure.

Invariant: it holds at most MOST samples of each passive place, however long the daemon runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from orchestrator.replication.report import PairStatus

EVERY = 10.0
"""Seconds between two samples."""
MOST = 360
LEAST = 1.0
"""Seconds of lag that the line's full height stands for at least: noise isn't drawn as a mountain."""

Sample = tuple[float, float | None]
"""When, and the lag then in seconds; None where it wasn't known."""


class Trail:
    """Samples by (pair, host)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], deque[Sample]] = {}
        self._at = float("-inf")

    def look(self, statuses: Iterable[PairStatus], now: float) -> None:
        """Take a sample of each passive place, where the last one is old enough; `now` in seconds."""
        if now - self._at < EVERY:
            return
        self._at = now
        for status in statuses:
            for passive in status.passives:
                kept = self._kept.setdefault((status.pair, passive.host), deque(maxlen=MOST))
                kept.append((now, passive.lag_seconds))

    def of(self, pair: str, host: str) -> list[Sample]:
        return list(self._kept.get((pair, host), ()))


def lines(samples: Sequence[Sample], width: int, height: int) -> list[str]:
    """The points of SVG polylines, one for each stretch in which the lag was known; what isn't known is a gap."""
    known = [lag for _, lag in samples if lag is not None]
    if len(samples) < 2 or not known:
        return []
    top, first = max(LEAST, *known), samples[0][0]
    across = max(samples[-1][0] - first, EVERY)
    found: list[list[str]] = [[]]
    for at, lag in samples:
        if lag is None:
            found.append([])
        else:
            found[-1].append(f"{(at - first) / across * width:.1f},{height - lag / top * height:.1f}")
    return [" ".join(points) for points in found if len(points) > 1]
