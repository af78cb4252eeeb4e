"""Who ordered what of a pair, when, and why: one JSON object a line in PAIR.history.jsonl.

A line is written before the order is carried out; it says what was asked for, not what came of it (that is in the
daemon's log, in `status`, and on the hosts). Passes without a reason are left out: there may be one a minute.

Invariant: lines are only ever appended, each by one write, whole; a torn last line (a full disk) harms no other.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from orchestrator.errors import NotPermitted, OperatorError
from orchestrator.records.lock import state_dir

LONGEST_REASON = 2_000  # characters
CHANGING = frozenset(("sync", "undelete", "release", "retire", "seed"))
"""The verbs on a pair that are orders, as the daemon calls them."""
NOTED = ("id", "account", "pattern", "since", "until", "adopt")
"""Of an order's request, what its line says."""


def path_of(directory: Path, pair: str) -> Path:
    return directory / f"{pair}.history.jsonl"


def append(directory: Path, pair: str, verb: str, reason: str, *, uid: int, pid: int, **what: Any) -> None:
    """Note an order. `what` is the verb's own: an id, an account. Raises NotPermitted, OperatorError."""
    line = {"at": time.time(), "verb": verb, "reason": reason[:LONGEST_REASON], "uid": uid, "pid": pid, **what}
    path = path_of(state_dir(directory), pair)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, json.dumps(line).encode() + b"\n")
        finally:
            os.close(fd)
    except PermissionError as error:
        raise NotPermitted(f"{path} can't be written: {error.strerror}.") from error
    except OSError as error:
        raise OperatorError(
            f"{path} can't be written: {error.strerror}.", remedy="Make room there, or mend mm_state_dir."
        ) from error


def worth_noting(verb: str, reason: str) -> bool:
    """Whether an order is kept: every one that changes something, but a plain pass only with a reason."""
    return verb != "sync" or bool(reason)
