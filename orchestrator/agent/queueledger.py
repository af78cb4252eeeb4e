"""What a host remembers of letters that are moved between two queues: which it was given, which it gave away.

The ledger stands in the spool itself (`.mailmirror/queue.sqlite`): restored from a copy, both are of one age. A letter
is known by the host it came from, its queue id there, and the microsecond of its arrival, which its file says; a short
id comes again, that moment doesn't.

States of a letter that was laid here: *laying* (its file is whole and durable under a name of ours; that name gone
means that it took its own), *laid*, *releasing*, *released*; *lifted*: taken back before it was released; *left*: it
went on to another host. Only what was lifted or has left may be laid again. States of one that is given away: *holding*
(about to be put on hold, by us), *held*, *dropped*.

Invariant: a commit is durable when it returns, and a ledger that can't be read is an error and never an empty one:
what it would have forgotten would be delivered twice. One process at a time has it.
"""

from __future__ import annotations

import os
import sqlite3
from types import TracebackType
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Type

from .beneath import Root, fsync_dir
from .serve import Fault
from .spool import OURS

FILE = "queue.sqlite"
LAYING, LAID, RELEASING, RELEASED, LIFTED, LEFT = "laying", "laid", "releasing", "released", "lifted", "left"
HOLDING, HELD, DROPPED = "holding", "held", "dropped"
_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE laid(source TEXT, id TEXT, arrived INTEGER, digest TEXT, size INTEGER, local TEXT, inode INTEGER,
  state TEXT, operation TEXT, logs TEXT, PRIMARY KEY(source, id, arrived)) WITHOUT ROWID;
CREATE TABLE held(id TEXT, arrived INTEGER, inode INTEGER, state TEXT, operation TEXT, digest TEXT,
  PRIMARY KEY(id, arrived)) WITHOUT ROWID
"""
_VERSION = 1


class Laid(NamedTuple):
    """A letter from `source`, where its id was `id`; here it is `local`. `arrived`: microseconds since 1970. `logs`:
    what its sender is still to be told, JSON, by log.
    """

    source: str
    id: str
    arrived: int
    digest: str
    size: int
    local: str
    inode: int
    state: str
    operation: str
    logs: str

    @property
    def key(self) -> Tuple[int, int]:
        """By what its file here is known: the inode, which no rename changes, and the arrival, which the file says."""
        return self.inode, self.arrived

    @property
    def out(self) -> str:
        """Its name when it is taken back."""
        return f"{self.local}-{self.arrived}-{self.operation}"


class Held(NamedTuple):
    """A letter of this host's that we put on hold; `digest` once it was given away."""

    id: str
    arrived: int
    inode: int
    state: str
    operation: str
    digest: str

    @property
    def key(self) -> Tuple[int, int]:
        """As `Laid.key`."""
        return self.inode, self.arrived

    @property
    def out(self) -> str:
        """Its name when it is taken out."""
        return f"{self.id}-{self.arrived}-{self.operation}"


class QueueLedger:
    """A context manager. With `make` false a ledger that isn't there isn't made, and reads as empty. Raises Fault:
    busy, ledger.
    """

    def __init__(self, root: Root, make: bool = True) -> None:
        path = os.path.join(root.path, os.fsdecode(OURS), FILE)
        if make and root.make_dirs(OURS):
            fsync_dir(root.fd)
        if not make and not os.path.exists(path):
            path = ":memory:"
        else:
            root.open_dir(OURS)  # a link there is refused
        self._db = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            self._begin()
        except sqlite3.DatabaseError as error:
            self._db.close()
            if "locked" in str(error):
                raise Fault("busy", "another agent is at work on this queue", "Wait until it has ended.") from error
            remedy = "Don't remove it: letters would be delivered twice. Mend the disk, or restore it with its spool."
            raise Fault("ledger", f"{path} can't be used: {error}", remedy) from error

    def _begin(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=PERSIST")
        self._db.execute("PRAGMA synchronous=EXTRA")
        self._db.execute("BEGIN EXCLUSIVE")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={_VERSION:d}")
        elif found != _VERSION:
            raise sqlite3.DatabaseError(f"it is of version {found}")
        self._db.execute("COMMIT")

    def __enter__(self) -> "QueueLedger":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._db.close()

    def _commit(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """All rows or none, durable when this returns."""
        if rows:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(statement, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # --- the epoch ----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The highest epoch that a request had."""
        row = self._db.execute("SELECT value FROM meta WHERE key='epoch'").fetchone()
        return int(row[0]) if row else 0

    def note_epoch(self, epoch: int) -> None:
        if epoch > self.epoch:
            self._commit("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", [(epoch,)])

    # --- letters that came --------------------------------------------------------------------------------------------

    def laid(self, where: str = "1", values: Sequence[Any] = ()) -> List[Laid]:
        rows = self._db.execute(f"SELECT * FROM laid WHERE {where} ORDER BY source, id, arrived", values)
        return [Laid(*row) for row in rows]

    def of(self, source: str, queue_id: str, arrived: int) -> Optional[Laid]:
        return next(iter(self.laid("source=? AND id=? AND arrived=?", (source, queue_id, arrived))), None)

    def put(self, rows: Sequence[Laid]) -> None:
        self._commit(f"INSERT OR REPLACE INTO laid VALUES ({','.join('?' * len(Laid._fields))})", rows)

    # --- letters that go ----------------------------------------------------------------------------------------------

    def held(self, where: str = "1", values: Sequence[Any] = ()) -> List[Held]:
        return [
            Held(*row) for row in self._db.execute(f"SELECT * FROM held WHERE {where} ORDER BY id, arrived", values)
        ]

    def put_held(self, rows: Sequence[Held]) -> None:
        self._commit(f"INSERT OR REPLACE INTO held VALUES ({','.join('?' * len(Held._fields))})", rows)

    def forget_held(self, rows: Sequence[Held]) -> None:
        self._commit("DELETE FROM held WHERE id=? AND arrived=?", [row[:2] for row in rows])
