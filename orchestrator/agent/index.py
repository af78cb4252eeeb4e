"""The agent's memory: one SQLite file per store and side, one connection, one process.

A single connection that holds the file exclusively: SQLite's write-ahead log has a
corruption bug with two connections before 3.51.3 (sqlite.org/wal.html, "WAL-reset"), and
two agents on one store would each believe themselves alone. Every commit is durable when
it returns (`synchronous=FULL`): a sequence number that a peer has seen must never be
given out a second time.

Invariant: a schema of another version is never read; the file is put aside and a new
index begun, which costs a comparison and loses nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Any, Dict, List, Tuple

from .serve import Fault


def open_index(path: str, schema: str, version: int) -> sqlite3.Connection:
    """The index at `path`, made when it isn't there. Raises Fault("busy") when another agent has it."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    for attempt in (1, 2):
        db = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            if _ready(db, schema, version):
                return db
            trouble = "its schema is of another version"
        except sqlite3.OperationalError as error:
            db.close()
            if "locked" in str(error):
                raise Fault("busy", "another agent is at work on this store", "Wait until it has ended.") from error
            raise
        except sqlite3.DatabaseError as error:
            trouble = str(error)
        db.close()
        if attempt == 2:
            raise Fault("index", f"{path} can't be used: {trouble}", "Remove it; it will be made anew.")
        aside = f"{path}.unusable-{int(time.time())}"
        for suffix in ("", "-wal"):
            if os.path.exists(path + suffix):
                os.replace(path + suffix, aside + suffix)
    raise AssertionError("unreachable")


def _ready(db: sqlite3.Connection, schema: str, version: int) -> bool:
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA cache_size=-32768")
    db.execute("PRAGMA wal_autocheckpoint=4000")
    db.execute("BEGIN EXCLUSIVE")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        for statement in filter(str.strip, schema.split(";")):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={version:d}")
        found = version
    db.execute("COMMIT")
    return bool(found == version)


class Meta:
    """Named values of an index (table `meta`), remembered and written through."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._values: Dict[str, Any] = dict(db.execute("SELECT key, value FROM meta"))

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def set(self, **values: Any) -> None:
        """Write the values that differ; the caller's transaction makes them durable."""
        rows: List[Tuple[str, Any]] = [(k, v) for k, v in values.items() if self._values.get(k, self) != v]
        if rows:
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
            self._values.update(rows)
