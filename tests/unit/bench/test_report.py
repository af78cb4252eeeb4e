"""A goal is met only by good rows of this run; failures and gaps are told, never hidden."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import plot, report
from bench.measure import Use
from bench.report import GOALS, OURS
from bench.results import Live, Results, Row

pytestmark = pytest.mark.issue("2.8 make bench: table of goals and plot")


def row(work: str, peer: str, wall: float, size: int = 0, problems: list[str] | None = None, appended: int = 0) -> Row:
    return Row(work, peer, 1, Use(wall=wall, received=size), problems or [], appended)


def words(results: Results) -> dict[tuple[str, str], tuple[str, str]]:
    return {(goal.what, goal.against): report.verdict(goal, results) for goal in GOALS}


def test_without_figures_no_goal_is_met() -> None:
    assert {word for _, word in words(Results()).values()} == {"not measured"}


def test_medians_decide() -> None:
    results = Results(rows=[row("nothing", "rsync", wall) for wall in (1.0, 1.0, 9.0)])
    results.rows += [row("nothing", OURS, wall) for wall in (5.0, 0.9, 0.8)]
    assert words(results)["nothing changed, one-shot", "rsync"] == ("0.9 ×", "OK")
    results.rows += [row("nothing", OURS, wall) for wall in (5.0, 5.0)]
    assert words(results)["nothing changed, one-shot", "rsync"][1] == "MISSED"


def test_an_unequal_copy_fails_its_goals_and_never_enters_a_median() -> None:
    results = Results(rows=[row("flags", "rsync", 1.0), row("flags", OURS, 0.1), row("flags", OURS, 0.1, 0, ["torn"])])
    found = words(results)
    assert found["6,000 flags, one-shot", "rsync"][1] == "FAILED"
    assert found["bytes for 6,000 flags", ""][1] == "FAILED"
    assert "FAILED: torn" in report.text(results)


def test_appended_uidlist_rows_are_taken_off_the_bytes_of_moves() -> None:
    results = Results(rows=[row("moves", OURS, 1.0, 1_000_000, appended=500_000)])
    assert words(results)["bytes for 6,000 moves beyond uidlist rows", ""] == ("0.5 MB", "OK")


def test_lost_messages_miss_a_goal() -> None:
    results = Results(live=[Live(OURS, 20, 100, 1, 0.01, 0.02, 0.03, 0, 0)])
    found = words(results)
    assert found["live at 20/s: p50", ""] == ("10 ms", "OK")
    assert found["live at 20/s: lost", ""][1] == "MISSED"


def test_the_plot_is_xml_with_a_bar_per_good_row_and_the_file_holds_everything(tmp_path: Path) -> None:
    results = Results(rows=[row("flags", "rsync", 2.0), row("flags", OURS, 1.0), row("moves", OURS, 0, 0, ["bad"])])
    drawing = ElementTree.fromstring(plot.panels(results))
    assert [element.tag.rpartition("}")[2] for element in drawing].count("rect") == 3  # the ground and two bars
    results.save(tmp_path / "results.json")
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 3
