"""The source's change log: a row per folder, placement and sidecar, with the `seq` of its last change.

A passive place asks for all rows beyond its cursor; a row that changed twice stands once,
at its newest seq, so the log never grows with time. What went away is a removal: a row of
its own, dropped when the thing comes back.

Invariant: seqs are given out in the order in which the changes may be applied, and none is
offered before it is durable (`commit`). No file of the store is touched here.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from . import index
from .delta import Listing, signed, unsigned

VERSION = 2
STEPS = ("ALTER TABLE placement ADD COLUMN changed INTEGER NOT NULL DEFAULT 0",)
MESSAGE, SIDECAR, FOLDER = 0, 1, 2
MAX_REMOVALS = 2_000_000

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE folder(
  fid INTEGER PRIMARY KEY, account BLOB NOT NULL, path BLOB NOT NULL UNIQUE, maildir INTEGER NOT NULL,
  inode INTEGER NOT NULL, mode INTEGER NOT NULL, owner INTEGER NOT NULL, grp INTEGER NOT NULL,
  dir_sig TEXT NOT NULL, new_sig TEXT NOT NULL, cur_sig TEXT NOT NULL,
  digest INTEGER NOT NULL, messages INTEGER NOT NULL, seq INTEGER NOT NULL);
CREATE INDEX folder_seq ON folder(seq);
CREATE TABLE placement(
  fid INTEGER NOT NULL, base BLOB NOT NULL, sub INTEGER NOT NULL, info BLOB NOT NULL, inode INTEGER NOT NULL,
  size INTEGER NOT NULL, mtime INTEGER NOT NULL, mode INTEGER NOT NULL, owner INTEGER NOT NULL, grp INTEGER NOT NULL,
  origin INTEGER, seq INTEGER NOT NULL, changed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(fid, base)) WITHOUT ROWID;
CREATE INDEX placement_seq ON placement(seq);
CREATE TABLE sidecar(
  fid INTEGER NOT NULL, name BLOB NOT NULL, sig TEXT NOT NULL, link BLOB, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
  mode INTEGER NOT NULL, owner INTEGER NOT NULL, grp INTEGER NOT NULL, rewrites INTEGER NOT NULL,
  crc INTEGER NOT NULL, tail INTEGER NOT NULL, uidvalidity INTEGER, next_uid INTEGER, last_uid INTEGER,
  seq INTEGER NOT NULL, PRIMARY KEY(fid, name)) WITHOUT ROWID;
CREATE INDEX sidecar_seq ON sidecar(seq);
CREATE TABLE removal(
  seq INTEGER PRIMARY KEY, fid INTEGER NOT NULL, what INTEGER NOT NULL, name BLOB NOT NULL,
  moved INTEGER NOT NULL, exempt INTEGER NOT NULL, account BLOB NOT NULL);
CREATE INDEX removal_name ON removal(fid, name);
CREATE TABLE later(
  fid INTEGER NOT NULL, name BLOB NOT NULL, sidecar INTEGER NOT NULL, PRIMARY KEY(fid, name)) WITHOUT ROWID;
CREATE TABLE clock(seq INTEGER PRIMARY KEY, at REAL NOT NULL);
"""


class Placement(NamedTuple):
    """One message in one folder, as it was last seen. Times in ns; `origin` is the folder where
    the same file stood before, if it was seen to move or to be linked; `changed` is the inode's ctime
    when this name was seen, 0 where that isn't known."""

    fid: int
    base: bytes
    sub: int
    info: bytes
    inode: int
    size: int
    mtime: int
    mode: int
    owner: int
    group: int
    origin: Optional[int]
    seq: int
    changed: int = 0


class Sidecar(NamedTuple):
    """One sidecar. `size` is the length that counts (a uidlist's torn tail doesn't), `crc` is over
    it, `rewrites` grows when the file was replaced and not appended to, `tail` is the crc of the
    last KiB, by which an append is told from a rewrite."""

    fid: int
    name: bytes
    sig: str
    link: Optional[bytes]
    size: int
    mtime: int
    mode: int
    owner: int
    group: int
    rewrites: int
    crc: int
    tail: int
    uidvalidity: Optional[int]
    next_uid: Optional[int]
    last_uid: Optional[int]
    seq: int


class Removal(NamedTuple):
    seq: int
    fid: int
    what: int
    name: bytes
    moved: int
    exempt: int
    account: bytes


class FolderRow(NamedTuple):
    fid: int
    account: bytes
    path: bytes
    maildir: int
    inode: int
    mode: int
    owner: int
    group: int
    dir_sig: str
    new_sig: str
    cur_sig: str
    digest: int
    messages: int
    seq: int


AT_ONCE = 250
"""Names in one statement."""
_PLACEMENT = "INSERT OR REPLACE INTO placement VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
_SIDECAR = "INSERT OR REPLACE INTO sidecar VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_FOLDER = "INSERT OR REPLACE INTO folder VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


