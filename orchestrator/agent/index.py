"""The agent's memory: one SQLite file per store and side, one connection, one process.

A single connection that holds the file exclusively: SQLite's write-ahead log has a
corruption bug with two connections before 3.51.3 (sqlite.org/wal.html, "WAL-reset"), and
two agents on one store would each believe themselves alone. Every commit is durable when
it returns (`synchronous=FULL`): a sequence number that a peer has seen must never be
given out a second time.

Invariant: a schema of another version is never read, nor a file that is found damaged; it is
put aside and a new index begun, which costs a comparison and loses nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

from .serve import Fault

T = TypeVar("T")


def open_index(path: str, schema: str, version: int, steps: Sequence[str] = ()) -> sqlite3.Connection:
    """The index at `path`, made when it isn't there; the n-th of `steps` makes version n + 1 of version n.

    Raises Fault("busy") when another agent has it.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    for attempt in (1, 2):
        ended_badly = os.path.exists(path + "-wal")
        db: Optional[sqlite3.Connection] = None
        try:
            db = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            if not _ready(db, schema, version, steps):
                trouble = "its schema is of another version"
            elif ended_badly and not _is_whole(db):
                trouble = "it is damaged"
            else:
                return db
        except sqlite3.OperationalError as error:
            if db is not None:
                db.close()
            if "locked" in str(error):
                raise Fault("busy", "another agent is at work on this store", "Wait until it has ended.") from error
            raise Fault("index", f"{path} can't be opened: {error}", "Mend it, or move it away.") from error
        except sqlite3.DatabaseError as error:
            trouble = str(error)
        if db is not None:
            db.close()
        if attempt == 2:
            raise Fault("index", f"{path} can't be used: {trouble}", "Remove it; it will be made anew.")
        put_aside(path)
    raise AssertionError("unreachable")


def opened(make: Callable[[str], T], path: str) -> T:
    """What `make` reads out of the index at `path`; of a damaged one, which is put aside, what it makes anew."""
    try:
        return make(path)
    except sqlite3.OperationalError:
        raise  # a disk that fails or is full: the file may be whole
    except sqlite3.DatabaseError:
        put_aside(path)
        return make(path)


def put_aside(path: str) -> None:
    """Rename an index that can't be used, so that a new one is begun."""
    aside = f"{path}.unusable-{int(time.time())}"
    for suffix in ("", "-wal"):
        if os.path.exists(path + suffix):
            os.replace(path + suffix, aside + suffix)


def _ready(db: sqlite3.Connection, schema: str, version: int, steps: Sequence[str]) -> bool:
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
        found = _called(db, version)
    while 0 < found < version and found <= len(steps):
        db.execute(steps[found - 1])
        found = _called(db, found + 1)
    db.execute("COMMIT")
    return bool(found == version)


def _called(db: sqlite3.Connection, version: int) -> int:
    db.execute(f"PRAGMA user_version={version:d}")
    return version


def _is_whole(db: sqlite3.Connection) -> bool:
    """Whether the file holds together. Reads all of it: asked only after an end that wasn't orderly."""
    return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))


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
