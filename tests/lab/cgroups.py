"""A control group per host in the unified hierarchy: what makes a host freeze as one, and systemd feel at home.

Invariant: a site's groups lie below one directory that names the process that owns it; whoever ends last removes
it. Groups outlive a SIGKILL of all who knew them, so each site first sweeps what dead owners left. No limits are set.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from pathlib import Path

PREFIX = "mailmirror-lab"


class NoHierarchy(Exception):
    """This machine has no unified hierarchy that can be written to."""


def hierarchy() -> Path:
    """Where cgroup2 is mounted: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid machine."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "ro" not in options.split(","):
            return Path(place)
    raise NoHierarchy("no writable cgroup2 hierarchy is mounted")


_NUMBERS = itertools.count(1)


def site() -> Path:
    """A directory for the groups of one more site of this process, made by whoever makes a group below it."""
    sweep()
    return hierarchy() / f"{PREFIX}-{os.getpid()}-{_began(os.getpid())}-{next(_NUMBERS)}"


def sweep() -> None:
    """Removes the groups of owners that are dead, where no process is left in them."""
    for top in hierarchy().glob(f"{PREFIX}-*-*-*"):
        pid, began, _ = top.name.removeprefix(f"{PREFIX}-").split("-")
        if _began(int(pid)) != began:
            remove(top)


def kill(group: Path) -> None:
    """Kills every process in a group and in those below it, frozen or not, at one blow."""
    (group / "cgroup.kill").write_text("1", encoding="ascii")


def end(group: Path, *, within: float = 10.0) -> None:
    """Kills what is in a group, and removes it with those below it. Nothing happens when it is gone."""
    if group.exists():
        kill(group)
        _await(group, "populated 0", within)
        remove(group)


def remove(top: Path) -> None:
    """Removes a group and those below it, as far as no process is left in them."""
    for directory, _, _ in os.walk(top, topdown=False):
        remove_one(Path(directory))


def remove_one(group: Path) -> None:
    """Removes a group, unless there is something in it, or somebody else removed it meanwhile."""
    try:
        group.rmdir()
    except OSError as left:
        if left.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
            raise


def freeze(group: Path, frozen: bool, *, within: float = 10.0) -> None:
    """Stops every process of a group and of those below it, or lets them go on; returns when it is so."""
    (group / "cgroup.freeze").write_text(str(int(frozen)), encoding="ascii")
    _await(group, f"frozen {int(frozen)}", within)


def _await(group: Path, event: str, within: float) -> None:
    deadline = time.monotonic() + within
    while event not in (group / "cgroup.events").read_text(encoding="ascii"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the control group {group.name} isn't {event!r} after {within:.0f} s")
        time.sleep(0.002)


def _began(pid: int) -> str:
    """When a process started, in clock ticks (proc(5), field 22 of stat); empty when there is none."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended: that is the answer
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return ""
