"""Orders and their reasons, kept one by one in the controller's journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import OperatorError
from orchestrator.records import database, history


def test_each_order_is_an_event_of_its_own(tmp_path: Path) -> None:
    assert history.told(tmp_path / "state", "org", "release") == [], "nothing was ever noted, and looking makes no file"
    assert not (tmp_path / "state").exists()
    for reason in ("first\nof two lines", "second"):
        history.append(tmp_path / "state", "org", "release", reason, uid=7, pid=8, id="w1")
    history.append(tmp_path / "state", "other", "release", "another pair's", uid=7, pid=8)
    history.judged(tmp_path / "state", "org", level="DOWN", evidence=["one", "two"])
    kept = history.told(tmp_path / "state", "org", "release")
    assert [line["reason"] for line in kept] == ["first\nof two lines", "second"]
    assert {key: kept[0][key] for key in ("verb", "uid", "pid", "id")} == {
        "verb": "release", "uid": 7, "pid": 8, "id": "w1",
    }  # fmt: skip
    assert kept[0]["at"] > 1e9
    assert history.told(tmp_path / "state", "org")[-1]["evidence"] == ["one", "two"]


def test_where_it_can_t_be_written_the_order_is_refused_with_a_remedy(tmp_path: Path) -> None:
    database.path_of(tmp_path).mkdir()
    with pytest.raises(OperatorError, match=r"journal\.sqlite can't be written") as caught:
        history.append(tmp_path, "org", "release", "", uid=0, pid=1)
    assert caught.value.remedy


def test_a_plain_pass_is_not_worth_a_line() -> None:
    assert not history.worth_noting("sync", "")
    assert history.worth_noting("sync", "why") and history.worth_noting("release", "")
