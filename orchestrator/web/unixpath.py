"""The path of a Unix socket, however long: sun_path takes 107 bytes (unix(7)), and directories may be deeper.

A longer path is gone by way of its directory's descriptor, through /proc/self/fd. Imports next to nothing: it is on the
way of every quick command.
"""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 107  # bytes


@contextlib.contextmanager
def reachable(path: str) -> Iterator[str]:
    """The path as bind(2) and connect(2) take it, valid within. Raises OSError where its directory can't be opened."""
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    fd = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{os.path.basename(path)}"
    finally:
        os.close(fd)
