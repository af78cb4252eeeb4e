"""A site of two pairs in memory with a real inventory file, and the command line to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.front import Front, run
from tests.unit.daemon.memory import Site

Type = Callable[..., int]

PAIR = """
    {name}:
      hosts:
        mail1.{name}.example: {{mm_place: primary, ansible_host: 192.0.2.{number}1}}
        mail2.{name}.example: {{mm_place: mirror, ansible_host: 192.0.2.{number}2}}
"""


def write_inventory(directory: Path, *names: str) -> Path:
    """An inventory of these pairs, whose state stands beside it."""
    path = directory / "inventory.yaml"
    head = f"mailmirror:\n  vars: {{mm_stores: [/var/vmail], mm_state_dir: {directory / 'state'}}}\n  children:"
    path.write_text(head + "".join(PAIR.format(name=name, number=at) for at, name in enumerate(names, 1)))
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test understood of its inventory is remembered in its own directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def site() -> Site:
    return Site("org", "net")


@pytest.fixture
def one_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The inventory of one pair; no note of a daemon is looked for outside of the test's own directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return write_inventory(tmp_path, "org")


@pytest.fixture
def two_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return write_inventory(tmp_path, "org", "net")


@pytest.fixture
def mailmirror(site: Site, one_pair: Path) -> Type:
    """Type a command line to the site; its exit code comes back."""

    def typed(*words: str, inventory: Path = one_pair) -> int:
        return run(["-i", str(inventory), *words], Front(connect=site.connect))

    return typed
