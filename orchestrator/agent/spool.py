"""One Postfix's queue on the disk: what stands in it and where, files moved within it, letters put on hold and let go.

`postsuper` works whether Postfix runs or not. Its renames aren't durable by themselves; `settle` makes them so. What is
ours in a spool stands in `.mailmirror` (root's alone, on the same file system): the ledger, and `reclaim`, where
letters lie that were taken out of the queue. Postfix looks at neither.

Invariant: no link is followed, and a letter is put on hold or let go by its id alone, never by `ALL`. A file takes a
name in the queue only where no queue and no log has that name: Postfix itself would let one letter replace the other.
What a queue file says isn't looked at (`queuefile` has what is), nor is decided here whose letter it is.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat as modes
import time
from types import TracebackType
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Tuple, Type

from . import beneath, posture, queuefile
from .serve import Fault

HOLD, DEFERRED, MAILDROP = "hold", "deferred", "maildrop"
MAY_MOVE = ("incoming", "active", DEFERRED)
"""Queues whose letters can be put on hold. In `maildrop` pickup hasn't looked at them, and they would be mixed."""
QUEUES = (*MAY_MOVE, HOLD, MAILDROP, "corrupt")
LOGS = ("bounce", "trace")
"""What is still to be told to a letter's sender; `defer` is made anew by each attempt."""
_NAMED = (*QUEUES, *LOGS, "defer")
OURS, RECLAIM = b".mailmirror", b".mailmirror/reclaim"
READY = 0o700
"""The mode of a whole queue file; one that is being written has 0600."""
KEPT = 7 * 86400
"""Seconds that a letter which was taken out lies in `reclaim`."""
_DEPTH = 5


class Found(NamedTuple):
    """A queue file: `folder` below the spool; times in seconds since 1970; `whole`: Postfix has finished writing it."""

    name: str
    queue: str
    folder: bytes
    inode: int
    size: int
    mtime_ns: int
    ctime: float
    whole: bool


def hexdigest(fd: int) -> str:
    """SHA-256 of a whole file."""
    digest, at = hashlib.sha256(), 0
    while True:
        chunk = os.pread(fd, 1 << 20, at)
        if not chunk:
            return digest.hexdigest()
        digest.update(chunk)
        at += len(chunk)


