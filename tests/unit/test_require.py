"""A test that needs the lab is skipped with one line where it can't run, and fails where CI promised it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support import image, require

NOBODY = 65534


def _in_a_child(act: Callable[[], None]) -> str:
    """What `act` raised, in a process of its own: dropping root can't be taken back."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            act()
            told = "nothing"
        except (pytest.skip.Exception, pytest.fail.Exception) as raised:
            told = f"{type(raised).__name__}: {raised}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as report:
        told = report.read()
    os.waitpid(child, 0)
    return told


def _as_an_ordinary_user(ci: str) -> None:
    require.missing.cache_clear()
    os.environ["CI"] = ci
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    require.root()


@pytest.mark.issue("2.1 as an ordinary user the lab's tests skip with one line")
@pytest.mark.parametrize("ci", ["", "true"])
def test_an_ordinary_user_skips(ci: str) -> None:
    assert _in_a_child(lambda: _as_an_ordinary_user(ci)) == "Skipped: needs root"


def _on_a_poor_machine(ci: str) -> None:
    require.missing.cache_clear()
    os.environ["CI"] = ci
    image.PATH = "/nonexistent"
    require.root()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_without_the_tools_skips_alone_and_fails_in_ci() -> None:
    assert _in_a_child(lambda: _on_a_poor_machine("")) == "Skipped: needs the command apt-get"
    told = _in_a_child(lambda: _on_a_poor_machine("true"))
    assert told == "Failed: CI=true and root, but the lab cannot run here: needs the command apt-get"
