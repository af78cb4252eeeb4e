"""Every kind of problem gets its whole message: place, what, the line, a caret, a suggestion."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import yaml

from orchestrator.inventory import tree
from orchestrator.inventory.load import read_bytes
from orchestrator.inventory.problems import InventoryError
from orchestrator.inventory.scopes import MOST_PROBLEMS
from tests.support import seeds
from tests.unit.inventory.cases import CASES, messages
from tests.unit.inventory.texts import NAME, SMALL, read, with_host, with_vars

EXPECTED = Path(__file__).with_name("messages.txt").read_text(encoding="utf-8")
HEAD = re.compile(r"^inventory\.yaml:(\d+):(\d+): \S", re.MULTILINE)


def _expected(name: str) -> str:
    return EXPECTED.partition(f"## {name}\n")[2].partition("\n\n## ")[0].rstrip("\n")


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    return messages()


@pytest.mark.issue("2.2 all problems at once as file:line:col with a caret and a suggestion")
@pytest.mark.skipif(not yaml.__with_libyaml__, reason="the parser's own words differ without libyaml")
@pytest.mark.parametrize("name", CASES)
def test_a_problem_is_told_in_full(name: str, told: dict[str, str]) -> None:
    assert told[name].rstrip("\n") == _expected(name)


@pytest.mark.parametrize("name", CASES)
def test_without_libyaml_the_same_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_LOADER", yaml.SafeLoader)
    text = CASES[name]
    with pytest.raises(InventoryError) as caught:
        read_bytes(text if isinstance(text, bytes) else text.encode(), NAME)
    assert HEAD.search(str(caught.value))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "], ids=["list", "mapping", "block"])
def test_a_bomb_of_nesting_is_refused_with_its_place_by_us_or_by_the_library(opening: str) -> None:
    """libyaml has a limit of its own from PyYAML 6.0.4 on, beyond ours, which it may meet first: it reads ahead."""
    with pytest.raises(InventoryError) as caught:
        read_bytes((opening * 20_000).encode(), NAME)
    assert HEAD.search(str(caught.value)) and "nest" in str(caught.value)


@pytest.mark.issue("2.2 exit 78")
def test_a_wrong_inventory_is_a_configuration_error() -> None:
    with pytest.raises(InventoryError) as caught:
        read(with_vars("mm_rpo: 30", "mm_audit: 1"))
    assert caught.value.exit_code == 78
    assert [(problem.place.line, problem.where) for problem in caught.value.problems] == [
        (6, "pair/vars/mm_rpo"),
        (7, "pair/vars/mm_audit"),
    ]


def test_laws_and_values_are_told_together_but_not_what_follows_from_a_wrong_value() -> None:
    with pytest.raises(InventoryError) as caught:
        read(with_vars("mm_rpo: 30", "mm_lease: {}").replace("mm_place: mirror", "mm_place: mirrow"))
    assert [problem.what for problem in caught.value.problems] == [
        "30 has no unit",
        "a lease takes a witness",
        "mirrow is not one of primary, mirror, archive, witness",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "mm_dns: {server: 192.0.2.53, zone: example.org, names: [mail], tsig: hunter2}",
        "mm_dns: {server: 192.0.2.53, zone: example.org, names: [mail], ttl: x, tsig: hunter2}",
        "mm_dns: {tsig: hunter2, server: 22:30}",
        "mm_exec: {env: {TOKEN: hunter2}, show: [], point: [x]}",
        "ansible_password: hunter2",
        "ansible_ssh_pass: hunter2",
    ],
)
def test_a_secret_that_stands_in_the_file_is_never_shown(line: str) -> None:
    with pytest.raises(InventoryError) as caught:
        read(with_vars(line))
    assert "hunter2" not in str(caught.value)


def test_control_characters_of_the_file_do_not_reach_the_terminal() -> None:
    with pytest.raises(InventoryError) as caught:
        read(with_host('ansible_user: "a\\e[31mb"') + "\x1b[2J")
    assert "\x1b" not in str(caught.value)


def test_a_heap_of_problems_is_cut() -> None:
    with pytest.raises(InventoryError) as caught:
        read(with_vars(*(f"mm_rp{number}: 1" for number in range(5000))))
    assert len(caught.value.problems) == MOST_PROBLEMS


@pytest.mark.issue("2.2 any damage to the sample either loads or is told with its place")
def test_a_file_of_random_bytes_is_told_with_its_place(request: pytest.FixtureRequest) -> None:
    seed = seeds.drawn("messages")
    source = random.Random(seed)
    for _ in range(300):
        content = bytearray(SMALL.encode())
        for _ in range(source.randrange(1, 6)):
            content[source.randrange(len(content))] = source.randrange(256)
        try:
            read_bytes(bytes(content), NAME)
        except InventoryError as error:
            assert HEAD.search(str(error))
