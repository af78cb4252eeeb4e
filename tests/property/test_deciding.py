"""One pair's daemon over everything that may happen to its hosts and to itself, with a real journal."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from orchestrator.failover.decide import replay
from orchestrator.failover.facts import Word, as_json
from orchestrator.records import flags
from orchestrator.records.journal import Journal
from orchestrator.records.marks import State as Ended
from tests.unit.daemon.deciding import EPOCH, Stage
from tests.unit.failover.told import DEAD, FAILS, GONE, JUMPED, RESTARTABLE, WELL

ENDS = {"done": Ended.DONE, "rolled back": Ended.ROLLED_BACK, "stuck": Ended.STUCK}
HEALTHS = {"well": WELL, "fails": FAILS, "dead": DEAD, "restartable": RESTARTABLE, "jumped": JUMPED}


class Daemon(RuleBasedStateMachine):
    """A journey here changes nothing at the hosts: what is looked for is in what is kept and begun."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.stage = Stage(Path(self.directory.name))
        self.paused = 0.0

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(times=st.integers(1, 4), seconds=st.sampled_from([1.0, 1.0, 40.0, 400.0]))
    def look(self, times: int, seconds: float) -> None:
        for _ in range(times):
            began = len(self.stage.gone)
            self.stage.readied_at = self.stage.now
            self.stage.tick(1, seconds)
            assert len(self.stage.gone) <= began + 1
            assert not self.paused > self.stage.now or len(self.stage.gone) == began, "it is paused"

    @rule()
    def all_is_well_for_a_while(self) -> None:
        self.the_primary_is("well")
        self.the_mirror_is(away=False)
        self.the_witness_is(away=False)
        self.look(3, 1.0)

    @rule()
    def its_power_is_cut(self) -> None:
        self.all_is_well_for_a_while()
        self.the_primary_is("dead")
        self.look(2, 1.0)

    @rule(how=st.sampled_from(sorted(HEALTHS)))
    def the_primary_is(self, how: str) -> None:
        self.stage.healths["primary"] = HEALTHS[how]
        lives = how != "dead"
        self.stage.words["primary"] = Word(EPOCH, "primary", serves=lives, armed=True) if lives else None
        self.stage.markers["primary"], self.stage.lag = (EPOCH, 0.0) if lives else (None, None)

    @rule(away=st.booleans())
    def the_mirror_is(self, away: bool) -> None:
        self.stage.healths["mirror"] = GONE if away else WELL
        self.stage.words["mirror"] = None if away else Word(EPOCH, "primary", armed=True)

    @rule(away=st.booleans())
    def the_witness_is(self, away: bool) -> None:
        self.stage.words["witness"] = None if away else Word(EPOCH, "primary", armed=True)

    @rule(end=st.sampled_from(sorted(ENDS)))
    def journeys_end(self, end: str) -> None:
        self.stage.ends = lambda journal, name: journal.end(name, ENDS[end], end)

    @rule()
    def the_daemon_dies(self) -> None:
        self.stage.again()

    @rule(seconds=st.sampled_from([5.0, 600.0]))
    def an_operator_pauses(self, seconds: float) -> None:
        stage = self.stage
        if stage.state == "SPLIT_BRAIN":
            return
        stage.deciding.order(
            "pause", "anna", "", lambda it: flags.pause(it, "org", seconds, "anna", "a test", stage.now)
        )
        self.paused = stage.now + seconds

    @rule()
    def an_operator_resumes(self) -> None:
        with Journal(self.stage.pair.state_dir) as journal:
            if journal.running("org") is not None:
                return  # an open one is for `op`
        self.stage.deciding.order("resume", "anna", "", lambda it: flags.resume(it, "org", "anna", ""))
        self.paused = 0.0

    @invariant()
    def every_start_has_one_decision_of_its_own_and_each_comes_out_the_same(self) -> None:
        with Journal(self.stage.pair.state_dir) as journal:
            kept = journal.decisions("org")
        started = [each for each in kept if dict(each.decision)["playbook"]]  # type: ignore[arg-type]
        assert len(started) == len(self.stage.gone)
        for each in kept[-3:]:
            assert as_json(replay(each.facts)) == each.decision  # type: ignore[arg-type]


@pytest.mark.issue("5.1 the state survives a restart of the daemon, in each state")
def test_a_daemon_s_life() -> None:
    run_state_machine_as_test(Daemon, settings=settings(max_examples=12, stateful_step_count=20, deadline=None))
