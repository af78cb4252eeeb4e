"""A watch by fanotify: one mark on the whole file system, both names of a rename, and the process.

Invariant: what is told lies below the root (`handles` sees to it). A process is named only when a
pidfd proved that its pid was still its own. A read ends after `_ROUNDS` buffers; the kernel's
queue has no such bound, so whoever owns the watch has to read it.

It needs Linux 5.9 and root (CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH). Left to the audit: file systems
mounted below the root, and changes by mmap. Facts: fanotify_init(2), fanotify_mark(2), fanotify(7);
measured on 6.18: 3 µs for an event of no interest (1 of them for its pidfd), 6 µs for one that is told.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import time
from typing import Dict, List, Optional, Tuple

from .handles import Lost, Paths
from .hint import APPEARED, CHANGED, VANISHED, Hint, Hints, Place, Unavailable, settled, system

_CLOEXEC_NONBLOCK = 0x1 | 0x2
_UNLIMITED_QUEUE = 0x10
_REPORT_PIDFD = 0x80
_REPORT_DFID_NAME = 0xC00
_MARK_ADD_FILESYSTEM = 0x1 | 0x8 | 0x100  # FAN_MARK_ADD, _ONLYDIR, _FILESYSTEM
_AT_FDCWD = -100

_MODIFY = 0x2
_ATTRIB = 0x4
_MOVED_FROM = 0x40
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_OVERFLOW = 0x4000
_RENAME = 0x10000000
_ONDIR = 0x40000000
_ALWAYS = _MODIFY | _ATTRIB | _CREATE | _DELETE | _ONDIR

_META = struct.Struct("=IBBHQii")  # length, version, reserved, length of this, mask, fd, pid
_RECORD = struct.Struct("=BBH")  # type, padding, length
_PIDFD = struct.Struct("=4xi")
_HANDLE = struct.Struct("=12xI")  # after the record's head the 8 bytes of the file system's id
_HANDLE_AT = 12
_NAME_AT = _HANDLE_AT + 8
_IS_DFID_NAME, _IS_DFID, _IS_PIDFD, _IS_OLD, _IS_NEW = 2, 3, 4, 10, 12
_NAMED = frozenset((_IS_DFID_NAME, _IS_DFID, _IS_OLD, _IS_NEW))

# Each event holds a pidfd until it is looked at: no more of them than a soft limit of 1,024 files bears.
_BUFFER = 1 << 14
_LARGEST = 1024
_ROUNDS = 64
_REMEMBER = 1.0


_Found = Tuple[int, bytes, bytes]
"""What an event has of ours: a record's type, its directory's path, the entry's name."""


class Fanotify:
    """See `watch.Watch`. Raises Unavailable where the kernel, the rights or the file system don't allow it.

    With `own_pid` events of this process are left out. The rest chooses what an older kernel has:
    without `renames` (before 5.17) the two halves of a rename come apart, without `pidfds` (before
    5.15) no process is named; with `limited` the queue holds fs.fanotify.max_queued_events.
    """

    kind = "fanotify"

    def __init__(
        self, place: Place, own_pid: bool = True, *, renames: bool = True, pidfds: bool = True, limited: bool = False
    ) -> None:
        self.why = ""
        self._place = place
        self._own = os.getpid() if own_pid else -1
        self._processes = Processes()
        self._fd, self._pidfds = _group(pidfds, limited)
        try:
            self.renames = _mark(self._fd, place.path, renames)
            self._paths = Paths(place)
        except Unavailable:
            self.close()
            raise

    def fileno(self) -> Optional[int]:
        """The group's descriptor; None once closed."""
        return self._fd if self._fd >= 0 else None

    def follow(self, directory: bytes) -> None:
        """Learn the directory's handle: needless for its events, but they can be told after its removal."""
        self._paths.learn(directory)

    def forget(self, directory: bytes) -> None:
        """Nothing to do: the one mark covers all."""

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
            self._processes.begin()
            self._take(data, hints)
            if len(data) < _BUFFER - _LARGEST:
                break  # The kernel had no more.
        return settled(hints, self._place)

    def close(self) -> None:
        """Close the descriptor, and with it the mark."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take(self, data: bytes, hints: Hints) -> None:
        at, end = 0, len(data)
        while at < end:
            length, _, _, head, mask, _, pid = _META.unpack_from(data, at)
            found, pidfd, lost = self._records(data, at + head, at + length)
            at += length
            try:
                if mask & _OVERFLOW:
                    self._paths.clear()
                if lost or mask & _OVERFLOW:
                    hints.overflow()
                if found:
                    self._tell(mask, pid, pidfd, found, hints)
            finally:
                if pidfd >= 0:
                    os.close(pidfd)

    def _records(self, data: bytes, at: int, end: int) -> Tuple[List[_Found], int, bool]:
        """What an event has of ours, its pidfd (-1 for none), and whether a place can't be told now."""
        found: List[_Found] = []
        pidfd, lost = -1, False
        while at < end:
            kind, _, length = _RECORD.unpack_from(data, at)
            if kind in _NAMED:
                name_at = at + _NAME_AT + _HANDLE.unpack_from(data, at)[0]
                try:
                    path = self._paths.locate(data[at + _HANDLE_AT : name_at])
                except Lost:
                    path, lost = None, True
                if path is not None:
                    name = data[name_at : at + length].partition(b"\0")[0]
                    found.append((kind, path, b"" if name == b"." else name))
            elif kind == _IS_PIDFD:
                pidfd = _PIDFD.unpack_from(data, at)[0]
            at += length
        return found, pidfd, lost

    def _tell(self, mask: int, pid: int, pidfd: int, found: List[_Found], hints: Hints) -> None:
        """Several bits may have been merged into one event, in an order that nobody knows."""
        is_directory = bool(mask & _ONDIR)
        for kind, path, name in found:
            left = kind == _IS_OLD or (kind != _IS_NEW and mask & _MOVED_FROM)
            arrived = kind == _IS_NEW or (kind != _IS_OLD and mask & _MOVED_TO)
            if is_directory and left:
                self._paths.left(path, name)
            if is_directory and arrived:
                self._paths.arrived()
            if pid == self._own:
                continue
            if left or mask & _DELETE:
                hints.add(path, name, VANISHED, self._processes.name(pid, pidfd), is_directory)
            if arrived or mask & _CREATE:
                hints.add(path, name, APPEARED, is_directory=is_directory)
            if mask & (_MODIFY | _ATTRIB):
                hints.add(path, name, CHANGED, is_directory=is_directory)


