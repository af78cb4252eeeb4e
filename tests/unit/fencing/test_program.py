"""Programs that end, hang, flood, don't read and leave children behind: real ones, and nothing of them is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator.fencing import program
from tests.lab.waiting import until

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def sh(script: str, stdin: bytes = b"", within: float = 20.0) -> program.Ended:
    return program.run(["sh", "-c", script], stdin, ENVIRONMENT, within)


def gone(pid: int) -> bool:
    """Not running any more: gone, or waiting to be reaped by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_what_it_reads_says_and_exits_with_comes_back() -> None:
    assert sh("cat; echo no >&2; exit 2", b"action=status\n") == (2, "action=status\n", "no\n")


def test_a_program_that_does_not_read_is_no_trouble() -> None:
    assert sh("exit 0", b"x" * 1_000_000).code == 0


def test_a_program_that_hangs_is_ended_at_the_deadline_with_all_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = sh(f"echo begun; sleep 300 & echo $! > {tmp_path}/child; trap '' TERM; wait", within=1.0)
    assert ended.code is None and ended.out == "begun\n"
    assert 1.0 <= time.monotonic() - began < 15
    until(lambda: gone(int((tmp_path / "child").read_text())))


def test_a_child_that_holds_the_output_open_does_not_delay_the_answer(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = sh(f"echo said; sleep 300 & echo $! > {tmp_path}/child", within=60.0)
    assert (ended.code, ended.out) == (0, "said\n")
    assert time.monotonic() - began < 30
    until(lambda: gone(int((tmp_path / "child").read_text())))


def test_of_a_flood_only_the_beginning_is_kept() -> None:
    ended = sh("yes | head -c 10000000; exit 3")
    assert ended.code == 3 and len(ended.out) == program.LONGEST


def test_an_endless_flood_ends_at_the_deadline() -> None:
    assert sh("exec yes", within=1.0).code is None


def test_a_program_that_a_signal_ended_says_so() -> None:
    assert sh("kill -9 $$").code == -9


def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        program.run(["/nowhere/fence_foo"], b"", ENVIRONMENT, 5.0)
