"""The report of a rejoin: each difference stands in one list, and what was planned survives its record."""

from __future__ import annotations

import json

import pytest

from orchestrator.failover import reporting
from orchestrator.replication.homecoming import Outcome
from orchestrator.replication.reclaim import Act, Line, Plan, Spot, Stood

STOOD = Stood("ann/.Here", "b1", 1, ":2,S", 7, 10, 20, 30, 4)
DELIVER = Act("deliver", "ann", "b1", Spot("ann/.There", 1, ":2,S"), stood=STOOD)
MOVE = Act("move", "ann", "b2", Spot("ann", 1, ":2,S"), Spot("ann", 1, ":2,"))
FOLDER = Act("folder", "ann", "", Spot("ann/.New", 0, ""))
KINDS = ("message", "flags", "folder", "expunge", "outrun", "other", "kept", "undone", "renamed")
PLAN = Plan(
    (DELIVER, MOVE, FOLDER),
    tuple(Line(kind, "ann", "ann", f"of {kind}", 1, 2, 3, "") for kind in KINDS),
    dict.fromkeys(KINDS, 1), 0.25, False,
)  # fmt: skip


def test_a_plan_is_the_same_after_its_record() -> None:
    assert Plan.unpacked(json.loads(json.dumps(PLAN.packed()))) == PLAN


@pytest.mark.issue("5.4 rejoin: a report by message, each in one list")
def test_each_difference_stands_in_one_list() -> None:
    key = ("ann", "ann/.Here", "b1")
    outcome = Outcome(delivered={key: "d" * 64}, message_ids={key: "<a@b>"}, applied=[FOLDER], outrun=[MOVE], again=1)
    told = reporting.store_report("/var/vmail", {"epoch": 2}, PLAN, outcome)
    assert told["delivered"] == [
        {
            "account": "ann", "folder": "ann/.There", "stood": "ann/.Here", "base": "b1", "message_id": "<a@b>",
            "sha256": "d" * 64,
        }
    ]  # fmt: skip
    assert [each["what"] for each in told["applied"]] == ["folder"]
    assert [(each["from"], each["to"]) for each in told["outrun"]] == [(["ann", 1, ":2,"], ["ann", 1, ":2,S"])]
    assert {each["kind"] for each in told["at_risk"]} == {"expunge", "outrun"}
    assert [each["kind"] for each in told["aside"]] == ["other"]
    assert {each["kind"] for each in told["listed"]} == {"kept", "undone", "renamed"}
    whole = reporting.report("org", "op", "mail1", "mail2", 2, [told])
    assert whole["counts"] == {"delivered": 1, "applied": 1, "outrun": 1, "at_risk": 2, "aside": 1, "listed": 3}
    assert json.loads(json.dumps(whole)) == whole


def test_numbers_are_told_as_a_sentence() -> None:
    assert reporting.sentence({"message": 1200, "flags": 0}) == "1,200 × never replicated, delivered as new"
    assert reporting.sentence({}) == "it has nothing of its own"
    assert reporting.said({"counts": {"delivered": 2}}) == "2 × delivered"
    assert reporting.said({"said": "done so"}) == "done so"
