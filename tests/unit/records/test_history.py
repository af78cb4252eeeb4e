"""Orders and their reasons, kept line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import OperatorError
from orchestrator.records import history


def test_each_order_is_a_line_of_its_own(tmp_path: Path) -> None:
    for reason in ("first\nof two lines", "second"):
        history.append(tmp_path / "state", "org", "release", reason, uid=7, pid=8, id="w1")
    lines = (tmp_path / "state/org.history.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert [line["reason"] for line in kept] == ["first\nof two lines", "second"]
    assert {key: kept[0][key] for key in ("verb", "uid", "pid", "id")} == {
        "verb": "release", "uid": 7, "pid": 8, "id": "w1",
    }  # fmt: skip
    assert kept[0]["at"] > 1e9


def test_where_it_can_t_be_written_the_order_is_refused_with_a_remedy(tmp_path: Path) -> None:
    history.path_of(tmp_path, "org").mkdir()
    with pytest.raises(OperatorError, match=r"org\.history\.jsonl can't be written"):
        history.append(tmp_path, "org", "release", "", uid=0, pid=1)


def test_a_plain_pass_is_not_worth_a_line() -> None:
    assert not history.worth_noting("sync", "")
    assert history.worth_noting("sync", "why") and history.worth_noting("release", "")
