"""The man pages are those that this program makes, and man has nothing to say against them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from orchestrator.cli.front import EXIT_CODES, VERBS
from orchestrator.cli.manual import PLACE, pages
from tests.house import source

DIRECTORY = source.CHECKOUT / PLACE


@pytest.mark.issue("6.7 man pages: mailmirror(1), -inventory(5), -playbook(5), -guard(8), generated")
def test_they_are_up_to_date() -> None:
    kept = {path.name: path.read_text() for path in DIRECTORY.iterdir()}
    stale = sorted(name for name, text in pages().items() if kept.get(name) != text)
    assert kept.keys() == pages().keys() and not stale, f"python -m orchestrator.cli.manual {PLACE}"


@pytest.mark.parametrize("name", sorted(pages()))
@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff here")
def test_groff_has_nothing_to_say_against_them(name: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-b", DIRECTORY / name], capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and len(done.stdout) > 500


@pytest.mark.parametrize("name", sorted(pages()))
@pytest.mark.skipif(shutil.which("mandoc") is None, reason="there is no mandoc here")
def test_mandoc_misses_only_a_date(name: str) -> None:
    """A date would change with the day on which a page is made, and the same program has to make the same bytes."""
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", DIRECTORY / name], capture_output=True, text=True, check=False
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line] == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff here")
def test_the_exit_codes_keep_their_columns() -> None:
    told = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", DIRECTORY / "mailmirror.1"], capture_output=True, text=True, check=True
    ).stdout
    shown = [line.strip() for line in re.sub(".\b", "", told).splitlines()]
    for line in EXIT_CODES.replace("\b", "").strip().splitlines()[1:-1]:
        assert line.strip() in shown


def test_each_word_of_a_command_is_explained() -> None:
    """An option or argument whose term nothing follows is one whose author forgot its help."""
    for name in ("mailmirror.1", "mailmirror-guard.8"):
        assert not re.findall(r"^\.TP\n(.*)\n\\&$", pages()[name], re.MULTILINE), name


def test_every_verb_has_its_place() -> None:
    told = pages()["mailmirror.1"]
    assert [verb for verb in VERBS if f'.SS "{verb} ' not in told] == []
