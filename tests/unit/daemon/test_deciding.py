"""A pair's decisions over a staged world: what is kept, what is done once, what a daemon that died leaves behind."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from orchestrator.errors import BrokenPromise, Refused
from orchestrator.failover.decide import replay
from orchestrator.failover.facts import Word, as_json
from orchestrator.failover.states import State
from orchestrator.records import flags
from orchestrator.records.journal import Decision, Journal
from orchestrator.records.marks import State as Ended
from tests.unit.daemon.deciding import EPOCH, Stage
from tests.unit.failover.told import DEAD, DEGRADED, FAILS, GONE, RESTARTABLE, SERVICES_DEAD, WELL


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def kept(stage: Stage, operation: str = "") -> list[Decision]:
    with Journal(stage.pair.state_dir) as journal:
        return journal.decisions("org", operation)


def well(stage: Stage) -> Stage:
    assert stage.tick(3) == "PROTECTED"
    return stage


def outage(stage: Stage) -> Stage:
    """It was well for a while; then its power is cut."""
    well(stage).tick(20)
    stage.power_cut()
    return stage


@pytest.mark.issue("5.1 the daemon decides: facts stored before acts, a failover started once, replay")
def test_a_power_cut_leads_to_one_failover_that_is_kept_before_it_is_begun(stage: Stage) -> None:
    outage(stage)
    stage.holds = threading.Event()
    assert stage.tick() == "MOVING"
    begun = kept(stage)[-1]
    assert begun.decision["playbook"] == "failover" and begun.decision["by"] == "automatic"  # type: ignore[index,call-overload]
    assert stage.tick(5) == "MOVING" and len(stage.gone) == 1, "it isn't begun, and no other is started"
    stage.promoted()
    stage.holds.set()
    assert stage.tick(3) == "ALONE" and [journey for journey, _ in stage.gone] == ["failover"]
    with Journal(stage.pair.state_dir) as journal:
        last = journal.last("org")
    assert last is not None
    [named, *_] = kept(stage, last.id)
    assert named.id == begun.id, "the decision bears the operation's name"
    assert f"decision {begun.id}" in stage.gone[0][1]


def test_what_is_kept_is_only_what_is_new_and_can_be_decided_again(stage: Stage) -> None:
    outage(stage).tick(30)
    found = kept(stage)
    assert len(found) < 15
    assert [as_json(replay(each.facts)) for each in found] == [each.decision for each in found]  # type: ignore[arg-type]


def test_an_order_right_after_a_journey_waits_for_the_new_words_and_is_refused_when_none_come(stage: Stage) -> None:
    """As after a rejoin: the journal knows that it is done before the returned host was heard again."""
    outage(stage).tick()
    stage.promoted()
    assert stage.tick(3) == "ALONE"

    def back() -> None:
        stage.words["primary"], stage.markers["primary"] = Word(EPOCH + 1, "mirror", armed=True), EPOCH + 1
        stage.healths["primary"], stage.lag = WELL, 0.0

    stage.soon = [lambda: None] * 3
    with pytest.raises(Refused):
        stage.deciding.order("failback", "anna", "")
    stage.soon = [*([lambda: None] * 3), back]
    assert stage.deciding.order("failback", "anna", "").playbook == "failback" and not stage.soon
    assert stage.state == "MOVING"


@pytest.mark.issue("5.4 a flapping host doesn't ping-pong (cooldown); failback is never automatic")
def test_nobody_goes_back_unasked_and_a_cooldown_holds_until_it_is_acknowledged(stage: Stage) -> None:
    outage(stage).tick()
    stage.promoted()
    assert stage.tick(3) == "ALONE"
    stage.words["primary"], stage.markers["primary"] = Word(EPOCH + 1, "mirror", armed=True), EPOCH + 1
    stage.healths["primary"], stage.lag = WELL, 0.0
    stage.readied_at = stage.now + 1
    assert stage.tick(3) == "PROTECTED"
    stage.readied_at = stage.now + 1
    stage.tick(30)
    stage.words |= {"mirror": None, "witness": Word(EPOCH + 1, "mirror", armed=True)}
    stage.healths["mirror"], stage.lag = DEAD, None  # the new active goes within the hour
    assert stage.tick(5) == "DOWN" and len(stage.gone) == 1
    assert "In cooldown" in str(stage.deciding.told()["decision"]["held_back"])
    stage.deciding.order("ack", "anna", "seen", lambda it: flags.acknowledge(it, "org", "cooldown", "anna", "seen"))
    assert stage.tick() == "MOVING" and [journey for journey, _ in stage.gone] == ["failover", "failover"]


@pytest.mark.parametrize("mode", ["observe", "confirm"])
@pytest.mark.issue("5.5 mm_mode: observe only tells, confirm asks")
def test_observe_tells_what_it_would_do_and_confirm_asks(tmp_path: Path, mode: str) -> None:
    stage = outage(Stage(tmp_path, mode=mode))
    assert stage.tick(10) == "DOWN" and stage.gone == []
    told = stage.deciding.told()["decision"]
    assert told["would"] == "failover" and told["asks"] == ("failover" if mode == "confirm" else "")
    assert [text for what, text in stage.events if what == "held back"][-1].startswith("Doesn't fail over unasked")
    assert stage.deciding.standing().suppressed == 1


def test_services_that_fail_are_restarted_so_often_and_then_the_users_are_moved(stage: Stage) -> None:
    well(stage).tick(20)
    stage.healths["primary"] = RESTARTABLE
    assert stage.tick() == "DOWN" and len(stage.restarts) == 1
    assert stage.tick(4) == "DOWN" and len(stage.restarts) == 1, "the first one is still to be judged"
    stage.healths["primary"] = DEGRADED
    assert stage.tick(2) == "PROTECTED" and stage.deciding.restarts == 1
    stage.restarted = ("not done", "dovecot.service doesn't run")
    stage.healths["primary"] = RESTARTABLE
    stage.tick(7)
    assert len(stage.restarts) == 2 and stage.deciding.restarts == 2, "one that failed ends the tries"
    stage.healths["primary"] = SERVICES_DEAD  # as health says it then
    assert stage.tick() == "MOVING" and [journey for journey, _ in stage.gone] == ["failover"]


def test_a_failover_that_cant_be_begun_is_told_kept_and_not_tried_at_once(stage: Stage) -> None:
    outage(stage)
    stage.refuses = BrokenPromise("No step does cut, refuse.")
    stage.tick(20)
    assert stage.state == "DOWN" and len(stage.gone) == 1
    assert "couldn't be begun" in str(stage.deciding.told()["decision"]["held_back"])
    assert "No step does cut" in str(stage.events)
    stage.again()
    stage.tick(20)
    assert len(stage.gone) == 1, "nor by a daemon that was started anew"
    stage.now += 400
    stage.refuses = None
    stage.tick(2)
    assert len(stage.gone) == 2


@pytest.mark.issue("5.3 G8: a look that raises or hangs decides nothing, and isn't read as dead")
def test_a_look_that_raises_decides_nothing_and_the_next_one_is_made(stage: Stage) -> None:
    well(stage)
    before = len(kept(stage))
    stage.error = RuntimeError("an answer that nobody foresaw")
    stage.deciding.start()
    pause = threading.Event()
    for _ in range(100):
        if stage.deciding._trouble:
            break
        pause.wait(0.05)
    assert "nobody foresaw" in stage.deciding._trouble and len(kept(stage)) == before
    stage.now += 60
    assert "Nothing was decided for" in stage.deciding.told()["why"] and stage.state == "PROTECTED"
    stage.error = None
    stage.deciding.poke()
    for _ in range(100):
        if not stage.deciding._trouble:
            break
        pause.wait(0.05)
    assert stage.deciding._trouble == "" and stage.state == "PROTECTED"
    stage.deciding.stop()
    assert stage.deciding.join(5)


def test_a_guard_that_doesnt_answer_is_unknown_and_moves_nobody(stage: Stage) -> None:
    well(stage)
    stage.words["primary"] = stage.words["witness"] = None
    assert stage.tick(10) == "EXPOSED" and stage.gone == []


@pytest.mark.issue("5.5 pause and resume with expiry and reason")
def test_a_pause_holds_back_until_its_end_and_is_told_to_the_granters(stage: Stage) -> None:
    well(stage)
    stage.deciding.order("pause", "anna", "", lambda it: flags.pause(it, "org", 600, "anna", "new kernel", stage.now))
    stage.tick(20)
    stage.power_cut()
    assert stage.tick(5) == "DOWN" and stage.gone == [] and stage.paused[-1] == "by anna, new kernel"
    assert stage.deciding.standing().paused
    stage.again()
    assert stage.tick(2) == "DOWN" and stage.gone == [], "it outlives the daemon"
    stage.now += 600
    stage.tick(2)
    assert stage.paused[-1] == "" and not stage.deciding.standing().paused
    assert [journey for journey, _ in stage.gone] == ["failover"], "the clock alone ends it"


def test_two_that_claim_stop_everything_until_a_person_has_looked(stage: Stage) -> None:
    well(stage)
    stage.words["mirror"] = Word(EPOCH, "mirror", serves=True)
    assert stage.tick() == "SPLIT_BRAIN" and stage.stands()
    with pytest.raises(Refused, match="First look"):
        stage.deciding.order("switchover", "anna", "")
    stage.words["mirror"] = Word(EPOCH, "primary", armed=True)
    assert stage.tick(5) == "SPLIT_BRAIN", "nothing but an order leads out"
    assert stage.deciding.order("ack", "anna", "").state is State.HALTED
    assert stage.tick(5) == "HALTED" and not stage.stands()
    assert stage.deciding.order("resume", "anna", "").state is State.EXPOSED
    assert stage.tick(2) == "PROTECTED"


def test_an_ordered_journey_is_moving_from_its_order_to_its_end(stage: Stage) -> None:
    well(stage)
    with stage.deciding.journey("switchover", "anna", "patches"):
        assert stage.tick(3) == "MOVING", "also before it has opened its operation"
        stage.ends = lambda journal, name: journal.end(name, Ended.ROLLED_BACK, "undone")
        stage.go("switchover", "patches")
        assert kept(stage)[-1].decision["by"] == "anna"  # type: ignore[index,call-overload]
    with stage.deciding.journey("switchover", "anna", "at once, before anybody has looked"):
        stage.go("switchover", "again")
    assert stage.tick(2) == "PROTECTED"
    with stage.deciding.journey("switchover", "anna", "and nothing is begun"):
        pass
    assert stage.tick(2) == "PROTECTED"


@pytest.mark.parametrize("state", ["PROTECTED", "EXPOSED", "SUSPECT", "DOWN", "BLOCKED", "MOVING", "ALONE", "HALTED"])
@pytest.mark.issue("5.1 the state survives a restart of the daemon, in each state")
def test_a_daemon_that_is_started_anew_goes_on_from_each_state(tmp_path: Path, state: str) -> None:
    stage = well(Stage(tmp_path, mode="observe" if state == "DOWN" else "auto"))
    stage.tick(20)
    if state == "EXPOSED":
        stage.words["witness"] = None
    elif state == "SUSPECT":
        stage.healths["primary"] = FAILS
    elif state in ("DOWN", "BLOCKED"):
        stage.power_cut()
        stage.words["witness"] = stage.words["witness"] if state == "DOWN" else None
    elif state == "MOVING":
        stage.power_cut()
        stage.ends = lambda journal, name: None  # it is open
    elif state == "ALONE":
        stage.healths["mirror"], stage.words["mirror"] = GONE, None
    elif state == "HALTED":
        stage.power_cut()
        stage.ends = lambda journal, name: journal.end(name, Ended.STUCK, "serve: no grant")
    assert stage.tick(3) == state
    gone, before = len(stage.gone), stage.deciding.told()["state"]
    fresh = stage.again()
    assert stage.tick(1) == before
    assert stage.tick(3) == state and len(stage.gone) == gone and fresh.told()["decision"]["number"]
    facts = json.loads(json.dumps(kept(stage)[-1].facts))
    if state in ("DOWN", "BLOCKED"):
        assert facts["lag"] == 0.0 and facts["checks"], "what was known before the outage"
