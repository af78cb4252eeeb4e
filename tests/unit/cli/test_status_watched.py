"""`mailmirror status --watch` on a real terminal and into a pipe, beside a daemon whose pair changes."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from orchestrator.inventory.load import load
from orchestrator.replication.report import Waiting
from tests.unit.daemon.memory import Site
from tests.unit.daemon.test_follower import until
from tests.unit.daemon.test_service import Running

WITHIN = 20.0
CLEAR = "\x1b[H\x1b[J"
CLOCK = re.compile(r"\d\d:\d\d:\d\d(?=\x1b8)")
CTRL_C = b"\x03"


def heed_ctrl_c() -> None:
    """Whoever runs the tests may be told to ignore it (a job in the background), and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Watching:
    """The command as a process, and all that it has written. `keyboard` is the terminal's end, where it has one."""

    def __init__(self, inventory: Path, term: str = "") -> None:
        line = [sys.executable, "-m", "orchestrator.cli", "-i", str(inventory), "status", "--watch"]
        environment = {**os.environ, "TERM": term or "xterm"}
        self.said = ""
        if term:
            self.keyboard, far = pty.openpty()
            self.process = subprocess.Popen(  # setsid makes the terminal its own, so that Ctrl-C is the kernel's signal
                ["setsid", "--ctty", *line], stdin=far, stdout=far, stderr=far, env=environment,
                preexec_fn=heed_ctrl_c,
            )  # fmt: skip
        else:
            self.keyboard, far = os.pipe()
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=far, stderr=far, env=environment)
        os.close(far)
        os.set_blocking(self.keyboard, False)

    def heard(self) -> str:
        with suppress(OSError):  # nothing more now; or, of a terminal that nobody holds any more, EIO
            while part := os.read(self.keyboard, 65_536):
                self.said += part.decode()
        return self.said

    def has_said(self, words: str) -> bool:
        return words in self.heard()

    def has_ticked(self) -> bool:
        return len(set(CLOCK.findall(self.heard()))) >= 2

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.keyboard)


@pytest.fixture
def running(site: Site, one_pair: Path) -> Iterator[Running]:
    with Running(site, load(one_pair)) as it:
        until(lambda: it.ask("status")["pairs"][0]["link"] == "live")
        yield it


def hold_back(running: Running, site: Site, count: int) -> None:
    site.worlds["org"].waiting[:] = [Waiting(f"w{count}", "jane", count, "over budget", 1.0)]
    until(lambda: str(running.ask("status")["pairs"][0]["passives"][0]["waiting"]).find(f"w{count}") > 0)


@pytest.mark.issue("6.7 status --watch is redrawn on change and ends on Ctrl-C")
def test_a_terminal_is_drawn_anew_when_something_changed_and_else_its_clock_goes_on(
    running: Running, site: Site, one_pair: Path
) -> None:
    with Watching(one_pair, "xterm") as watching:
        until(lambda: "PASSIVE HOST" in watching.heard(), WITHIN)
        until(watching.has_ticked, WITHIN)
        assert watching.said.count(CLEAR) == 1, "nothing changed, and it was drawn again"
        hold_back(running, site, 300)
        until(lambda: "300 deletions" in watching.heard(), WITHIN)
        assert watching.said.count(CLEAR) == 2
        os.write(watching.keyboard, CTRL_C)
        assert watching.process.wait(WITHIN) == 130
        assert "Traceback" not in watching.heard() and "KeyboardInterrupt" not in watching.said
        assert watching.said.rstrip("\r\n").endswith("^C"), "the terminal's echo is the last that is seen"


@pytest.mark.issue("6.7 status --watch without colour when no terminal")
@pytest.mark.parametrize("term", ["", "dumb"])
def test_elsewhere_each_change_is_written_once_and_nothing_acts_on_a_terminal(
    running: Running, site: Site, one_pair: Path, term: str
) -> None:
    with Watching(one_pair, term) as watching:
        until(lambda: "PASSIVE HOST" in watching.heard(), WITHIN)
        with Watching(one_pair, "xterm") as terminal:  # by its ticks, several looks have passed
            until(terminal.has_ticked, WITHIN)
        for count in (300, 400):
            hold_back(running, site, count)
            until(partial(watching.has_said, f"{count} deletions"), WITHIN)
        drawn = [part for part in re.split(r"(?m)^(?=PAIR )", watching.said) if part]
        assert "\x1b" not in watching.said
        assert len(drawn) == 3 and len(set(drawn)) == 3


def test_it_goes_on_when_the_daemon_ends(site: Site, one_pair: Path) -> None:
    with Running(site, load(one_pair)) as it:
        until(lambda: it.ask("status")["pairs"][0]["link"] == "live")
        watching = Watching(one_pair)
        with watching:
            until(lambda: "live" in watching.heard(), WITHIN)
            it.daemon.stop.set()
            until(lambda: "No daemon runs." in watching.heard(), WITHIN)
            assert watching.process.poll() is None


def test_a_reader_that_goes_away_ends_it(running: Running, one_pair: Path) -> None:
    line = [sys.executable, "-m", "orchestrator.cli", "-i", str(one_pair), "status", "--watch", "--format", "json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "{\n"
        process.stdout.close()
        assert process.wait(WITHIN) == 141 and process.stderr.read() == ""
