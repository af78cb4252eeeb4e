"""A watch by inotify: one watch for each directory that is followed, names but no processes.

Invariant: a watch descriptor maps to the path under which its directory was last found. When a
directory was renamed or removed, or events were lost, what was followed there is looked at again
before the read ends: the same directory stays, another one takes its place, one that is gone is
forgotten. So a wrong path is told no longer than in the read that tells of the rename.

This module doesn't find new directories (the caller follows what "appeared"), doesn't pair the
two halves of a rename, and knows no process. Facts: inotify(7).
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Dict, Iterator, List, Optional, Set

from .beneath import Outside, Root
from .hint import APPEARED, CHANGED, VANISHED, Hint, Hints, Place, Unavailable, WatchFull, settled, system

_MODIFY = 0x2
_ATTRIB = 0x4
_CLOSE_WRITE = 0x8
_MOVED_FROM = 0x40
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_DELETE_SELF = 0x400
_MOVE_SELF = 0x800
_UNMOUNT = 0x2000
_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLYDIR = 0x01000000
_EXCL_UNLINK = 0x04000000
_ISDIR = 0x40000000
_MASK = (
    _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
    | _ONLYDIR | _EXCL_UNLINK
)  # fmt: skip

_EVENT = struct.Struct("=iIII")
_BUFFER = 1 << 16
_ROUNDS = 64
"""Buffers taken in one read, so that a store that changes faster than it is read doesn't hold the caller."""

WATCHES = "fs.inotify.max_user_watches"
INSTANCES = "fs.inotify.max_user_instances"


