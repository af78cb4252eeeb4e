"""The daemon as an operator has it: a process of its own, a real sshd, real stores, and the command line beside it.

All of it runs in sshd's root, with which the agents' state is gone in the end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import image, require
from tests.support.sshd import running_sshd
from tests.unit.daemon.test_follower import until

pytestmark = pytest.mark.lab

INVENTORY = """\
mailmirror:
  children:
    org:
      vars: {{mm_stores: [{base}/there], mm_state_dir: {base}/state}}
      hosts:
        mail1: {{mm_place: primary, mm_stores: [{base}/here], ansible_host: 127.0.0.1, ansible_port: {port},
                ansible_user: root, ansible_ssh_private_key_file: {key}, mm_known_hosts: {known}}}
        mail2: {{mm_place: mirror, ansible_connection: local}}
"""


class Operator:
    """Types commands, and may have a daemon running."""

    def __init__(self, base: Path, root: image.Root) -> None:
        self.base, self.root, self.inventory = base, root, base / "inventory.yaml"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "PYTHONPATH": str(image.CHECKOUT),
            "XDG_RUNTIME_DIR": str(base),
            "XDG_CACHE_HOME": str(base / "cache"),
        }

    def line(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", "-i", str(self.inventory), *words]

    def type(self, *words: str, code: int = 0) -> str:
        done = self.root.run(
            self.line(*words), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        out, complaint = done.communicate(timeout=60)
        assert done.returncode == code, complaint
        return str(out)

    def told(self, *words: str) -> Any:
        return json.loads(self.type(*words, "--format", "json"))

    def deliver(self, name: str) -> None:
        folder = self.base / "here" / "jane"
        for part in ("tmp", "new", "cur"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "tmp" / name).write_text("Subject: x\n\nbody\n")
        (folder / "tmp" / name).rename(folder / "new" / name)

    def link(self) -> str:
        return str(self.told("status")["pairs"][0]["link"])

    def holder(self) -> dict[str, Any]:
        return dict(json.loads((self.base / "state/org.lock").read_text()))

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[Any]]:
        """With a daemon, which ends with it."""
        running = self.daemon()
        try:
            yield running
        finally:
            running.terminate()
            running.wait(10)

    def daemon(self) -> subprocess.Popen[Any]:
        with (self.base / "daemon.log").open("ab") as log:
            started = self.root.run(self.line("run"), env=self.environment, stderr=log)
        until(lambda: self.link() == "live", 20.0)
        return started


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    require.root()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with running_sshd(tmp_path, binds=[(place, place) for place in {sys.prefix, sys.base_prefix}]) as sshd:
        it = Operator(tmp_path, sshd.root)
        it.inventory.write_text(
            INVENTORY.format(base=tmp_path, port=sshd.port, key=sshd.client_key, known=sshd.known_hosts)
        )
        it.deliver("1700000000.M1P1.mail1")
        it.type("init")
        yield it


@pytest.mark.issue("2.6 sync: asks the daemon while it holds the lock, else takes the lock; control socket")
def test_the_same_commands_with_and_without_a_daemon(operator: Operator) -> None:
    assert operator.told("sync")[0]["tally"]["messages"] == 1
    running = operator.daemon()
    try:
        operator.deliver("1700000000.M2P1.mail1")
        assert operator.told("sync", "org")[0]["host"] == "mail2"
        assert (operator.base / "there/jane/new/1700000000.M2P1.mail1").exists()
        assert operator.told("verify", "--deep")[0]["equal"] is True
        assert operator.holder()["what"] == "run"
        running.send_signal(signal.SIGHUP)
        until(lambda: "says what the daemon does already" in (operator.base / "daemon.log").read_text())
        began = time.monotonic()
        running.terminate()
        assert running.wait(5.0) == 0
        assert time.monotonic() - began < 2.0
    finally:
        running.kill()
        running.wait()
    down = operator.told("status")
    assert (down["stale"], down["pairs"][0]["link"]) == (True, "stopped")
    assert operator.told("verify")[0]["equal"] is True


@pytest.mark.issue("2.6 sync lock: it ends with its holder")
def test_a_killed_daemon_leaves_nothing_in_the_way(operator: Operator) -> None:
    for _ in range(2):
        running = operator.daemon()
        operator.root.check(["kill", "-9", str(operator.holder()["pid"])])
        running.wait()
    operator.deliver("1700000000.M3P1.mail1")
    assert operator.told("sync")[0]["tally"]["messages"] >= 1
    assert (operator.base / "there/jane/new/1700000000.M3P1.mail1").exists()
