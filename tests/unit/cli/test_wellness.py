"""What a person who was woken reads of a pair's health."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from orchestrator.cli import wellness, words
from orchestrator.health.report import Glance, ObserverHealth, PairHealth, PlaceHealth
from orchestrator.replication.report import PairStatus

NOW = 1_700_000_000.0
GLANCES = [
    Glance("controller", "imap", "refused", "nothing listens there", 0.01, NOW - 1, True, 12),
    Glance("witness", "imap", "temporary", "421 4.3.2 \x1b[2Jfull", 0.01, NOW - 2, True, 1),
    Glance("witness", "smtp", "", "", 0.01, NOW - 2, False, 0),
]
DOWN = PlaceHealth(
    "primary", "mail1", True, "DOWN", NOW - 300, "the host lives, its services don't", "restart the service",
    "would restart dovecot", ["imap from controller: refused 12 times"], GLANCES, never=["imap"],
)  # fmt: skip
WELL = PlaceHealth("mirror", "mail2", False, "HEALTHY", NOW - 9000, "all is well")


def told(**changes: Any) -> str:
    health = asdict(replace(PairHealth("org", NOW, places=[WELL, DOWN]), **changes))
    return "\n".join(" | ".join(line) for line in wellness.lines(health, NOW))


@pytest.mark.issue("4.1 status in words: level, since when, evidence, per observer and service")
def test_the_worst_comes_with_its_reason_and_what_each_observer_saw() -> None:
    lines = told().split("\n")
    assert lines[0].startswith("mail1 (primary, active) is DOWN, down, since ")
    assert "(5 min): the host lives, its services don't. | imap from controller: refused 12 times; The" in lines[0]
    assert lines[0].endswith("The remedy: restart dovecot.")
    assert lines[1].startswith("mail2 (mirror, passive) is HEALTHY, well, since ")
    assert lines[2] == ("imap on mail1, seen from controller: nothing listens there, 12 times in a row, 1 s ago. | ")
    assert "seen from witness: it says that it can't just now (421 4.3.2" in lines[3]
    assert lines[4].startswith("imap on mail1 wasn't seen well since the daemon began. | If it is well: say its port")
    assert len(lines) == 5, "what is well isn't in the way"


@pytest.mark.issue("5.5 status shows the pair's state, why, and what one may do")
def test_the_state_comes_with_its_reason_what_is_held_back_and_what_one_may_do() -> None:
    pair = {
        "pair": "org", "state": "DOWN", "why": "It is down still.", "may": ["failover", "pause"],
        "decision": {"held_back": ["Paused by anna."], "paused_until": NOW, "cooldown_until": 4e9},
    }  # fmt: skip
    lines = [" | ".join(line) for line in wellness.decided(pair)]
    assert lines[0].startswith("DOWN: It is down still. Not done unasked: Paused by anna. | You may: failover, pause.")
    assert "mailmirror resume org" in lines[1] and "mailmirror ack org cooldown" in lines[2]
    plain = {**pair, "state": "PROTECTED", "may": [], "decision": {}}
    assert list(wellness.decided(plain)) == [("PROTECTED: It is down still.", "")]


def test_who_doesnt_look_and_what_is_missing_is_said() -> None:
    text = told(
        lone="Only mail2 looks: automatic decisions lack a second observer (a witness).",
        steady=False,
        references={"192.0.2.1:53": False, "192.0.2.2:53": True},
        observers=[
            ObserverHealth("witness", "wit", True, False, NOW - 60, "wit: can't connect", "Look at its sshd."),
            ObserverHealth("archive", "vault", False, False, NOW - 60),
            ObserverHealth("controller", "mail2", True, True, NOW - 60, "busy", "Wait."),
        ],
    )
    for part in (
        "automatic decisions lack a second observer", "nothing is judged for 30 s", "no answer from 192.0.2.1:53.",
        "witness (wit): It doesn't look since ", "wit: can't connect | Look at its sshd.",
        "archive (vault): It can't be reached since ", "controller (mail2): busy | Wait.",
    ):  # fmt: skip
        assert part in text


@pytest.mark.issue("4.1 a replication-only pair is unchanged")
def test_status_shows_it_below_the_table_and_a_pair_that_only_replicates_as_before() -> None:
    plain = asdict(PairStatus("org"))
    before = words.status({"pairs": [plain], "stale": False})
    assert "HEALTHY" not in before
    health = asdict(PairHealth("org", NOW, places=[DOWN]))
    shown = words.status({"pairs": [plain | {"health": health}], "stale": False})
    assert "org: mail1 (primary, active) is DOWN" in shown and shown.startswith(before.rstrip("\n")[:20])
    assert "\x1b" not in shown
    old = words.status({"pairs": [plain | {"health": health, "stale": True}], "stale": True, "daemon": "None."})
    assert "is DOWN" not in old, "what was seen long ago isn't told as if it were so"