class Spool:
    """The queue of one instance of Postfix, by its configuration directory; "" for the first one. Raises Fault:
    no-postfix, no-instance.
    """

    def __init__(self, instance: str = "") -> None:
        known = posture.instances()
        self.instance = instance or known[0]
        if self.instance not in known:
            raise Fault(
                "no-instance", f"this host has no Postfix of {instance!r:.200}; there are {', '.join(known)}",
                "Lay the same instances down on both hosts (postmulti -l).",
            )  # fmt: skip
        names = ("queue_directory", "mail_owner", "hash_queue_names", "hash_queue_depth")
        said = posture.parsed(posture.postconf(self.instance, "-x", *names))
        self.root = beneath.Root(said["queue_directory"])
        self._owner = pwd.getpwnam(said["mail_owner"])
        self._hashed = said["hash_queue_names"].replace(",", " ").split()
        self._depth = int(said["hash_queue_depth"])

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.root.close()

    @property
    def runs(self) -> bool:
        """Whether this Postfix's first process is there."""
        return posture.first_process(self.instance) is not None

    # --- what stands in it --------------------------------------------------------------------------------------------

    def look(self, queues: Sequence[str] = QUEUES) -> Iterator[Found]:
        """Every queue file, none of ours that aren't laid yet. One that moves meanwhile may be missed or come twice."""
        for queue in queues:
            yield from self._below(queue, queue.encode(), 0)

    def _below(self, queue: str, folder: bytes, depth: int) -> Iterator[Found]:
        try:
            names = beneath.entries(self.root.open_dir(folder))
        except FileNotFoundError:
            return
        for name in names:
            try:
                there = beneath.stat(self.root.open_dir(folder), name)
            except FileNotFoundError:
                continue
            if modes.S_ISDIR(there.st_mode) and len(name) == 1 and depth < _DEPTH:
                yield from self._below(queue, folder + b"/" + name, depth + 1)
            elif modes.S_ISREG(there.st_mode) and not name.startswith(b"."):
                yield Found(
                    os.fsdecode(name), queue, folder, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime,
                    there.st_mode & 0o700 == READY,
                )  # fmt: skip

    def on_hold(self) -> Dict[Tuple[int, int], Found]:
        """What is on hold, by inode and arrival: a short id changes with `postsuper -s`, these don't."""
        found = {(each.inode, self.arrival(each)): each for each in self.look((HOLD,))}
        return {(inode, arrived): each for (inode, arrived), each in found.items() if arrived is not None}

    def arrival(self, found: Found) -> Optional[int]:
        """When a letter arrived, in microseconds since 1970; None of what isn't whole, or isn't a letter."""
        if not found.whole:
            return None
        try:
            fd = self.open(found)
        except FileNotFoundError:
            return None
        try:
            return queuefile.arrival(os.pread(fd, queuefile.HEAD, 0))
        finally:
            os.close(fd)

    def open(self, found: Found) -> int:
        """A descriptor to read a queue file; the caller closes it."""
        return beneath.open_file(self.root.open_dir(found.folder), os.fsencode(found.name))

    def taken(self, queue_id: str, among: Sequence[str] = _NAMED) -> bool:
        """Whether any queue or log has this name."""
        for queue in among:
            try:
                if self.has(self.root.open_dir(self.folder(queue, queue_id)), queue_id.encode()):
                    return True
            except FileNotFoundError:
                continue
        return False

    @staticmethod
    def has(folder: int, name: bytes) -> bool:
        """Whether this stands in an open directory, be it a link."""
        try:
            beneath.stat(folder, name)
        except FileNotFoundError:
            return False
        return True

    def folder(self, queue: str, queue_id: str) -> bytes:
        return queuefile.folder(queue, queue_id, self._hashed, self._depth).encode()

    def log(self, log: str, queue_id: str) -> Optional[bytes]:
        """What is still to be told to the letter's sender, None for nothing."""
        try:
            fd = beneath.open_file(self.root.open_dir(self.folder(log, queue_id)), queue_id.encode())
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read()

    # --- acts ---------------------------------------------------------------------------------------------------------

    def hold(self, ids: Sequence[str]) -> None:
        self._super("-h", ids)

    def let_go(self, ids: Sequence[str]) -> None:
        """From hold to deferred; they are tried at their own time, see `flush`."""
        self._super("-H", ids)

    def _super(self, flag: str, ids: Sequence[str]) -> None:
        if not all(map(queuefile.is_id, ids)):
            raise Fault("bad-request", "not all of these are queue ids")
        if ids:
            posture.run(["postsuper", "-c", self.instance, flag, "-"], "".join(f"{each}\n" for each in ids))
        self.settle({self.folder(queue, each) for queue in (*MAY_MOVE, HOLD) for each in ids})

    def flush(self) -> bool:
        """Have everything that waits be tried now, whatever its own time; False where Postfix doesn't run."""
        if not self.runs:
            return False
        posture.run(["postqueue", "-c", self.instance, "-f"])
        return True

    def settle(self, folders: "set[bytes]") -> None:
        """Make the names in these directories durable."""
        for folder in sorted(folders):
            try:
                beneath.fsync_dir(self.root.open_dir(folder))
            except FileNotFoundError:
                continue

    def ready_folder(self, queue: str, queue_id: str) -> int:
        """A letter's directory, made as Postfix makes it when it isn't there."""
        folder = self.folder(queue, queue_id)
        for made in self.root.make_dirs(folder):
            os.fchown(self.root.open_dir(made), self._owner.pw_uid, self._owner.pw_gid)
            beneath.fsync_dir(self.root.open_dir(made.rpartition(b"/")[0]))
        return self.root.open_dir(folder)

    def own(self, fd: int, mode: int) -> None:
        """Give an open file to Postfix."""
        os.fchown(fd, self._owner.pw_uid, self._owner.pw_gid)
        os.fchmod(fd, mode)

    def write_log(self, log: str, queue_id: str, content: bytes) -> None:
        """Durable when this returns."""
        there = self.ready_folder(log, queue_id)
        fd = os.open(
            queue_id, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=there
        )
        try:
            self.own(fd, 0o600)
            beneath.write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        beneath.fsync_dir(there)

    # --- the reclaim area ---------------------------------------------------------------------------------------------

    def take_out(self, letters: Sequence[Tuple[Found, str]]) -> None:
        """Move letters out of the queue, each with its logs and under its new name; durable when this returns."""
        if not letters:
            return
        for made in self.root.make_dirs(RECLAIM):
            beneath.fsync_dir(self.root.open_dir(made.rpartition(b"/")[0]))
        for found, name in letters:
            there = self.root.open_dir(found.folder)
            beneath.rename(there, os.fsencode(found.name), self.root.open_dir(RECLAIM), name.encode())
            self._logs_out(found.name, name)
        for folder in (RECLAIM, *sorted({found.folder for found, _ in letters})):
            beneath.fsync_dir(self.root.open_dir(folder))

    def _logs_out(self, queue_id: str, name: str) -> None:
        for log in (*LOGS, "defer"):
            try:
                there = self.root.open_dir(self.folder(log, queue_id))
                beneath.rename(there, queue_id.encode(), self.root.open_dir(RECLAIM), f"{name}.{log}".encode())
            except FileNotFoundError:
                continue

    def is_out(self, name: str) -> bool:
        """Whether `take_out` has moved this."""
        try:
            return self.has(self.root.open_dir(RECLAIM), name.encode())
        except FileNotFoundError:
            return False

    def sweep(self, older: float = KEPT) -> int:
        """Remove what has lain in `reclaim` for so many seconds; how many files that were."""
        count, now = 0, time.time()
        try:
            there = self.root.open_dir(RECLAIM)
        except FileNotFoundError:
            return 0
        for name in beneath.entries(there):
            if now - beneath.stat(there, name).st_ctime > older:
                beneath.unlink(there, name)
                count += 1
        return count
