"""The few system calls that Python 3.11 lacks: namespaces, mounts, loop devices, death with the parent.

Invariant: every call either succeeds or raises OSError with the errno and the name of what it touched. It keeps no
state and cleans up nothing; the callers hold what must be released.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000
MNT_DETACH = 0x2

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_READ_ONLY = 1
_LO_FLAGS_AUTOCLEAR = 4
_EXT4_IOC_SHUTDOWN = 0x8004587D
_SHUTDOWN_WITHOUT_LOG_FLUSH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), what)


def unshare(flags: int) -> None:
    """Moves this thread into new namespaces, see unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Moves this thread into the namespaces of a pidfd, or of one namespace file, see setns(2)."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """See mount(2); `kind` and `data` may be empty."""
    arguments = [
        source.encode(),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    ]
    _check(_libc.mount(*arguments), f"mount {kind or source} on {target}")


def sync_file_system(directory: Path) -> None:
    """Makes durable what was written to the file system that holds `directory`, and no other (syncfs(2))."""
    door = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(_libc.syncfs(door), f"syncfs {directory}")
    finally:
        os.close(door)


def make_read_only(mounted: str | Path) -> None:
    """Of this mount alone: others of the same file system, and mounts below it, stay as they are."""
    mount("none", mounted, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def unmount(target: str | Path, flags: int = 0) -> None:
    """See umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends (prctl(2), PR_SET_PDEATHSIG)."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def drop_capability(number: int) -> None:
    """Takes a capability (its number in linux/capability.h) from whatever this process becomes by exec."""
    _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"drop capability {number}")


def raise_loopback() -> None:
    """Sets `lo` up in the network namespace of this thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        request = struct.pack("16sh22x", b"lo", 0x1)  # struct ifreq with IFF_UP
        fcntl.ioctl(door, 0x8914, request)  # SIOCSIFFLAGS


@contextlib.contextmanager
def loop_device(image: Path, *, readonly: bool = False) -> Iterator[str]:
    """A loop device over `image`, as its path. It frees itself when the last user (this context, a mount) lets go,
    also after SIGKILL: LOOP_CONFIGURE sets AUTOCLEAR in the same call (Linux 5.8 or newer).
    """
    mode = os.O_RDONLY if readonly else os.O_RDWR
    flags = _LO_FLAGS_AUTOCLEAR | (_LO_FLAGS_READ_ONLY if readonly else 0)
    backing = os.open(image, mode | os.O_CLOEXEC)
    try:
        device, path = _free_loop(backing, mode, flags)
    finally:
        os.close(backing)
    try:
        yield path
    finally:
        os.close(device)


def _free_loop(backing: int, mode: int, flags: int) -> tuple[int, str]:
    """Configures a free loop device; another process may take the same one first, hence the tries."""
    info = struct.pack("=5Q4I", 0, 0, 0, 0, 0, 0, 0, 0, flags).ljust(232, b"\0")  # struct loop_info64
    config = struct.pack("=II", backing, 0) + info + bytes(64)
    last = OSError("no loop device was free in 64 tries")
    for _ in range(64):
        with open("/dev/loop-control", "rb") as control:
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
        device = os.open(path, mode | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _LOOP_CONFIGURE, config)
        except OSError as taken:
            os.close(device)
            last = taken
        else:
            return device, path
    raise last


def shut_down_ext4(directory: Path) -> None:
    """Cuts the power of the ext4 that holds `directory`: nothing that wasn't durable yet will be (EXT4_IOC_SHUTDOWN
    without log flush, measured on Linux 6.18).
    """
    door = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(door, _EXT4_IOC_SHUTDOWN, struct.pack("I", _SHUTDOWN_WITHOUT_LOG_FLUSH))
    finally:
        os.close(door)
