"""What a host knows of itself: room on its disks, its clock, its queue, and whether it is a virtual machine.

Invariant: nothing is changed. What can't be told is None and says why; it is never a zero.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from typing import Any, Dict, List, NamedTuple, Optional

_TIMEX = 512
"""Bytes for a struct timex, more than any architecture's."""
_TIME_ERROR = 5
_QUEUES = ("active", "deferred", "incoming", "maildrop")
"""Where a letter waits to go on; in `hold` somebody keeps it."""


class Disk(NamedTuple):
    """A file system: shares of 1 that are free for ordinary users, None where it doesn't count them (btrfs' inodes)."""

    path: str
    free: Optional[float] = None
    free_inodes: Optional[float] = None
    readonly: Optional[bool] = None
    why: str = ""


class Clock(NamedTuple):
    """`wall`: seconds since 1970. `boot`: CLOCK_BOOTTIME. `synchronised`: what the kernel says, None where it can't."""

    wall: float
    boot: float
    synchronised: Optional[bool]


class Queue(NamedTuple):
    """Letters that wait in Postfix's queue, and since when the oldest does, in seconds since 1970."""

    letters: Optional[int] = None
    oldest: Optional[float] = None
    held: int = 0
    why: str = ""


class Virtual(NamedTuple):
    """What the host runs in, as systemd-detect-virt(1) names it: "none" is a machine of its own."""

    kind: Optional[str] = None
    why: str = ""


def disk(path: str) -> Disk:
    """Room and state of the file system that `path` stands on (statvfs(3))."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        return Disk(path, why=error.strerror or str(error))
    return Disk(
        path,
        found.f_bavail / found.f_blocks if found.f_blocks else None,
        found.f_favail / found.f_files if found.f_files else None,
        bool(found.f_flag & os.ST_RDONLY),
    )


def clock() -> Clock:
    """Both clocks, read together, and whether the kernel's is held to a reference (adjtimex(2))."""
    return Clock(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), _synchronised())


def _synchronised() -> Optional[bool]:
    call = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if call is None:
        return None
    state = int(call(ctypes.create_string_buffer(_TIMEX)))  # all modes 0: it only reads
    return None if state < 0 else state != _TIME_ERROR


def queue(seconds: float) -> Queue:
    """What `postqueue -j` lists (postqueue(1)), within so many seconds."""
    try:
        done = subprocess.run(
            ["postqueue", "-j"], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except FileNotFoundError:
        return Queue(why="there is no postqueue on this host")
    except OSError as error:
        return Queue(why=f"postqueue can't be started: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Queue(why=f"postqueue took longer than {seconds:g} s")
    if done.returncode != 0:
        return Queue(
            why=done.stderr.decode("utf-8", "replace").strip()[:200] or f"postqueue ended with {done.returncode}"
        )
    try:
        return counted([json.loads(line) for line in done.stdout.splitlines() if line.strip()])
    except (ValueError, KeyError, TypeError) as error:
        return Queue(why=f"what postqueue said can't be understood: {error!r:.200}")


def virtual(seconds: float) -> Virtual:
    """Whether somebody outside can pause this host. A container's own pause is another thing: its kernel goes on."""
    try:
        done = subprocess.run(
            ["systemd-detect-virt", "--vm"], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except OSError as error:
        return Virtual(why=f"systemd-detect-virt can't be started: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Virtual(why=f"systemd-detect-virt took longer than {seconds:g} s")
    kind = done.stdout.decode("utf-8", "replace").strip()[:40]
    return Virtual(kind) if kind else Virtual(why=f"systemd-detect-virt said nothing, and ended with {done.returncode}")


def counted(letters: List[Dict[str, Any]]) -> Queue:
    """`postqueue -j`'s objects in short. Raises KeyError, TypeError and ValueError for what isn't one."""
    waiting = [float(each["arrival_time"]) for each in letters if each["queue_name"] in _QUEUES]
    held = sum(each["queue_name"] == "hold" for each in letters)
    return Queue(len(waiting), min(waiting, default=None), held)
