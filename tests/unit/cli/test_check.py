"""`mailmirror check`: what is wrong decides the exit code, and a monitor reads the line as Nagios' plugins write it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli.check import CRITICAL, OK, UNKNOWN, WARNING, judge
from orchestrator.cli.front import Front, Verbs
from orchestrator.replication.report import Link, PairStatus, PassiveStatus, Waiting

PERFDATA = re.compile(r"'[^'=]+'=-?[0-9.]+(s|%|B|c)?(;[0-9.]*)*( |$)")


def status(**more: Any) -> dict[str, Any]:
    """A pair that is well."""
    passive = PassiveStatus("mail2", "mirror", True, lag_seconds=0.2)
    known = PairStatus("org", Link.LIVE, "mail1", passives=[passive], taken_at=1.0, rpo=30.0)
    return {"pairs": [{**json.loads(json.dumps(asdict(known))), **more}], "stale": False}


def lagging(seconds: float | None) -> list[dict[str, Any]]:
    return [asdict(PassiveStatus("mail2", "mirror", True, 7, seconds))]


HELD = [asdict(PassiveStatus("mail2", "mirror", True, 7, 0.0, waiting=[Waiting("ab12", "ann", 301, "too many", 1.0)]))]


@pytest.mark.issue("6.7 check in Nagios' language")
@pytest.mark.parametrize(
    ("told", "level", "says"),
    [
        (status(), OK, "org mail1 is active, live"),
        (status(state="PROTECTED"), OK, "org PROTECTED, mail1 is active"),
        (status(passives=lagging(45.0)), WARNING, "more than mm_rpo"),
        (status(passives=HELD), WARNING, "301 deletions wait"),
        (status(link="refused", trouble="no marker"), WARNING, "no marker"),
        (status(state="ALONE", why=""), WARNING, "One place serves"),
        (status(state="DOWN", why="", passives=lagging(45.0)), CRITICAL, "The active place is down."),
        ({**status(stale=True), "stale": True, "daemon": "No daemon runs. Start it."}, CRITICAL, "No daemon runs."),
    ],
)
def test_the_worst_of_what_is_wrong_is_the_exit_code(told: dict[str, Any], level: int, says: str) -> None:
    answer = judge(told)
    assert answer.level == level and says in answer.text, answer
    text, _, figures = answer.line.partition(" | ")
    assert text.startswith("MAILMIRROR ") and "\n" not in answer.line and "|" not in text + figures
    assert PERFDATA.sub("", figures) == ""
    assert bool(figures) is not told["stale"]


def test_figures_are_the_lag_against_mm_rpo_and_what_waits() -> None:
    assert judge(status(passives=lagging(45.0))).figures == "'org_mail2_lag'=45.0s;30 'org_mail2_pending'=7"
    assert judge(status(passives=lagging(None))).figures == "'org_mail2_pending'=7"


def test_a_paging_condition_is_said_first() -> None:
    said = judge(status(state="DOWN", why="", passives=lagging(45.0))).text
    assert said.index("is down") < said.index("mm_rpo")


@pytest.mark.issue("6.7 check in Nagios' language")
def test_what_can_t_be_asked_is_unknown_with_what_to_do(tmp_path: Path) -> None:
    def asked(*words: str) -> Any:
        return CliRunner().invoke(
            Verbs(), ["check", *words], obj=Front(str(tmp_path / "none.yaml")), standalone_mode=False
        )

    answer = asked()
    assert answer.return_value == UNKNOWN and answer.output.startswith("MAILMIRROR UNKNOWN: "), answer
    assert json.loads(asked("--format", "json").output)["status"] == "UNKNOWN"