class Log:
    """The change log of one store. One thread."""

    def __init__(self, path: str) -> None:
        self._db = index.open_index(path, SCHEMA, VERSION, STEPS)
        self.meta = index.Meta(self._db)
        self._open = False
        if self.meta.get("id") is None:
            self.begin()
            self.meta.set(id=uuid.uuid4().hex, head=0, next_fid=1, horizon=0)
            self.commit()
        self.head: int = self.meta.get("head")
        self.id: str = self.meta.get("id")
        self._committed = self.head
        self._next_fid: int = self.meta.get("next_fid")
        self._has_removals = self._db.execute("SELECT 1 FROM removal LIMIT 1").fetchone() is not None

    # --- transactions -----------------------------------------------------------------

    def begin(self) -> None:
        if not self._open:
            self._db.execute("BEGIN IMMEDIATE")
            self._open = True

    def commit(self) -> None:
        """Make everything since `begin` durable, and note when the newest seqs were given out."""
        if not self._open:
            return
        if self.meta.get("head", 0) != getattr(self, "head", 0):
            self._db.execute("INSERT OR REPLACE INTO clock VALUES (?, ?)", (self.head, time.time()))
            self.meta.set(head=self.head, next_fid=self._next_fid)
        self._db.execute("COMMIT")
        self._open = False
        self._committed = getattr(self, "head", 0)

    @property
    def uncommitted(self) -> bool:
        return self._open

    def close(self) -> None:
        self.commit()
        self._db.close()

    def renew(self) -> None:
        """Be another log from now on: whoever has a cursor in the old one compares everything."""
        self.begin()
        self.id = uuid.uuid4().hex
        self.meta.set(id=self.id)

    def tick(self) -> int:
        """The next seq."""
        self.begin()
        self.head += 1
        return self.head

    def new_fid(self) -> int:
        self.begin()
        self._next_fid += 1
        return self._next_fid - 1

    # --- folders ----------------------------------------------------------------------

    def folders(self) -> List[FolderRow]:
        rows = self._db.execute("SELECT * FROM folder")
        return [FolderRow(*row)._replace(digest=unsigned(row[11])) for row in rows]

    def put_folder(self, row: FolderRow) -> None:
        self.begin()
        self._db.execute(_FOLDER, row._replace(digest=signed(row.digest)))

    def drop_folder(self, fid: int) -> None:
        """Forget a folder and all that stood in it; the caller has recorded the removals."""
        self.begin()
        for table in ("folder", "placement", "sidecar"):
            self._db.execute(f"DELETE FROM {table} WHERE fid=?", (fid,))

    # --- placements -------------------------------------------------------------------

    def listing(self, fid: int) -> Listing:
        rows = self._db.execute("SELECT base, sub, info, inode FROM placement WHERE fid=?", (fid,))
        return {base: (sub, info, inode) for base, sub, info, inode in rows}

    def placement(self, fid: int, base: bytes) -> Optional[Placement]:
        row = self._db.execute("SELECT * FROM placement WHERE fid=? AND base=?", (fid, base)).fetchone()
        return None if row is None else Placement(*row)

    def put_placements(self, rows: Sequence[Placement], fresh: bool) -> None:
        """Write rows; `fresh` says that some weren't there before, so that their removals are void."""
        self.begin()
        self._db.executemany(_PLACEMENT, rows)
        if fresh and self._has_removals:
            self._db.executemany(
                "DELETE FROM removal WHERE fid=? AND name=? AND what=0", [(row.fid, row.base) for row in rows]
            )

    def rename_placements(self, rows: Sequence[Tuple[int, bytes, int, int, int, bytes]]) -> None:
        """(sub, info, changed, seq, fid, base) of messages whose flags changed."""
        self.begin()
        self._db.executemany("UPDATE placement SET sub=?, info=?, changed=?, seq=? WHERE fid=? AND base=?", rows)

    def restamp(self, fid: int, base: bytes) -> bool:
        """Offer a placement again."""
        self.begin()
        done = self._db.execute("UPDATE placement SET seq=? WHERE fid=? AND base=?", (self.tick(), fid, base))
        return done.rowcount > 0

    def twins(self, fids: Iterable[int], inodes: Dict[bytes, int]) -> Dict[bytes, int]:
        """Base name -> the folder among `fids` that holds this very file (`inodes`: base name -> inode) as well."""
        found: Dict[bytes, int] = {}
        among = ",".join(map(str, fids))
        bases = list(inodes)
        for at in range(0, len(bases) if among else 0, AT_ONCE):
            some = bases[at : at + AT_ONCE]
            marks = ",".join("?" * len(some))
            where = f"fid IN ({among}) AND base IN ({marks})"
            rows = self._db.execute(f"SELECT base, fid, inode FROM placement WHERE {where}", some)
            found.update((base, fid) for base, fid, inode in rows if inode == inodes[base])
        return found

    def drop_placements(self, fid: int, bases: Iterable[bytes]) -> None:
        self.begin()
        self._db.executemany("DELETE FROM placement WHERE fid=? AND base=?", [(fid, base) for base in bases])

    # --- sidecars ---------------------------------------------------------------------

    def sidecars(self, fid: int) -> Dict[bytes, Sidecar]:
        rows = self._db.execute("SELECT * FROM sidecar WHERE fid=?", (fid,))
        return {row[1]: Sidecar(*row) for row in rows}

    def all_sidecars(self) -> Iterator[Sidecar]:
        return (Sidecar(*row) for row in self._db.execute("SELECT * FROM sidecar"))

    def put_sidecar(self, row: Sidecar) -> None:
        self.begin()
        self._db.execute(_SIDECAR, row)
        if self._has_removals:
            self._db.execute("DELETE FROM removal WHERE fid=? AND name=? AND what=1", (row.fid, row.name))

    def drop_sidecar(self, fid: int, name: bytes) -> None:
        self.begin()
        self._db.execute("DELETE FROM sidecar WHERE fid=? AND name=?", (fid, name))

    # --- removals ---------------------------------------------------------------------

    def put_removals(self, rows: Sequence[Removal]) -> None:
        self.begin()
        self._db.executemany("INSERT INTO removal VALUES (?,?,?,?,?,?,?)", rows)
        self._has_removals = self._has_removals or bool(rows)

    def prune(self, keep: int = MAX_REMOVALS) -> None:
        """Drop the oldest removals beyond `keep`; whoever's cursor is older compares everything."""
        row = self._db.execute("SELECT seq FROM removal ORDER BY seq DESC LIMIT 1 OFFSET ?", (keep,)).fetchone()
        if row is not None:
            self.begin()
            self._db.execute("DELETE FROM removal WHERE seq<=?", row)
            self.meta.set(horizon=row[0])
        self._db.execute("DELETE FROM clock WHERE seq < (SELECT max(seq) FROM clock) - 1000000")

    # --- what couldn't be read --------------------------------------------------------

    def put_later(self, fid: int, name: bytes, sidecar: bool) -> None:
        """Remember something that can't be read now; the next audit offers it again."""
        self.begin()
        self._db.execute("INSERT OR REPLACE INTO later VALUES (?, ?, ?)", (fid, name, int(sidecar)))

    def has_later(self) -> bool:
        """Whether something can't be read now."""
        return self._db.execute("SELECT 1 FROM later LIMIT 1").fetchone() is not None

    def take_later(self) -> List[Tuple[int, bytes, bool]]:
        rows = [(fid, name, bool(sidecar)) for fid, name, sidecar in self._db.execute("SELECT * FROM later")]
        if rows:
            self.begin()
            self._db.execute("DELETE FROM later")
        return rows

    # --- what a cursor lacks ----------------------------------------------------------

    def placements_after(self, seq: int, limit: int) -> List[Placement]:
        rows = self._db.execute("SELECT * FROM placement WHERE seq>? ORDER BY seq LIMIT ?", (seq, limit))
        return [Placement(*row) for row in rows]

    def folders_between(self, after: int, upto: int) -> List[FolderRow]:
        rows = self._db.execute("SELECT * FROM folder WHERE seq>? AND seq<=? ORDER BY path", (after, upto))
        return [FolderRow(*row) for row in rows]

    def sidecars_between(self, after: int, upto: int) -> List[Sidecar]:
        rows = self._db.execute("SELECT * FROM sidecar WHERE seq>? AND seq<=?", (after, upto))
        return [Sidecar(*row) for row in rows]

    def sidecars_of(self, fid: int, after: int) -> List[Sidecar]:
        rows = self._db.execute("SELECT * FROM sidecar WHERE fid=? AND seq>?", (fid, after))
        return [Sidecar(*row) for row in rows]

    def removals_after(self, seq: int, limit: int) -> List[Removal]:
        rows = self._db.execute("SELECT * FROM removal WHERE seq>? ORDER BY seq LIMIT ?", (seq, limit))
        return [Removal(*row) for row in rows]

    def pending(self, live: int, dead: int) -> Tuple[int, Optional[float]]:
        """(rows that these cursors lack, when the oldest of them was found, in seconds since the epoch)."""
        count = 0
        for table, after in (("folder", live), ("placement", live), ("sidecar", live), ("removal", dead)):
            count += self._db.execute(f"SELECT count(*) FROM {table} WHERE seq>?", (after,)).fetchone()[0]
        if not count:
            return 0, None
        oldest = self._oldest(live, dead)
        row = self._db.execute("SELECT at FROM clock WHERE seq>=? ORDER BY seq LIMIT 1", (oldest,)).fetchone()
        return count, (row[0] if row else time.time())

    def _oldest(self, live: int, dead: int) -> int:
        found = []
        for table, after in (("folder", live), ("placement", live), ("sidecar", live), ("removal", dead)):
            row = self._db.execute(f"SELECT min(seq) FROM {table} WHERE seq>?", (after,)).fetchone()
            if row[0] is not None:
                found.append(int(row[0]))
        return min(found)


def log_path(state: str, store: str) -> str:
    return os.path.join(state, store, "source.sqlite")


def is_busy(error: sqlite3.Error) -> bool:
    return "locked" in str(error)
