"""Observers at work with real agents, on a server that comes and goes: one in trouble harms nobody else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from orchestrator.errors import HostUnreachable
from orchestrator.health.asked import Seat
from orchestrator.health.standing import Change
from orchestrator.health.watch import Watch
from orchestrator.inventory.model import PORTS, Canary, Host, Pair, Probe, Secret, Store
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import agent_command
from tests.support.sshd import free_port

WITHIN = 40.0


def until(true: Callable[[], bool], what: str, within: float = WITHIN) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"it didn't come to pass: {what}"
        time.sleep(0.02)


class Watched:
    """A pair whose places are all on loopback, each observer with an agent of its own in a child process."""

    def __init__(self, tmp_path: Path, *, forbid: str = "", **words: object) -> None:
        self.port = free_port()
        hosts = {
            place: Host(place, place, "127.0.0.1", stores=(Store(str(tmp_path)),), connection=way)
            for place, way in (("primary", "ssh"), ("mirror", "local"), ("witness", "ssh"))
        }
        ports = {**PORTS, "smtp": self.port}
        pair = Pair("org", hosts, (Store(str(tmp_path)),), services={"smtp": "exim"}, ports=ports)
        self.pair = replace(pair, probe=Probe(interval=0.2, timeout=1.0), **words)  # type: ignore[arg-type]
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.connections: list[str] = []
        self.changes: list[Change] = []
        self.troubles: list[str] = []
        self.away: set[str] = set()
        self._forbid = forbid
        self.it = Watch(
            self.pair, self.open, active=self.pair.primary.name, follows=lambda: False, changed=self.changes.append,
            troubled=self.troubles.append,
        )  # fmt: skip

    def open(self, seat: Seat) -> Conversation:
        name = seat.observer.name
        if name in self.away:
            raise HostUnreachable(f"{name}: can't connect")
        allow = "replication" if name == self._forbid else "services"
        ours, theirs = socket.socketpair()
        with theirs:
            words = ["--stores", "", "--allow", allow]
            self.agents[name] = subprocess.Popen(agent_command(words), stdin=theirs.fileno(), stdout=theirs.fileno())
        self.connections.append(name)
        return Conversation(ours, name=name)

    def level(self, place: str = "primary") -> str:
        return next((each.level for each in self.it.status().places if each.place == place), "")

    def seen_by(self, observer: str) -> float:
        """When this observer's newest look at the primary came in."""
        glances = (each for place in self.it.status().places[:1] for each in place.glances)
        return max((each.at for each in glances if each.observer == observer), default=0.0)


@contextmanager
def watching(it: Watched) -> Iterator[Watched]:
    it.it.start()
    try:
        yield it
    finally:
        it.it.stop()
        assert it.it.join(10.0), "every thread ends"
        for agent in it.agents.values():
            agent.kill()
            agent.wait()


