"""Facts of a pair gathered from real agents on this machine, while one host is silent, away, or says nonsense."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.reach import never_seen
from orchestrator.errors import HostUnreachable
from orchestrator.fencing.levels import devices
from orchestrator.inventory.model import Canary, Fence, Host, Pair, Secret, Store
from orchestrator.readiness import gather as gathering
from orchestrator.readiness.check import State
from orchestrator.readiness.checks import checks, ready
from orchestrator.readiness.facts import Clock, Facts, HostFacts, Unknown
from orchestrator.readiness.gather import gather, opened
from orchestrator.records import fences
from orchestrator.remote.host import Conversation
from tests.lab import sshkeys

M1, M2, WIT = "mail1.example.org", "mail2.example.org", "wit.example.org"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield deaf.getsockname()[1]


@pytest.fixture
def pair(tmp_path: Path, silent: int) -> Pair:
    """The primary is this machine, the mirror's sshd is silent, and nothing listens at the witness."""
    for each in ("store", "state"):
        (tmp_path / each).mkdir()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{silent},[127.0.0.1]:1 {sshkeys.make().public}\n")
    (tmp_path / "canary").write_text("secret")
    os.chmod(tmp_path / "canary", 0o600)
    stores = (Store(str(tmp_path / "store")),)
    far = {"known_hosts": tmp_path / "known_hosts", "user": "nobody", "use_agent": False}
    device = Fence(1, agent="fence_nowhere", parameters={"ip": "192.0.2.31"})
    hosts = {
        M1: Host(M1, "primary", "127.0.0.1", connection="local", stores=stores, fences=(device,)),
        M2: Host(M2, "mirror", "127.0.0.1", port=silent, stores=stores, **far),  # type: ignore[arg-type]
        WIT: Host(WIT, "witness", "127.0.0.1", port=1, **far),  # type: ignore[arg-type]
    }
    canary = Canary("canary@example.org", Secret("file", str(tmp_path / "canary")), "canary")
    services, ports = {"smtp": "exim", "imap": "dovecot"}, {"smtp": 1, "imap": 1}
    return Pair("org", hosts, stores, services, lease=8.0, canary=canary, ports=ports, state_dir=tmp_path / "state")


def of(facts: Facts, name: str) -> HostFacts:
    [found] = [each for each in facts.hosts if each.host.name == name]
    return found


@pytest.mark.issue("4.4 doctor: a host that doesn't answer is UNKNOWN, and nothing hangs")
def test_a_silent_host_makes_its_own_facts_unknown_and_delays_nobody(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MEET", 3.0)
    began = time.monotonic()
    facts = gather(pair, never_seen(pair), "No daemon runs.")
    assert time.monotonic() - began < 30
    assert facts.active == M1
    here, gone, shut = (of(facts, name) for name in (M1, M2, WIT))
    assert (
        isinstance(here.clock, Clock)
        and abs(here.clock.ahead) < 5
        and abs(here.clock.rate - 1) <= here.clock.unsure + 0.01
    )
    assert not isinstance(here.disks, Unknown) and here.disks[0].least is not None
    assert isinstance(here.guard, Unknown), "there is none on this machine, or it belongs to somebody else"
    for fact in (gone.guard, gone.clock, gone.disks, gone.virtual):
        assert isinstance(fact, Unknown) and "within 3 s" in fact.why and fact.remedy
    assert isinstance(shut.clock, Unknown) and shut.clock.remedy
    found = {check.name: check for check in checks(facts)}
    assert {found[name].state for name in ("guards", "clock", "disk")} == {State.UNKNOWN}
    assert not ready(tuple(found.values())).ready
    told = found["clock"].found
    assert f"{M2} isn't known" in told and f"{WIT} isn't known" in told and f"{M1} isn't known" not in told


def test_who_looks_and_what_is_recorded_is_told_as_it_is(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MEET", 3.0)
    now = time.time()
    status = never_seen(pair)
    status["passives"][0] |= {"equal_as_of": now - 60, "lag_seconds": 0.5}
    status |= {"link": "live", "health": {"places": [{"host": M1, "canary": None}]}}
    known = gather(pair, status).fences
    assert [(each.host, each.level, each.passed) for each in known] == [(M1, 1, None)]
    [device] = devices(pair.primary)
    fences.note(pair.state_dir, "org", fences.Trial(M1, device.title, device.fingerprint, now, "on", "status", "ok"))
    facts = gather(pair, status)
    assert [each.passed for each in facts.fences] == [now]
    assert facts.equal == now - 60 and facts.daemon == ""
    looked = {each.observer.name: each.saw for each in facts.looked}
    assert set(looked) == {"controller", "mirror", "witness"}
    controllers = looked["controller"]
    assert not isinstance(controllers, Unknown)
    assert {reading.how for reading in controllers} == {"refused"}, "nothing listens at port 1, and it says so"
    assert isinstance(looked["witness"], Unknown)


def test_an_agent_that_talks_nonsense_is_unknown(pair: Pair) -> None:
    """A program in the agent's place that ends at once, on a host that can be reached."""

    def broken(host: Host) -> Conversation:
        if host.name == M1:
            return opened(host)
        raise HostUnreachable(f"{host.name}: it said {subprocess.run(['echo', 'hi'], check=False).returncode}")

    facts = gather(pair, never_seen(pair), "No daemon runs.", open_link=broken)
    assert isinstance(of(facts, M2).disks, Unknown) and not isinstance(of(facts, M1).disks, Unknown)
    assert json.dumps(sorted(check.name for check in checks(facts)))
