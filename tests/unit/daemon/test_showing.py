"""What the daemon's pages are made from: its rows, and the journal's journeys and drills in their order."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from orchestrator.daemon.showing import serving
from orchestrator.inventory.model import Inventory
from orchestrator.records.journal import Journal, Opening
from orchestrator.records.marks import State
from orchestrator.web.pages import moment
from orchestrator.web.trail import Trail
from tests.unit.daemon.deciding import pair
from tests.unit.web.test_pages import Stage, row


def nothing(_: Any, start: Any) -> list[bytes]:
    start("200 OK", [])
    return [b""]


@pytest.mark.issue("6.4 status page: the history of events, the last drill")
def test_history_and_the_last_drill_come_from_the_journal(tmp_path: Path) -> None:
    known = pair(tmp_path, listen="127.0.0.1:0")
    with Journal(tmp_path, lambda: 1_796_000_000.0) as journal:
        name = journal.begin(Opening("org", "switchover", "primary", "mirror", 1, 2, "anna", "new disks", "", "0")).id
        journal.end(name, State.DONE, "every step is done")
        journal.decided("org", {}, {"was": "SUSPECT", "state": "DOWN", "why": "Two observers agree.", "by": ""}, "0")
        journal.decided("org", {}, {"was": "DOWN", "state": "DOWN", "why": "It is so still."}, "0")
    for at, state in ((1_796_100_000.0, "begun"), (1_796_100_060.0, "done")):
        with Journal(tmp_path, lambda: at) as journal:  # noqa: B023
            journal.event("org", "drill", {"id": "d1", "state": state, "by": "ben", "reason": "each quarter"})
    found = serving(
        Inventory(tmp_path / "inventory.yaml", {"org": known}), lambda: [row(state="DOWN")], lambda _: ["It is so."],
        lambda: True, Trail(), Stage(), nothing,
    )  # fmt: skip
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{found.port}/", timeout=5) as answer:
            page = answer.read().decode()
    finally:
        found.close()
    assert page.index("drill by ben: done (each quarter)") < page.index("switchover by anna: done (new disks)")
    assert f"Last drill: {moment(1_796_100_000.0)}, done." in page, "when it was begun, and its last word"
    assert "SUSPECT to DOWN: Two observers agree." in page and "It is so still." not in page
    assert page.count("<li>") == 4
    assert "Somebody is needed now." in page and "The active place is down." in page, "what alerts would tell"
