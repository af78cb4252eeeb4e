"""Files of one JSON object a line, which only grow.

Invariant: a line is appended by one write, whole, and is durable when `append` returns; a torn last line (a full disk)
harms no other: the next one begins on a line of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.errors import OperatorError
from orchestrator.records.lock import given, state_dir, writing


def append(directory: Path, path: Path, line: str) -> None:
    """One more line in a file of the state directory, which is made where it is missing. Raises NotPermitted,
    OperatorError.
    """
    state_dir(directory)
    with writing(path):
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            given(fd, directory)
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            data = (b"\n" if torn else b"") + line.encode() + b"\n"
            if os.write(fd, data) != len(data):
                raise OperatorError(f"{path} took only a part of a line.", remedy="Make room there.")
            os.fsync(fd)
        finally:
            os.close(fd)
        if not size:
            _keep_name(directory)


def _keep_name(directory: Path) -> None:
    """A new file's name is durable when its directory is."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, oldest first; none where there is no file. A line that is none is passed over. OSError."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    told = json.loads(line)
                except ValueError:  # torn: whoever wrote it was told that it failed
                    continue
                if isinstance(told, dict):
                    yield told
    except FileNotFoundError:
        return
