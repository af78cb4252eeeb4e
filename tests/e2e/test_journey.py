"""Journeys where nothing is there to rely on: hosts without guards. A plan says so, an order is refused, all goes on.

Real hosts as in `test_control`: a primary behind a real sshd, the mirror on this machine.
"""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

from orchestrator.failover import playbook
from orchestrator.records.journal import Journal, Opening
from orchestrator.records.marks import State
from tests.e2e.test_control import Operator, operator  # noqa: F401 - the fixture
from tests.support.outage import turn
from tests.unit.daemon.test_follower import until

pytestmark = pytest.mark.lab
WITHIN = 40.0


@pytest.fixture
def synced(operator: Operator) -> Operator:  # noqa: F811
    operator.type("sync")
    return operator


def ends(operator: Operator) -> list[str]:  # noqa: F811
    """How the pair's operations stand."""
    with Journal(operator.base / "state") as journal:
        return [str(each.state) for each in journal.operations("org")]


def refused(operator: Operator) -> None:  # noqa: F811
    """A switchover is rolled back at once, since there are no guards."""
    told = json.loads(operator.type("switchover", "--yes", "--reason", "try", "--format", "json", code=1))
    assert (told["state"], told["active"], told["epoch"]) == ("rolled back", "primary", 1)


@pytest.mark.issue("5.5 --dry-run is exactly the precheck plus the plan")
def test_a_plan_shows_every_step_and_changes_nothing(synced: Operator) -> None:
    told = synced.type("plan", "switchover").splitlines()
    assert told[0] == "org: switchover from the primary to the mirror, epoch 1"
    assert len(told) == 2 + 17 and " not done " in told[2] and "lay guards down" in told[2]
    steps = synced.told("switchover", "--dry-run")["steps"]
    assert [step["verb"] for step in steps][:3] == ["ready", "presync", "withhold"]
    assert (steps[2]["now"], steps[3]["now"]) == ("done", "unknown"), "no Dovecot is kept there, and no guard answers"
    assert ends(synced) == []


@pytest.mark.issue("5.5 drill: --dry-run shows both parts, and a first part that is rolled back is the last one")
def test_a_drill_shows_both_parts_and_ends_with_the_first_that_fails(synced: Operator) -> None:
    plan = synced.type("drill", "--dry-run")
    assert "org: switchover from the primary to the mirror, epoch 1" in plan
    assert "org: failback from the mirror to the primary, epoch 2" in plan and "looked at when it begins" in plan
    assert [part["journey"] for part in synced.told("plan", "drill")["parts"]] == ["switchover", "failback"]
    assert ends(synced) == [] and synced.told("history", "--drills") == []
    for running in (False, True):
        with synced.running() if running else nullcontext():
            told = json.loads(synced.type("drill", "--yes", "--reason", "sunday", "--format", "json", code=1))
        assert (told["state"], told["active"]) == ("rolled back", "primary")
        [part] = told["parts"]
        assert (part["journey"], part["state"], part["away"]) == ("switchover", "rolled back", None)
        assert "rolled back" in synced.type("history", "--drills").splitlines()[-1]
    assert [each["part_of"] for each in synced.told("history")] == [
        each["id"] for each in synced.told("history", "--drills")
    ]
    assert ends(synced) == ["rolled back"] * 2


def test_without_guards_a_switchover_is_refused_and_nothing_is_changed(synced: Operator) -> None:
    refused(synced)
    synced.type("switchover", code=5)  # without a terminal it has to be said
    synced.type("failback", "--yes", code=3)  # the primary is active
    synced.type("failover", "org", "--accept-loss", code=4)  # nobody can tell who is active
    synced.type("plan", "failover", code=4)
    assert ends(synced) == ["rolled back"]
    synced.type("sync")


def test_in_the_daemon_a_pair_is_followed_again_after_it(synced: Operator) -> None:
    with synced.running():
        assert synced.told("plan", "switchover")["active"] == "primary"
        assert synced.link() == "live", "a plan doesn't send the pair's thread away"
        refused(synced)
        until(lambda: synced.link() == "live", WITHIN)
    assert ends(synced) == ["rolled back"]


@pytest.mark.issue("5.3 restarted daemon resumes forward, rolls back before the point of no return")
def test_what_a_dead_daemon_left_open_is_ended_by_the_next(synced: Operator) -> None:
    text = playbook.load("switchover").text
    with Journal(synced.base / "state") as journal:
        journal.begin(Opening("org", "switchover", "primary", "mirror", 1, 2, "ann", "try", text, "0"))
    with synced.running():
        until(lambda: ends(synced) == ["rolled back"], WITHIN)
        until(lambda: synced.link() == "live", WITHIN)


@pytest.mark.parametrize("running", [False, True])
def test_an_operator_ends_what_is_open_and_history_tells_it(synced: Operator, running: bool) -> None:
    text = playbook.load("switchover").text
    with Journal(synced.base / "state") as journal:
        name = journal.begin(Opening("org", "switchover", "primary", "mirror", 1, 2, "ann", "try", text, "0")).id
        journal.end(name, State.STUCK, "something failed")
    with synced.running() if running else nullcontext():
        assert "something failed" in synced.type("history")
        synced.type("switchover", "--yes", code=4)
        synced.type("op", "abort", name, "--yes", code=2)  # it needs a reason
        told = synced.told("op", "abort", name, "--yes", "--reason", "by hand")
        assert told["state"] == "aborted"
        [row] = synced.told("history")
        assert (row["operation"], row["state"], row["by"]) == (name, "aborted", "ann")
        synced.type("op", "resume", name, "--yes", code=4)  # it has ended


@pytest.mark.issue("5.4 rejoin: until then nothing flows to or from the older place, and it is said what to type")
def test_an_older_place_is_left_alone_until_it_rejoins(synced: Operator) -> None:
    synced.type("rejoin", "--yes", code=3)  # of the present epoch
    synced.type("plan", "rejoin", code=3)
    turn(synced.base / "there", "active", 2)
    synced.deliver("1700000000.M9P1.mail1")
    for words in (("sync",), ("verify",), ("switchover", "--yes"), ("failback", "--yes"), ("rejoin", "--dry-run")):
        synced.type(*words, code=4)
    assert "mailmirror rejoin org" in synced.type("status")
    assert not list((synced.base / "there").rglob("1700000000.M9P1*"))
    told = synced.told("plan", "rejoin")
    assert (told["active"], told["passive"], told["epoch"]) == ("mirror", "primary", 2)
    assert [step["verb"] for step in told["steps"]][:3] == ["hold_queue", "compare", "set_aside"]
    assert ends(synced) == []
