"""The file that an agent remembers in: its own alone, durable, and put aside when it can't be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from orchestrator.agent.index import Meta, open_index
from orchestrator.agent.serve import Fault

SCHEMA = "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID; CREATE TABLE thing(x INTEGER)"


def test_what_was_committed_is_there_again(tmp_path: Path) -> None:
    path = str(tmp_path / "deep/index.sqlite")
    db = open_index(path, SCHEMA, 3)
    db.execute("BEGIN")
    Meta(db).set(a=1, b="x", c=None)
    db.execute("COMMIT")
    db.close()
    db = open_index(path, SCHEMA, 3)
    meta = Meta(db)
    assert (meta.get("a"), meta.get("b"), meta.get("c", 5), meta.get("d", 7)) == (1, "x", None, 7)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    db.close()


def test_a_second_agent_is_told_that_one_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda path, **words: connect(path, **{**words, "timeout": 0.05}))
    db = open_index(str(tmp_path / "index.sqlite"), SCHEMA, 1)
    with pytest.raises(Fault) as busy:
        open_index(str(tmp_path / "index.sqlite"), SCHEMA, 1)
    assert busy.value.code == "busy"
    db.close()


@pytest.mark.parametrize("spoilt", ["another version", "garbage", "a torn page"])
def test_an_index_that_cant_be_used_is_put_aside_and_made_anew(tmp_path: Path, spoilt: str) -> None:
    path = tmp_path / "index.sqlite"
    db = open_index(str(path), SCHEMA, 1)
    db.execute("INSERT INTO thing VALUES (1)")
    db.close()
    if spoilt == "garbage":
        path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    elif spoilt == "a torn page":
        path.write_bytes(path.read_bytes()[:100] + bytes(4_000))
    db = open_index(str(path), SCHEMA, 2 if spoilt == "another version" else 1)
    assert db.execute("SELECT count(*) FROM thing").fetchone() == (0,)
    db.close()
    assert list(tmp_path.glob("index.sqlite.unusable-*"))


def test_an_index_of_an_older_version_is_taken_along(tmp_path: Path) -> None:
    path = str(tmp_path / "index.sqlite")
    db = open_index(path, SCHEMA, 1)
    db.execute("INSERT INTO thing VALUES (1)")
    db.close()
    steps = ("ALTER TABLE thing ADD COLUMN y INTEGER NOT NULL DEFAULT 0", "ALTER TABLE thing ADD COLUMN z INTEGER")
    for version, row in ((2, (1, 0)), (3, (1, 0, None))):
        db = open_index(path, SCHEMA, version, steps[: version - 1])
        assert db.execute("SELECT * FROM thing").fetchall() == [row]
        db.close()
    assert list(tmp_path.glob("*unusable*")) == []
