"""A drill's parts by the real conductor and journal over scripted steps: what it begins, and what it keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Refused
from orchestrator.failover import drill, journeys
from orchestrator.failover.conductor import Conductor
from orchestrator.failover.playbook import load
from orchestrator.records.journal import Journal
from tests.unit.failover.staged import MAKERS, Killed, World

NOWHERE = Path("/nonexistent")
LINES = {line.verb: line.number for line in load("switchover", NOWHERE).lines}
Go = Callable[[str, str], dict[str, Any]]


def going(directory: Path, **acts: dict[int, list[str]]) -> Go:
    """Parts whose steps' acts come to what is said, by journey."""

    def go(journey: str, name: str) -> dict[str, Any]:
        staged = World(load(journey, NOWHERE), directory, acts=acts.get(journey, {}))
        places = ("primary", "mirror") if journey == "switchover" else ("mirror", "primary")
        with Journal(directory) as journal:
            chief = Conductor(journal, MAKERS, staged, staged.clock)
            began = chief.begin(
                staged.playbook, pair="org", active=places[0], passive=places[1], epoch=1, by="ann", reason=name,
                version="0", part_of=name,
            )  # fmt: skip
            return journeys.as_json(chief.carry_on(began.id), 1.0)

    return go


def drilled(directory: Path, go: Go) -> dict[str, Any]:
    return drill.carried_out("org", directory, go, by="ann", reason="sunday")


def words(directory: Path) -> list[dict[str, Any]]:
    with Journal(directory) as journal:
        return [dict(each.what) for each in journal.events("org", "drill")]


@pytest.mark.issue("5.5 drill is a switchover and a failback, reported and kept")
def test_both_parts_are_operations_of_their_own_and_how_long_users_waited_is_kept(tmp_path: Path) -> None:
    told = drilled(tmp_path, going(tmp_path))
    assert (told["state"], told["active"]) == ("done", "primary")
    assert [(each["journey"], each["state"]) for each in told["parts"]] == [
        ("switchover", "done"),
        ("failback", "done"),
    ]
    assert all(each["away"] > 0 for each in told["parts"])
    began, ended = words(tmp_path)
    assert (began["state"], ended["state"], began["id"], ended["id"]) == ("begun", "done", *2 * [told["operation"]])
    assert ended["parts"] == told["parts"]
    with Journal(tmp_path) as journal:
        assert [each.opening.part_of for each in journal.operations("org")] == 2 * [told["operation"]]


@pytest.mark.parametrize(
    ("acts", "state", "begun"),
    [
        ({"switchover": {LINES["stop_services"]: ["refused"]}}, "rolled back", ["switchover"]),
        ({"failback": {LINES["stop_services"]: ["refused"]}}, "partly done", ["switchover", "failback"]),
        ({"switchover": {LINES["verify_outside"]: ["fail"] * 999}}, "stuck", ["switchover"]),
    ],
)
@pytest.mark.issue("5.5 drill never a failback after a switchover that wasn't proven from outside")
def test_the_way_home_is_begun_only_where_the_way_there_is_done(
    tmp_path: Path, acts: dict[str, dict[int, list[str]]], state: str, begun: list[str]
) -> None:
    told = drilled(tmp_path, going(tmp_path, **acts))
    assert told["state"] == state and [each["journey"] for each in told["parts"]] == begun
    assert told["parts"][-1]["away"] is None and told["why"].startswith(f"the {begun[-1]} is ")
    assert words(tmp_path)[-1]["state"] == state


def test_a_part_that_cant_begin_is_told(tmp_path: Path) -> None:
    def never(journey: str, name: str) -> dict[str, Any]:
        raise Refused("It isn't ready.")

    with pytest.raises(Refused):
        drilled(tmp_path, never)
    assert [each["state"] for each in words(tmp_path)] == ["begun", "not begun"]
    go = going(tmp_path)
    told = drilled(tmp_path, lambda journey, name: (never if journey == "failback" else go)(journey, name))
    assert (told["state"], told["active"]) == ("partly done", "mirror")
    assert "can't begin: It isn't ready." in told["why"] and len(told["parts"]) == 1


def test_a_drill_whose_controller_died_stands_there_as_begun(tmp_path: Path) -> None:
    def dies(journey: str, name: str) -> dict[str, Any]:
        raise Killed

    with pytest.raises(Killed):
        drilled(tmp_path, dies)
    assert [each["state"] for each in words(tmp_path)] == ["begun"]
