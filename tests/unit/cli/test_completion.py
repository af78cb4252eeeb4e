"""What a shell completes: bash itself is asked, with the lines that `mailmirror completion` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.front import VERBS

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
        ("mailmirror drill ", 2, ["net", "org"]),
        ("mailmirror plan switchover n", 3, ["net"]),
        ("mailmirror ack ", 2, ["cooldown", "net", "org", "split-brain"]),
        ("mailmirror ack org ", 3, ["cooldown", "split-brain"]),
        ("mailmirror agent install ", 3, ["a1", "a2", "b1", "b2", "net", "org"]),
        ("mailmirror fence test net ", 4, ["b1", "b2"]),
        ("mailmirror --inv", 1, ["--inventory"]),
        ("mailmirror -i nowhere.yaml status o", 4, []),
    ],
)
def test_bash_is_offered_what_may_follow(place: Path, typed: str, number: int, offered: list[str]) -> None:
    words = ["bash", "-c", ASK, "bash", typed, str(number)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, env=of(place), check=True)
    assert (sorted(filter(None, done.stdout.split("\n"))), done.stderr) == (offered, "")


HEAVY = {"apscheduler", "cryptography", "dns", "fabric", "flask", "paramiko", "pydantic", "rich", "waitress", "yaml"}
SHELLS_QUESTION = {"_MAILMIRROR_COMPLETE": "bash_complete"}


@pytest.mark.issue("6.7 shell completion imports nothing heavy")
@pytest.mark.parametrize(
    ("typed", "number"), [("mailmirror ", 1), ("mailmirror status o", 2), ("mailmirror status -", 2)]
)
def test_a_tab_imports_nothing_heavy(place: Path, typed: str, number: int) -> None:
    """Reading an inventory costs YAML and pydantic once; what it said is remembered for the next TAB."""
    asks = {**of(place), **SHELLS_QUESTION, "COMP_WORDS": typed, "COMP_CWORD": str(number)}
    words = [sys.executable, "-X", "importtime", "-m", "orchestrator.cli"]
    for _ in range(2):
        done = subprocess.run(words, capture_output=True, text=True, cwd=place, env=asks, check=True)
    assert done.stdout.startswith("plain,")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported and not imported & HEAVY


def test_each_verb_is_offered(place: Path) -> None:
    words = ["bash", "-c", ASK, "bash", "mailmirror ", "1"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, env=of(place), check=True)
    assert done.stdout.split() == list(VERBS)


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_is_offered_them_with_what_they_do(place: Path) -> None:
    script = 'mailmirror completion fish | source; complete -C "mailmirror swi"; complete -C "mailmirror status o"'
    done = subprocess.run(["fish", "-c", script], capture_output=True, text=True, cwd=place, env=of(place), check=True)
    sentence = VERBS["switchover"].partition(",")[0]  # click's own lines for fish cut it there
    assert done.stdout.splitlines() == [f"switchover\t{sentence}", "org"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_takes_its_lines(place: Path) -> None:
    script = 'autoload -Uz compinit; compinit -u; eval "$(mailmirror completion zsh)"; whence -w _mailmirror_completion'
    done = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, cwd=place, env=of(place), check=True)
    assert (done.stdout, done.stderr) == ("_mailmirror_completion: function\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_lines_of_their_own(place: Path, shell: str) -> None:
    words = [f"{place}/bin/mailmirror", "completion", shell]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=of(place))
    assert f"{shell}_complete" in done.stdout and "mailmirror" in done.stdout
