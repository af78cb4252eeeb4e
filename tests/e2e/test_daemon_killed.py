"""The daemon, its agents and its link killed again and again while mail is delivered: in the end both sides are equal,
nothing is lost or doubled, and no process stays behind.

The daemon is a process of its own beside a real sshd; the primary is reached by ssh, the mirror's agent is its child.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.mailbox import INBOX
from tests.e2e.test_control import INVENTORY, Operator
from tests.support import pairs, require, seeds
from tests.support.sshd import Sshd, running_sshd
from tests.unit.daemon.test_follower import until

pytestmark = pytest.mark.lab
KILLS = 10
AGENT = "agent"


class Deliveries:
    """Mail that comes, is read, moved and expunged, in a thread."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.box = pairs.Mailbox(root / "ex.org/jane")
        self.box.create("Sent")
        self.content: dict[bytes, bytes] = {}
        self.gone: set[bytes] = set()
        self._chance, self._over = chance, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._chance.uniform(0.0, 0.03)):
            here = self.box.folder(self._chance.choice((INBOX, "Sent")))
            body = b"Subject: %d\n\n" % len(self.content) + self._chance.randbytes(self._chance.choice((50, 9_000)))
            self.content[here.deliver(body).base] = body
            known = sorted(here.messages())
            chosen = self._chance.choice(known)
            act = self._chance.random()
            if act < 0.2:
                here.flag(chosen, self._chance.choice(("S", "FS", "RS")))
            elif act < 0.25:
                other = self.box.folder("Sent" if here.path == self.box.root else INBOX)
                here.move([chosen], other)
            elif act < 0.28:
                here.expunge([chosen])
                self.gone.add(chosen)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


class Site(Operator):
    """An operator whose processes can be found and killed, from outside their namespace."""

    def __init__(self, base: Path, sshd: Sshd) -> None:
        super().__init__(base, sshd.root)
        self.sshd = sshd

    def processes(self, *words: str) -> list[int]:
        """Those whose command line has all the words, agents by AGENT; none that listens for ssh."""
        found = []
        for pid, line in self.sshd._processes():
            told = line + (f" {AGENT}" if "agent.main import" in line or "zlib,base64;exec" in line else "")
            if all(word in told for word in words):
                found.append(pid)
        return found

    def start(self) -> subprocess.Popen[Any]:
        with (self.base / "daemon.log").open("ab") as log:
            return self.root.run(self.line("run"), env=self.environment, stderr=log)

    def kill(self, pids: list[int]) -> int:
        for pid in pids:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        return len(pids)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require.root()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with running_sshd(tmp_path, binds=[(place, place) for place in {sys.prefix, sys.base_prefix}]) as sshd:
        it = Site(tmp_path, sshd)
        it.inventory.write_text(
            INVENTORY.format(base=tmp_path, port=sshd.port, key=sshd.client_key, known=sshd.known_hosts)
        )
        it.type("init")
        yield it


@pytest.mark.issue("2.P kill controller, kill agent, cut the link again and again; restart")
@pytest.mark.issue("2.6 run: reconnect; no process stays behind")
def test_ten_deaths_of_the_daemon_lose_and_double_nothing(site: Site) -> None:
    seed = seeds.drawn("daemon_killed")
    chance = random.Random(seed)
    began, killed = time.monotonic(), {"daemon": 0, "agents": 0, "links": 0}
    with closing(Deliveries(site.base / "here", random.Random(seed + 1))) as mail:
        for _ in range(KILLS):
            daemon = site.start()
            moment = threading.Event()
            moment.wait(chance.uniform(0.6, 2.2))
            if chance.random() < 0.5:
                killed["agents"] += site.kill(chance.sample(site.processes(AGENT), 1) if site.processes(AGENT) else [])
            else:
                killed["links"] += site.kill(site.processes("sshd: root"))
            moment.wait(chance.uniform(0.0, 0.8))
            killed["daemon"] += site.kill(site.processes("orchestrator", " run"))
            daemon.wait(10)
    print(f"killed {killed}, {len(mail.content)} messages, {time.monotonic() - began:.1f} s")
    assert killed["daemon"] >= KILLS
    daemon = site.start()
    try:
        until(lambda: site.link() == "live", 20.0)
        site.type("sync")
        (verified,) = site.told("verify", "--deep")
        assert verified["equal"], verified["differences"]
        here, there = pairs.messages(site.base / "here"), pairs.messages(site.base / "there")
        assert here == there
        bases = [path.rpartition("/")[2].partition(":")[0].encode() for path in there]
        assert sorted(bases) == sorted(mail.content.keys() - mail.gone), "each stands there once"
        assert {facts[-1] for facts in there.values()} <= set(mail.content.values())
        assert len(site.processes(AGENT)) >= 2, "both agents are among those that are looked for"
    finally:
        daemon.terminate()
        daemon.wait(10)
    until(lambda: site.processes(AGENT) == [], 15.0)
    assert site.processes("orchestrator") == []
    print(f"{time.monotonic() - began:.1f} s in all")
    assert time.monotonic() - began < 60
