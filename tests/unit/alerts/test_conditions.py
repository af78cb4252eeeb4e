"""What of a status is a condition: each is told with what to type; a pair that is well has none."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from orchestrator.alerts.conditions import ASKED, PAGE, WARNING, conditions
from orchestrator.health.report import Letter, PairHealth, PlaceHealth
from orchestrator.replication.report import Link, PairStatus, PassiveStatus, Waiting


def well(**more: Any) -> dict[str, Any]:
    """The status of a pair that is well."""
    passive = PassiveStatus("mail2", "mirror", connected=True, lag_seconds=0.0)
    status = PairStatus("org", Link.LIVE, "mail1", passives=[passive], rpo=30.0)
    health = PairHealth("org", places=[PlaceHealth("primary", "mail1", active=True, level="HEALTHY")])
    readiness = {"at": 1.0, "ready": True, "reasons": [], "checks": {}}
    return {**asdict(status), "health": asdict(health), "readiness": readiness, "state": "PROTECTED", **more}


def names(told: dict[str, Any]) -> dict[str, str]:
    return {each.name: each.severity for each in conditions(told)}


def test_a_pair_that_is_well_has_none() -> None:
    assert conditions(well()) == []


def test_each_thing_that_is_wrong_is_one() -> None:
    told = well(link="connecting", trouble="mail2 doesn't answer", state="BLOCKED", why="No proof.")
    told["passives"][0] |= {"lag_seconds": 31.0}
    told["passives"][0]["waiting"] = [asdict(Waiting("c47b0c5e", "ann", 900, "over the budget", 1.0))]
    health = PairHealth("org", places=[
        PlaceHealth("primary", "mail1", active=True, level="DOWN", analysis="dead", canary=Letter(lost=3, why="lost")),
        PlaceHealth("mirror", "mail2", level="DOWN"),
    ])  # fmt: skip
    told |= {"health": asdict(health), "readiness": {"at": 1.0, "ready": False, "reasons": ["lease: not armed"]}}
    assert names(told) == {
        "state BLOCKED": PAGE, "not replicating": WARNING, "behind mail2": WARNING, "deletions mail2": WARNING,
        "down mail1": PAGE, "canary mail1": PAGE, "down mail2": WARNING, "failover not ready": WARNING,
    }  # fmt: skip
    said = {each.name: f"{each.summary} {each.remedy}" for each in conditions(told)}
    assert (
        "mail2 doesn't answer" in said["not replicating"] and "mailmirror ack org c47b0c5e" in said["deletions mail2"]
    )
    assert all("`mailmirror" in each.remedy or each.name == "not replicating" for each in conditions(told))


def test_a_failover_that_waits_for_a_word_is_told_with_what_could_be_lost() -> None:
    decision = {"would": "failover", "asks": "failover", "loss": "3 messages, 2.0 s", "snoozed_until": 99.0}
    [found] = conditions(well(decision=decision))
    assert (found.name, found.severity, found.silent_until) == (ASKED, PAGE, 99.0)
    assert "3 messages, 2.0 s" in found.summary and "`mailmirror failover org`" in found.remedy
    assert conditions(well(decision={**decision, "asks": ""})) == []


def test_a_suspicion_has_to_last_before_anybody_is_told() -> None:
    health = PairHealth("org", places=[PlaceHealth("primary", "mail1", active=True, level="SUSPECT")])
    [found] = conditions(well(health=asdict(health)))
    assert found.name == "suspect mail1" and found.after > 0


def test_a_status_of_a_pair_that_only_replicates_is_enough() -> None:
    told = well()
    for key in ("health", "readiness", "state"):
        del told[key]
    assert conditions(told) == []