class Inotify:
    """See `watch.Watch`. Raises Unavailable when the kernel gives no inotify instance."""

    kind = "inotify"

    def __init__(self, place: Place) -> None:
        self.why = ""
        self._place = place
        self._path_of: Dict[int, bytes] = {}
        self._watch_of: Dict[bytes, int] = {}
        self._below: Dict[bytes, Set[bytes]] = {}
        self._doubtful: Set[bytes] = set()
        self._root_ended = False
        try:
            self._fd = system("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(_no_instance(error)) from error
        try:
            self.follow(b"")
        except (OSError, WatchFull) as error:
            self.close()
            raise Unavailable(f"inotify can't watch {place.path}: {error}") from error

    def fileno(self) -> Optional[int]:
        """The inotify descriptor; None once closed."""
        return self._fd if self._fd >= 0 else None

    def follow(self, directory: bytes) -> None:
        """Watch one directory's entries; again is harmless, and corrects the path after a rename.

        A directory that is gone, or a link now, is passed over: its parent tells of it.
        Raises WatchFull at the kernel's limit, OSError when the directory can't be read.
        """
        with self._root() as root:
            self._follow(root, directory)

    def forget(self, directory: bytes) -> None:
        """Drop the watches of a directory and of all below it."""
        parent = _parent(directory)
        if parent is not None and parent in self._below:
            self._below[parent].discard(directory)
        for path in list(self._at_and_below(directory)):
            self._below.pop(path, None)
            watch = self._watch_of.pop(path, None)
            if watch is not None:
                del self._path_of[watch]
                self._remove(watch)

    def read(self) -> List[Hint]:
        """See `watch.Watch.read`; at most `_ROUNDS` buffers at a time."""
        hints = Hints()
        for _ in range(_ROUNDS):
            if self._fd < 0 or hints.full():
                break
            try:
                data = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                break
            self._take(data, hints)
        if self._doubtful:
            self._look_again()
        return settled(hints, self._place, self._root_ended)

    def close(self) -> None:
        """Close the descriptor, and with it every watch."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        for known in (self._path_of, self._watch_of, self._below):
            known.clear()

    def _take(self, data: bytes, hints: Hints) -> None:
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                hints.overflow()
                self._doubtful.add(b"")
                continue
            path = self._path_of.get(watch)
            if path is not None:
                self._tell(path, name, mask, hints)

    def _tell(self, path: bytes, name: bytes, mask: int, hints: Hints) -> None:
        if mask & (_DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED):
            self._self_event(path, mask, hints)
            return
        is_directory = bool(mask & _ISDIR)
        if is_directory and mask & (_MOVED_FROM | _DELETE):
            self._doubtful.add(_join(path, name))
        if mask & (_CREATE | _MOVED_TO):
            hints.add(path, name, APPEARED, is_directory=is_directory)
        elif mask & (_DELETE | _MOVED_FROM):
            hints.add(path, name, VANISHED, is_directory=is_directory)
        else:
            hints.add(path, name, CHANGED, is_directory=is_directory)

    def _self_event(self, path: bytes, mask: int, hints: Hints) -> None:
        """The watched directory itself went away or got another name."""
        parent = _parent(path)
        if parent is None:
            # Of a rename (of the root, or of what it's mounted on) the next look at the place tells.
            self._root_ended = self._root_ended or not mask & _MOVE_SELF
            return
        name = path[len(parent) + 1 :] if parent else path
        if mask & _MOVE_SELF:
            # Told after both halves of the rename: a caller that found the new place by itself has
            # it mapped already, so it is asked to look there once more.
            hints.add(parent, name, APPEARED, is_directory=True)
        else:
            hints.add(parent, name, VANISHED, is_directory=True)
        self._doubtful.add(path)

    def _root(self) -> Root:
        return Root(self._place.path, capacity=64)

    def _follow(self, root: Root, directory: bytes) -> None:
        try:
            # The path goes through a descriptor, as inotify itself would follow links on the way.
            target = b"/proc/self/fd/%d" % root.open_dir(directory)
            watch = system("inotify_add_watch", self._fd, target, _MASK)
        except (FileNotFoundError, NotADirectoryError, Outside):
            if directory:
                self.forget(directory)
            return
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise WatchFull(_no_watch(len(self._path_of))) from error
            raise
        self._map(watch, directory)

    def _map(self, watch: int, path: bytes) -> None:
        before = self._path_of.get(watch)
        if before is not None and before != path:
            del self._watch_of[before]  # The same directory, found under its new name.
        replaced = self._watch_of.get(path)
        if replaced is not None and replaced != watch:
            del self._path_of[replaced]
            self._remove(replaced)
        self._path_of[watch] = path
        self._watch_of[path] = watch
        parent = _parent(path)
        while parent is not None and path not in self._below.setdefault(parent, set()):
            self._below[parent].add(path)
            path, parent = parent, _parent(parent)

    def _look_again(self) -> None:
        """Follow again what was followed at and below the doubtful paths.

        That gives the same watch for the same directory, and another one for another.
        """
        doubtful, self._doubtful = self._doubtful, set()
        paths = sorted(path for top in doubtful for path in self._at_and_below(top))
        try:
            with self._root() as root:
                for path in paths:
                    if path in self._watch_of:
                        self._follow_or_forget(root, path)
        except OSError:
            self._doubtful = doubtful  # The root can't be opened: it is gone, or the next read tries again.

    def _follow_or_forget(self, root: Root, path: bytes) -> None:
        try:
            self._follow(root, path)
        except (OSError, WatchFull):
            self.forget(path)  # It can't be followed now; its parent is, and tells when that changes.

    def _at_and_below(self, top: bytes) -> Iterator[bytes]:
        waiting = [top]
        while waiting:
            path = waiting.pop()
            waiting.extend(self._below.get(path, ()))
            yield path

    def _remove(self, watch: int) -> None:
        try:
            system("inotify_rm_watch", self._fd, watch)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the kernel dropped it by itself, with its directory.
                raise


def _parent(path: bytes) -> Optional[bytes]:
    """The directory above; None for the root."""
    return path.rpartition(b"/")[0] if path else None


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _no_instance(error: OSError) -> str:
    if error.errno == errno.EMFILE:
        return f"inotify: no instance left for this user; raise {INSTANCES} (sysctl) or the limit of open files"
    return f"inotify: {error.strerror}"


def _no_watch(count: int) -> str:
    return f"inotify: no watch left after {count} directories here; raise {WATCHES} (sysctl)"
