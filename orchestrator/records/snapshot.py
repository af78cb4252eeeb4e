"""How a pair stood last, in a file, so that `status` has an answer while the daemon is down.

Invariant: a reader sees one whole snapshot or none (written beside, then renamed). It
isn't made durable: after a power cut it may be missing, and it is only ever shown as old.

It holds what `status --format json` shows for one pair, as plain JSON; readers don't
rebuild objects from it, so that a snapshot of another version can still be shown.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from orchestrator.records.lock import state_dir

MAX_SIZE = 8 << 20  # bytes; a larger file isn't one of ours


def path_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.status.json"


def write(directory: Path, pair: str, told: dict[str, Any]) -> None:
    """Replace the pair's snapshot. Raises OSError when the disk won't take it."""
    target = path_of(state_dir(directory), pair)
    beside = target.with_suffix(f".{os.getpid()}.new")
    beside.write_text(json.dumps(told, separators=(",", ":")))
    os.replace(beside, target)


def read(directory: Path, pair: str) -> dict[str, Any] | None:
    """The pair's last snapshot as JSON; None where there is none that can be read."""
    try:
        with path_of(directory, pair).open("rb") as file:
            told = json.loads(file.read(MAX_SIZE))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("pair") == pair else None
