"""Bodies on their way in: written to temporary files, until their batch is complete.

They stand in ROOT/.mailmirror/tmp/, on the store's own file system, so that each gets its
final name by one rename; no reader ever sees one that isn't complete.

Invariant: nothing here outlives its conversation (`clear` at the start of the next), no file
grows beyond the size that was announced for it, and no name in here came from a peer.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Tuple

from . import beneath
from .beneath import Root
from .marker import DIRECTORY
from .wire import Frame, Garbled, inflate

HOME = DIRECTORY + b"/tmp"


Attributes = Tuple[int, int, int, int]
"""(mode, owner, group, mtime in ns)"""

Own = Callable[[int, int, int, int, int], None]
"""Give a descriptor its mode, owner, group and mtime."""


class Arrivals:
    """What has arrived of one batch."""

    def __init__(
        self, number: int, sizes: Dict[int, int], offsets: Dict[int, int], attributes: Dict[int, Attributes]
    ) -> None:
        self.number = number
        self.sizes = sizes  # item -> announced bytes, of everything that was asked for
        self.offsets = offsets  # item -> where what was asked for begins, when not at 0
        self.attributes = attributes  # item -> what its file gets before it gets its name
        self.files: Dict[int, bytes] = {}  # item -> temporary name, once complete
        self.same: Dict[int, int] = {}  # item -> which of the named digests it has
        self.vanished: List[int] = []
        self.failed: List[Tuple[int, str]] = []
        self._open: Dict[int, Tuple[int, int]] = {}  # item -> (descriptor, bytes so far)

    @property
    def complete(self) -> bool:
        return len(self.files) + len(self.same) + len(self.vanished) + len(self.failed) >= len(self.sizes)

    def close(self) -> None:
        for fd, _ in self._open.values():
            os.close(fd)
        self._open.clear()


class Staging:
    """The temporary files of one store. `durable` makes each file durable as it arrives."""

    def __init__(self, root: Root) -> None:
        self._root = root
        root.make_dirs(HOME, 0o700)
        self.clear()

    def clear(self) -> None:
        """Remove what an earlier conversation left."""
        home = self._root.open_dir(HOME)
        for name in beneath.entries(home):
            beneath.unlink(home, name)

    @property
    def fd(self) -> int:
        return self._root.open_dir(HOME)

    def take(self, arrivals: Arrivals, frame: Frame, durable: bool, own: Own) -> int:
        """Write a BODY frame's parts; how many bytes it brought. Raises Garbled for what wasn't asked for."""
        blob = inflate(frame)
        view = memoryview(blob)
        at = 0
        whole: List[int] = frame.head.get("w", [])
        home = self.fd
        for item, size in zip(whole[::2], whole[1::2]):
            self._expect(arrivals, item, size)
            if at + size > len(blob):
                raise Garbled("a bundle that is shorter than its parts")
            name = b"body-%x-%x" % (arrivals.number, item)
            fd = beneath.create(home, name, 0o600)
            try:
                _write(fd, view[at : at + size])
                if item in arrivals.attributes:
                    own(fd, *arrivals.attributes[item])
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            arrivals.files[item] = name
            at += size
        for item, start, size, total in frame.head.get("p", []):
            self._expect(arrivals, item, total)
            self._part(arrivals, item, start, view[at : at + size], size, durable, own)
            at += size
        self._others(arrivals, frame.head)
        return len(frame.blob)

    def _part(
        self, arrivals: Arrivals, item: int, start: int, data: memoryview, size: int, durable: bool, own: Own
    ) -> None:
        base = arrivals.offsets.get(item, 0)
        if len(data) != size or start < base or start + size > arrivals.sizes[item]:
            raise Garbled("a part that lies outside its message")
        if item not in arrivals._open:
            arrivals._open[item] = (beneath.create(self.fd, b"body-%x-%x" % (arrivals.number, item), 0o600), 0)
        fd, have = arrivals._open[item]
        os.pwrite(fd, data, start - base)
        have += size
        arrivals._open[item] = (fd, have)
        if have >= arrivals.sizes[item] - base:
            if item in arrivals.attributes:
                own(fd, *arrivals.attributes[item])
            if durable:
                os.fsync(fd)
            os.close(fd)
            del arrivals._open[item]
            arrivals.files[item] = b"body-%x-%x" % (arrivals.number, item)

    @staticmethod
    def _expect(arrivals: Arrivals, item: int, size: int) -> None:
        if arrivals.sizes.get(item) != size or item in arrivals.files:
            raise Garbled(f"item {item!r:.20} of {size!r:.20} bytes wasn't asked for")

    @staticmethod
    def _others(arrivals: Arrivals, head: Dict[str, Any]) -> None:
        for item in head.get("v", []):
            if item in arrivals.sizes:
                arrivals.vanished.append(item)
        for item, which in head.get("s", []):
            if item in arrivals.sizes:
                arrivals.same[item] = which
        for item, why in head.get("e", []):
            if item in arrivals.sizes:
                arrivals.failed.append((item, str(why)[:200]))


def _write(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
