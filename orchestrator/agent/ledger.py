"""A passive place's memory: what stands there, where it came from, and up to which point.

Folders are known by an id of their own (`lid`) and bound to the source's ids (`fid`), which
change when the source's index is made anew. A row's identity is the source's file: inode,
size and mtime under one base name; `inode` 0 means that this isn't proven yet.

Invariant: a commit is made only after what it says is durable in the store; names that were
touched since stand in `touched`, which is durable before the first of them changes. After a
crash the touched folders are read again, and the cursor has at most fallen behind.
"""

from __future__ import annotations

import os
from typing import Any, Collection, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from . import index, names
from .delta import Listing, signed, unsigned

VERSION = 2
STEPS = ("ALTER TABLE placement ADD COLUMN changed INTEGER NOT NULL DEFAULT 0",)

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE folder(
  lid INTEGER PRIMARY KEY, fid INTEGER UNIQUE, account BLOB NOT NULL, path BLOB NOT NULL UNIQUE,
  maildir INTEGER NOT NULL,  mode INTEGER NOT NULL, owner INTEGER NOT NULL, grp INTEGER NOT NULL,
  digest INTEGER NOT NULL, messages INTEGER NOT NULL,
  inode INTEGER NOT NULL, seen INTEGER NOT NULL);
CREATE TABLE placement(
  lid INTEGER NOT NULL, base BLOB NOT NULL, sub INTEGER NOT NULL, info BLOB NOT NULL, inode INTEGER NOT NULL,
  size INTEGER NOT NULL, mtime INTEGER NOT NULL, seen INTEGER NOT NULL, changed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(lid, base)) WITHOUT ROWID;
CREATE TABLE sidecar(
  lid INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL, rewrites INTEGER NOT NULL,
  uidvalidity INTEGER, next_uid INTEGER, raised INTEGER, local TEXT NOT NULL, waits INTEGER NOT NULL,
  seen INTEGER NOT NULL,
  PRIMARY KEY(lid, name)) WITHOUT ROWID;
CREATE TABLE waiting(
  lid INTEGER NOT NULL, what INTEGER NOT NULL, name BLOB NOT NULL, moved INTEGER NOT NULL, account BLOB NOT NULL,
  reason TEXT NOT NULL, since REAL NOT NULL, PRIMARY KEY(lid, what, name)) WITHOUT ROWID;
