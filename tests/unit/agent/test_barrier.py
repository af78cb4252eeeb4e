"""Everything durable in the background: told once it is over, and a failed write is raised to whoever waits."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from orchestrator.agent import beneath
from orchestrator.agent.barrier import Barrier


def test_a_barrier_is_over_when_the_disk_says_so_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, over = threading.Event(), threading.Event()
    monkeypatch.setattr(beneath, "syncfs", lambda fd: disk.wait(10) or pytest.fail("nobody let it go on"))
    barrier = Barrier(-1, over.set)
    before = barrier.done
    disk.set()
    assert over.wait(10), "the worker is woken"
    assert (before, barrier.done) == (False, True)
    barrier.wait()


def test_a_real_file_system_is_made_durable(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        barrier = Barrier(fd, lambda: None)
        barrier.wait()
        assert barrier.done
    finally:
        os.close(fd)


@pytest.mark.issue("2.5 durability before the name")
def test_a_failed_write_is_raised_each_time_that_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(beneath, "syncfs", fails)
    over = threading.Event()
    barrier = Barrier(-1, over.set)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            barrier.wait()
    assert over.is_set(), "the worker is woken by a failure too"
    assert barrier.done
