"""What journeys came to, as the journal has it: counted by their ends, the last of each with steps, wait and loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.failover.travelled import LOOKED, Last, Travelled, travelled
from orchestrator.records.journal import Journal, Opening
from orchestrator.records.marks import Phase, State


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Past:
    """A journal, written with a clock of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.clock = directory, Clock()

    def decided(self, was: str, state: str, **more: object) -> None:
        with Journal(self.directory, self.clock) as journal:
            told = {"was": was, "state": state, **more}
            self.number = journal.decided("org", {}, told, "0")  # type: ignore[arg-type]

    def about(self, was: str, state: str) -> None:
        """A decision on how the last journey stands."""
        with Journal(self.directory, self.clock) as journal:
            last = journal.last("org")
            assert last is not None
            journal.decided("org", {}, {"was": was, "state": state, "loss": None}, "0", last.id)

    def journey(self, name: str, state: State, *steps: tuple[str, float]) -> None:
        """Each step takes so many seconds, and a second passes between two."""
        with Journal(self.directory, self.clock) as journal:
            begun = journal.begin(Opening("org", name, "primary", "mirror", 1, 2, "anna", "", "", "0")).id
            if name == "failover":
                journal.belongs(self.number, begun)
            for number, (verb, seconds) in enumerate(steps, 1):
                self.clock.now += 1.0
                journal.mark(begun, number, verb, Phase.INTENDED)
                journal.mark(begun, number, verb, Phase.ACTING)
                self.clock.now += seconds
                journal.mark(begun, number, verb, Phase.VERIFIED)
            journal.end(begun, state, "so")


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


@pytest.mark.issue("6.3 metrics of journeys: step durations, RTO and RPO actuals, messages at risk, the last drill")
def test_a_failover_is_told_from_the_first_suspicion_with_what_it_could_lose(past: Past) -> None:
    assert travelled(past.directory, "org") == Travelled("org"), "no journal yet"
    past.decided("PROTECTED", "SUSPECT")  # one that passed
    past.decided("SUSPECT", "PROTECTED")
    past.clock.now = 2000.0
    past.decided("PROTECTED", "SUSPECT")
    past.clock.now = 2005.0
    past.decided("SUSPECT", "DOWN")
    past.clock.now = 2006.0
    past.decided("DOWN", "MOVING", loss={"seconds": 2.0, "messages": 3})
    past.journey("failover", State.DONE, ("fence", 4.0), ("serve", 1.5), ("verify_outside", 0.5))
    past.about("MOVING", "ALONE")
    steps = {"fence": 4.0, "serve": 1.5, "verify_outside": 0.5}
    assert travelled(past.directory, "org") == Travelled(
        "org", {("failover", "done"): 1}, (Last("failover", 2006.0, 2015.0, steps, 15.0, 2.0, 3),)
    )


def test_an_outage_stays_as_long_as_it_was_however_much_is_decided_later(past: Past) -> None:
    past.decided("PROTECTED", "SUSPECT")
    for state in ("DOWN", "MOVING"):
        past.clock.now += 5.0
        past.decided("SUSPECT", state)
    past.journey("failover", State.DONE, ("verify_outside", 1.0))
    for _ in range(2 * LOOKED):
        past.clock.now += 30.0
        past.decided("ALONE", "ALONE")
        [last] = travelled(past.directory, "org").lasts
        assert last.away == 12.0


def test_an_outage_whose_beginning_lies_too_far_back_is_unknown_and_not_short(past: Past) -> None:
    past.decided("PROTECTED", "SUSPECT")
    for _ in range(LOOKED):
        past.clock.now += 5.0
        past.decided("SUSPECT", "DOWN")
    past.journey("failover", State.DONE, ("verify_outside", 1.0))
    [last] = travelled(past.directory, "org").lasts
    assert last.away is None and last.steps == {"verify_outside": 1.0}


def test_an_ordered_one_counts_from_who_was_turned_away_and_only_one_that_was_done(past: Past) -> None:
    past.journey("switchover", State.ROLLED_BACK, ("drain", 9.0))
    past.journey("switchover", State.DONE, ("presync", 5.0), ("drain", 1.0), ("verify_outside", 0.5))
    past.decided("PROTECTED", "MOVING", loss=None)
    past.journey("failover", State.ABORTED, ("fence", 4.0))
    with Journal(past.directory, past.clock) as journal:
        for name, state in (("d1", "begun"), ("d1", "done"), ("d2", "begun"), ("d2", "partly done"), ("d3", "begun")):
            past.clock.now += 100.0
            journal.event("org", "drill", {"id": name, "state": state})
    done = past.clock.now - 300.0
    found = travelled(past.directory, "org")
    assert found.ended == {("switchover", "rolled back"): 1, ("switchover", "done"): 1, ("failover", "aborted"): 1}
    [last] = found.lasts
    assert (last.journey, last.away, last.lag) == ("switchover", 2.5, None)
    assert found.drill == done, "when its last word came"
    assert travelled(past.directory, "net") == Travelled("net")
