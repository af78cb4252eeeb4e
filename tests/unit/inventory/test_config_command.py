"""`mailmirror config check|schema|show`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.config import command
from orchestrator.inventory.problems import InventoryError
from tests.unit.inventory.texts import SAMPLE, SMALL, with_vars


def _run(path: Path | None, *words: str) -> Result:
    front = SimpleNamespace(inventory_path=str(path) if path else None)
    return CliRunner().invoke(command, list(words), obj=front)


@pytest.mark.issue("2.2 mailmirror config check")
def test_check_counts_and_names_what_is_not_used() -> None:
    result = _run(SAMPLE, "check")
    assert result.output.splitlines() == [
        f"{SAMPLE}: 2 pairs, 6 hosts: no problems",
        "example_org: not used by this version: host vault.example.org (archive)",
    ]


def test_check_of_one_pair_says_so(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    assert _run(path, "check").output == f"{path}: 1 pair, 2 hosts: no problems\n"


@pytest.mark.issue("2.2 exit 78")
def test_check_raises_what_the_front_door_turns_into_exit_78(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(with_vars("mm_rpo: 30"), encoding="utf-8")
    result = _run(path, "check")
    assert isinstance(result.exception, InventoryError)
    assert result.exception.exit_code == 78


@pytest.mark.issue("2.2 mailmirror config schema")
def test_schema_is_json_and_needs_no_inventory() -> None:
    assert json.loads(_run(None, "schema").output)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.issue("2.2 mailmirror config show")
def test_show_tells_values_and_origins() -> None:
    lines = _run(SAMPLE, "show", "example_net").output.splitlines()
    assert lines[0] == "example_net"
    assert any(line.split() == ["mm_rpo", "2m", "pair,", "line", _line("mm_rpo: 2m")] for line in lines)
    assert any(line.split() == ["mm_audit", "15m", "default"] for line in lines)
    assert "example_net / copy.example.net" in lines
    assert not any(line.startswith("example_org") for line in lines)


def _line(text: str) -> str:
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    return str(next(number for number, line in enumerate(lines, 1) if line.strip() == text))


def test_show_as_json_has_every_setting() -> None:
    found = json.loads(_run(SAMPLE, "show", "--format", "json").output)
    assert {"pair", "host", "key", "value", "origin", "line"} == set(found[0])
    assert {one["origin"] for one in found} == {"default", "all", "pair", "host"}


def test_show_of_an_unknown_pair_names_the_known() -> None:
    result = _run(SAMPLE, "show", "nobody")
    assert result.exit_code == 2
    assert "The inventory has no pair nobody; it has example_org, example_net." in result.output


def test_a_secret_is_shown_by_its_reference_only() -> None:
    assert "tsig: {file: /etc/mailmirror/tsig.key}" in _run(SAMPLE, "show", "example_org").output
