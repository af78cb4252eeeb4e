"""Bodies on their way in: written to nameless files, until their batch is complete.

They belong to the store's own file system, so that each gets its final name by one link; no
reader ever sees one that isn't complete. Where the file system has no nameless files, or as
many are open as this process may have, they stand in ROOT/.mailmirror/tmp/ instead.

Invariant: nothing here outlives its conversation (`clear` at the start of the next), no file
grows beyond the size that was announced for it, and no name in here came from a peer.
"""

from __future__ import annotations

import os
import resource
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Union

from . import beneath
from .beneath import Root
from .marker import DIRECTORY
from .sidecar import read_range
from .wire import Frame, Garbled, inflate

HOME = DIRECTORY + b"/tmp"
SPARE = 600
"""Descriptors that are left to everything else: `beneath.Root` keeps 256."""
MOST = 16_384
"""Nameless files that are open at once."""
_OPEN: Set[int] = set()
"""The nameless files of this process, whatever their store: the limit is the process's too."""

Attributes = Tuple[int, int, int, int]
"""(mode, owner, group, mtime in ns)"""

Own = Callable[[int, int, int, int, int], None]
"""Give a descriptor its mode, owner, group and mtime."""

Arrived = Union[int, bytes]
"""A complete body: the descriptor of a nameless file, or its temporary name."""


class Arrivals:
    """What has arrived of one batch."""

    def __init__(
        self, number: int, sizes: Dict[int, int], offsets: Dict[int, int], attributes: Dict[int, Attributes]
    ) -> None:
        self.number = number
        self.sizes = sizes  # item -> announced bytes, of everything that was asked for
        self.offsets = offsets  # item -> where what was asked for begins, when not at 0
        self.attributes = attributes  # item -> what its file gets before it gets its name
        self.files: Dict[int, Arrived] = {}  # item -> what arrived, once complete
        self.same: Dict[int, int] = {}  # item -> which of the named digests it has
        self.vanished: List[int] = []
        self.failed: List[Tuple[int, str]] = []
        self.parts: Dict[
            int, Tuple[Arrived, int, int]
        ] = {}  # item -> (what will have arrived, descriptor, bytes so far)

    @property
    def complete(self) -> bool:
        return len(self.files) + len(self.same) + len(self.vanished) + len(self.failed) >= len(self.sizes)


class Staging:
    """The bodies that have come for one store and have no name yet."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._most = _descriptors()
        root.make_dirs(HOME, 0o700)
        self.clear()

    def clear(self) -> None:
        """Remove what an earlier conversation left."""
        home = self.fd
        for name in beneath.entries(home):
            beneath.unlink(home, name)

    @property
    def fd(self) -> int:
        return self._root.open_dir(HOME)

    def _fresh(self, home: int, number: int, item: int) -> Tuple[Arrived, int]:
        """An empty file: what it is kept as, and its descriptor."""
        if len(_OPEN) < self._most:
            try:
                fd = beneath.nameless(home)
            except beneath.Unsupported:
                self._most = 0
            else:
                _OPEN.add(fd)
                return fd, fd
        name = b"body-%x-%x" % (number, item)
        return name, beneath.create(home, name, 0o600)

    def give(self, arrived: Arrived, target: int, name: bytes) -> None:
        """Give a body its final name. Raises FileExistsError."""
        if isinstance(arrived, int):
            beneath.give_name(arrived, target, name)
            _close(arrived)
        else:
            beneath.link(self.fd, arrived, target, name)
            beneath.unlink(self.fd, arrived)

    def drop(self, arrivals: Arrivals) -> None:
        """Forget what arrived and got no name."""
        kept = [*arrivals.files.values(), *(arrived for arrived, _, _ in arrivals.parts.values())]
        opened = {fd for _, fd, _ in arrivals.parts.values()} | {each for each in kept if isinstance(each, int)}
        arrivals.files.clear()
        arrivals.parts.clear()
        for fd in opened:
            _close(fd)
        for arrived in kept:
            if isinstance(arrived, bytes):
                beneath.unlink(self.fd, arrived)

    def content(self, arrived: Arrived) -> bytes:
        """All that arrived as one body, which is forgotten."""
        fd = arrived if isinstance(arrived, int) else beneath.open_file(self.fd, arrived)
        try:
            return read_range(fd, 0, os.fstat(fd).st_size)
        finally:
            _close(fd)
            if isinstance(arrived, bytes):
                beneath.unlink(self.fd, arrived)

    def take(self, arrivals: Arrivals, frame: Frame, durable: bool, own: Own) -> int:
        """Write a BODY frame's parts; how many bytes it brought. Raises Garbled for what wasn't asked for."""
        blob = inflate(frame)
        view = memoryview(blob)
        at = 0
        whole: List[int] = frame.head.get("w", [])
        home = self.fd
        files, attributes, number = arrivals.files, arrivals.attributes, arrivals.number
        for item, size in zip(whole[::2], whole[1::2]):
            self._expect(arrivals, item, size)
            if at + size > len(view):
                raise Garbled("a bundle that is shorter than its parts")
            kept, fd = self._fresh(home, number, item)
            try:
                beneath.write_all(fd, view[at : at + size])
                self._complete(fd, attributes.get(item), durable, own)
            except BaseException:
                _close(fd)
                raise
            if kept is not fd:
                _close(fd)
            files[item] = kept
            at += size
        for item, start, size, total in frame.head.get("p", []):
            self._expect(arrivals, item, total)
            self._part(arrivals, item, start, view[at : at + size], size, durable, own)
            at += size
        self._others(arrivals, frame.head)
        return len(frame.blob)

    @staticmethod
    def _complete(fd: int, attributes: Optional[Attributes], durable: bool, own: Own) -> None:
        if attributes is not None:
            own(fd, *attributes)
        if durable:
            os.fsync(fd)

    def _part(
        self, arrivals: Arrivals, item: int, start: int, data: memoryview, size: int, durable: bool, own: Own
    ) -> None:
        base = arrivals.offsets.get(item, 0)
        have = arrivals.parts[item][2] if item in arrivals.parts else 0
        if len(data) != size or start - base != have or start + size > arrivals.sizes[item]:
            raise Garbled("a part that isn't the next one of its message")
        if item not in arrivals.parts:
            arrivals.parts[item] = (*self._fresh(self.fd, arrivals.number, item), 0)
        kept, fd, _ = arrivals.parts[item]
        beneath.write_all(fd, data)
        have += size
        arrivals.parts[item] = (kept, fd, have)
        if have >= arrivals.sizes[item] - base:
            self._complete(fd, arrivals.attributes.get(item), durable, own)
            del arrivals.parts[item]
            if kept is not fd:
                _close(fd)
            arrivals.files[item] = kept

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


def _close(fd: int) -> None:
    _OPEN.discard(fd)  # before another thread may be given the same number
    os.close(fd)


def _descriptors() -> int:
    """How many nameless files may be open: as many as the system lets this process have, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return MOST if hard == resource.RLIM_INFINITY else max(0, min(hard - SPARE, MOST))
