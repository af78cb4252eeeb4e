"""Who ordered what of a pair and why, and each new verdict on its hosts: a JSON object a line in PAIR.history.jsonl.

An order's line is written before it is carried out; it says what was asked for, not what came of it (that is in the
daemon's log, in `status`, and on the hosts). Passes without a reason are left out: there may be one a minute.

Invariant: a line is durable before the order is carried out (`lines`).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from orchestrator.records import lines

LONGEST_REASON = 2_000  # characters
CHANGING = frozenset(("sync", "undelete", "release", "retire", "seed"))
"""The verbs on a pair that are orders, as the daemon calls them."""
NOTED = ("id", "account", "pattern", "since", "until", "adopt")
"""Of an order's request, what its line says."""


def path_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.history.jsonl"


def append(directory: Path, pair: str, verb: str, reason: str, *, uid: int, pid: int, **what: Any) -> None:
    """Note an order. `what` is the verb's own: an id, an account. Raises NotPermitted, OperatorError."""
    _write(directory, pair, {"verb": verb, "reason": reason[:LONGEST_REASON], "uid": uid, "pid": pid, **what})


def judged(directory: Path, pair: str, **what: Any) -> None:
    """Note a verdict that is new, with all that it rests on. Raises as `append` does."""
    _write(directory, pair, {"verb": "verdict", **what})


def _write(directory: Path, pair: str, what: dict[str, Any]) -> None:
    lines.append(directory, path_of(directory, pair), json.dumps({"at": time.time(), **what}))


def told(directory: Path, pair: str, verb: str) -> list[dict[str, Any]]:
    """The lines of one verb that can be read, oldest first. OSError."""
    return [line for line in lines.read(path_of(directory, pair)) if line.get("verb") == verb]


def worth_noting(verb: str, reason: str) -> bool:
    """Whether an order is kept: every one that changes something, but a plain pass only with a reason."""
    return verb != "sync" or bool(reason)