CREATE TABLE quarantine(
  qid INTEGER PRIMARY KEY, at REAL NOT NULL, account BLOB NOT NULL, path BLOB NOT NULL, what INTEGER NOT NULL,
  sub INTEGER NOT NULL, name BLOB NOT NULL, stored BLOB NOT NULL, counted INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE INDEX quarantine_at ON quarantine(at);
CREATE TABLE uidrow(lid INTEGER NOT NULL, base BLOB NOT NULL, row BLOB NOT NULL, PRIMARY KEY(lid, base)) WITHOUT ROWID;
CREATE TABLE touched(lid INTEGER PRIMARY KEY)
"""


_AMONG = {
    count: "SELECT base, sub, info, inode, size, mtime, seen, changed FROM placement WHERE lid=? AND base IN"
    f" ({','.join('?' * count)})"
    for count in (4, 32, 250)
}
"""Statements for so many names at once."""


class Held(NamedTuple):
    """One message in one folder of the passive place; `changed` is its inode's ctime at the source, by the
    source's clock, when it was seen under this name (0: not known)."""

    sub: int
    info: bytes
    inode: int
    size: int
    mtime: int
    seen: int
    changed: int = 0

    def is_file(self, inode: int, size: int, mtime: int) -> bool:
        """Whether it is proven to be this file of the source's."""
        return self.inode == inode and self.size == size and self.mtime == mtime and inode != 0


class HeldSidecar(NamedTuple):
    lid: int
    name: bytes
    size: int
    crc: int
    rewrites: int
    uidvalidity: Optional[int]
    next_uid: Optional[int]
    raised: Optional[int]
    local: str  # signature of the file as we left it
    waits: int
    seen: int


class Place:
    """One folder of the passive place."""

    __slots__ = (
        "account",
        "digest",
        "fid",
        "group",
        "inode",
        "lid",
        "maildir",
        "messages",
        "mode",
        "owner",
        "path",
        "seen",
    )

    def __init__(self, row: Sequence[Any]) -> None:
        (self.lid, self.fid, self.account, self.path, maildir, self.mode, self.owner, self.group,
         digest, self.messages, self.inode, self.seen) = row  # fmt: skip
        self.maildir = bool(maildir)
        self.digest = unsigned(digest)

    def row(self) -> Tuple[Any, ...]:
        return (self.lid, self.fid, self.account, self.path, int(self.maildir), self.mode, self.owner, self.group,
                signed(self.digest), self.messages, self.inode, self.seen)  # fmt: skip


class Kept(NamedTuple):
    """A quarantined thing."""

    qid: int
    at: float
    account: bytes
    path: bytes
    what: int
    sub: int
    name: bytes
    stored: bytes
    counted: int
    size: int


class Ledger:
    """The memory of one passive store. One thread."""

    def __init__(self, path: str) -> None:
        self._db = index.open_index(path, SCHEMA, VERSION, STEPS)
        self.meta = index.Meta(self._db)
        self._open = False
        self.places: Dict[int, Place] = {}
        self.by_fid: Dict[int, Place] = {}
        self.by_path: Dict[bytes, Place] = {}
        for row in self._db.execute("SELECT * FROM folder"):
            self._know(Place(row))
        self._next_lid = max(self.places, default=0) + 1
        self._touched = {row[0] for row in self._db.execute("SELECT lid FROM touched")}
        self._may_wait = self._db.execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is not None

    def begin(self) -> None:
        if not self._open:
            self._db.execute("BEGIN IMMEDIATE")
            self._open = True

    def commit(self) -> None:
        if self._open:
            self._db.execute("COMMIT")
            self._open = False

    @property
    def uncommitted(self) -> bool:
        return self._open

    def copy_into(self, path: str) -> None:
        """A copy of all that is committed, as another file. The caller makes it durable."""
        self.commit()
        self._db.execute("VACUUM INTO ?", (path,))

    def close(self, clean: bool) -> None:
        """End. `clean`: everything is durable in the store, so nothing needs to be read again.

        Otherwise nobody knows that, and what wasn't committed is forgotten.
        """
        if clean:
            self.begin()
            self._db.execute("DELETE FROM touched")
            self.commit()
        elif self._open:
            self._db.execute("ROLLBACK")
        self._db.close()

    # --- folders ----------------------------------------------------------------------

    def _know(self, place: Place) -> None:
        self.places[place.lid] = place
        self.by_path[place.path] = place
        if place.fid is not None:
            self.by_fid[place.fid] = place

    def new_place(self, fid: Optional[int], account: bytes, path: bytes, maildir: bool, seen: int) -> Place:
        place = Place((self._next_lid, fid, account, path, maildir, 0o700, 0, 0, 0, 0, 0, seen))
        self._next_lid += 1
        self._know(place)
        self.put_place(place)
        return place

    def put_place(self, place: Place) -> None:
        self.begin()
        self._db.execute("INSERT OR REPLACE INTO folder VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", place.row())

    def bind(self, place: Place, fid: int) -> None:
        """From now on the source calls this folder `fid`."""
        if place.fid is not None:
            self.by_fid.pop(place.fid, None)
        place.fid = fid
        self.by_fid[fid] = place

    def unbind_all(self) -> None:
        """The source's index is another one: its folder ids mean nothing any more."""
        self.begin()
        self._db.execute("UPDATE folder SET fid=NULL")
        self.by_fid.clear()
        for place in self.places.values():
            place.fid = None

    def repath(self, place: Place, path: bytes) -> None:
        """A folder, and all below it, has another path."""
        old = place.path
        moved = [p for p in self.places.values() if p.path == old or p.path.startswith(old + b"/")]
        for each in moved:
            del self.by_path[each.path]
            # Paths are unique: take the old ones out of the way before any new one is written.
            self.begin()
            self._db.execute("UPDATE folder SET path=? WHERE lid=?", (b"\0%d" % each.lid, each.lid))
        for each in moved:
            before = each.path
            each.path = path + each.path[len(old) :]
            if each.account == old or each.account.startswith(old + b"/"):
                each.account = path + each.account[len(old) :]
            self.by_path[each.path] = each
            self.put_place(each)
            # What was deleted in it comes back to where it stands by then.
            self._db.execute("UPDATE quarantine SET path=?, account=? WHERE path=?", (each.path, each.account, before))

    def drop_place(self, place: Place) -> None:
        self.begin()
        for table in ("folder", "placement", "sidecar", "waiting"):
            self._db.execute(f"DELETE FROM {table} WHERE lid=?", (place.lid,))
        del self.places[place.lid]
        self.by_path.pop(place.path, None)
        if place.fid is not None:
            self.by_fid.pop(place.fid, None)

    def forget_all(self) -> None:
        """Nothing stands here any more, and no source is known: the next one finds an empty place."""
        self.begin()
        for table in ("folder", "placement", "sidecar", "waiting", "uidrow", "touched"):
            self._db.execute(f"DELETE FROM {table}")
        for known in (self.places, self.by_fid, self.by_path, self._touched):
            known.clear()
        self.meta.set(index=None, live=0, dead=0, whole=0, adopting=0, complete=None)

    # --- placements -------------------------------------------------------------------

    def held(self, lid: int, base: bytes) -> Optional[Held]:
        row = self._db.execute(
            "SELECT sub, info, inode, size, mtime, seen, changed FROM placement WHERE lid=? AND base=?", (lid, base)
        ).fetchone()
        return None if row is None else Held(*row)

    def held_among(self, lid: int, bases: List[bytes]) -> Dict[bytes, Held]:
        """Those of many base names that stand in a folder: one statement for each few hundred of them."""
        found: Dict[bytes, Held] = {}
        at = 0
        while at < len(bases):
            count = next((count for count in _AMONG if at + count >= len(bases)), 250)
            some = bases[at : at + count]
            padded = (lid, *some, *some[:1] * (count - len(some)))
            found.update((row[0], Held(*row[1:])) for row in self._db.execute(_AMONG[count], padded))
            at += count
        return found

    def all_held(self, lid: int) -> Dict[bytes, Held]:
        what = "base, sub, info, inode, size, mtime, seen, changed"
        rows = self._db.execute(f"SELECT {what} FROM placement WHERE lid=?", (lid,))
        return {row[0]: Held(*row[1:]) for row in rows}

    def listing(self, lid: int) -> Listing:
        rows = self._db.execute("SELECT base, sub, info, inode FROM placement WHERE lid=?", (lid,))
        return {base: (sub, info, inode) for base, sub, info, inode in rows}

    def put_held(self, rows: Sequence[Tuple[Any, ...]]) -> None:
        """(lid, base, sub, info, inode, size, mtime, seen, changed)."""
        if rows:
            self.begin()
            self._db.executemany("INSERT OR REPLACE INTO placement VALUES (?,?,?,?,?,?,?,?,?)", rows)

    def drop_held(self, rows: Collection[Tuple[int, bytes]]) -> None:
        """(lid, base)."""
        if rows:
            self.begin()
            self._db.executemany("DELETE FROM placement WHERE lid=? AND base=?", rows)

    def unseen(self, round_number: int) -> List[Tuple[int, bytes]]:
        """Messages that the source hasn't spoken of in this round: it doesn't have them."""
        return list(self._db.execute("SELECT lid, base FROM placement WHERE seen<>?", (round_number,)))

    def total(self) -> int:
        return sum(place.messages for place in self.places.values())

    # --- sidecars ---------------------------------------------------------------------

    def sidecar(self, lid: int, name: bytes) -> Optional[HeldSidecar]:
        row = self._db.execute("SELECT * FROM sidecar WHERE lid=? AND name=?", (lid, name)).fetchone()
        return None if row is None else HeldSidecar(*row)

    def sidecars(self) -> List[HeldSidecar]:
        return [HeldSidecar(*row) for row in self._db.execute("SELECT * FROM sidecar")]

    def put_sidecar(self, row: HeldSidecar) -> None:
        self.begin()
        self._db.execute("INSERT OR REPLACE INTO sidecar VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)

    def drop_sidecar(self, lid: int, name: bytes) -> None:
        self.begin()
        self._db.execute("DELETE FROM sidecar WHERE lid=? AND name=?", (lid, name))

    def waiting_sidecars(self) -> List[Tuple[int, bytes]]:
        return list(self._db.execute("SELECT lid, name FROM sidecar WHERE waits=1"))

    # --- waiting deletions ------------------------------------------------------------

    def put_waiting(self, rows: Sequence[Tuple[Any, ...]]) -> None:
        """(lid, what, name, moved, account, reason, since); one that waits already keeps its time."""
        self.begin()
        self._db.executemany("INSERT OR IGNORE INTO waiting VALUES (?,?,?,?,?,?,?)", rows)
        self._may_wait = True

    def drop_waiting(self, keys: Sequence[Tuple[int, int, bytes]]) -> None:
        self.begin()
        self._db.executemany("DELETE FROM waiting WHERE lid=? AND what=? AND name=?", keys)

    def waiting(self, account: Optional[bytes] = None) -> List[Tuple[int, int, bytes, int, bytes, str, float]]:
        where, values = ("", ()) if account is None else (" WHERE account=?", (account,))
        return list(self._db.execute(f"SELECT * FROM waiting{where}", values))

    def waits(self, lid: int, base: bytes) -> bool:
        if not self._may_wait:
            return False
        row = self._db.execute("SELECT 1 FROM waiting WHERE lid=? AND what=0 AND name=?", (lid, base)).fetchone()
        return row is not None

    def waiting_accounts(self) -> List[Tuple[bytes, int, str, float, float]]:
        """(account, deletions, why, since when the first and since when the last of them waits)."""
        what = "account, count(*), min(reason), min(since), max(since)"
        return list(self._db.execute(f"SELECT {what} FROM waiting GROUP BY account"))

    # --- quarantine -------------------------------------------------------------------

    def put_kept(self, rows: Sequence[Tuple[Any, ...]]) -> None:
        self.begin()
        self._db.executemany("INSERT INTO quarantine VALUES (NULL,?,?,?,?,?,?,?,?,?)", rows)

    def kept(self, where: str = "1", values: Sequence[Any] = ()) -> List[Kept]:
        return [Kept(*row) for row in self._db.execute(f"SELECT * FROM quarantine WHERE {where} ORDER BY qid", values)]

    def drop_kept(self, qids: Iterable[int]) -> None:
        self.begin()
        self._db.executemany("DELETE FROM quarantine WHERE qid=?", [(qid,) for qid in qids])

    def counted_since(self, at: float) -> List[Tuple[bytes, int]]:
        """(account, deletions that count against its budget) since `at`."""
        return list(
            self._db.execute(
                "SELECT account, count(*) FROM quarantine WHERE at>=? AND counted=1 GROUP BY account", (at,)
            )
        )

    def put_uidrows(self, rows: Sequence[Tuple[int, bytes, bytes]]) -> None:
        """(lid, base, raw row) of messages in quarantine whose rows left the uidlist."""
        self.begin()
        self._db.executemany("INSERT OR REPLACE INTO uidrow VALUES (?,?,?)", rows)

    def uidrow(self, lid: int, base: bytes) -> Optional[bytes]:
        row = self._db.execute("SELECT row FROM uidrow WHERE lid=? AND base=?", (lid, base)).fetchone()
        return None if row is None else bytes(row[0])

    def prune_uidrows(self) -> int:
        """Forget the rows of messages that don't stand in quarantine, moved or gone for good; how many that were."""
        kept = {names.split(bytes(name))[0] for (name,) in self._db.execute("SELECT name FROM quarantine WHERE what=0")}
        rows = ((lid, bytes(base)) for lid, base in self._db.execute("SELECT lid, base FROM uidrow"))
        idle = [(lid, base) for lid, base in rows if base not in kept]
        if idle:
            self.begin()
            self._db.executemany("DELETE FROM uidrow WHERE lid=? AND base=?", idle)
        return len(idle)

    # --- crash safety -----------------------------------------------------------------

    def touch(self, lids: Iterable[int]) -> bool:
        """Note folders as about to be changed; True when a commit is needed before the change."""
        fresh = [lid for lid in lids if lid not in self._touched]
        if fresh:
            self.begin()
            self._db.executemany("INSERT OR IGNORE INTO touched VALUES (?)", [(lid,) for lid in fresh])
            self._touched.update(fresh)
        return bool(fresh)

    def touched(self) -> List[int]:
        return sorted(self._touched & self.places.keys())

    def untouch(self) -> None:
        self.begin()
        self._db.execute("DELETE FROM touched")
        self._touched.clear()


def ledger_path(state: str, store: str) -> str:
    return os.path.join(state, store, "sink.sqlite")
