"""The rule on what Dovecot advertises, on its way between two places: what each journey makes of it, and undoes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchestrator.errors import HostUnreachable
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Remembered, Step, Voyage
from orchestrator.failover.steps import advertising
from orchestrator.failover.world import Answered, World
from tests.unit.failover.staged import Clock

RULE = {"epoch": 2, "until": 5000.0}


class Places:
    """Both hosts' rules, as their agents answer; `away` doesn't. `sweeps`: what each request for one comes to."""

    def __init__(self, **rules: Any) -> None:
        self.rules: dict[str, Any] = {"primary": None, "mirror": None, **rules}
        self.away: set[str] = set()
        self.dovecot = self.written = True
        self.days = 30 * 86400.0
        self.sweeps: list[Any] = []

    def wall(self) -> float:
        return 1000.0

    def qresync_after(self) -> float:
        return self.days

    def ask(self, place: str, verb: str, head: dict[str, Any], within: float) -> Answered:
        assert verb == "advertised" and within > 0
        if place in self.away:
            raise HostUnreachable(f"the {place} is away")
        more = {}
        if head["do"] == "set":
            self.rules[place] = head["rule"]
        elif head["do"] == "sweep":
            more = self.sweeps.pop(0)
            assert head["after"] == more.pop("asked")
        rule = self.rules[place] if self.dovecot else None
        return Answered(
            {"dovecot": self.dovecot, "rule": rule, "withheld": ["CONDSTORE"] if rule and self.written else [], **more},
            b"",
        )


def voyage(places: Places, journey: str, notes: Remembered | None = None) -> Voyage[World]:
    clock = Clock()
    return Voyage(
        operation="op", pair="org", journey=journey, leaves=2, leads=3, active="primary", passive="mirror",
        world=cast(World, places), notes=notes or Remembered(), clock=clock, deadline=clock.now() + 60, number=1,
        begun=False,
    )  # fmt: skip


def withhold(places: Places, journey: str) -> Step:
    return advertising.withhold(voyage(places, journey), {})


@pytest.mark.issue("5.2 CONDSTORE and QRESYNC: a failover lays a rule of its own, and takes it back on the way back")
@pytest.mark.parametrize("before", [None, RULE])
def test_a_failover_lays_its_own_rule_before_the_epoch_begins(before: Any) -> None:
    places = Places(mirror=before)
    places.away.add("primary")
    step = withhold(places, "failover")
    assert step.probe().state is NOT_DONE
    for _ in range(2):
        step.act()
        assert step.verify().state is DONE
        assert places.rules["mirror"] == {"epoch": 3, "until": 1000.0 + 30 * 86400}
    places.written = False
    assert step.verify().state is NOT_DONE, "a rule that Dovecot's configuration doesn't follow"
    places.written = True
    step.undo()
    assert places.rules["mirror"] == before and step.probe().state is NOT_DONE


@pytest.mark.issue("5.2 CONDSTORE and QRESYNC: a switchover leaves them advertised, or hidden as they were")
def test_a_switchover_brings_the_actives_rule_along_and_most_often_there_is_none() -> None:
    places = Places()
    assert withhold(places, "switchover").probe().state is DONE and places.rules["mirror"] is None
    for here, there in ((RULE, None), (None, RULE)):
        places = Places(primary=here, mirror=there)
        step = withhold(places, "failback")
        assert step.probe().state is NOT_DONE
        step.act()
        assert step.verify().state is DONE and places.rules["mirror"] == here
        step.undo()
        assert places.rules["mirror"] == there
    over = Places(primary={"epoch": 1, "until": 999.0})
    assert withhold(over, "switchover").probe().state is DONE, "its time is over"


def test_who_cant_be_asked_is_unknown_and_where_nothing_is_to_hide_it_is_done() -> None:
    places = Places()
    places.away.add("primary")
    assert withhold(places, "switchover").probe().state is UNKNOWN
    places.dovecot = False
    assert withhold(places, "switchover").probe().state is DONE
    places = Places()
    places.days = 0.0
    assert withhold(places, "failover").probe().state is DONE


@pytest.mark.issue("5.2 a sweep that fails for some is told, and holds nobody up")
def test_a_sweep_goes_on_where_it_was_and_tells_what_failed() -> None:
    places = Places(mirror=RULE)
    places.sweeps = [
        {"asked": "", "next": "bob", "raised": 4, "failed": []},
        {"asked": "bob", "next": "", "raised": 2, "failed": ["cid: broken"]},
    ]
    step = advertising.sweep(voyage(places, "failover"), {})
    assert step.probe().state is NOT_DONE
    step.act()
    found = step.verify()
    assert found == (DONE, "HIGHESTMODSEQ of 6 folders was raised; not all could be: cid: broken")
    places.away.add("mirror")
    step = advertising.sweep(voyage(places, "failover"), {})
    assert step.probe().state is UNKNOWN
    step.act()
    assert step.verify().state is DONE and "the mirror is away" in step.verify().said
    assert advertising.sweep(voyage(Places(), "failover"), {}).probe().state is DONE, "nothing was lost"
