"""The note by which quick commands find the daemon is believed only where nobody else could have left it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.web import pointer


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(pointer, "SYSTEM", str(tmp_path / "none" / "mailmirror"))
    path = tmp_path / "a%b" / "inventory.yaml"
    path.parent.mkdir()
    path.write_text("x")
    return path


def test_a_note_is_found_by_any_way_to_the_same_file(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pointer.find(str(inventory)) is None
    assert pointer.publish(str(inventory), "/state/control.sock") is not None
    link = inventory.parent.parent / "link.yaml"
    link.symlink_to(inventory)
    monkeypatch.chdir(inventory.parent)
    for way in (str(inventory), str(link), "inventory.yaml", "../a%b/inventory.yaml"):
        assert pointer.find(way) == "/state/control.sock"


def test_a_changed_inventory_makes_the_note_void(inventory: Path) -> None:
    pointer.publish(str(inventory), "/s")
    inventory.write_text("xy")
    assert pointer.find(str(inventory)) is None


def test_a_directory_that_others_may_write_is_not_believed(inventory: Path) -> None:
    note = pointer.publish(str(inventory), "/s")
    assert note is not None
    os.chmod(Path(note).parent, 0o777)
    assert pointer.find(str(inventory)) is None
    assert pointer.publish(str(inventory), "/s") is None


def test_a_link_in_the_directory_s_place_is_not_believed(inventory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "mailmirror").symlink_to(tmp_path / "elsewhere")
    assert pointer.publish(str(inventory), "/s") is None
    assert pointer.find(str(inventory)) is None


def test_a_damaged_note_is_none(inventory: Path) -> None:
    note = pointer.publish(str(inventory), "/s")
    assert note is not None
    for text in ("", "[]", "{}", '{"stamp": 1}', "x" * 10000):
        Path(note).write_text(text)
        assert pointer.find(str(inventory)) is None


def test_a_path_too_long_for_a_name_has_no_note(inventory: Path) -> None:
    deep = inventory.parent / ("d" * 200) / "inventory.yaml"
    deep.parent.mkdir()
    deep.write_text("x")
    assert pointer.publish(str(deep), "/s") is None
    assert pointer.find(str(deep)) is None


def test_the_system_s_directory_counts_only_below_root_s(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    above = Path(pointer.SYSTEM).parent
    above.mkdir()
    assert (pointer.publish(str(inventory), "/s") is not None) == (os.geteuid() == 0)
    assert (pointer.find(str(inventory)) == "/s") == (os.geteuid() == 0)
