"""Cuts: what a passive place knew at the moment of its promotion, frozen; by it a lost place is told apart later.

A cut is a copy of the ledger: every placement with the source's ctime of it, the cursor, up to which change nothing
was missing (`complete`), what waited, and what stood in quarantine. It stands in STATE/STORE/cuts/EPOCH-PLACE.sqlite;
the epoch is the one that begins with the promotion. UIDs aren't in it: what comes home gets new ones.

Invariant: a cut that can be read is whole, durable, and younger than every batch that was applied in the conversation
that made it, which applies no other. An offer that is taken later shows that the promotion didn't happen: the cut goes
then, and has to be made again. Nothing of the store is touched here.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from . import indexes
from .delta import unsigned
from .marker import demanded
from .names import UIDLIST
from .serve import Answer, Fault, args
from .wire import Frame, pack, raw, text

if TYPE_CHECKING:
    from .sink import Sink

PAGE = 20_000
"""Rows in one answer."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME = re.compile(r"([0-9]{1,18})-([A-Za-z0-9][A-Za-z0-9._-]{0,63})\.sqlite")
_KEYS = ("cut_operation", "cut_at", "index", "live", "dead", "epoch", "generation", "watermark", "complete", "whole")


def plain(word: str, what: str) -> str:
    """A word that may be part of a file's name. Raises Fault."""
    if not _PLAIN.fullmatch(word):
        raise Fault("bad-request", f"{what} {word!r:.80} isn't a plain word of letters, digits, '.', '_' and '-'")
    return word


# --- making ---------------------------------------------------------------------------


def make(sink: Sink, state: str, head: Dict[str, Any]) -> Answer:
    """`sink.cut` {operation, epoch}: freeze what this place knows. Done again by the same operation it changes nothing.

    Raises Fault("older-epoch") for an epoch that isn't beyond all that this host has heard of.
    """
    operation, epoch = args(head, operation=str, epoch=int)
    known = max(sink.marker.epoch, int(sink.ledger.meta.get("epoch", 0)))
    if epoch < known:
        raise Fault("older-epoch", f"epoch {epoch} has passed: this place knows of {known}", "Ask for the present one.")
    name = f"{epoch}-{plain(sink.marker.place, 'the place')}.sqlite"
    home = os.path.join(state, sink.marker.store, "cuts")
    sink.freeze()
    found = _described(home, name) if os.path.exists(os.path.join(home, name)) else None
    if found is None or found["operation"] != operation:
        _write(sink, home, name, plain(operation, "the operation"))
        indexes.promoted(sink.root, operation)  # here, since the guard starts Dovecot before the stores are turned
        found = _described(home, name)
    return Answer({"cut": found})


def _write(sink: Sink, home: str, name: str, operation: str) -> None:
    os.makedirs(home, mode=0o700, exist_ok=True)
    temporary, final = os.path.join(home, "making"), os.path.join(home, name)
    for suffix in ("", "-journal"):
        if os.path.exists(temporary + suffix):
            os.unlink(temporary + suffix)
    sink.ledger.copy_into(temporary)
    with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("cut_operation", operation), ("cut_at", time.time())]
        )
    _sync(temporary)
    os.replace(temporary, final)
    for directory in (home, os.path.dirname(home), os.path.dirname(os.path.dirname(home))):
        _sync(directory)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def ahead(state: str, store: str, epoch: int) -> List[str]:
    """The paths of cuts for a promotion beyond `epoch`, which the store's marker says didn't happen."""
    home = os.path.join(state, store, "cuts")
    return [os.path.join(home, name) for name, begun, _ in _names(home) if begun > epoch]


# --- reading --------------------------------------------------------------------------


def known(path: str, state: str, head: Dict[str, Any], _: Frame) -> Answer:
    """`store.cuts`: every cut of a store that stands here, oldest epoch first. Whether one can be read is proven."""
    with demanded(path, head) as (_root, marker):
        home = os.path.join(state, marker.store, "cuts")
    return Answer({"cuts": [_described(home, name) for name, _, _ in _names(home)]})


def rows(path: str, state: str, head: Dict[str, Any], _: Frame) -> Answer:
    """`store.cut_rows` {cut: [epoch, place], what, after}: one page; `after` is the `next` of the page before.

    `what` is "folders" [path, account, messages, digest, UIDVALIDITY or 0], "placements" (of `accounts`) [path,
    base, sub, info, inode, size, mtime, changed], or "kept" [account, path, name, at] (quarantine).
    """
    (what,) = args(head, what=str)
    after = head.get("after") or 0
    with demanded(path, head) as (_root, marker):
        home = os.path.join(state, marker.store, "cuts")
    next_page: Any = None
    with closing(_opened(home, _wanted(head))) as db:
        if what == "folders":
            found, next_page = _folders(db, int(after))
        elif what == "placements":
            found, next_page = _placements(db, [raw(each) for each in head["accounts"]], after)
        elif what == "kept":
            found, next_page = _kept(db, int(after))
        else:
            raise Fault("bad-request", f"a cut has no {what!r:.40}")
    blob, deflated = pack(found)
    return Answer({"next": next_page}, blob, deflated)


