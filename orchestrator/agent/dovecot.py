"""Whether a Dovecot on this host may have a store open: then nothing that it keeps open is replaced.

Which stores a Dovecot serves can't be known for certain: its user database may send every user somewhere else. What
can be known is whether it could reach the store at all: a Dovecot in a container that doesn't see the store's file
system, or only another part of it, can't. One that could, counts, unless the operator says that it serves other mail
(`mm_other_dovecot`).

Invariant: no answer is older than `EVERY` seconds, and a Dovecot about which nothing can be learnt counts. A Dovecot
that this process can't see (another PID namespace, hidepid) is not known of. Sources: proc(5), namespaces(7).
"""

from __future__ import annotations

import os
import re
import time
from typing import List, NamedTuple, Optional

EVERY = 1.0
"""Seconds between two looks at all processes: a look costs some 10 ms where there are 500 of them."""

PROCESS = "dovecot"
"""What the kernel calls the process that starts all others of a Dovecot."""
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A line of mountinfo: the file system's device, which part of it, and where."""

    device: str
    part: str
    point: str


class Neighbour:
    """Looks for Dovecots that may have the store at `root` open. With `other` the operator has said that none has."""

    def __init__(self, root: str, other: bool = False, proc: str = "/proc") -> None:
        self._root = os.path.realpath(root)
        self._other = other
        self._proc = proc
        self._looked: Optional[float] = None
        self._found = 0

    def may_be_there(self) -> bool:
        """Whether one may have the store open now."""
        if self._other:
            return False
        now = time.monotonic()
        if self._looked is None or now - self._looked >= EVERY:
            self._looked = now
            known = self._found
            self._found = known if known and self._is_one(known) else self._find()
        return bool(self._found)

    def _find(self) -> int:
        """The process id of the first that may, 0 for none."""
        pids = (int(name) for name in os.listdir(self._proc) if name.isdigit())
        return next((pid for pid in pids if self._is_one(pid)), 0)

    def _is_one(self, pid: int) -> bool:
        try:
            with open(f"{self._proc}/{pid}/comm") as file:
                if file.read().rstrip("\n") != PROCESS:
                    return False
        except OSError:
            return False  # it has ended
        try:
            return reaches(mounts(f"{self._proc}/{pid}/mountinfo"), mounts(f"{self._proc}/self/mountinfo"), self._root)
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError:
            return True


def mounts(path: str) -> List[Mount]:
    """What a mountinfo file lists (proc(5)). Raises OSError."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        fields = [line.split(" ", 5) for line in file]
    return [Mount(each[2], _plain(each[3]), _plain(each[4])) for each in fields if len(each) > 4]


def reaches(theirs: List[Mount], ours: List[Mount], path: str) -> bool:
    """Whether a process with the mounts `theirs` can see what we see at `path`, or something below it. Pure."""
    home = _covering(ours, path)
    if home is None:
        return True
    inside = os.path.join(home.part, os.path.relpath(path, home.point)) if path != home.point else home.part
    return any(
        mount.device == home.device and (_is_within(inside, mount.part) or _is_within(mount.part, inside))
        for mount in theirs
    )


def _covering(known: List[Mount], path: str) -> Optional[Mount]:
    """The mount in which a path lies; of several at one point the last is the one that is seen."""
    found: Optional[Mount] = None
    for mount in known:
        if _is_within(path, mount.point) and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def _is_within(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")


def _plain(escaped: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), escaped)