@contextmanager
def serving(port: int) -> Iterator[None]:
    server = Controller(Sink(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield
    finally:
        server.stop()


@pytest.mark.issue("4.1 health runs by itself")
def test_a_server_that_comes_and_goes_is_followed_by_the_verdict(tmp_path: Path) -> None:
    with watching(Watched(tmp_path)) as it:
        with serving(it.port):
            until(lambda: it.level() == "HEALTHY", "it is well")
        until(lambda: it.level() == "DOWN", "it is down")
        assert it.it.suspect()
        with serving(it.port):
            until(lambda: it.level() == "HEALTHY" and it.level("mirror") == "HEALTHY", "it is well again")
    told = [change.verdict.level.value for change in it.changes if change.place == "primary"]
    assert "SUSPECT" in told[: told.index("DOWN")]
    down = next(change for change in it.changes if change.verdict.level.value == "DOWN")
    assert {line.split()[2].rstrip(":") for line in down.verdict.evidence} == {"controller", "witness"}
    assert down.verdict.analysis.value == "the host lives, its services don't"
    vitals = it.it.status().places[0].vitals
    assert [path for path, _, _ in vitals.disks] == [str(tmp_path)] and abs(vitals.clock or 99) < 5


@pytest.mark.issue("4.1 total deadlines everywhere: a stopped or dead agent is this observer's trouble alone")
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_an_agent_that_stops_or_dies_holds_nobody_else_and_is_begun_anew(tmp_path: Path, number: int) -> None:
    with watching(Watched(tmp_path)) as it, serving(it.port):
        until(lambda: it.level() == "HEALTHY" and bool(it.seen_by("witness")), "both look")
        stopped = it.agents["witness"]
        os.kill(stopped.pid, number)
        gone = time.time()
        until(lambda: it.seen_by("controller") > gone + 2, "the other goes on looking", within=20)
        until(lambda: it.connections.count("witness") == 2 and it.seen_by("witness") > gone + 1, "it looks again")
        stopped.kill()
        stopped.wait()
        assert {change.verdict.level.value for change in it.changes if change.place == "primary"} <= {
            "UNKNOWN", "HEALTHY",
        }, "an observer's silence is no failure of the host"  # fmt: skip


@pytest.mark.issue("4.1 an agent bound by a key without services is told clearly once")
def test_an_agent_that_may_not_look_is_told_once_with_what_to_do(tmp_path: Path) -> None:
    with watching(Watched(tmp_path, forbid="witness")) as it, serving(it.port):
        until(lambda: it.level() == "HEALTHY", "the other looks")
        until(lambda: bool(it.troubles), "it is told")
        since = it.seen_by("controller")
        until(lambda: it.seen_by("controller") > since + 2, "some looks later")
    refused = "witness: this key may not look at services"
    assert it.troubles == [f"{refused} Add `services` to --allow in its authorized_keys line, or in its unit."]
    witness = next(each for each in it.it.status().observers if each.name == "witness")
    assert (witness.connected, "authorized_keys" in witness.remedy) == (False, True)


def test_an_observer_that_cant_be_reached_is_shown_and_comes_back(tmp_path: Path) -> None:
    it = Watched(tmp_path)
    it.away.add("witness")
    with watching(it), serving(it.port):
        until(lambda: it.level() == "HEALTHY", "the other looks")
        until(lambda: "can't connect" in str(it.it.status().observers), "it is shown")
        it.away.clear()
        until(lambda: bool(it.seen_by("witness")), "it looks")


def test_a_mirror_with_nothing_to_probe_is_judged_by_its_agents_answer(tmp_path: Path) -> None:
    it = Watched(tmp_path, services={"pop3": "dovecot"})
    it.away.add("controller")
    with watching(it):
        until(lambda: it.level("mirror") == "DEGRADED", "its agent doesn't answer")
        it.away.clear()
        until(lambda: it.level("mirror") == "HEALTHY", "it does")


def test_a_canary_whose_password_cant_be_read_is_told_and_nobody_logs_in(tmp_path: Path) -> None:
    canary = Canary("c@example.test", Secret("env", "NO_SUCH_VARIABLE_OF_OURS"), "c")
    with watching(Watched(tmp_path, canary=canary)) as it, serving(it.port):
        until(lambda: it.level() == "HEALTHY", "it is looked at as by a stranger")
    assert "NO_SUCH_VARIABLE_OF_OURS isn't set" in it.troubles[0] and it.it.status().trouble


def test_threads_are_few_and_end(tmp_path: Path) -> None:
    before = threading.active_count()
    with watching(Watched(tmp_path, references=("127.0.0.1:1",))) as it, serving(it.port):
        until(lambda: it.level() == "HEALTHY", "it runs")
        assert it.it.status().references == {"127.0.0.1:1": True}
        names = [each.name for each in threading.enumerate()]
        assert sum(name.startswith(("observer", "health", "references")) for name in names) == 3 + 2
    until(lambda: threading.active_count() <= before, "none is left", within=10)
