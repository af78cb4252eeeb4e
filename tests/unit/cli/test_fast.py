"""The short way prints what the ordinary way prints, or steps aside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import fast, front
from orchestrator.inventory.load import load
from tests.unit.daemon.memory import Site
from tests.unit.daemon.test_follower import until
from tests.unit.daemon.test_service import Running


@pytest.fixture
def running(site: Site, one_pair: Path) -> Iterator[Running]:
    with Running(site, load(one_pair)) as it:
        until(lambda: it.ask("status")["pairs"][0]["link"] == "live")
        yield it


@pytest.mark.parametrize("line", ["status", "status org", "--format json status", "sync", "sync org --format=json"])
def test_both_ways_print_the_same(
    running: Running, one_pair: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["-i", str(one_pair), *line.split()]
    assert fast.answer(argv) == 0
    short = capsys.readouterr()
    assert front.run(argv) == 0
    ordinary = capsys.readouterr()
    assert (_timeless(short.out), short.err) == (_timeless(ordinary.out), ordinary.err)


def _timeless(out: str) -> object:
    """Without what changes from one call to the next."""
    if not out.startswith(("{", "[")):
        return [line for line in out.splitlines() if "wire" not in line and " in 0.0" not in line]
    told = json.loads(out)
    for row in told if isinstance(told, list) else told["pairs"]:
        row.pop("seconds", None)
        row.pop("taken_at", None)
    return told


def test_errors_are_the_same_too(
    running: Running, one_pair: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.worlds["org"].unreachable = True
    site.cut("org")
    until(lambda: running.ask("status")["pairs"][0]["link"] == "connecting")
    argv = ["-i", str(one_pair), "sync"]
    assert fast.answer(argv) == 69
    short = capsys.readouterr()
    assert front.run(argv) == 69
    assert capsys.readouterr() == short
    assert short.err == (
        "mailmirror: mail2.org.example can't be reached.\n  Check that the host is up and reachable, then try again.\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "", "status --watch", "sync --dry-run", "sync org extra", "verify", "-h", "--debug sync", "sync --format yaml",
        "sync -i x", "--inventory", "--inventory= sync", "-i=x sync", "sync --", "sync --format",
    ],
)  # fmt: skip
def test_anything_unusual_goes_the_ordinary_way(line: str) -> None:
    assert fast.understand(line.split()) is None


def test_the_usual_is_understood() -> None:
    typed = fast.understand(["--inventory=a.yaml", "--format", "json", "sync", "org"])
    assert typed is not None
    assert (typed.inventory, typed.format, typed.words, typed.pair) == ("a.yaml", "json", ["sync", "org"], "org")


def test_without_a_daemon_or_with_a_changed_inventory_it_steps_aside(
    site: Site, one_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["-i", str(one_pair), "status"]
    assert fast.answer(argv) is None
    with Running(site, load(one_pair)) as it:
        until(lambda: it.ask("status")["pairs"][0]["link"] == "live")
        assert fast.answer(argv) == 0
        assert fast.answer([*argv, "nopair"]) is None
        monkeypatch.chdir(one_pair.parent)
        assert fast.answer(["status"]) == 0
        one_pair.write_text(one_pair.read_text() + "\n")
        assert fast.answer(argv) is None
    assert fast.answer(["-i", str(one_pair.parent / "none"), "status"]) is None


def test_a_daemon_that_is_gone_without_a_word_is_stepped_over(site: Site, one_pair: Path) -> None:
    with Running(site, load(one_pair)) as it:
        argv = ["-i", str(one_pair), "status"]
        Path(it.socket).unlink()
        assert fast.answer(argv) is None


@pytest.mark.issue("2.R nothing changed, asked of the running daemon")
def test_the_short_way_imports_nothing_heavy(running: Running, one_pair: Path) -> None:
    program = (
        "import sys; from orchestrator.cli import fast; code = fast.answer(sys.argv[1:])\n"
        "heavy = {'click', 'yaml', 'pydantic', 'paramiko', 'rich', 'logging', 'dataclasses', 'typing', 'pathlib'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    argv = [sys.executable, "-S", "-c", program, "-i", str(one_pair), "sync"]
    told = subprocess.run(argv, capture_output=True, check=True, text=True, env={"PYTHONPATH": ".", **_environment()})
    assert told.stdout.splitlines()[-1] == "0 []"


def _environment() -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]}
