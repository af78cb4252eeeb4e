"""The demo's processes: how they are steered, and that none is left when its starter is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.demo.control import Servant, environment, tail
from orchestrator.errors import HostError, StillRunning
from tests.unit.demo.started import Started, ssh_host

STARTER = """
import sys, time
from pathlib import Path
from tests.unit.demo.started import ssh_host
with ssh_host(Path(sys.argv[1])) as started:
    print(started.servant.pid, flush=True)
    time.sleep(600)
"""


def test_an_order_that_doesnt_exist_is_refused_by_name(host: Started) -> None:
    with pytest.raises(HostError, match="no such order"):
        host.servant.order("dance")
    host.servant.order("heal")


def test_a_process_that_dies_at_once_is_reported_with_what_it_logged(tmp_path: Path) -> None:
    servant = Servant("ssh", "orchestrator.demo.sshserver", [], log=tmp_path / "log")
    try:
        with pytest.raises(HostError, match="not enough values to unpack"):
            servant.ready()
    finally:
        servant.stop()


def test_a_process_that_never_answers_is_given_up(tmp_path: Path) -> None:
    servant = Servant(
        "asleep", "timeit", ["-n1", "-r1", "import time; time.sleep(600)"], log=tmp_path / "log", patience=0.5
    )
    try:
        with pytest.raises(StillRunning):
            servant.ready()
    finally:
        servant.stop(patience=0.1)
    assert not Path(f"/proc/{servant.pid}").exists()


def test_stopping_twice_and_ordering_the_dead_are_no_surprise(tmp_path: Path) -> None:
    with ssh_host(tmp_path) as started:
        started.servant.stop()
        started.servant.stop()
        with pytest.raises(HostError):
            started.servant.order("heal")


def test_a_process_of_the_site_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert starter.stdout is not None
    servant = int(starter.stdout.readline())
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{servant}/cmdline").exists() and Path(f"/proc/{servant}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "it outlived its starter"
        time.sleep(0.02)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert "nothing was logged" in tail(log)
    log.write_text("")
    assert "empty" in tail(log)
    log.write_text("one\ntwo\nthree\n")
    assert tail(log, 2) == "    two\n    three"
