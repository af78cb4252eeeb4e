"""What comes home is put into the active store: messages delivered once, flags, moves and copies, by exact name.

A delivery is a Maildir delivery: the body is staged on the same file system, durable, then renamed into new/ or cur/
under a name that the ledger (STATE/STORE/delivered.sqlite) got first. A running Dovecot finds it as it finds any
other, and gives it a new UID. Flags and places change by one rename of the very name that is expected, so that
whoever changed it meanwhile wins.

Invariant: once the ledger has a name and the staged body is gone, it was renamed, whatever became of it since: it is
never delivered a second time. Nothing is answered as done that isn't durable. No file is ever replaced.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from typing import Any, Dict, List, Optional, Tuple

from . import beneath, index, names
from .beneath import Root
from .differences import keywords
from .hashing import sha256_at, sha256_of
from .marker import ACTIVE, DIRECTORY, demanded
from .serve import Answer, Fault, Work, args
from .wire import Frame, inflate, raw, unpack

ARRIVING = DIRECTORY + b"/reclaim/arriving"
VERSION = 1
SCHEMA = """
CREATE TABLE delivered(
  folder BLOB NOT NULL, base BLOB NOT NULL, digest TEXT NOT NULL, chosen BLOB NOT NULL, done INTEGER NOT NULL,
  operation TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY(folder, base, digest)) WITHOUT ROWID
