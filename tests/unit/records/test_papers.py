"""Papers: written whole, read only by their digest, and never taken for what they aren't."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import NotPermitted, OperatorError
from orchestrator.records import papers


def test_what_is_written_is_read_by_its_digest(tmp_path: Path) -> None:
    path = papers.path_of(tmp_path / "state", "org", "20261201-1", "found")
    assert path.name == "org.20261201-1.found.json"
    first = papers.write(path, {"a": [1, "ä"]})
    assert papers.read(path, first) == {"a": [1, "ä"]} == papers.read(path)
    assert papers.write(path, {"a": 2}) != first
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    with pytest.raises(OperatorError, match="its digest differs"):
        papers.read(path, first)


def test_what_is_missing_or_torn_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = papers.path_of(tmp_path, "org", "op", "plan")
    with pytest.raises(OperatorError, match="can't be read") as missing:
        papers.read(path)
    assert "op abort" in missing.value.remedy
    papers.write(path, list(range(100)))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(OperatorError, match="is damaged"):
        papers.read(path)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    path = papers.path_of(tmp_path, "org", "op", "plan")
    other = tmp_path / "other"
    other.write_text("mine")
    path.with_suffix(".new").symlink_to(other)
    with pytest.raises((OperatorError, NotPermitted)):
        papers.write(path, 1)
    assert other.read_text() == "mine"
