"""The whole benchmark, small: as root in its namespaces, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.arrange import REPOSITORY
from tests.support import require

# One after the other: each looks at what the machine has mounted, before and after.
pytestmark = [
    pytest.mark.issue("2.8 make bench: runs and leaves nothing"),
    pytest.mark.lab,
    pytest.mark.xdist_group("bench"),
]
BENCH = [sys.executable, "-m", "bench", "--small", "--no-ours", "--peers", "rsync"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def traces() -> tuple[str, str]:
    """Return what is mounted and which loop devices are in use."""
    loops = subprocess.run(["losetup", "-n", "-O", "BACK-FILE"], capture_output=True, text=True, check=False).stdout
    return Path("/proc/self/mounts").read_text(), "\n".join(line for line in loops.splitlines() if "/mnt/disk" in line)


def become(expected: tuple[str, str], within: float = 20) -> None:
    """Wait for the traces: the kernel lets go of a loop device a moment after its last user has ended."""
    deadline = time.monotonic() + within
    while traces() != expected:
        assert time.monotonic() < deadline, (traces(), expected)
        time.sleep(0.1)


@pytest.mark.issue("2.8 make bench: bytes on the wire")
def test_a_small_run_measures_a_peer_and_leaves_nothing(tmp_path: Path) -> None:
    require.root()
    before = traces()
    command = [*BENCH, "--only", "first-copy,nothing,flags", "--out", str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [(row["work"], row["problems"]) for row in rows] == [("first-copy", []), ("nothing", []), ("flags", [])]
    assert rows[0]["use"]["received"] > 30_000_000 > rows[1]["use"]["received"]
    assert (tmp_path / "bench.svg").exists()
    become(before)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_takes_everything_with_it(tmp_path: Path, how: signal.Signals) -> None:
    require.root()
    before = traces()
    process = subprocess.Popen([*BENCH, "--out", str(tmp_path)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    while "first-copy" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(how)
    process.stdout.read()  # until the last process that could print is gone
    process.wait(30)
    become(before)
