"""How a pair stood last, in a file, so that `status` has an answer while no daemon runs: it and every pass write it.

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

from orchestrator.records.lock import given, state_dir

MAX_SIZE = 8 << 20  # bytes; a larger file isn't one of ours


def path_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.status.json"


def write(directory: Path, pair: str, told: dict[str, Any]) -> None:
    """Replace the pair's snapshot. Raises OSError when the disk won't take it."""
    target = path_of(state_dir(directory), pair)
    beside = target.with_suffix(f".{os.getpid()}.new")
    with beside.open("w") as file:
        given(file.fileno(), directory)
        file.write(json.dumps(told, separators=(",", ":")))
    os.replace(beside, target)


def write_trouble(directory: Path, pair: str, told: dict[str, Any], trouble: str, remedy: str) -> None:
    """Note what went wrong before anything was seen: the rest stays as it was last, or `told` where there was none."""
    write(directory, pair, {**told, **(read(directory, pair) or {}), "trouble": trouble, "remedy": remedy})


def equality(directory: Path, pair: str) -> tuple[float, dict[str, float]]:
    """When the pair was seen last (0.0: never), and when each of its places was proven equal last, by host."""
    told = read(directory, pair) or {}
    seen, known = told.get("taken_at"), told.get("passives")
    equal = {
        each["host"]: each["equal_as_of"]
        for each in (known if isinstance(known, list) else [])
        if isinstance(each, dict) and isinstance(each.get("equal_as_of"), (int, float)) and "host" in each
    }
    return (seen if isinstance(seen, (int, float)) else 0.0), equal


def active(directory: Path, pair: str) -> str:
    """Who was active when the pair was seen last, by host name; "" where it was never seen."""
    told = (read(directory, pair) or {}).get("active")
    return told if isinstance(told, str) else ""


def read(directory: Path, pair: str) -> dict[str, Any] | None:
    """The pair's last snapshot as JSON; None where there is none that can be read."""
    try:
        with path_of(directory, pair).open("rb") as file:
            told = json.loads(file.read(MAX_SIZE))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("pair") == pair else None
