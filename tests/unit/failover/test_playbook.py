"""Playbooks: the ones that ship are whole and explained; a wrong one is told in full; a site's own takes the place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import ConfigError
from orchestrator.failover import verbs
from orchestrator.failover.playbook import SHIPPED, PlaybookError, load, load_all, path_of, verbs_used
from orchestrator.failover.states import Event, State, follow
from orchestrator.failover.steps import MAKERS
from orchestrator.failover.verbs import JOURNEYS, VERBS
from tests.unit.failover.cases import CASES, NOWHERE, messages

EXPECTED = Path(__file__).with_name("messages.txt").read_text(encoding="utf-8")


def _expected(name: str) -> str:
    return EXPECTED.partition(f"## {name}\n")[2].partition("\n\n## ")[0].rstrip("\n")


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    return messages()


@pytest.mark.issue("5.3 a playbook is validated at start with file:line:col")
@pytest.mark.skipif(not yaml.__with_libyaml__, reason="the parser's own words differ without libyaml")
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_playbook_is_told_in_full(name: str, told: dict[str, str]) -> None:
    assert told[name].rstrip("\n") == _expected(name)


@pytest.mark.issue("5.3 playbooks failover switchover failback rejoin seed drill with runbooks")
@pytest.mark.parametrize("journey", JOURNEYS)
def test_every_journey_has_a_playbook_and_a_runbook(journey: str) -> None:
    playbook = load(journey, NOWHERE)
    assert (playbook.journey, bool(playbook.lines)) == (journey, not playbook.parts)
    comment = playbook.text.partition("journey:")[0]
    assert comment.startswith(f"# {journey.capitalize()}: "), "it says in words what it is"
    runbook = (SHIPPED / f"{journey}.md").read_text(encoding="utf-8")
    headings = [line for line in runbook.splitlines() if line.startswith("#")]
    assert headings == [f"# {journey.capitalize()}", "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]


def test_what_ships_is_no_more_and_no_less() -> None:
    wanted = {f"{name}.{kind}" for name in JOURNEYS for kind in ("yaml", "md")}
    assert {path.name for path in SHIPPED.iterdir()} == wanted
    assert verbs_used(load_all(NOWHERE).values()) == VERBS.keys() - {verbs.RUN}, "every verb but a site's own is used"


def test_a_failback_is_a_switchover_step_by_step() -> None:
    assert load("failback", NOWHERE).lines == load("switchover", NOWHERE).lines


@pytest.mark.issue("5.3 the point of no return as section 8 defines it")
def test_the_point_of_no_return_stands_after_the_proof_and_before_the_new_active() -> None:
    for journey, point in (("switchover", "tombstone"), ("failback", "tombstone"), ("failover", "advance")):
        playbook = load(journey, NOWHERE)
        order = [line.verb for line in playbook.lines]
        assert order[playbook.point - 1] == point
        planned = ("stop_services", "final_pass", "prove_equal", "carry_queue")
        before = ("fence", "cut") if journey == "failover" else planned
        assert all(order.index(verb) < order.index(point) < order.index("serve") for verb in before)
    assert [load(journey, NOWHERE).point for journey in ("rejoin", "seed", "drill")] == [0, 0, 0]


@pytest.mark.issue("5.3 a file of the same name under /etc/mailmirror/playbooks/ overrides one")
def test_a_sites_own_playbook_takes_the_place_of_the_one_that_ships(tmp_path: Path) -> None:
    text = load("seed", NOWHERE).text
    own = "  - run: [chown-mail, everything]\n    at: mirror2.example\n    why: it is ours\n    within: 90s\n"
    (tmp_path / "seed.yaml").write_text(text + "\n" + own)
    assert path_of("seed", tmp_path) == tmp_path / "seed.yaml"
    line = load("seed", tmp_path).lines[-1]
    assert (line.number, line.verb, line.within, line.undo, line.repeatable) == (3, "run", 90.0, False, False)
    assert line.parameters == {"at": "mirror2.example", "command": ("chown-mail", "everything")}
    assert load("rejoin", tmp_path).text == load("rejoin", NOWHERE).text
    assert load_all(tmp_path)["seed"].lines[-1] == line


def test_a_wrong_one_is_refused_rather_than_left_out(tmp_path: Path) -> None:
    (tmp_path / "seed.yaml").write_text("journey: seed\n")
    with pytest.raises(PlaybookError, match=r"seed\.yaml:1:1: steps is missing") as caught:
        load_all(tmp_path)
    assert caught.value.exit_code == 78 and "move it away" in caught.value.remedy
    (tmp_path / "seed.yaml").rename(tmp_path / "sede.yaml")
    with pytest.raises(ConfigError, match=r"sede\.yaml is no journey's playbook"):
        load_all(tmp_path)
    (tmp_path / "sede.yaml").rename(tmp_path / "seed.yaml")
    (tmp_path / "seed.yaml").unlink()
    (tmp_path / "seed.yaml").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        load_all(tmp_path)


def test_a_parameter_has_its_kind_and_its_unit() -> None:
    lines = {line.verb: line for line in load("switchover", NOWHERE).lines}
    assert lines["quiesce"].parameters == {"ends_after": 40.0}
    assert lines["carry_queue"].parameters == {"source": "active"}
    assert (lines["quiesce"].undo, lines["final_pass"].undo, lines["tombstone"].point) == (True, False, True)


def test_every_verb_is_a_name_that_a_function_can_have() -> None:
    assert [name for name in VERBS if not name.isidentifier() or ast.parse(name).body == []] == []
    assert all(set(verb.needs) <= verb.takes.keys() for verb in VERBS.values())
    assert all(journey.may <= set(journey.order) <= VERBS.keys() for journey in JOURNEYS.values())


@pytest.mark.issue("5.3 a test cross-checks table playbooks and steps: rejoin")
def test_a_rejoin_begins_where_the_table_lets_it_and_has_a_step_for_each_verb() -> None:
    playbook = load("rejoin", NOWHERE)
    begins = {state for state in State if follow(state, Event.REJOIN).playbook == "rejoin"}
    assert set(playbook.states) == {str(state) for state in begins}
    assert playbook.verbs() <= MAKERS.keys()
