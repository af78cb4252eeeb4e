"""What hosts and daemon said, as facts: each word taken apart, and silence never read as an answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.failover import gathered, leave, memory
from orchestrator.failover.facts import Decision, Operation, Word
from orchestrator.failover.gathered import Copied, Heard, Look
from orchestrator.failover.memory import Memory
from orchestrator.failover.states import Event, State
from orchestrator.fencing.proof import Attested
from orchestrator.health.report import Glance, PairHealth, PlaceHealth
from orchestrator.health.verdict import Level
from orchestrator.readiness.checks import Readied
from orchestrator.readiness.facts import Device
from orchestrator.records.journal import Opening
from orchestrator.records.journal import Operation as Kept
from orchestrator.records.marks import Course, Mark, Phase
from orchestrator.records.marks import State as Ended
from orchestrator.replication.report import Link, PairStatus, PassiveStatus
from tests.unit.daemon.deciding import EPOCH, pair
from tests.unit.failover.told import DEAD, FAILS, GONE, JUMPED, READY, WELL

PAIR = pair(Path("/nowhere"))
NOW = 1_000_000.0
KNOWN = Memory(State.PROTECTED, "primary", EPOCH)
GUARD: dict[str, Any] = {
    "epoch": 4, "active": "primary", "serves": True, "armed": True, "tombstone": 0, "run_out": None,
    "granted": {"without_end": False, "refuses": False, "leaving": ""}, "hands": {"queues": True},
}  # fmt: skip


def guard(**more: Any) -> dict[str, Any]:
    return {**GUARD, **more}


def seen(**more: Any) -> Look:
    known: dict[str, Any] = {
        "healths": {"primary": WELL, "mirror": WELL}, "copied": Copied(NOW, "mail1", EPOCH, 0.0, 0),
        "readied": Readied("org", NOW - 5, READY),
    }  # fmt: skip
    return Look(NOW, **{**known, **more})


def test_a_guard_s_word_is_taken_apart_and_one_that_isnt_understood_is_none() -> None:
    found = gathered.heard(1.0, guard(), [{"epoch": 4}, {"epoch": 3}], "")
    assert found.word == Word(4, "primary", serves=True, armed=True) and found.epoch == 3 and found.queues
    for broken in ({"epoch": "four"}, {"granted": None}, {"run_out": "soon"}):
        odd = gathered.heard(1.0, guard(**broken), [{"epoch": 4}, None], "")
        assert odd.alive and odd.word is None and odd.why and odd.epoch is None
    silent = gathered.heard(1.0, None, [], "it has no guard")
    assert (silent.word, silent.why, silent.epoch) == (None, "it has no guard", None)


@pytest.mark.parametrize(
    ("refuses", "left", "expected"), [(True, 0.0, True), (True, 2.5, False), (False, 0.0, False), (True, None, False)]
)
def test_a_lease_has_run_out_only_where_the_granter_refuses_and_its_time_is_over(
    refuses: bool, left: float | None, expected: bool
) -> None:
    granted = {"without_end": False, "refuses": refuses, "leaving": ""}
    word = gathered.heard(1.0, guard(granted=granted, run_out=left), [], "").word
    assert word is not None and word.run_out is expected


def test_health_counts_only_while_it_is_judged_and_of_the_roles_as_they_are() -> None:
    health = PairHealth("org", NOW, places=[
        PlaceHealth("primary", "mail1", True, "DOWN", NOW, "nobody gets an answer from it", "fail over"),
        PlaceHealth("mirror", "mail2"),
    ])  # fmt: skip
    assert gathered.healths(health, "mail1", "mail1", NOW)["primary"].level is Level.DOWN
    assert gathered.healths(health, "mail1", "mail1", NOW)["mirror"].level is Level.UNKNOWN
    assert gathered.healths(health, "mail1", "mail2", NOW)["primary"].level is Level.UNKNOWN, "roles have moved"
    assert gathered.healths(health, "mail1", "mail1", NOW + 6)["primary"].level is Level.UNKNOWN, "nobody judges"
    health.places[0].glances = [
        Glance("witness", "imap", "refused", "", 0.1, NOW, True, 5),
        Glance("witness", "smtp", "", "", 0.1, NOW, False, 0),
    ]
    assert gathered.failing(health, "mail1") == {"imap"}


def test_a_place_that_failed_since_the_first_look_isnt_well_until_it_was_seen_well() -> None:
    glance = Glance("witness", "imap", "timeout", "", 3.0, NOW, False, 1)
    place = PlaceHealth("primary", "mail1", True, "HEALTHY", NOW, "all is well", "nothing", glances=[glance])
    health = PairHealth("org", NOW, places=[replace(place, never=["imap"])])
    assert gathered.healths(health, "mail1", "mail1", NOW)["primary"].level is Level.UNKNOWN
    health.places[0].never = []
    assert gathered.healths(health, "mail1", "mail1", NOW)["primary"].level is Level.HEALTHY


def test_replication_says_what_is_lacking_only_while_it_has_both_ends() -> None:
    passive = PassiveStatus("mail2", "mirror", connected=True, pending=3, lag_seconds=1.5)
    status = PairStatus("org", Link.LIVE, active="mail1", epoch=4, passives=[passive], taken_at=NOW)
    assert gathered.copied(status, NOW) == Copied(NOW, "mail1", 4, 1.5, 3)
    for broken in (
        replace(status, link=Link.CONNECTING), replace(status, taken_at=0.0), replace(status, passives=[]),
        replace(status, passives=[replace(passive, connected=False)]),
    ):  # fmt: skip
        assert gathered.copied(broken, NOW).lag is None


def test_the_journal_s_last_operation_says_whether_it_is_past_and_whether_a_fence_lacked() -> None:
    opening = Opening("org", "failover", "primary", "mirror", 4, 5, "automatic", "", "", "0")
    kept = Kept("op-1", opening, NOW, Ended.ROLLED_BACK, Course.BACK, NOW + 9, "")
    fence = Mark(NOW, 2, "fence", Phase.FAILED, "no proof", None)
    assert gathered.operation(None, ()) is None
    found = gathered.operation(kept, [fence])
    assert found is not None and found.unproven and not found.past and found.ended == NOW + 9
    past = gathered.operation(replace(kept, state=Ended.OPEN), [Mark(NOW, 5, "advance", Phase.VERIFIED, "", None)])
    assert past is not None and past.past and not past.unproven and past.running


def test_a_device_counts_when_every_one_of_its_level_passed_a_test_lately() -> None:
    fresh, stale = Device("mail1", 1, "a", NOW - 60), Device("mail1", 1, "b", NOW - 8 * 86400)
    assert gathered.device([fresh], "mail1", NOW) and not gathered.device([fresh, stale], "mail1", NOW)
    assert gathered.device([fresh, stale, Device("mail1", 2, "c", NOW)], "mail1", NOW)
    assert not gathered.device([fresh], "mail2", NOW) and not gathered.device([], "mail1", NOW)


def test_a_statement_proves_a_fence_of_its_host_and_epoch() -> None:
    said = Attested("mail1", 4, "anna", "its cable is in my hand", NOW - 60)
    assert gathered.fence(None, "mail1", 4, "mail2", NOW) is None
    found, other = (gathered.fence(said, "mail1", epoch, "mail2", NOW) for epoch in (4, 5))
    assert found is not None and found.enough and other is not None and not other.enough


# ---- what is remembered ----------------------------------------------------------------------------------------------


def test_what_was_known_before_an_outage_counts_in_it() -> None:
    told = memory.noticed(KNOWN, seen(), PAIR)
    later = Readied("org", NOW + 40, ())
    down = replace(seen(), now=NOW + 41, healths={"primary": FAILS, "mirror": WELL}, copied=Copied(NOW + 41))
    told = memory.noticed(replace(told, lag=0.4, at_risk=2, contact=NOW + 39), replace(down, readied=later), PAIR)
    facts = memory.facts(told, down, PAIR)
    assert (facts.suspected, facts.lag, facts.at_risk) == (NOW + 41, 0.4, 2)
    assert facts.checked == NOW - 5, "the one that ended as it began to fail may have met the outage"


def test_a_readiness_that_may_have_met_the_outage_gives_way_to_the_one_before_it() -> None:
    told = memory.noticed(KNOWN, seen(), PAIR)
    told = memory.noticed(told, replace(seen(), now=NOW + 60, readied=Readied("org", NOW + 55, ())), PAIR)
    assert memory.facts(told, replace(seen(), now=NOW + 60), PAIR).checked == NOW + 55, "while all is well the newest"
    down = replace(seen(), now=NOW + 62, healths={"primary": DEAD, "mirror": WELL}, copied=Copied(NOW + 62))
    assert memory.facts(memory.noticed(told, down, PAIR), down, PAIR).checked == NOW - 5
    green = memory.noticed(KNOWN, seen(readied=Readied("org", NOW + 55, READY)), PAIR)
    assert memory.facts(memory.noticed(green, down, PAIR), down, PAIR).checked == NOW + 55, "a green one met none"


def test_a_contact_long_before_the_outage_counts_as_old_as_it_was() -> None:
    told = memory.noticed(KNOWN, seen(), PAIR)
    down = replace(seen(), now=NOW + 300, healths={"primary": DEAD, "mirror": WELL}, copied=Copied(NOW + 300))
    facts = memory.facts(memory.noticed(told, down, PAIR), down, PAIR)
    assert facts.lag == 300.0 and facts.at_risk is None
    assert memory.facts(KNOWN, down, PAIR).lag is None, "and none is unknown"


def test_an_unknown_ends_no_outage_and_begins_none() -> None:
    down = memory.noticed(KNOWN, replace(seen(), healths={"primary": DEAD}), PAIR)
    assert memory.noticed(down, replace(seen(), healths={"primary": JUMPED}), PAIR).suspected == NOW
    assert memory.noticed(KNOWN, replace(seen(), healths={"primary": JUMPED}), PAIR).suspected == 0
    assert memory.noticed(down, seen(), PAIR).suspected == 0


@pytest.mark.issue("5.1 words of different moments are no split brain")
def test_an_old_word_isnt_held_against_its_place_once_a_later_epoch_is_known() -> None:
    old = Heard(10.0, True, Word(EPOCH, "primary", serves=True), ({"epoch": 4},))
    new = Heard(12.0, True, Word(EPOCH + 1, "mirror", serves=True), ({"epoch": 5},))
    look = seen(heard={"primary": old, "mirror": new})
    told = memory.learnt(KNOWN, look, PAIR, 13.0)
    assert (told.epoch, told.active, told.since) == (EPOCH + 1, "mirror", 13.0)
    first, _ = memory.facts(told, look, PAIR).hosts
    assert first.word is None and first.alive, "it was asked before anybody knew"
    again = memory.facts(told, seen(heard={"primary": replace(old, began=14.0), "mirror": new}), PAIR)
    assert again.hosts[0].word == old.word, "it still serves, and was asked since: that counts"


def test_after_a_move_nothing_from_before_it_counts() -> None:
    told = memory.noticed(KNOWN, seen(), PAIR)
    moved = memory.learnt(told, seen(heard={"mirror": Heard(1.0, True, Word(5, "mirror"))}), PAIR, 2.0)
    assert (moved.lag, moved.readied, moved.suspected) == (None, (), 0.0)
    assert memory.noticed(moved, seen(), PAIR).readied == (), "a readiness of the roles as they were"
    assert memory.noticed(moved, seen(readied=Readied("org", NOW + 60, READY)), PAIR).readied


def test_where_no_guard_was_ever_heard_the_stores_say_who_is_active() -> None:
    assert memory.learnt(Memory(), seen(), PAIR, 1.0).active == "primary"
    assert memory.learnt(Memory(), seen(copied=Copied(NOW)), PAIR, 1.0).active == ""


def test_a_daemon_started_anew_takes_an_outage_up_and_forgets_what_may_be_stale() -> None:
    down = replace(seen(), healths={"primary": DEAD, "mirror": WELL}, copied=Copied(NOW))
    facts = memory.facts(replace(KNOWN, lag=0.4, contact=NOW, suspected=NOW, state=State.DOWN), down, PAIR)
    kept = Decision(Event.DOWN_CONFIRMED, State.DOWN, State.DOWN, "")
    assert memory.recalled(PAIR, facts, kept, NOW).lag == 0.4
    well = memory.facts(replace(KNOWN, lag=0.4, contact=NOW), seen(), PAIR)
    told = memory.recalled(PAIR, well, Decision(Event.READY, State.PROTECTED, State.PROTECTED, ""), NOW)
    assert (told.state, told.epoch, told.lag) == (State.PROTECTED, EPOCH, None)


def test_an_operation_from_before_the_decision_to_move_isnt_the_one_that_was_decided_on() -> None:
    old = Operation("op-1", "failover", "done", ended=NOW - 50)
    moving = replace(KNOWN, state=State.MOVING, moving=NOW - 10)
    assert memory.facts(moving, seen(operation=old), PAIR).operation is None
    assert memory.facts(moving, seen(operation=replace(old, ended=NOW - 5)), PAIR).operation is not None
    assert memory.facts(KNOWN, seen(operation=old), PAIR).operation == old


# ---- granters in a pause ---------------------------------------------------------------------------------------------


@pytest.mark.issue("5.5 a lease with pause gives the holder an open-ended grant first")
def test_granters_are_told_once_of_a_pause_and_of_its_end() -> None:
    heard = {place: Heard(1.0, True, Word(4, "primary")) for place in ("primary", "mirror", "witness")}
    due = leave.due("primary", "by anna, new kernel", heard, set())
    assert [(each.place, each.verb) for each in due] == [("mirror", "leave"), ("witness", "leave")]
    assert due[0].words == "mailmirror pause: by anna, new kernel"
    assert [each.place for each in leave.due("primary", "by anna", heard, {"mirror"})] == ["witness"]
    assert leave.due("primary", "by anna", {"witness": Heard(1.0)}, set()) == [], "one that doesn't answer, later"
    told = {"mirror": replace(heard["mirror"], leaving=due[0].words), "witness": replace(heard["witness"], leaving="x")}
    assert leave.due("primary", "by anna", told, set()) == []
    assert [(each.place, each.verb) for each in leave.due("primary", "", told, set())] == [("mirror", "withdraw")], (
        "what was asked for on the host itself stays"
    )
    assert leave.due("", "by anna", heard, set()) == [] and GONE
