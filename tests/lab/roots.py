"""Roots for hosts: the generation's layer, the files that all hosts share, and what each host writes, one over another.

Invariant: everything is mounted in this process's own mount namespace and lies in memory, so it is gone with the
process; the machine's root is the lowest layer and never written. It refuses the machine's mount table: `privately`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.lab.files import Files, lay
from tests.lab.generation import Generation
from tests.support import image, kernel


def privately() -> None:
    """Gives this process a mount table of its own. Call it early: it counts for threads that start later."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)


class Roots:
    """`shared` says the files of every root, given one where the image can be looked at."""

    def __init__(self, generation: Generation, shared: Callable[[Path], Files]) -> None:
        layer = generation.layer()
        self._top = Path(tempfile.mkdtemp(dir=_memory()))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self._top)
        mounted, self._base, self.tools = (self._top / name for name in ("layer", "base", "tools"))
        for place in (mounted, self._base, self.tools):
            place.mkdir()
        try:
            with kernel.loop_device(layer, readonly=True) as device:
                self._mount(device, mounted, "ext4", kernel.MS_RDONLY)
            self._lower = generation.lower(mounted)
            self._mount("tools", self.tools, "overlay", kernel.MS_RDONLY, f"lowerdir={self._lower}")
            lay(self._base, shared(self.tools))
        except BaseException:
            self.close()
            raise

    def make(self, name: str) -> Path:
        """A fresh directory for a host; its `root` is mounted there, and there is room for other files beside it."""
        directory = self._top / name
        for part in ("upper", "work", "root"):
            (directory / part).mkdir(parents=True)
        layers = f"lowerdir={self._base}:{self._lower},upperdir={directory}/upper,workdir={directory}/work"
        self._mount(name, directory / "root", "overlay", 0, layers)
        return directory

    def close(self) -> None:
        """Unmounts all and frees the memory. Idempotent."""
        self._stack.close()

    def _mount(self, source: str, place: Path, kind: str, flags: int, data: str = "") -> None:
        kernel.mount(source, place, kind, flags, data)
        self._stack.callback(kernel.unmount, place, kernel.MNT_DETACH)


def _memory() -> Path:
    """A tmpfs of this process, mounted when first asked for."""
    place = image.directory() / "site"
    place.mkdir(parents=True, exist_ok=True)
    if not place.is_mount():
        if _mounts_are_the_machines():
            raise RuntimeError("the mount table is the machine's; call tests.lab.roots.privately first")
        kernel.mount("site", place, "tmpfs", data="mode=0755")
    return place


def _mounts_are_the_machines() -> bool:
    return os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt")
