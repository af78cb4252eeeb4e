"""The disks of one host: a store, a queue and the state of mailmirror, each an ext4 of its own in memory.

They lose what a real disk loses when the power goes, fill up, and turn read-only. What isn't on one of them (/etc,
/var/log) is on a root that forgets nothing. The drive's own cache isn't modelled: a missing fsync is found, a missing
flush isn't.

Invariant: the disks are mounted in this process's mount namespace only (a running host has copies of the mounts), and
are gone with it. Cut the power only of a host that is dead, or about to be: see `host`.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support import kernel
from tests.support.powercut import Disk

FILLER = ".filler"
_PATIENCE = 5.0  # seconds for those who write to close their files, before a disk turns read-only


@dataclass(frozen=True)
class Plan:
    """A disk of `size` bytes at `place` in the host. With `seeded` it begins with what the root has there."""

    place: str
    size: int = 64 << 20
    owner: tuple[int, int] = (0, 0)
    seeded: bool = False


class Disks:
    """Made and mounted below `root` on creation; `close` frees them."""

    def __init__(self, root: Path, plans: Sequence[Plan]) -> None:
        self._root = root
        self._stack = ExitStack()
        self._disks: dict[str, Disk] = {}
        with ExitStack() as undo:
            undo.callback(self.close)
            for plan in plans:
                self._disks[plan.place] = self._made(plan)
            undo.pop_all()

    def _made(self, plan: Plan) -> Disk:
        place = self._root / plan.place.lstrip("/")
        with tempfile.TemporaryDirectory(dir=self._root.parent) as aside:
            if plan.seeded:
                _copy(place, Path(aside))
            disk = self._stack.enter_context(Disk(place, size=plan.size, owner=plan.owner))
            if plan.seeded:
                _copy(Path(aside), place)
                kernel.sync_file_system(place)
        return disk

    def close(self) -> None:
        self._stack.close()

    # ---- power -------------------------------------------------------------------------------------------------------

    def die(self) -> None:
        """From now on nothing becomes durable, and every access fails."""
        for disk in self._disks.values():
            disk.die()

    def unmount(self) -> None:
        """When the host is dead. Waits for its last mount namespace to go; OSError after 10 s."""
        for disk in self._disks.values():
            disk.unmount()

    def mount(self) -> None:
        """Mounts what became durable; the journals are replayed."""
        for disk in self._disks.values():
            disk.mount()

    # ---- faults ------------------------------------------------------------------------------------------------------

    def fill(self, path: str) -> None:
        """Leaves not one free block on the disk that holds `path`; survives a power cut."""
        filler = self._mounted(path) / FILLER
        descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = os.fstat(descriptor).st_size
            piece = 1 << 26
            while piece >= 1024:
                try:
                    os.posix_fallocate(descriptor, end, piece)
                    end += piece
                except OSError as full:
                    if full.errno != errno.ENOSPC:
                        raise
                    piece //= 2
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free(self, path: str) -> None:
        """Takes away what `fill` wrote."""
        (self._mounted(path) / FILLER).unlink(missing_ok=True)

    def read_only(self, path: str) -> None:
        """Writes to the disk that holds `path` fail with EROFS. OSError while a file there is open for writing."""
        self._remount(path, kernel.MS_RDONLY)

    def writable(self, path: str) -> None:
        self._remount(path, 0)

    def mend(self) -> None:
        """Undoes `fill` and `read_only` on every disk."""
        for place in self._disks:
            self.writable(place)
            self.free(place)

    def sync(self, path: str) -> None:
        """Makes the disk that holds `path` durable as it is now."""
        kernel.sync_file_system(self._mounted(path))

    def _remount(self, path: str, flags: int) -> None:
        place = self._mounted(path)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                kernel.mount("none", place, flags=kernel.MS_REMOUNT | flags)
                return
            except OSError as busy:
                if busy.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)  # a file that is closed tells nobody

    def _mounted(self, path: str) -> Path:
        for place, disk in self._disks.items():
            if path == place or path.startswith(place + "/"):
                return disk.path
        raise ValueError(f"{path} is on none of the disks: {', '.join(self._disks)}")


def _copy(origin: Path, target: Path) -> None:
    """Everything below a directory, and its own owner and mode."""
    if not origin.is_dir():
        return
    subprocess.run(["cp", "--archive", f"{origin}/.", target], check=True)
    shutil.copymode(origin, target)
    status = origin.stat()
    os.chown(target, status.st_uid, status.st_gid)
