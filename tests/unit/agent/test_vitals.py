"""What a host knows of itself."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from orchestrator.agent.vitals import Queue, Virtual, clock, counted, disk, queue, virtual

pytestmark = pytest.mark.issue("4.1 disk inodes queue clock")


def test_a_disk_tells_its_room_and_inodes(tmp_path: Path) -> None:
    found, said = disk(str(tmp_path)), os.statvfs(tmp_path)
    assert found.free == pytest.approx(said.f_bavail / said.f_blocks, abs=0.05)
    assert (found.readonly, found.why) == (False, "")
    assert found.free_inodes is None or 0 <= found.free_inodes <= 1


def test_a_disk_that_doesnt_count_its_inodes_isnt_full_of_them() -> None:
    assert disk("/proc").free_inodes is None
    assert disk("/proc").free is None


def test_a_disk_that_isnt_there_says_so() -> None:
    found = disk("/nowhere/at/all")
    assert (found.free, found.readonly, found.why) == (None, None, "No such file or directory")


def test_both_clocks_are_read() -> None:
    found = clock()
    assert found.wall == pytest.approx(time.time(), abs=5)
    assert found.boot == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5)
    assert found.synchronised in (True, False, None)


def postqueue(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "postqueue"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_oldest_letter_that_waits_counts_and_held_ones_apart() -> None:
    letters = [
        {"queue_name": "deferred", "arrival_time": 1_700_000_000},
        {"queue_name": "active", "arrival_time": 1_600_000_000},
        {"queue_name": "hold", "arrival_time": 1_500_000_000},
    ]
    assert counted(letters) == Queue(2, 1_600_000_000.0, 1)
    assert counted([]) == Queue(0, None, 0)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exec sleep 5", "postqueue took longer than 0.3 s"),
        ("echo 'fatal: no queue' >&2; exit 69", "fatal: no queue"),
        ("echo garbage", "what postqueue said can't be understood"),
        ("echo '{}'", "what postqueue said can't be understood"),
    ],
)
def test_a_queue_that_cant_be_read_is_no_empty_queue(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postqueue(tmp_path, script, monkeypatch)
    found = queue(0.3)
    assert found.letters is None
    assert found.why.startswith(why)


def test_postqueues_own_words_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = {"queue_name": "deferred", "queue_id": "4X", "arrival_time": 1_700_000_000, "recipients": []}
    postqueue(tmp_path, f"echo '{json.dumps(letter)}'", monkeypatch)
    assert queue(5) == Queue(1, 1_700_000_000.0, 0)


def detect_virt(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "systemd-detect-virt"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo kvm", Virtual("kvm")),
        ("echo none; exit 1", Virtual("none")),
        ("exit 3", Virtual(why="systemd-detect-virt said nothing, and ended with 3")),
        ("sleep 9", Virtual(why="systemd-detect-virt took longer than 0.5 s")),
    ],
)
def test_a_host_says_whether_it_can_be_paused_or_that_it_cant_tell(
    script: str, found: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect_virt(tmp_path, f'[ "$1" = --vm ] || exit 9\nexec 2>&1\n{script}'.replace("sleep", "exec sleep"), monkeypatch)
    assert virtual(0.5) == found


def test_a_host_without_systemd_cant_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert virtual(1.0) == Virtual(why="systemd-detect-virt can't be started: No such file or directory")
