"""What a lab could leave on the machine that it ran on, looked at from outside.

Invariant: it only looks. Other work on the machine may go on meanwhile, so each question is about the lab's own: names
that only the lab uses, and files that only an installation of packages would touch.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cgroups

_ROOT = ("/etc", "/usr/bin", "/usr/sbin", "/usr/lib/systemd/system", "/var/lib", "/var/spool", "/var/lib/dpkg")


@dataclass(frozen=True)
class Trace:
    """`root`: names and times in the machine's own directories. `mounts`: what its first process has mounted."""

    root: frozenset[tuple[str, int]]
    mounts: frozenset[str]

    @classmethod
    def taken(cls) -> Trace:
        entries = [entry for directory in _ROOT for entry in Path(directory).iterdir()]
        # What is named after the product is tests/conftest.py's to watch.
        places = [entry for entry in entries if not entry.name.startswith("mailmirror")]
        root = frozenset((str(place), place.lstat().st_mtime_ns) for place in places if place.is_file())
        names = frozenset((str(place), 0) for place in places)
        return cls(root | names, frozenset(Path("/proc/1/mounts").read_text(encoding="utf-8").splitlines()))


def processes(owner: int) -> list[int]:
    """Cradles of the lab that were started for the process `owner`, and whatever lives in its hosts."""
    groups = {str(group) for group in cgroups.hierarchy().glob(f"{cgroups.PREFIX}-{owner}-*")}
    inside = {
        int(pid)
        for group in groups
        for members in Path(group).rglob("cgroup.procs")
        for pid in members.read_text(encoding="ascii").split()
    }
    return sorted(inside | {pid for pid in _all() if f'"caller": {owner},' in command(pid)})


def groups(owner: int) -> list[Path]:
    """The control groups of the hosts of the process `owner`."""
    return list(cgroups.hierarchy().glob(f"{cgroups.PREFIX}-{owner}-*"))


def _all() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command(pid: int) -> str:
    """Its command line; empty when it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended: then it isn't left
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def mount_namespaces() -> set[int]:
    """Mount namespaces in which a process lives, by inode."""
    found = set()
    for pid in _all():
        with contextlib.suppress(OSError):  # it ended meanwhile, or nobody may look
            found.add(Path(f"/proc/{pid}/ns/mnt").stat().st_ino)
    return found


def loop_devices(pid: int) -> dict[str, str]:
    """The loop devices that a process has mounted and this one hasn't, each with the number of this use of it."""
    names = _loops(f"/proc/{pid}/mounts") - _loops("/proc/self/mounts")
    return {name: _sequence(name) for name in names}


def _loops(mounts: str) -> set[str]:
    lines = Path(mounts).read_text(encoding="utf-8").splitlines()
    return {line.split()[0].removeprefix("/dev/") for line in lines if line.startswith("/dev/loop")}


def in_use(devices: dict[str, str]) -> list[str]:
    """Those of `loop_devices` that are still what they were."""
    return [name for name, sequence in devices.items() if _sequence(name) == sequence]


def _sequence(name: str) -> str:
    attached = Path("/sys/block", name, "loop/backing_file").exists()
    return Path("/sys/block", name, "diskseq").read_text(encoding="ascii") if attached else ""