def drop(path: str, state: str, head: Dict[str, Any], _: Frame) -> Answer:
    """`store.drop_cut` {cut: [epoch, place], operation}: forget one that a rejoin has done with. Idempotent."""
    args(head, operation=str)
    with demanded(path, head) as (_root, marker):
        home = os.path.join(state, marker.store, "cuts")
    target = os.path.join(home, _wanted(head))
    there = os.path.exists(target)
    if there:
        os.unlink(target)
        _sync(home)
    return Answer({"dropped": there})


def _wanted(head: Dict[str, Any]) -> str:
    epoch, place = head["cut"]
    return f"{int(epoch)}-{plain(str(place), 'the place')}.sqlite"


def _names(home: str) -> List[Tuple[str, int, str]]:
    """(file name, epoch, place), by epoch."""
    names = os.listdir(home) if os.path.isdir(home) else []
    found = [(match.group(0), int(match.group(1)), match.group(2)) for match in map(_NAME.fullmatch, names) if match]
    return sorted(found, key=lambda each: each[1:])


def _opened(home: str, name: str) -> sqlite3.Connection:
    target = os.path.join(home, name)
    if not os.path.exists(target):
        what = f"there is no cut {name.rpartition('.')[0]} here"
        raise Fault("no-cut", what, "It stands on the place that was promoted in that epoch.")
    return sqlite3.connect(f"file:{target}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _described(home: str, name: str) -> Dict[str, Any]:
    with closing(_opened(home, name)) as db:
        meta = dict(db.execute("SELECT key, value FROM meta"))
        messages = db.execute("SELECT coalesce(sum(messages), 0) FROM folder").fetchone()[0]
        waiting = db.execute("SELECT count(*) FROM waiting").fetchone()[0]
    epoch, _, place = name[: -len(".sqlite")].partition("-")
    told = {key[4:] if key.startswith("cut_") else f"source_{key}": meta.get(key) for key in _KEYS}
    return {"epoch": int(epoch), "place": place, "messages": messages, "waiting": waiting, **told}


def _folders(db: sqlite3.Connection, after: int) -> Tuple[List[Any], Optional[int]]:
    found = db.execute(
        "SELECT f.lid, f.path, f.account, f.messages, f.digest, coalesce(s.uidvalidity, 0) FROM folder f"
        " LEFT JOIN sidecar s ON s.lid=f.lid AND s.name=? WHERE f.maildir=1 AND f.lid>? ORDER BY f.lid LIMIT ?",
        (UIDLIST, after, PAGE),
    ).fetchall()
    told = [[text(p), text(a), n, f"{unsigned(d):016x}", v] for _, p, a, n, d, v in found]
    return told, found[-1][0] if len(found) == PAGE else None


def _placements(db: sqlite3.Connection, accounts: List[bytes], after: Any) -> Tuple[List[Any], Optional[List[Any]]]:
    lid, base = (int(after[0]), raw(after[1])) if after else (0, b"")
    told: List[Any] = []
    marks = ",".join("?" * len(accounts))
    where = f"lid>=? AND account IN ({marks}) ORDER BY lid"
    places = db.execute(f"SELECT lid, path FROM folder WHERE {where}", (lid, *accounts))
    for here, path in places.fetchall():
        start = base if here == lid else b""
        found = db.execute(
            "SELECT base, sub, info, inode, size, mtime, changed FROM placement WHERE lid=? AND base>? ORDER BY base"
            " LIMIT ?", (here, start, PAGE - len(told)),
        ).fetchall()  # fmt: skip
        told += [[text(path), text(row[0]), row[1], text(row[2]), *row[3:]] for row in found]
        if len(told) == PAGE:
            return told, [here, told[-1][1]]
    return told, None


def _kept(db: sqlite3.Connection, after: int) -> Tuple[List[Any], Optional[int]]:
    found = db.execute(
        "SELECT qid, account, path, name, at FROM quarantine WHERE what=0 AND qid>? ORDER BY qid LIMIT ?", (after, PAGE)
    ).fetchall()
    told = [[text(account), text(path), text(name), at] for _, account, path, name, at in found]
    return told, found[-1][0] if len(found) == PAGE else None
