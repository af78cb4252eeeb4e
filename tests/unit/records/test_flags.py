"""Pause, cooldown and restarts as the journal has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.records import flags
from orchestrator.records.journal import Journal, Opening
from orchestrator.records.marks import State


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def opening(journey: str, leads: int) -> Opening:
    return Opening("org", journey, "primary", "mirror", 4, leads, "anna", "", "", "0")


@pytest.mark.issue("5.5 pause and resume with expiry and reason")
def test_a_pause_ends_by_the_clock_or_by_an_order_and_the_newest_counts(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, clock) as journal:
        assert flags.paused(journal, "org", clock.now) is None
        flags.pause(journal, "org", 60, "anna", "new kernel", clock.now)
        found = flags.paused(journal, "org", 1059.0)
        assert found == flags.Pause(1000.0, 1060.0, "anna", "new kernel")
        assert flags.paused(journal, "org", 1060.0) is None and flags.paused(journal, "net", 1001.0) is None
        flags.pause(journal, "org", 600, "bert", "longer", clock.now)
        flags.resume(journal, "org", "anna", "")
        assert flags.paused(journal, "org", 1001.0) is None
        flags.pause(journal, "org", 5, "bert", "again", clock.now)
    with Journal(tmp_path, clock) as again:
        assert flags.paused(again, "org", 1001.0) is not None, "it is durable"


@pytest.mark.parametrize(("seconds", "why"), [(0.0, "x"), (8 * 86400.0, "x"), (60.0, "  ")])
def test_a_pause_has_an_end_and_a_reason(tmp_path: Path, seconds: float, why: str) -> None:
    with Journal(tmp_path) as journal, pytest.raises(UsageError):
        flags.pause(journal, "org", seconds, "anna", why)


@pytest.mark.issue("5.4 a flapping host doesn't ping-pong (cooldown); failback is never automatic")
def test_the_cooldown_follows_a_failover_and_an_operator_ends_it(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, clock) as journal:
        for journey, leads, expected in (("switchover", 5, 0.0), ("rejoin", 4, 0.0), ("failover", 5, 4600.0)):
            journal.end(journal.begin(opening(journey, leads)).id, State.DONE, "")
            assert flags.cooldown_until(journal, "org", 3600.0) == expected
        clock.now = 1100.0
        flags.acknowledge(journal, "org", "cooldown", "anna", "seen")
        assert flags.cooldown_until(journal, "org", 3600.0) == 0.0
        clock.now = 1200.0
        journal.end(journal.begin(opening("failover", 5)).id, State.ROLLED_BACK, "")
        assert flags.cooldown_until(journal, "org", 3600.0) == 0.0, "nobody was promoted"


def test_restarts_count_for_an_hour_and_one_that_failed_is_said(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, clock) as journal:
        journal.event("org", flags.RESTART, {"state": "done"})
        clock.now = 2000.0
        assert flags.restarts(journal, "org", clock.now) == (1, False, 1000.0)
        journal.event("org", flags.RESTART, {"state": "not done"})
        assert flags.restarts(journal, "org", clock.now) == (2, True, 2000.0)
        assert flags.restarts(journal, "org", 5601.0) == (0, False, 0.0)
        assert flags.not_begun(journal, "org") == (0.0, "")


def test_decisions_are_found_by_operation_number_and_newest(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        first, second = (journal.decided("org", {"n": n}, {}, "0") for n in (1, 2))
        journal.belongs(second, "op-1")
        assert [each.id for each in journal.decisions("org")] == [first, second]
        assert [each.id for each in journal.decisions("org", newest=1)] == [second]
        assert [each.facts for each in journal.decisions("org", number=first)] == [{"n": 1}]
        assert [each.id for each in journal.decisions("org", "op-1")] == [second]
        assert journal.last("org") is None and journal.promoted("org") is None
