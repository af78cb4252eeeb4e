"""The controller's SQLite: journal.sqlite in `mm_state_dir`, one file for all its pairs.

A rollback journal that is truncated, not a write-ahead log: SQLite's log can corrupt a file with two connections before
3.51.3 (sqlite.org/wal.html, "WAL-reset"), and the daemon and a verb may write at once. With `synchronous=FULL` the
file, and then the truncation that commits, are synced before a commit returns (pager.c, pager_end_transaction).

Invariant: a file stands under its name whole, with its tables, or not at all, so that an empty or damaged one is never
taken for a new one: it is refused, left as it is, and said so. A schema grows by `_STEPS`, counted in `user_version`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import MailmirrorError, NotPermitted, OperatorError, TryAgain
from orchestrator.records.lock import given, state_dir, writing

NAME = "journal.sqlite"
APPLICATION = 0x6D6D6A31  # "mmj1", so that another program's file isn't taken for ours
PATIENCE = 10.0  # seconds to wait for another process's write

_FIRST = """
CREATE TABLE operations (
    id TEXT PRIMARY KEY, pair TEXT NOT NULL, journey TEXT NOT NULL, active TEXT NOT NULL, passive TEXT NOT NULL,
    leaves INTEGER NOT NULL, leads INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL, playbook TEXT NOT NULL,
    version TEXT NOT NULL, part_of TEXT NOT NULL, began REAL NOT NULL, state TEXT NOT NULL, course TEXT NOT NULL,
    ended REAL, said TEXT NOT NULL);
CREATE UNIQUE INDEX one_open ON operations (pair) WHERE state IN ('open', 'stuck');
CREATE TABLE marks (
    at REAL NOT NULL, operation TEXT NOT NULL REFERENCES operations, number INTEGER NOT NULL, verb TEXT NOT NULL,
    phase TEXT NOT NULL, said TEXT NOT NULL, parameters TEXT NOT NULL);
CREATE INDEX marks_of ON marks (operation);
CREATE TABLE notes (
    operation TEXT NOT NULL REFERENCES operations, key TEXT NOT NULL, facts TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX notes_of ON notes (operation, key);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, pair TEXT NOT NULL, operation TEXT NOT NULL, at REAL NOT NULL, version TEXT NOT NULL,
    facts TEXT NOT NULL, decision TEXT NOT NULL);
CREATE INDEX decisions_of ON decisions (pair);
CREATE TABLE events (pair TEXT NOT NULL, at REAL NOT NULL, verb TEXT NOT NULL, what TEXT NOT NULL);
CREATE INDEX events_of ON events (pair, verb)
"""
_STEPS = (_FIRST,)
"""What each version adds to the one before it; a step that was given out never changes."""


def path_of(directory: Path) -> Path:
    return directory / NAME


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's errors in our words, each with what to do next. Raises TryAgain, NotPermitted, OperatorError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _failed(path, error) from error
    except sqlite3.IntegrityError:
        raise  # a rule of the tables: who wrote knows which
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def connect(directory: Path) -> sqlite3.Connection:
    """The file of a state directory, made where there is none. Raises TryAgain, NotPermitted, OperatorError."""
    path = path_of(state_dir(directory))
    with writing(path):
        if not os.path.lexists(path):
            _make(path)
        with path.open("r+b") as file:
            empty = not file.read(1)
    if empty:
        raise _damaged(path, "it is empty")
    with told(path):
        db = _opened(path)
        try:
            _check(db, path)
        except BaseException:
            db.close()
            raise
    return db


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=TRUNCATE")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA foreign_keys=ON")
    db.execute("PRAGMA mmap_size=0")
    return db


def _make(path: Path) -> None:
    """Whole and durable before it has its name; of two processes that make one at once, the first one's stays."""
    beside = path.with_suffix(f".{secrets.token_hex(4)}.new")
    made = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    given(made, path.parent)
    os.close(made)
    journal = Path(f"{beside}-journal")
    try:
        with told(path), contextlib.closing(_opened(beside)) as db:
            db.execute(f"PRAGMA application_id={APPLICATION}")
            _grow(db, 0)
        with contextlib.suppress(FileExistsError):  # somebody else has just made one: theirs counts
            os.link(beside, path)
    finally:
        beside.unlink()
        journal.unlink(missing_ok=True)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check(db: sqlite3.Connection, path: Path) -> None:
    """That the file is ours, whole, and of this version; an older one grows."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise _damaged(path, "another program wrote it")
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _damaged(path, str(found))
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not 0 < version <= len(_STEPS):
        raise OperatorError(
            f"{path} is of version {version}, and this mailmirror knows up to {len(_STEPS)}.",
            remedy="Install the newer mailmirror again: it wrote this file.",
        )
    if version < len(_STEPS):
        _grow(db, version)


def _grow(db: sqlite3.Connection, version: int) -> None:
    db.execute("BEGIN EXCLUSIVE")
    for step in _STEPS[version:]:
        for statement in step.split(";"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version={len(_STEPS)}")
    db.execute("COMMIT")


def _failed(path: Path, error: sqlite3.OperationalError) -> MailmirrorError:
    """What the disk, the rights or another process did; the file itself may be whole."""
    words = str(error)
    if "locked" in words or "busy" in words:
        return TryAgain(f"{path} is being written by another process.")
    if "readonly" in words or "unable to open" in words:
        return NotPermitted(f"{path} can't be written: {words}.")
    return OperatorError(f"{path} can't be written: {words}.", remedy="Make room there, or mend mm_state_dir.")


def _damaged(path: Path, what: str) -> OperatorError:
    return OperatorError(
        f"{path} can't be used: {what}. It holds what an unfinished journey has done, so it isn't made anew by itself.",
        remedy=f"Stop mailmirror and put back a copy, or `sqlite3 {path} .recover`. Failing that move it away, "
        "then ask `mailmirror-guard status` on every host which epoch it is before you order anything.",
    )