"""


def deliver(path: str, state: str, head: Dict[str, Any], frame: Frame) -> Answer:
    """`store.deliver` {operation, epoch, folder, account, base, sub, info, keywords, size, mtime, sha256, offset}: one
    message of a place that was lost; the blob is its body from `offset` on, or a piece of that.

    Answers {have: bytes} while more are needed, else {done: its base name here, new: whether by this request}. The
    folder is made where it is missing. `keywords` says what its letters mean: a letter whose word this folder doesn't
    have is left out. Raises Fault("no-account") where even the account isn't there, Fault("other-body").
    """
    operation, _e, folder, account, base, digest = args(
        head, operation=str, epoch=int, folder=str, account=str, base=str, sha256=str
    )
    where = raw(folder), raw(base), digest
    with demanded(path, head, ACTIVE) as (root, marker):
        _check(root, where[0], raw(account), where[1] + raw(head["info"]))
        file = os.path.join(state, marker.store, "delivered.sqlite")
        with closing(index.open_index(file, SCHEMA, VERSION)) as db:
            row = db.execute(
                "SELECT chosen, done FROM delivered WHERE folder=? AND base=? AND digest=?", where
            ).fetchone()
            for made in root.make_dirs(ARRIVING, 0o700):
                beneath.fsync_dir(root.open_dir(made.rpartition(b"/")[0]))
            staged = sha256(b"\0".join((where[0], where[1], digest.encode()))).hexdigest().encode()
            if row is None:
                have = _take(root, staged, int(head["offset"]), bytes(inflate(frame)), int(head["size"]), digest)
                if have < int(head["size"]):
                    return Answer({"have": have})
                chosen = _choose(root, where[0], where[1], digest)
                _own(root, staged, where[0], raw(account), int(head["mtime"]))
                _note(db, (*where, chosen, 0, operation, time.time()))
                row = (chosen, 0)
            new = not row[1] and _give(root, staged, where[0], raw(account), row[0], head)
            if not row[1]:
                _note(db, (*where, row[0], 1, operation, time.time()))
    return Answer({"done": row[0].decode("latin-1"), "new": new})


def _note(db: sqlite3.Connection, row: Tuple[Any, ...]) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT OR REPLACE INTO delivered VALUES (?,?,?,?,?,?,?)", row)
    db.execute("COMMIT")


def _check(root: Root, folder: bytes, account: bytes, name: bytes) -> None:
    if folder:
        names.check_path(folder)
    inside = folder == account or folder.startswith(account + b"/") or not account
    if not names.is_message(name) or not inside or folder.split(b"/")[0] == DIRECTORY:
        raise Fault("bad-request", f"nothing can be delivered as {folder + b'/' + name!r:.120}")
    try:
        root.open_dir(account)
    except FileNotFoundError as error:
        what = f"the account {account.decode('utf-8', 'replace')} doesn't exist here"
        raise Fault("no-account", what, "Make it on this host first, then run rejoin again.") from error


def _take(root: Root, staged: bytes, offset: int, data: bytes, size: int, digest: str) -> int:
    """Stage a piece; how many bytes there are. When all are there, they are the right ones."""
    home = root.open_dir(ARRIVING)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(staged, flags, 0o600, dir_fd=home)
    try:
        have = os.fstat(fd).st_size
        if offset + len(data) > size or offset < 0:
            raise Fault("bad-request", f"more than the {size} bytes that were announced")
        if offset > have:
            return have
        os.ftruncate(fd, offset)
        os.lseek(fd, offset, os.SEEK_SET)
        beneath.write_all(fd, data)
        have = offset + len(data)
        if have == size and sha256_of(fd, size) != digest:
            os.ftruncate(fd, 0)
            raise Fault("other-body", "what came isn't the body that was announced", "It is read anew by the next run.")
        return have
    finally:
        os.close(fd)


def _choose(root: Root, folder: bytes, base: bytes, digest: str) -> bytes:
    """The base name to deliver under: its own, unless another message has it in this folder."""
    chosen = base
    for number in range(1, 100):
        there = _standing(root, folder, chosen)
        if there is None or sha256_at(*there) == digest:
            return chosen
        first, comma, rest = base.partition(b",")
        chosen = b"%b_%d%b%b" % (first, number, comma, rest)
    raise Fault("bad-request", f"no name is free for {base!r:.80}")


def _own(root: Root, staged: bytes, folder: bytes, account: bytes, mtime: int) -> None:
    """Give a staged body the time that it had and the folder's owner, and make it durable."""
    home = root.open_dir(ARRIVING)
    like = os.fstat(_nearest(root, folder, account))
    fd = os.open(staged, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
    try:
        if os.geteuid() == 0:
            os.fchown(fd, like.st_uid, like.st_gid)
        os.fchmod(fd, like.st_mode & 0o666)
        os.utime(fd, ns=(mtime, mtime))
        os.fsync(fd)
    finally:
        os.close(fd)
    beneath.fsync_dir(home)


def _nearest(root: Root, folder: bytes, account: bytes) -> int:
    try:
        return root.open_dir(folder)
    except FileNotFoundError:
        return root.open_dir(account)


def _give(root: Root, staged: bytes, folder: bytes, account: bytes, chosen: bytes, head: Dict[str, Any]) -> bool:
    """Rename a staged body to the name that the ledger has; False where that was done before."""
    home = root.open_dir(ARRIVING)
    if staged not in beneath.entries(home):
        return False
    make_folder(root, folder, account)
    sub, info = int(head["sub"]), translated(root, folder, raw(head["info"]), head.get("keywords") or {})
    part = folder + (b"/cur" if sub else b"/new")
    new = _standing(root, folder, chosen) is None
    if new:
        beneath.rename(home, staged, root.open_dir(part), chosen + info)
    else:
        beneath.unlink(home, staged)  # the very body stands there already
    for each in (part, ARRIVING):
        beneath.fsync_dir(root.open_dir(each))
    return new


def _standing(root: Root, folder: bytes, base: bytes) -> Optional[Tuple[int, bytes]]:
    """Where a base name stands in a folder: (descriptor of new or cur, name)."""
    for part in (b"/new", b"/cur"):
        try:
            fd = root.open_dir(folder + part)
        except FileNotFoundError:
            continue
        for name in beneath.entries(fd):
            if names.split(name)[0] == base:
                return fd, name
    return None


def make_folder(root: Root, folder: bytes, account: bytes) -> bool:
    """Make a folder like its account, durable; False where it is there. A Maildir++ folder gets its `maildirfolder`."""
    made: List[bytes] = []
    like = os.fstat(root.open_dir(account))
    for part in (b"/tmp", b"/new", b"/cur"):
        made += root.make_dirs(folder + part if folder else part[1:], like.st_mode & 0o777 | 0o700)
    if folder in made and folder.rpartition(b"/")[2].startswith(b"."):
        os.close(beneath.create(root.open_dir(folder), b"maildirfolder", like.st_mode & 0o666))
    for each in made:
        if os.geteuid() == 0:
            os.fchown(root.open_dir(each), like.st_uid, like.st_gid)
        beneath.fsync_dir(root.open_dir(each))
        beneath.fsync_dir(root.open_dir(each.rpartition(b"/")[0]))
    if folder in made and os.geteuid() == 0 and b"maildirfolder" in beneath.entries(root.open_dir(folder)):
        os.chown(b"maildirfolder", like.st_uid, like.st_gid, dir_fd=root.open_dir(folder), follow_symlinks=False)
    return folder in made


def translated(root: Root, folder: bytes, info: bytes, theirs: Dict[str, str]) -> bytes:
    """An info part whose keyword letters say here what they said there; those that can't are left out."""
    if not info.startswith(b":2,"):
        return info
    letters = {word: letter for letter, word in keywords(root, folder).items()}
    flags, comma, rest = info[3:].partition(b",")
    kept = {chr(each) for each in flags if not 97 <= each <= 122}
    kept |= {letters[theirs[chr(each)]] for each in flags if 97 <= each <= 122 and theirs.get(chr(each)) in letters}
    return b":2," + "".join(sorted(kept)).encode("latin-1") + comma + rest


# --- flags, moves, copies -------------------------------------------------------------


def apply(path: str, _state: str, head: Dict[str, Any], frame: Frame) -> Work:
    """`store.apply` {operation, epoch}, blob {"acts": [...], "keywords": {folder: {letter: word}}}.

    An act is ["move" (flags too) or "copy", account, base, [folder, sub, info] as it has to stand here, [folder, sub,
    info] as it shall]; or ["folder", account, path]. Answers a word for each: "done", also where it was done before;
    "changed" where it doesn't stand as it has to: nothing was done then. Durable when answered.
    """
    args(head, operation=str, epoch=int)
    value = unpack(frame)
    words: List[str] = []
    with demanded(path, head, ACTIVE) as (root, _marker):
        for act in value["acts"]:
            if act[0] == "folder":
                _check(root, raw(act[2]), raw(act[1]), b"1")
                make_folder(root, raw(act[2]), raw(act[1]))
                words.append("done")
            elif act[0] in ("move", "copy"):
                words.append(_moved(root, act, value.get("keywords") or {}))
            else:
                raise Fault("bad-request", f"no act {act[0]!r:.40}")
            yield None
    return Answer({"words": words})


def _moved(root: Root, act: List[Any], theirs: Dict[str, Dict[str, str]]) -> str:
    what, account, base = act[0], raw(act[1]), raw(act[2])
    (here, sub, info), (there, new_sub, new_info) = act[3], act[4]
    _check(root, raw(here), account, base + raw(info))
    _check(root, raw(there), account, base + raw(new_info))
    if there != here:
        make_folder(root, raw(there), account)
    source, target = (raw(f) + (b"/cur" if s else b"/new") for f, s in ((here, sub), (there, new_sub)))
    old = base + raw(info)
    new = base + translated(root, raw(there), raw(new_info), theirs.get(there, {}))
    stands = _standing(root, raw(there), base)
    if (source, old) == (target, new):
        return "done" if stands == (root.open_dir(target), new) else "changed"
    if stands is not None and stands == (root.open_dir(target), new):
        return _settled(root, source, target)
    if stands is not None and there != here:
        return "changed"
    act_on = beneath.link if what == "copy" else beneath.rename
    try:
        act_on(root.open_dir(source), old, root.open_dir(target), new)
    except (FileNotFoundError, FileExistsError):
        return "changed"
    return _settled(root, source, target)


def _settled(root: Root, *parts: bytes) -> str:
    for part in parts:
        beneath.fsync_dir(root.open_dir(part))
    return "done"
