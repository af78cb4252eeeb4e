"""Hints: what a watch says has changed below a root, and what all watches share to say it.

A hint marks a directory as dirty and nothing more: scans find out what is true. It may be lost,
told twice, or name what is no longer there.

Invariant: a hint's directory is relative to the root and never leaves it, its name is one plain
entry or empty. What one read collects is bounded: from `CAPACITY` on it hands over what it has, and
the rest waits in the kernel. This module watches nothing; fanotify and inotify do.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from functools import lru_cache
from typing import Dict, List, NamedTuple, Optional, Tuple

APPEARED = "appeared"
VANISHED = "vanished"
CHANGED = "changed"
OVERFLOW = "overflow"
GONE = "gone"

CAPACITY = 1 << 16
"""Hints of one read; a folder of 500,000 messages may be emptied at once."""

LOOK = 0.2
"""Seconds between two looks at whether the root is still there."""

_AT_EMPTY_PATH = 0x1000
_HANDLE_HEAD = 8
_HANDLE_LARGEST = 128  # MAX_HANDLE_SZ

_REMOTE = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x0BD00BD0: "lustre",
    0x01161970: "gfs2",
    0x7461636F: "ocfs2",
}
"""statfs(2)'s f_type of file systems that other hosts may change, which no event here tells of."""


class Hint(NamedTuple):
    """One thing that changed.

    `what` is "appeared", "vanished", "changed", "overflow" (events were lost: everything is dirty) or
    "gone" (the root was unmounted, removed or replaced; told once, and nothing after it).
    `directory` is relative to the root, b"" for the root itself; `name` is an entry of it, b"" for
    the directory itself.
    A directory that appeared may have come with all its contents (a rename): everything below it is
    dirty too. `process` is the executable's basename (b"imap") of who made something vanish, None
    when that can't be told for certain.
    """

    directory: bytes
    name: bytes
    what: str
    process: Optional[bytes] = None
    is_directory: bool = False


class Unavailable(Exception):
    """This kind of watch can't be had here; the text says why, and what would change that."""


class WatchFull(Exception):
    """No further directory can be followed. The watch goes on for those that are."""


class Hints:
    """What one read collects: each directory, name and what once."""

    def __init__(self) -> None:
        self._found: Dict[Tuple[bytes, bytes, str], Hint] = {}

    def add(
        self, directory: bytes, name: bytes, what: str, process: Optional[bytes] = None, is_directory: bool = False
    ) -> None:
        """Take one hint. Of two processes that made the same name vanish, neither counts as certain."""
        key = (directory, name, what)
        known = self._found.get(key)
        if known is not None and (known.process != process or known.is_directory != is_directory):
            certain = process if known.process == process else None
            self._found[key] = Hint(directory, name, what, certain, is_directory or known.is_directory)
        elif known is None:
            self._found[key] = Hint(directory, name, what, process, is_directory)

    def overflow(self) -> None:
        """Events were lost. What was collected stays: deletions keep their process."""
        self.add(b"", b"", OVERFLOW, is_directory=True)

    def full(self) -> bool:
        """Whether a read should hand over what it has, before it takes more."""
        return len(self._found) >= CAPACITY

    def gone(self) -> None:
        """The root isn't there any more: what was collected may come from another place, and doesn't count."""
        self._found.clear()
        self.add(b"", b"", GONE, is_directory=True)

    def take(self) -> List[Hint]:
        """What was collected, in the order in which it was first told; the collection is empty then."""
        found = list(self._found.values())
        self._found.clear()
        return found


class Place:
    """Whether the root is still the directory that the watch began with.

    Nothing is held open: a descriptor would keep an operator from unmounting the store. A removed
    directory's inode number may be in use again at once, so its file handle counts too, which has
    the inode's generation. `gone` says that it has left. Raises NotADirectoryError when `path` isn't a directory.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self._identity = self._look()
        if self._identity is None:
            raise NotADirectoryError(f"{path} isn't a directory that can be opened: a watch needs the store's root")
        self.gone = False
        self._looked = time.monotonic()

    def left(self, certain: bool = False) -> bool:
        """True once, when the root isn't there any more or is another directory.

        `certain` says that it is so. Else it looks, but at most every `LOOK` seconds: reads are many.
        """
        now = time.monotonic()
        if self.gone or (not certain and now - self._looked < LOOK):
            return False
        self._looked = now
        self.gone = certain or not self.same()
        return self.gone

    def same(self) -> bool:
        """Whether the path still leads to the directory that the watch began with."""
        return self._look() == self._identity

    def _look(self) -> Optional[Tuple[int, int, bytes]]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None  # Whatever keeps us from it, the root can't be read there now.
        try:
            found = os.fstat(fd)
            return found.st_dev, found.st_ino, handle_of(fd)
        except Unavailable:
            return found.st_dev, found.st_ino, b""
        finally:
            os.close(fd)


def settled(hints: Hints, place: Place, certain: bool = False) -> List[Hint]:
    """What a read answers: its hints, "gone" instead when the root has left, and nothing after that."""
    if place.left(certain):
        hints.gone()
        return hints.take()
    return [] if place.gone else hints.take()


def handle_of(fd: int) -> bytes:
    """The file handle of an open directory: its size, its type and its bytes, as fanotify tells it.

    Raises Unavailable where the file system has none (name_to_handle_at(2)).
    """
    buffer = ctypes.create_string_buffer(_HANDLE_HEAD + _HANDLE_LARGEST)
    struct.pack_into("=I", buffer, 0, _HANDLE_LARGEST)
    mount = ctypes.c_int()
    try:
        system("name_to_handle_at", fd, b"", buffer, ctypes.byref(mount), _AT_EMPTY_PATH)
    except OSError as error:
        raise Unavailable(f"this file system has no file handles ({error.strerror})") from error
    return buffer.raw[: _HANDLE_HEAD + int(struct.unpack_from("=I", buffer)[0])]


def system(name: str, *arguments: object) -> int:
    """Call a function of the C library that answers an int, -1 for an error. Raises OSError."""
    function = getattr(_libc(), name, None)
    if function is None:
        raise Unavailable(f"this C library has no {name}")
    answer = int(function(*arguments))
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return answer


def remote_kind(path: str) -> str:
    """The name of the network (or FUSE) file system that `path` stands on; "" for a local one (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    system("statfs", os.fsencode(path), buffer)
    return _REMOTE.get(int(struct.unpack_from("L", buffer.raw)[0]) & 0xFFFFFFFF, "")


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
