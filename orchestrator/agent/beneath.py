"""Files and directories below a root, reached without following a link.

Every path is walked one component at a time, each opened relative to the one before with
O_NOFOLLOW. The kernel refuses a link at the moment of opening, so that there is no instant
between looking and acting in which somebody could swap a directory for a link.

Invariant: no call here reads, creates or changes anything that isn't below the root, whatever
stands there and whoever changes it meanwhile. The path of the root itself is the operator's
word, and is resolved once, links included.

A Root belongs to one thread: it hands out the descriptors of its cache, and closes the one
that wasn't used for longest. Who needs a descriptor for longer takes `held`. Nothing here
decides when something becomes durable; the callers do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat as modes
import sys
from collections import OrderedDict
from functools import lru_cache
from types import TracebackType
from typing import Union

from .names import BadName, check_path

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EXCHANGE = 2
_ENCODING = sys.getfilesystemencoding()


class Outside(Exception):
    """A path that would leave the root: a link, `..`, or no plain name. `path` is that link's, if known."""

    path = b""


class NotRegular(Exception):
    """Where a file was expected stands a directory, FIFO, socket or device."""


class Unsupported(Exception):
    """The system lacks this call; the caller has to do without."""


class Root:
    """A directory, and a bounded cache of descriptors of directories below it.

    `device` is st_dev (not the same after a reboot), `fsid` the file system's f_fsid, `inode`
    the root directory's. Raises OSError when `path` can't be opened as a directory.
    """

    def __init__(self, path: str, *, capacity: int = 256) -> None:
        if capacity < 2:
            raise ValueError("a cache of directories needs room for two")
        self.path = path
        self.capacity = capacity
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._cache: OrderedDict[bytes, int] = OrderedDict()
        found = os.fstat(self.fd)
        self.device, self.inode = found.st_dev, found.st_ino
        self.fsid = os.fstatvfs(self.fd).f_fsid

    def open_dir(self, path: bytes) -> int:
        """The descriptor of a directory; b"" is the root. It stays the cache's: don't close it.

        It is good until `forget`, `close`, or until `capacity` others were opened, those on
        the way to them included.
        Raises Outside for a link or a bad path, FileNotFoundError, NotADirectoryError.
        """
        fd = self._cache.get(path)
        if fd is not None:
            self._cache.move_to_end(path)
            return fd
        if not path:
            return self.fd
        _path(path)
        known, at = self._deepest(path)
        while at < len(path):
            end = path.find(b"/", at)
            end = len(path) if end < 0 else end
            try:
                known = self._keep(path[:end], _step(known, path[at:end]))
            except Outside as error:
                outside = Outside(f"{self.path}/{os.fsdecode(path[:end])} is a link")
                outside.path = path[:end]
                raise outside from error
            at = end + 1
        return known

    def held(self, path: bytes) -> int:
        """A descriptor of the directory that is the caller's own to close."""
        return os.dup(self.open_dir(path))

    def make_dirs(self, path: bytes, mode: int = 0o700) -> list[bytes]:
        """Make the directory and what is missing above it; the paths that were made, top first.

        The mode is set as given, whatever the umask. The caller makes them durable: each
        one's parent needs `fsync_dir`. Raises Outside, and OSError as mkdir(2) does.
        """
        _path(path)
        made = []
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            here = b"/".join(parts[:depth])
            try:
                self.open_dir(here)
            except FileNotFoundError:
                if self._made(self.open_dir(b"/".join(parts[: depth - 1])), parts[depth - 1], mode):
                    os.fchmod(self.open_dir(here), mode)
                    made.append(here)
        return made

    def forget(self, path: bytes) -> None:
        """Close what is cached of a directory and of all below it: it was renamed or removed."""
        below = path + b"/"
        gone = [key for key in self._cache if not path or key == path or key.startswith(below)]
        for key in gone:
            os.close(self._cache.pop(key))

    def close(self) -> None:
        """Close every descriptor. Idempotent."""
        self.forget(b"")
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deepest(self, path: bytes) -> tuple[int, int]:
        """The descriptor of the deepest cached directory above `path`, and where the rest begins."""
        cut = path.rfind(b"/")
        while cut > 0:
            fd = self._cache.get(path[:cut])
            if fd is not None:
                self._cache.move_to_end(path[:cut])
                return fd, cut + 1
            cut = path.rfind(b"/", 0, cut)
        return self.fd, 0

    def _keep(self, path: bytes, fd: int) -> int:
        self._cache[path] = fd
        if len(self._cache) > self.capacity:
            os.close(self._cache.popitem(last=False)[1])
        return fd

    @staticmethod
    def _made(parent: int, name: bytes, mode: int) -> bool:
        try:
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            return False
        return True


def open_file(dirfd: int, name: bytes) -> int:
    """A descriptor to read a regular file; the caller closes it. Raises as `open_with_stat`."""
    return open_with_stat(dirfd, name)[0]


def open_with_stat(dirfd: int, name: bytes) -> tuple[int, os.stat_result]:
    """A descriptor to read a regular file, and what fstat says of it.

    Never waits (a FIFO would), and leaves the access time alone where it may. Raises Outside
    for a link, NotRegular for anything else that isn't a file, and OSError as open(2) does.
    """
    _plain(name)
    try:
        fd = _open_quietly(dirfd, name)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Outside(f"{name!r} is a link") from error
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise NotRegular(f"{name!r} is a socket or a device") from error
        raise
    found = os.fstat(fd)
    if not modes.S_ISREG(found.st_mode):
        os.close(fd)
        raise NotRegular(f"{name!r} isn't a regular file (mode {found.st_mode:o})")
    return fd, found


