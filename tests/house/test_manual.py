"""The man pages are those that this program makes, and man has nothing to say against them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from orchestrator.cli.front import VERBS
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


def test_every_verb_has_its_place() -> None:
    told = pages()["mailmirror.1"]
    assert [verb for verb in VERBS if f'.SS "{verb} ' not in told] == []
