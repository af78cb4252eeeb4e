"""What was measured: plain rows, and the file they are kept in.

Invariant: a row whose stores weren't equal afterwards, or whose command failed, never enters a median.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.measure import Use


@dataclass(slots=True)
class Row:
    """One measured run of one peer on one workload. `rows_bytes`: uidlist rows that Dovecot appended before it."""

    work: str
    peer: str
    run: int
    use: Use
    problems: list[str] = field(default_factory=list)
    rows_bytes: int = 0

    @property
    def good(self) -> bool:
        """Tell whether the command succeeded and the stores were equal afterwards."""
        return self.use.code == 0 and not self.problems


@dataclass(slots=True)
class Live:
    """Latency of messages that arrived at a steady rate; seconds from rename(2)'s return on the source."""

    peer: str
    rate: int
    sent: int
    lost: int
    p50: float
    p99: float
    highest: float
    near_cpu: float  # share of one core
    far_cpu: float
    peak: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Idle:
    """What the running daemon used while nothing changed: share of one core, and PSS in bytes per role."""

    messages: int
    seconds: float
    cpu: float
    peak: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """Everything of one invocation. `facts` describe machine, versions, seed and arrangement."""

    facts: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    live: list[Live] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, work: str, peer: str) -> list[Row]:
        """Return the good rows of a peer on a workload."""
        return [row for row in self.rows if row.work == work and row.peer == peer and row.good]

    def failed(self, work: str, peer: str) -> list[Row]:
        """Return the rows that don't count."""
        return [row for row in self.rows if row.work == work and row.peer == peer and not row.good]

    def median_wall(self, work: str, peer: str) -> float | None:
        """Return the median of wall seconds, or None without a good row."""
        walls = [row.use.wall for row in self.of(work, peer)]
        return statistics.median(walls) if walls else None

    def median_bytes(self, work: str, peer: str, beyond_rows: bool = False) -> float | None:
        """Return the median of bytes on the wire both ways, less the appended uidlist rows if asked."""
        sizes = [row.use.bytes - (row.rows_bytes if beyond_rows else 0) for row in self.of(work, peer)]
        return statistics.median(sizes) if sizes else None

    def save(self, path: Path) -> None:
        """Write everything as JSON, atomically."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        temporary.rename(path)
