"""The guards' key: made once, kept, and never replaced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import OperatorError
from orchestrator.records import pairkey


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = pairkey.key(tmp_path / "state", "org")
    assert len(first) == 32
    assert pairkey.key(tmp_path / "state", "org") == first != pairkey.key(tmp_path / "state", "net")
    path = pairkey.path_of(tmp_path / "state", "org")
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in path.parent.iterdir()) == ["net.guard.key", "org.guard.key"]


def test_of_several_who_make_it_at_once_all_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: pairkey.key(tmp_path, "org"), range(32)))) == 1


@pytest.mark.parametrize("torn", ["", "00ff", "no key", "00" * 33])
def test_a_torn_one_is_told_and_left(torn: str, tmp_path: Path) -> None:
    path = pairkey.path_of(tmp_path, "org")
    path.write_text(torn)
    with pytest.raises(OperatorError, match="holds no key"):
        pairkey.key(tmp_path, "org")
    assert path.read_text() == torn
