"""Progress: nothing for the quick, a line per tenth for logs, a bar for people."""

from __future__ import annotations

import os
import pty
import sys
from dataclasses import asdict

import pytest

from orchestrator.cli import progress
from orchestrator.replication.report import Progress


def told(done: int, total: int = 1000, seconds: float = 10.0, size: int = 1000) -> dict[str, object]:
    return asdict(Progress("messages", done, total, done * size, total * size, seconds))


def test_a_quick_pass_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.Shown()
    shown(told(1, seconds=0.1))
    assert capsys.readouterr().err == ""


@pytest.mark.issue("2.6 sync: progress as plain lines elsewhere")
def test_elsewhere_there_is_a_line_per_tenth_with_counts_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.Shown()
    for done in range(1, 1001):
        shown(told(done, seconds=done / 100))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[5] == "50 % messages: 500 of 1,000 messages, 500.0 kB, 100.0 kB/s, 5.00 s left"


def test_an_unknown_total_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.Shown()
    for done in range(100):
        shown(told(done, 0))
    assert capsys.readouterr().err.splitlines() == ["messages: 0 messages, 0 B, 0 B/s"]


@pytest.mark.issue("2.6 sync: progress with counts, rate and time left on a terminal")
def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        shown = progress.Shown()
        shown(told(500))
        shown(told(700))
        seen = ""
        while "700 of 1,000 messages, 700.0 kB, 70.0 kB/s, 4.29 s left" not in seen:
            seen += os.read(ours, 65536).decode()
        shown.close()
    os.close(ours)


def test_the_share_prefers_bytes_and_never_exceeds_one() -> None:
    assert progress.share(asdict(Progress("m", 1, 2, 3, 4))) == 0.75
    assert progress.share(asdict(Progress("m", 1, 2))) == 0.5
    assert progress.share(asdict(Progress("m", 5, 2))) == 1.0
    assert progress.share(asdict(Progress("m", 5))) is None
