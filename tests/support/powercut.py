"""Disks that lose power, fill up or go away: a small ext4 in memory under a loop device.

Invariant: after the context nothing is left: no mount, no loop device, no file (the backing store is anonymous
memory, so also after SIGKILL). A cut drops what was not durable, as EXT4_IOC_SHUTDOWN without log flush does; what was
fsynced is there after the next mount. It doesn't end processes: end those that use the disk first, the cut waits
for them and then raises.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.support import kernel
from tests.support.image import PATH

_PATIENCE = 10.0  # seconds for killed processes to let go of the disk


class Disk:
    """An ext4 of `size` bytes mounted at `place` (made when missing), as a context manager.

    A small `size` makes a disk that fills up; the least that ext4 takes is about 2 MiB, journal included. `options` are
    mount options. Needs root (`require.root()`).
    """

    def __init__(
        self, place: Path, *, size: int = 256 << 20, options: str = "", owner: tuple[int, int] = (0, 0)
    ) -> None:
        self.path = place
        self._options = options
        self._owner = owner
        self._size = size
        self._memory = -1
        self._mounted = False
        self._device = ""

    def __enter__(self) -> Disk:
        self.path.mkdir(parents=True, exist_ok=True)
        self._memory = os.memfd_create("disk", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._memory, self._size)
            make = ["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._backing("self")]
            subprocess.run(make, check=True, pass_fds=[self._memory], env={"PATH": PATH}, stdout=subprocess.DEVNULL)
            self.mount()
            (self.path / "lost+found").rmdir()
            os.chown(self.path, *self._owner)
            kernel.sync_file_system(self.path)
        except BaseException:
            self._free()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.unmount()
        finally:
            self._free()

    def _backing(self, process: str) -> str:
        return f"/proc/{process}/fd/{self._memory}"

    def _free(self) -> None:
        if self._mounted:
            kernel.unmount(self.path, kernel.MNT_DETACH)
            self._mounted = False
        os.close(self._memory)

    def mount(self) -> None:
        """Mounts what is on the disk now; the journal is replayed."""
        with kernel.loop_device(Path(self._backing("self"))) as device:
            kernel.mount(device, self.path, "ext4", data=self._options)
            self._device = Path(device).name
        self._mounted = True

    def unmount(self) -> None:
        """An orderly unmount, the empty directory shows. Waits at most 10 s while the disk is busy: OSError."""
        if not self._mounted:
            return
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                kernel.unmount(self.path)
                break
            except OSError as busy:
                if busy.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)
        self._mounted = False
        wait_until_gone(self._device, self.path)

    def die(self) -> None:
        """The power goes: from now on every access to the disk fails, and nothing more becomes durable."""
        kernel.shut_down_ext4(self.path)

    def cut(self) -> None:
        """The power goes and comes back: what was not durable is lost, the disk is mounted again."""
        self.die()
        self.unmount()
        self.mount()


def wait_until_gone(device: str, place: Path) -> None:
    """Returns when the kernel has let go of the ext4 on `device`: another mount namespace may still hold a copy of the
    mount for a moment, and mounting again would bring back the dead instance. OSError after 10 s.
    """
    deadline = time.monotonic() + _PATIENCE
    while Path("/sys/fs/ext4", device).exists():
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, "the disk is still mounted in another mount namespace", str(place))
        time.sleep(0.005)


class Memory:
    """A tmpfs of `size` bytes at `place`, as a context manager: the smallest disk that fills up."""

    def __init__(self, place: Path, *, size: int) -> None:
        self.path = place
        self._size = size

    def __enter__(self) -> Memory:
        self.path.mkdir(parents=True, exist_ok=True)
        kernel.mount("memory", self.path, "tmpfs", data=f"size={self._size}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        kernel.unmount(self.path, kernel.MNT_DETACH)
