"""Which fence device answered a test, and when: one JSON object a line in PAIR.fences.jsonl.

A device is known by its host and its fingerprint, which changes with everything that is said of it in the inventory: a
test of yesterday's parameters says nothing of today's.

Invariant: a line is durable when `note` returns; lines are only ever appended, each by one write, whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.records import lines


@dataclass(frozen=True)
class Trial:
    """`at` in seconds since 1970; `state` is on, off or unknown; `how` is status (asked) or cycle (off, on again)."""

    host: str
    device: str
    fingerprint: str
    at: float
    state: str
    how: str
    said: str

    @property
    def good(self) -> bool:
        """The device answered."""
        return self.state in ("on", "off")


def path_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.fences.jsonl"


def note(directory: Path, pair: str, test: Trial) -> None:
    """Keep a test. Raises NotPermitted, OperatorError."""
    lines.append(directory, path_of(directory, pair), json.dumps(asdict(test)))


def tests(directory: Path, pair: str) -> list[Trial]:
    """Every test of the pair's devices that can be read, oldest first."""
    found = []
    for told in lines.read(path_of(directory, pair)):
        try:
            found.append(Trial(**{**told, "at": float(told["at"])}))
        except (KeyError, TypeError, ValueError):  # a line of another version: it says nothing of this one's devices
            continue
    return found


def last(told: Sequence[Trial], host: str, fingerprint: str, *, good: bool = False) -> Trial | None:
    """The newest test of a device, or the newest that it answered; None for none."""
    mine = (test for test in told if (test.host, test.fingerprint) == (host, fingerprint) and (test.good or not good))
    return max(mine, key=lambda test: test.at, default=None)
