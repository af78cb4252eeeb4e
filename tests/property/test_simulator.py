"""Journeys in virtual time: no seed breaks a guarantee, a seed replays exactly, and what is taken out is missed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from orchestrator.failover import carrying
from orchestrator.failover.step import DONE, Found
from orchestrator.failover.steps import advertising, fences, guards, stores
from orchestrator.replication import firewall, homecoming, reclaim
from orchestrator.simulate.run import able, run
from orchestrator.simulate.spool import Spool
from orchestrator.traffic.proof import DEVICE
from tests.support import seeds

FIXED, FRESH = 500, 100
MOST = 400
"""Seeds in which what was taken out has to be missed."""


def judged(first: int, count: int) -> None:
    """By a process of its own, whose lines nobody counts: counting them takes nine times as long as the seeds."""
    uncounted = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    words = [sys.executable, "-m", "orchestrator", "simulate", "--seed", str(first), "--seeds", str(count)]
    ended = subprocess.run(words, env=uncounted, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith(f"{count} seeds from {first} on: "), ended.stdout


@pytest.mark.issue("5.P simulator: 10,000 seeds, none broken; here a sample of them")
@pytest.mark.parametrize("part", range(4))
def test_no_fixed_seed_breaks_a_guarantee(part: int) -> None:
    judged(part * FIXED // 4, FIXED // 4)


def test_no_fresh_seed_breaks_a_guarantee() -> None:
    judged(seeds.drawn("simulator"), FRESH)


@pytest.mark.parametrize("journey", able())
def test_without_a_fault_a_journey_is_done_and_loses_nothing(journey: str) -> None:
    for seed in range(5):
        outcome = run(seed, journey, [])
        assert (outcome.ended, outcome.broken) == ("done", "")


@pytest.mark.issue("5.6 simulator: a failing seed prints its story and replays")
def test_a_seed_is_told_the_same_again() -> None:
    assert [run(seed) for seed in range(12, 16)] == [run(seed) for seed in range(12, 16)]


def found(broken: tuple[str, ...], journey: str) -> int:
    """The first seed in which one of these is broken."""
    for seed in range(MOST):
        outcome = run(seed, journey)
        if any(each in outcome.broken for each in broken):
            print(f"found by seed {seed}: {outcome.broken}")
            return seed
    raise AssertionError(f"{broken}: not found in {MOST} seeds")


@pytest.mark.issue("5.P simulator, mutation: the tombstone is taken out, and missed")
def test_a_switchover_without_the_tombstone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def assumed(step: guards.Tombstone) -> Found:
        guards.note_fence(step.voyage, DEVICE, "its services are stopped")
        return Found(DONE, "its services are stopped")

    monkeypatch.setattr(guards.Tombstone, "probe", assumed)
    monkeypatch.setattr(guards.Tombstone, "verify", assumed)
    found(("G2", "away from the primary"), "switchover")


@pytest.mark.issue("5.P simulator, mutation: the fence is taken out, and missed")
def test_a_failover_without_a_fence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assumed = fences.Proven(DEVICE, "it doesn't answer, so it will be dead")
    monkeypatch.setattr(fences.Fenced, "proven", lambda *_, **__: assumed)
    found(("G2",), "failover")


@pytest.mark.issue("5.P simulator, mutation: the cut is taken out, and missed")
def test_a_failover_without_a_cut_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Found(DONE, "it is as it is")
    monkeypatch.setattr(stores.Cut, "probe", lambda _: frozen)
    monkeypatch.setattr(stores.Cut, "verify", lambda _: frozen)
    found(("after its cut",), "failover")


@pytest.mark.issue("5.2 CONDSTORE and QRESYNC: a failover that hides neither is found by the simulator")
def test_a_failover_that_goes_on_advertising_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Found(DONE, "it advertises all")
    monkeypatch.setattr(advertising.Withhold, "probe", lambda _: told)
    monkeypatch.setattr(advertising.Withhold, "verify", lambda _: told)
    found(("G4: the mirror is promoted",), "failover")


@pytest.mark.issue("5.P simulator, mutation: the queue ledger is taken out, and missed")
def test_a_queue_that_is_moved_without_the_ledger_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forgets: Callable[..., None] = lambda *_: None  # noqa: E731 - one value, wherever it is asked
    monkeypatch.setattr(Spool, "known", forgets)
    monkeypatch.setattr(carrying, "ledger", lambda _: [])
    found(("stands twice",), "switchover")


@pytest.mark.issue("5.P simulator, mutation: the ctime rule is taken out, and missed")
@pytest.mark.issue("5.6 simulator: a rejoin with the real reclaim code, and a failback after it")
def test_a_rejoin_without_the_ctime_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homecoming, "Facts", lambda _, kept, ctimes: reclaim.Facts(0, kept, ctimes))
    monkeypatch.setattr(reclaim._Case, "_is_own", lambda *_: True)
    found(("comes back", "before its owner changed it"), "rejoin")


@pytest.mark.issue("5.P simulator, mutation: the deletion permit is taken out, and missed")
def test_a_replication_without_the_deletion_permit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall, "permits", lambda *_, **__: True)
    found(("G5",), "switchover")
