"""What a command used: wall time, CPU and peak memory on both sides, bytes on the wire.

Invariant: nothing is estimated where the kernel counts. Wall time is from exec to exit; near CPU is wait4's rusage,
which covers every descendant that was waited for; far CPU is the growth of sshd's whole family, dead children included
(so it is read only when the session is gone); memory is the proportional set size, sampled every 100 ms, per role.
Every run is bounded by a timeout, after which its process group is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

TICK = os.sysconf("SC_CLK_TCK")
EVERY = 0.1  # seconds between samples of memory


class Place(Protocol):
    """What is measured: the far side's sshd and the wire."""

    sshd: subprocess.Popen[bytes]

    def wire(self) -> tuple[int, int]:
        """Bytes received and sent so far."""
        ...


@dataclass(slots=True)
class Use:
    """What one run used: seconds, bytes; `peak` is PSS in bytes per role."""

    wall: float = 0.0
    near_cpu: float = 0.0
    far_cpu: float = 0.0
    received: int = 0
    sent: int = 0
    peak: dict[str, int] = field(default_factory=dict)
    code: int = 0

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes on both sides."""
        return self.near_cpu + self.far_cpu

    @property
    def bytes(self) -> int:
        """Bytes on the wire both ways."""
        return self.received + self.sent


def family(root: int) -> list[int]:
    """Return `root` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu(pids: list[int]) -> float:
    """Return the CPU seconds of these processes and of the children that they have waited for."""
    rows = [_stat(pid) for pid in pids]
    return sum(sum(int(value) for value in row[11:15]) for row in rows if row) / TICK


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (proc_pid_stat(5)); an empty list once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def pss(pid: int) -> int:
    """Return a process's proportional set size in bytes; 0 once it is gone or where it isn't ours to read."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return 0


def role(pid: int, side: str) -> str:
    """Name what a process is on its side: `near`, `near agent`, `far` (all that sshd started) or `sshd`."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return side
    if side == "far" and (command.startswith("sshd") or "/sshd " in command):
        return "sshd"
    return "near agent" if side == "near" and "orchestrator.agent" in command else side


class Sampler:
    """Samples the memory of two process families in a thread of its own until it is stopped."""

    def __init__(self, near: int, far: int, every: float = EVERY) -> None:
        self._every = every
        self.peak: dict[str, int] = {}
        self._roots = {"near": near, "far": far}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            for name, size in self.sample().items():
                self.peak[name] = max(self.peak.get(name, 0), size)

    def sample(self) -> dict[str, int]:
        """Return the PSS of each role now, in bytes."""
        sizes: dict[str, int] = {}
        for side, root in self._roots.items():
            for pid in family(root):
                name = role(pid, side)
                sizes[name] = sizes.get(name, 0) + pss(pid)
        return sizes

    def stop(self) -> dict[str, int]:
        """Stop and return the peaks."""
        self._stop.set()
        self._thread.join()
        return self.peak


def run(place: Place, argv: list[str], log: Path, timeout: float, lasting: bool = False) -> Use:
    """Run a command to its end and return what it used. A timeout kills it and shows as a negative code.

    `lasting`: sessions at sshd belong to a daemon and stay; the figures are taken as soon as the command ends.
    """
    far, wire = cpu(family(place.sshd.pid)), place.wire()
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(argv)}\n".encode())
        output.flush()
        start = time.monotonic()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    sampler = Sampler(process.pid, place.sshd.pid)
    timer = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        timer.cancel()
        peak = sampler.stop()
    if not lasting:
        quiet(place)
    after = place.wire()
    grown = cpu(family(place.sshd.pid)) - far
    near = usage.ru_utime + usage.ru_stime
    return Use(wall, near, grown, after[0] - wire[0], after[1] - wire[1], peak, process.returncode)


def quiet(place: Place, seconds: float = 10) -> None:
    """Wait until no session is left at sshd, so that its CPU and bytes are all counted."""
    deadline = time.monotonic() + seconds
    while len(family(place.sshd.pid)) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes], seconds: float = 10) -> int:
    """End a process that was started here: SIGTERM, then SIGKILL; return its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
