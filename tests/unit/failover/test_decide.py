"""Decisions: every case as it should be, told in words, and decided again the same from what was written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.errors import BrokenPromise
from orchestrator.failover.decide import decide, explain, replay
from orchestrator.failover.facts import Decision, Facts, as_json, from_json
from orchestrator.failover.states import Event
from tests.unit.failover.decisions import CASES, Case
from tests.unit.failover.told import dead, order, pair

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each
def test_what_is_decided(case: Case) -> None:
    found = decide(case.facts)
    assert (found.event, found.state, found.playbook) == (case.event, case.state, case.playbook), explain(found)
    assert {name: getattr(found, name) for name, _ in case.fields} == dict(case.fields)
    told = "\n".join(explain(found))
    assert [words for words in case.says if words not in told] == [], told


@pytest.mark.issue("5.1 decisions pure, stored with what they saw; replay decides again")
@each
def test_what_was_written_is_decided_again_the_same(case: Case) -> None:
    found = decide(case.facts)
    facts, decision = (json.loads(json.dumps(as_json(value), allow_nan=False)) for value in (case.facts, found))
    assert from_json(Facts, facts) == case.facts
    assert from_json(Decision, decision) == found == replay(facts)


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 25


@pytest.mark.issue("5.1 explain tells")
def test_explain_tells_what_it_rests_on_and_what_an_operator_may_do() -> None:
    assert explain(decide(dead(mode="confirm"))) == [
        "DOWN stays: Two observers agree, one of them not the controller's.",
        "Two observers agree that the active place is down.",
        "  Epoch 4, the primary is active.",
        "  mail1 (primary) is DOWN: nobody gets an answer from it. imap from witness: timeout 6 times",
        "  mail1: its guard doesn't answer.",
        "  mail2 (mirror) is HEALTHY: all is well.",
        "  mail2: its guard knows epoch 4, doesn't serve, is armed. Its store is of epoch 4.",
        "  The witness: its guard knows epoch 4, doesn't serve, is armed.",
        "  The other place lacked 2 messages, 0.4 s at the last contact, and whatever was accepted after it.",
        "  The lease is armed and both granters answer: it can be left to run out.",
        "Not done unasked: mm_mode is confirm.",
        "Would fail over.",
        "Could be lost: 2 messages, 0.4 s at the last contact, and whatever was accepted after it.",
        "You may: failover, pause, attest.",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"state": "ASLEEP"}, "Facts.state can't be 'ASLEEP'"),
        ({"now": "late"}, "Facts.now can't be 'late'"),
        ({"lag": True}, "Facts.lag can't be True"),
        ({"hosts": []}, "Facts.hosts can't be"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_damaged_record_is_refused_with_its_place(change: dict[str, object], words: str) -> None:
    with pytest.raises(BrokenPromise, match=words):
        from_json(Facts, {**as_json(pair()), **change})


def test_a_record_without_a_field_that_came_later_is_read() -> None:
    told = as_json(pair())
    del told["lone"]
    assert from_json(Facts, told) == pair()
    del told["epoch"]
    with pytest.raises(BrokenPromise, match="epoch"):
        from_json(Facts, told)


def test_news_and_orders_cannot_pass_for_what_a_look_has_to_find() -> None:
    with pytest.raises(ValueError, match="for a look to find"):
        decide(dead(news=Event.FAILOVER_DUE))
    with pytest.raises(ValueError, match="no order"):
        decide(dead(order=replace(order("failover"), verb=Event.FAILOVER_DUE.value)))
