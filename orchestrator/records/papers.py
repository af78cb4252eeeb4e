"""What is too large for the journal: files beside it in `mm_state_dir`, each the whole of one thing that a journey
found, planned or did. PAIR.OPERATION.NAME.json; the journal has the SHA-256 of those that are decided by.

Invariant: a file stands under its name whole and durable, or not at all; one that isn't what its digest says is never
used. It decides nothing, and knows neither hosts nor mail.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from orchestrator.errors import OperatorError
from orchestrator.records.lock import state_dir, writing


def path_of(directory: Path, pair: str, operation: str, name: str) -> Path:
    return directory / f"{pair}.{operation}.{name}.json"


def write(path: Path, value: Any) -> str:
    """Durable when this returns; the SHA-256 of the file. Raises NotPermitted, OperatorError."""
    content = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    state_dir(path.parent)
    beside = path.with_suffix(".new")
    with writing(path):
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync(path.parent)
    return hashlib.sha256(content).hexdigest()


def read(path: Path, digest: str = "") -> Any:
    """What it holds. Raises OperatorError where it isn't there, or isn't what its digest says."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} can't be read: {error.strerror}.", remedy=_REMEDY) from error
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise OperatorError(f"{path} isn't what was written there: its digest differs.", remedy=_REMEDY)
    try:
        return json.loads(content)
    except ValueError as error:
        raise OperatorError(f"{path} is damaged: {error}.", remedy=_REMEDY) from error


_REMEDY = "Put back a copy of it. Failing that, `mailmirror op abort` its operation, and begin the journey anew."


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