class Processes:
    """The names of processes by pid, for as long as that is certain."""

    def __init__(self) -> None:
        self._now: Dict[int, Optional[bytes]] = {}
        self._before: Dict[int, Tuple[bytes, float]] = {}

    def begin(self) -> None:
        """A new buffer: what a pid was called in the last one has to be asked again."""
        if self._now:
            moment = time.monotonic()
            kept = {pid: known for pid, known in self._before.items() if moment - known[1] < _REMEMBER}
            kept.update((pid, (name, moment)) for pid, name in self._now.items() if name is not None)
            self._before = kept
            self._now = {}

    def name(self, pid: int, pidfd: int) -> Optional[bytes]:
        """The basename of a process' executable, else its comm (15 bytes); None when it can't be told.

        A process that ended since was called so if it was seen within the last second: its pid can't have
        gone once round all pids meanwhile. (A POP3 session deletes many files, and ends at once.)
        """
        if pid in self._now:
            return self._now[pid]
        if pid <= 0:
            return None
        if pidfd >= 0:
            found = _executable(pid)
            self._now[pid] = found if found is not None and _alive(pidfd) else None
            return self._now[pid]
        name, when = self._before.get(pid, (None, 0.0))
        return name if time.monotonic() - when < _REMEMBER else None


def _executable(pid: int) -> Optional[bytes]:
    try:
        path = os.readlink(b"/proc/%d/exe" % pid)
    except OSError:
        return _comm(pid)  # A zombie or a kernel thread: it has no executable any more.
    if path.endswith(b" (deleted)"):  # It was upgraded while it runs.
        path = path[: -len(b" (deleted)")]
    return os.path.basename(path)


def _comm(pid: int) -> Optional[bytes]:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read(64).rstrip(b"\n")
    except OSError:
        return None  # Gone.


def _alive(pidfd: int) -> bool:
    """Whether the process still holds its pid; a zombie does."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _group(pidfds: bool, limited: bool) -> Tuple[int, bool]:
    """A new fanotify group, and whether it tells pidfds."""
    flags = _CLOEXEC_NONBLOCK | _REPORT_DFID_NAME | (0 if limited else _UNLIMITED_QUEUE)
    tiers = [(_REPORT_PIDFD, True), (0, False)] if pidfds else [(0, False)]
    for extra, has_pidfds in tiers:
        try:
            return system("fanotify_init", flags | extra, os.O_RDONLY | os.O_CLOEXEC), has_pidfds
        except OSError as error:
            if error.errno == errno.EINVAL:
                continue
            if error.errno == errno.EPERM:
                raise Unavailable("fanotify needs root (CAP_SYS_ADMIN)") from error
            raise Unavailable(f"fanotify: {error.strerror}") from error
    raise Unavailable("fanotify with names of directories needs Linux 5.9")


def _mark(fd: int, path: str, renames: bool) -> bool:
    """Mark the file system; whether a rename is one event there."""
    for moves in (_RENAME, _MOVED_FROM | _MOVED_TO) if renames else (_MOVED_FROM | _MOVED_TO,):
        mask = ctypes.c_uint64(_ALWAYS | moves)
        try:
            system("fanotify_mark", fd, _MARK_ADD_FILESYSTEM, mask, _AT_FDCWD, os.fsencode(path))
            return moves == _RENAME
        except OSError as error:
            if error.errno == errno.EINVAL:
                continue
            raise Unavailable(f"fanotify can't watch the file system of {path} ({error.strerror})") from error
    raise Unavailable(f"fanotify can't watch the file system of {path}: the kernel is too old")