def create(dirfd: int, name: bytes, mode: int = 0o600) -> int:
    """A descriptor to write a file that didn't exist; the caller closes it. Raises FileExistsError."""
    _plain(name)
    return os.open(name, _CREATE, mode, dir_fd=dirfd)


def nameless(dirfd: int, mode: int = 0o600) -> int:
    """A descriptor to write and read a file without a name (O_TMPFILE, open(2)); the caller closes it.

    It is gone with its last descriptor, unless `give_name` comes first. Raises Unsupported where
    the file system has no such files.
    """
    try:
        return os.open(b".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, mode, dir_fd=dirfd)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise Unsupported("this file system has no nameless files") from error
        raise


def give_name(fd: int, target: int, new: bytes) -> None:
    """Give a nameless file its name. Raises FileExistsError."""
    _plain(new)
    os.link(b"/proc/self/fd/%d" % fd, new, dst_dir_fd=target, follow_symlinks=True)


def write_all(fd: int, data: Union[bytes, memoryview]) -> None:
    """Write all of it where the descriptor stands: write(2) may take less, on a disk that is nearly full."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def rename(source: int, name: bytes, target: int, new: bytes) -> None:
    """Move an entry between two directories; what `new` named before is replaced, as rename(2) does."""
    _plain(name)
    _plain(new)
    os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)


def exchange(one: int, name: bytes, other: int, another: bytes) -> None:
    """Have two entries change places in one step (renameat2(2), RENAME_EXCHANGE, Linux 3.15, glibc 2.28).

    Raises Unsupported where the C library, the kernel or the file system can't, or one holds the other.
    """
    _plain(name)
    _plain(another)
    call = getattr(_libc(), "renameat2", None)
    if call is None:
        raise Unsupported("this C library has no renameat2")
    if call(ctypes.c_int(one), name, ctypes.c_int(other), another, ctypes.c_uint(_EXCHANGE)) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise Unsupported(f"two entries can't be exchanged here: {os.strerror(number)}")
        raise OSError(number, os.strerror(number), name)


def link(source: int, name: bytes, target: int, new: bytes) -> None:
    """A second name for a file. Raises FileExistsError; a link is linked, never followed."""
    _plain(name)
    _plain(new)
    os.link(name, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)


def unlink(dirfd: int, name: bytes) -> None:
    """Remove a file's name (or a link, never what it points to)."""
    _plain(name)
    os.unlink(name, dir_fd=dirfd)


def rmdir(dirfd: int, name: bytes) -> None:
    """Remove an empty directory."""
    _plain(name)
    os.rmdir(name, dir_fd=dirfd)


def stat(dirfd: int, name: bytes) -> os.stat_result:
    """What stands under a name; of a link, the link itself."""
    _plain(name)
    return os.stat(name, dir_fd=dirfd, follow_symlinks=False)


def entries(dirfd: int) -> list[bytes]:
    """The names in a directory, unsorted, without `.` and `..`.

    One join and one split: encoding 60,000 names one by one would take several times as long.
    """
    names = os.listdir(dirfd)
    return "\0".join(names).encode(_ENCODING, "surrogateescape").split(b"\0") if names else []


def fsync_dir(dirfd: int) -> None:
    """Make the directory's entries durable."""
    os.fsync(dirfd)


def syncfs(fd: int) -> None:
    """Make everything durable on the file system that `fd` stands on (syncfs(2)).

    Raises OSError when the kernel reports a failed write, and Unsupported where the C library
    lacks the call: then every file needs its own fsync. See `syncfs_reports_errors`.
    """
    call = getattr(_libc(), "syncfs", None)
    if call is None:
        raise Unsupported("this C library has no syncfs")
    if call(ctypes.c_int(fd)) != 0:
        number = ctypes.get_errno()
        if number == errno.ENOSYS:
            raise Unsupported("this kernel has no syncfs")
        raise OSError(number, os.strerror(number), "syncfs")


def syncfs_reports_errors() -> bool:
    """Whether a failed write is told by syncfs: from Linux 5.8 on (syncfs(2))."""
    release = os.uname().release.split("-", 1)[0].split(".")
    numbers = [int(part) if part.isdigit() else 0 for part in (*release[:2], "0", "0")]
    return (numbers[0], numbers[1]) >= (5, 8)


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _open_quietly(dirfd: int, name: bytes) -> int:
    """Open for reading without touching the access time; only an owner or root may ask for that."""
    try:
        return os.open(name, _READ | os.O_NOATIME, dir_fd=dirfd)
    except PermissionError:
        return os.open(name, _READ, dir_fd=dirfd)


def _step(parent: int, part: bytes) -> int:
    try:
        return os.open(part, _DIR, dir_fd=parent)
    except OSError as error:
        # For a link O_DIRECTORY answers ENOTDIR, O_NOFOLLOW alone ELOOP: look which one it was.
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and modes.S_ISLNK(stat(parent, part).st_mode):
            raise Outside(f"{part!r} is a link") from error
        raise


def _plain(name: bytes) -> None:
    # Speaks for itself what check_component would say, at a third of its cost: this runs per file.
    if b"/" in name or name in (b"", b".", b"..") or b"\0" in name:
        raise Outside(f"{name!r:.100} isn't a plain name")


def _path(path: bytes) -> None:
    try:
        check_path(path)
    except BadName as error:
        raise Outside(str(error)) from error
