"""What people were told of, in a file beside the snapshots: PAIR.alerts.json in `mm_state_dir`.

Invariant: a reader sees one whole file or none, and it is durable when `write` returns. One that can't be read counts
as none, so that people are told again rather than never.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.records.lock import state_dir, writing

MAX_SIZE = 1 << 20  # bytes; a larger file isn't one of ours


def path_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.alerts.json"


def read(directory: Path, pair: str) -> dict[str, Any]:
    """What was written last; empty where there is nothing that can be read."""
    try:
        with path_of(directory, pair).open("rb") as file:
            told = json.loads(file.read(MAX_SIZE))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def write(directory: Path, pair: str, told: Mapping[str, Any]) -> None:
    """Replace it. Raises NotPermitted, OperatorError."""
    target = path_of(state_dir(directory), pair)
    beside = target.with_suffix(f".{os.getpid()}.new")
    with writing(target):
        with beside.open("w") as file:
            json.dump(told, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
