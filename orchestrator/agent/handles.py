"""Directories by file handle: which path below the root a handle of the kernel's stands for.

Most handles that fanotify names don't matter: they lie elsewhere on the file system, or are the
`tmp` of a Maildir. Those are known by a look into a dict.

Invariant: a path that is answered was found from the root, with the handle's own inode. A cached
path is valid until `left` tells that its directory, or one above it, was renamed; the caller tells
all renames in their order. Both caches are bounded and forget what wasn't used for
longest. This module reads no events.

Why the order is enough, although a path is looked up later than its event: of all renames after
the look-up that touch a cached path, the topmost is told under the very name that is cached, as
nothing above it has changed; there the entry is dropped.
"""

from __future__ import annotations

import errno
import os
from typing import Dict, Generic, Optional, Tuple, TypeVar

from .beneath import Outside, Root
from .hint import Place, Unavailable, handle_of, system

_CAPACITY = 1 << 16
_MOVES = 4096
_TRIES = 3
_O_PATH = 0o10000000
_DEAD = (errno.ESTALE, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

Value = TypeVar("Value")


class Lost(Exception):
    """A handle's path can't be told now; what happened there is known to nobody."""


class Recent(Generic[Value]):
    """A map that keeps what was used last: between `capacity` and twice as many entries.

    Two generations: when the young one is full it becomes the old one, and the old one is let go.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self.capacity = capacity
        self._young: Dict[bytes, Value] = {}
        self._old: Dict[bytes, Value] = {}

    def get(self, key: bytes) -> Optional[Value]:
        """The value, None when it isn't here."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Take an entry, or a new value for it."""
        if len(self._young) >= self.capacity:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def drop(self, key: bytes) -> None:
        """Forget one."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._young.clear()
        self._old.clear()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Paths:
    """The directories below one root by their handles. Raises Unavailable where handles can't be opened."""

    def __init__(self, place: Place, capacity: int = _CAPACITY) -> None:
        self._place = place
        self._known: Recent[Tuple[bytes, int]] = Recent(capacity)
        self._elsewhere: Recent[bool] = Recent(capacity)
        self._moved: Dict[bytes, int] = {}
        self._renames = 0
        with Root(place.path) as root:
            self._device = root.device
            key = handle_of(root.fd)
            try:
                os.close(_open_handle(root.fd, key))
            except OSError as error:
                raise Unavailable(f"a file handle can't be opened here ({error.strerror})") from error
            self._known.put(key, (b"", 0))

    def locate(self, key: bytes) -> Optional[bytes]:
        """The directory's path relative to the root; None when it is none of ours. Raises Lost."""
        if self._elsewhere.get(key):
            return None
        entry = self._known.get(key)
        if entry is not None:
            path, when = entry
            if when == self._renames:
                return path
            if not self._moved_since(path, when):
                self._known.put(key, (path, self._renames))
                return path
        return self._keep(key, self._find(key))

    def learn(self, directory: bytes) -> None:
        """Remember a directory's handle, so that its path is known even when it is removed.

        What can't be learnt is found when an event asks for it.
        """
        try:
            with Root(self._place.path) as root:
                fd = root.open_dir(directory)
                # Another file system may have the same handle for another directory.
                key = handle_of(fd) if os.fstat(fd).st_dev == self._device else None
        except (OSError, Outside, Unavailable):
            return
        if key is not None:
            self._elsewhere.drop(key)
            self._keep(key, directory)

    def left(self, directory: bytes, name: bytes) -> None:
        """A rename took the directory `name` out of `directory`: all paths through it are wrong now."""
        self._renames += 1
        self._moved[directory + b"/" + name if directory else name] = self._renames
        if len(self._moved) > _MOVES:
            self._known.clear()
            self._moved.clear()

    def arrived(self) -> None:
        """A rename brought a directory below the root: what came with it may be known as elsewhere."""
        self._elsewhere.clear()

    def clear(self) -> None:
        """Renames were lost: look everything up anew."""
        self._known.clear()
        self._elsewhere.clear()
        self._moved.clear()

    def _moved_since(self, path: bytes, when: int) -> bool:
        while path:
            if self._moved.get(path, -1) > when:
                return True
            path = path.rpartition(b"/")[0]
        return False

    def _keep(self, key: bytes, path: Optional[bytes]) -> Optional[bytes]:
        if path is None or self._is_tmp(path):
            self._elsewhere.put(key, True)
            return None
        self._known.put(key, (path, self._renames))
        return path

    def _is_tmp(self, path: bytes) -> bool:
        """Whether this is a Maildir's `tmp`; an account may have that name as well."""
        parent, _, name = path.rpartition(b"/")
        return name == b"tmp" and os.path.isdir(os.path.join(os.fsencode(self._place.path), parent, b"cur"))

    def _find(self, key: bytes) -> Optional[bytes]:
        try:
            root = os.open(self._place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Lost(f"the root can't be opened: {error.strerror}") from error
        try:
            return _below(root, key)
        finally:
            os.close(root)


def _below(root: int, key: bytes) -> Optional[bytes]:
    """The path from the root to the directory of a handle; None when it is removed or isn't below."""
    try:
        fd = _open_handle(root, key)
    except OSError as error:
        if error.errno in _DEAD:
            return None
        raise Lost(f"a file handle can't be opened: {error.strerror}") from error
    try:
        for _ in range(_TRIES):  # It may be renamed between the two looks.
            path = _between(_path_of(root), _path_of(fd))
            if path is None or os.fstat(fd).st_nlink == 0:
                return None
            if _leads_to(root, path, fd):
                return path
        return None  # Outside of a bind mount, or renamed all the time: the next rename event clears this.
    except OSError as error:
        if error.errno in _DEAD:
            return None
        raise Lost(f"a directory's path can't be read: {error.strerror}") from error
    finally:
        os.close(fd)


def _open_handle(root: int, key: bytes) -> int:
    return system("open_by_handle_at", root, key, _O_PATH | os.O_CLOEXEC)


def _path_of(fd: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % fd)


def _between(root: bytes, path: bytes) -> Optional[bytes]:
    if path == root:
        return b""
    top = root.rstrip(b"/") + b"/"
    return path[len(top) :] if path.startswith(top) else None


def _leads_to(root: int, path: bytes, fd: int) -> bool:
    try:
        found = os.stat(path or b".", dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    wanted = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
