"""What a run used is counted where the kernel counts it, and no run outlives its time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import measure

pytestmark = pytest.mark.issue("2.8 make bench: wall, CPU and memory of every process")

BURN = "import time\nwhile time.process_time() < 0.3: pass"
HOLD = "held = bytearray(60 << 20)\nheld[::4096] = b'x' * len(held[::4096])\nimport time\ntime.sleep(0.6)"


@dataclass
class Quiet:
    """A far side on which nothing happens."""

    sshd: subprocess.Popen[bytes]
    carried: int = 0

    def wire(self) -> tuple[int, int]:
        self.carried += 100
        return self.carried, 2 * self.carried


@pytest.fixture
def place() -> Iterator[Quiet]:
    process = subprocess.Popen(["sleep", "60"])
    yield Quiet(process)
    measure.end(process)


def test_cpu_counts_grandchildren_and_wall_spans_exec_to_exit(place: Quiet, tmp_path: Path) -> None:
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}], check=True)"
    use = measure.run(place, [sys.executable, "-c", script], tmp_path / "log", 60)
    assert use.code == 0
    assert use.near_cpu >= 0.3
    assert use.wall >= 0.3
    assert use.far_cpu < 0.1
    assert (use.received, use.sent, use.bytes) == (100, 200, 300)


def test_the_peak_of_memory_is_seen(place: Quiet, tmp_path: Path) -> None:
    use = measure.run(place, [sys.executable, "-c", HOLD], tmp_path / "log", 60)
    assert use.peak["near"] > 60 << 20


def test_a_run_that_takes_too_long_is_killed_and_shows_it(place: Quiet, tmp_path: Path) -> None:
    began = time.monotonic()
    use = measure.run(place, ["sleep", "60"], tmp_path / "log", 0.3)
    assert use.code < 0
    assert time.monotonic() - began < 30


def test_what_a_command_says_is_kept(place: Quiet, tmp_path: Path) -> None:
    use = measure.run(place, ["sh", "-c", "echo said; exit 3"], tmp_path / "log", 60)
    assert use.code == 3
    assert (tmp_path / "log").read_text().endswith("said\n")


def test_a_family_is_the_process_and_all_below_it() -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE)
    assert process.stdout
    child = int(process.stdout.readline())
    try:
        assert measure.family(process.pid) == [process.pid, child]
    finally:
        subprocess.run(["kill", str(child)], check=True)
        process.communicate()


def test_a_process_that_is_gone_uses_nothing() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert measure.cpu([process.pid]) == 0
    assert measure.pss(process.pid) == 0
