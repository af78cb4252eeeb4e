"""Bodies on their way out: read from their files straight into the buffer of one BODY frame.

Invariant: the buffer holds whole bodies, in the order of the head's "w", and behind them at most
one part of a larger one; what couldn't be read whole isn't in it. A frame is a view of the
buffer, and is sent before `clear`.
"""

from __future__ import annotations

import os
import zlib
from typing import Any, Dict

from .wire import Bytes, Frame, Kind

BUNDLE = 512 << 10
"""Bytes of bodies in one frame; a larger message is cut into parts of this size."""
NOTES = 2_000
"""Entries in a head, which has to stay below `wire.MAX_HEAD`."""
WORTH = 200
"""A shorter blob isn't deflated."""


class Bundle:
    """One frame's worth of bodies, again and again."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        # Made once: fresh pages for each frame would cost as much as reading the bodies.
        self._buffer = memoryview(bytearray(BUNDLE))
        self.clear()

    def clear(self) -> None:
        self._size = 0
        self._notes = 0
        self._head: Dict[str, Any] = {"b": self._batch}

    @property
    def empty(self) -> bool:
        return len(self._head) == 1

    def room(self, size: int) -> bool:
        """Whether a body of so many bytes fits in now; into an empty bundle any of up to BUNDLE does."""
        return self._size + size <= BUNDLE and self._notes < NOTES and "p" not in self._head

    def note(self, key: str, what: Any) -> None:
        """An entry of the head that has no bytes."""
        self._head.setdefault(key, []).append(what)
        self._notes += 1

    def whole(self, fd: int, item: int, size: int) -> bool:
        """Take a whole body; False when the file is shorter than `size`. Raises OSError."""
        if not self._read(fd, 0, size):
            return False
        self._head.setdefault("w", []).extend((item, size))
        self._notes += 1
        return True

    def part(self, fd: int, item: int, start: int, size: int, total: int) -> bool:
        """Take `size` bytes from `start` of a body of `total`; False when they aren't there. Raises OSError."""
        if not self._read(fd, start, size):
            return False
        self.note("p", (item, start, size, total))
        return True

    def _read(self, fd: int, start: int, size: int) -> bool:
        at, end = self._size, self._size + size
        while at < end:
            count = os.preadv(fd, [self._buffer[at:end]], start)
            if not count:
                return False
            at += count
            start += count
        self._size = end
        return True

    def frame(self, level: int) -> Frame:
        """What was taken, deflated at `level` where that makes it smaller; 0 doesn't try."""
        blob: Bytes = self._buffer[: self._size]
        deflated = False
        if level and self._size > WORTH:
            small = zlib.compress(blob, level)
            blob, deflated = (small, True) if len(small) < len(blob) else (blob, False)
        return Frame(Kind.BODY, self._batch & 0xFFFFFFFF, self._head, blob, deflated)
