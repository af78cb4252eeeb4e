"""`mailmirror alerts test`, as it is typed, with a program that is real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.front import Front, run


def typed(inventory: Path, *words: str) -> int:
    return run(["-i", str(inventory), "alerts", "test", *words], Front())


def test_every_way_is_tried_and_what_is_lost_is_told(
    one_pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    takes, loses = json.dumps(["/bin/sh", "-c", f"cat >> {kept}"]), json.dumps(["/bin/sh", "-c", "exit 7"])
    text = one_pair.read_text()
    ways = f"mm_alerts: [{{name: takes, exec: {{command: {takes}}}}}, {{name: loses, exec: {{command: {loses}}}}}]"
    one_pair.write_text(text.replace("mm_stores:", f"{ways}, mm_stores:", 1))
    assert typed(one_pair, "--format", "json") == 1
    taken, lost = json.loads(capsys.readouterr().out)
    assert (taken["channel"], taken["lost"]) == ("takes", "")
    assert "ended with 7" in lost["lost"]
    said = kept.read_text()
    assert said.count('"alertname": "test"') == 2 and '"status": "resolved"' in said


def test_without_any_way_there_is_nothing_to_do(one_pair: Path) -> None:
    assert typed(one_pair) == 3
