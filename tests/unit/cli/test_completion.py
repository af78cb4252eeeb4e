"""What a shell completes: bash itself is asked, with the lines that `mailmirror completion` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INVENTORY = """
mailmirror:
  children:
    org: {vars: {mm_stores: [/srv/a]}, hosts: {a1: {mm_place: primary}, a2: {mm_place: mirror}}}
    net: {vars: {mm_stores: [/srv/b]}, hosts: {b1: {mm_place: primary}, b2: {mm_place: mirror}}}
"""
ASK = """
source completion
COMP_WORDS=($1) COMP_CWORD=$2
[[ $1 == *' ' ]] && COMP_WORDS+=('')
_mailmirror_completion mailmirror
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an inventory, a command `mailmirror`, and the file that bash sources."""
    place = tmp_path_factory.mktemp("completes")
    (place / "inventory.yaml").write_text(INVENTORY)
    command = place / "bin/mailmirror"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator.cli "$@"\n')
    command.chmod(0o755)
    said = subprocess.run([command, "completion", "bash"], capture_output=True, text=True, check=True, env=of(place))
    (place / "completion").write_text(said.stdout)
    return place


def of(place: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{place}/bin:{os.environ['PATH']}", "PYTHONPATH": os.getcwd(), "HOME": str(place)}


@pytest.mark.issue("6.7 shell completion of verbs, options and pairs")
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("typed", "number", "offered"),
    [
        ("mailmirror swi", 1, ["switchover"]),
        ("mailmirror status o", 2, ["org"]),
        ("mailmirror status ", 2, ["net", "org"]),
        ("mailmirror status --wa", 2, ["--watch"]),
        ("mailmirror window ex", 2, ["extend"]),
        ("mailmirror -i nowhere.yaml status o", 4, []),
    ],
)
def test_bash_is_offered_what_may_follow(place: Path, typed: str, number: int, offered: list[str]) -> None:
    words = ["bash", "-c", ASK, "bash", typed, str(number)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, env=of(place), check=True)
    assert (sorted(filter(None, done.stdout.split("\n"))), done.stderr) == (offered, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_lines_of_their_own(place: Path, shell: str) -> None:
    words = [f"{place}/bin/mailmirror", "completion", shell]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=of(place))
    assert f"{shell}_complete" in done.stdout and "mailmirror" in done.stdout
