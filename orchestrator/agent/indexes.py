"""Dovecot's index caches (dovecot.index, its log and cache, dovecot.list.index), carried to where it serves next.

They hold what no mail file does: how far each client has seen changes (HIGHESTMODSEQ, and what was expunged since).
They are read at the active place, ahead while it serves and again when its Dovecot is stopped; at the passive place
they go straight to where they belong, since no Dovecot runs there. One that names other UIDs than the uidlist is worse
than none, so a word in ROOT/.mailmirror/indexes says what those that stand here are worth: *open* from the first that
is laid, *settled* by an operation once all that stand are those of the stopped active, and durable.

Invariant: a place begins to be active with indexes that its own operation settled, or, where the word is another, with
none (`promoted`): Dovecot makes them anew. Only names of the closed list are laid, read or taken away.
"""

from __future__ import annotations

import json
import os
import re
import time
from hashlib import sha256
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

from . import beneath
from .accounts import Accounts
from .beneath import NotRegular, Outside, Root
from .dovecot import Neighbour
from .marker import ACTIVE, DIRECTORY, PASSIVE, demanded
from .names import check_path, enters
from .owner import Owner, names_of
from .serve import Answer, Fault, Work, args
from .sidecar import read_range, signature
from .wire import Frame, pack, raw, text, unpack

HOME = DIRECTORY + b"/indexes"
WORD = b"state.json"
OPEN, SETTLED = "open", "settled"
PIECES = 4 << 20
MOST = 4000
"""Bytes, and files, in one answer of `read`."""
YOUNG_NS = 2_000_000_000
"""What changed within this time may change once more and keep its times: it is read again when Dovecot is stopped."""
SOME = 200
_CARRIED = re.compile(rb"dovecot(?:\.list)?\.index(?:\.pvt)?(?:\.log|\.log\.2|\.cache)?")
_ALL = (b"dovecot.index", b"dovecot.list.index")
Standing = Dict[bytes, Tuple[int, int]]
"""File name -> size and mtime in ns."""


# --- at the active place ----------------------------------------------------------------------------------------------


def listed(path: str, _state: str, head: Dict[str, Any], _: Frame) -> Work:
    """`store.indexes` {accounts, stopped}: blob [[directory, mode, uid, gid, [[name, size, mtime, signature, young]]]],
    and `users` and `groups`, the names of these numbers. With `stopped` it raises Fault("in-use") where a Dovecot may
    have the store open.
    """
    found: List[Any] = []
    now = time.time_ns()
    with demanded(path, head, ACTIVE) as (root, _marker):
        if head.get("stopped"):
            _unused(root, head)
        for number, (directory, here) in enumerate(walk(root, Accounts(head.get("accounts")))):
            rows = [row for name in here if _CARRIED.fullmatch(name) for row in _row(root, directory, name, now)]
            if rows:
                facts = os.fstat(root.open_dir(directory))
                found.append([text(directory), facts.st_mode & 0o7777, facts.st_uid, facts.st_gid, rows])
            if number % SOME == SOME - 1:
                yield None
    blob, deflated = pack(found)
    return Answer(names_of({row[2] for row in found}, {row[3] for row in found}), blob, deflated)


def _row(root: Root, directory: bytes, name: bytes, now: int) -> Iterator[List[Any]]:
    try:
        mark = signature(root.open_dir(directory), name)
    except FileNotFoundError:
        return
    mtime, ctime, size, inode = (int(part) for part in mark.split())
    if inode:
        yield [text(name), size, mtime, mark, int(not now - max(mtime, ctime) >= 0 or now - ctime < YOUNG_NS)]


def read(path: str, _state: str, head: Dict[str, Any], frame: Frame) -> Answer:
    """`store.read_indexes` {stopped}, blob [[directory, name, signature, offset]]: as many as fit, from the first on.

    Answers `pieces`, a list of [length, mode, uid, gid, last], and their bytes; null for a file that is another by now.
    """
    pieces: List[Any] = []
    blob = bytearray()
    with demanded(path, head, ACTIVE) as (root, _marker):
        if head.get("stopped"):
            _unused(root, head)
        for directory, name, mark, offset in (unpack(frame) or [])[:MOST]:
            if len(blob) >= PIECES:
                break
            piece, content = _piece(
                root, _directory(directory), _name(name), str(mark), int(offset), PIECES - len(blob)
            )
            pieces.append(piece)
            blob += content
    return Answer({"pieces": pieces}, bytes(blob))


def _piece(root: Root, directory: bytes, name: bytes, mark: str, offset: int, most: int) -> Tuple[Any, bytes]:
    try:
        home = root.open_dir(directory)
        fd, found = beneath.open_with_stat(home, name)
    except (FileNotFoundError, NotADirectoryError, Outside, NotRegular):
        return None, b""
    try:
        content = read_range(fd, offset, min(found.st_size, offset + most))
        if signature(home, name) != mark:
            return None, b""
    finally:
        os.close(fd)
    last = offset + len(content) == found.st_size
    return [len(content), found.st_mode & 0o7777, found.st_uid, found.st_gid, int(last)], content


# --- at the passive place ---------------------------------------------------------------------------------------------


def lay(path: str, _state: str, head: Dict[str, Any], frame: Frame) -> Answer:
    """`store.lay_indexes` {operation, owner, other_dovecot, users, groups, directories, pieces}, blob the bytes.

    `directories`: {directory: [mode, uid, gid]}; `pieces`: [[directory, name, offset, length, mode, uid, gid, mtime,
    last]]. Nothing is durable yet, nor vouched for. Raises Fault("in-use", "out-of-order").
    """
    (operation,) = args(head, operation=str)
    owner, at = Owner(str(head.get("owner") or "name")), 0
    owner.learn(head.get("users") or {}, head.get("groups") or {})
    with demanded(path, head, PASSIVE) as (root, _marker):
        _unused(root, head)
        _begin(root, operation)
        for directory, (mode, uid, gid) in head["directories"].items():
            for made in root.make_dirs(_directory(directory)) if directory else ():
                owner.directory(root.open_dir(made), int(mode), int(uid), int(gid))
        for directory, name, offset, length, mode, uid, gid, mtime, last in head["pieces"]:
            content = frame.blob[at : at + int(length)]
            at += int(length)
            fd = _partial(root, _directory(directory), _name(name), int(offset))
            try:
                beneath.write_all(fd, content)
                if last:
                    owner.file(fd, int(mode) & 0o777, int(uid), int(gid), int(mtime))
                    _named(root, _directory(directory), _name(name))
            finally:
                os.close(fd)
    return Answer({})


def _begin(root: Root, operation: str) -> None:
    if _word(root) != (OPEN, operation):
        _say(root, OPEN, operation)
        for name in beneath.entries(root.open_dir(HOME)):
            if name != WORD:
                beneath.unlink(root.open_dir(HOME), name)


def _temporary(directory: bytes, name: bytes) -> bytes:
    return b"part-" + sha256(directory + b"/" + name).hexdigest()[:40].encode()


def _partial(root: Root, directory: bytes, name: bytes, offset: int) -> int:
    home, temporary = root.open_dir(HOME), _temporary(directory, name)
    if offset == 0:
        if temporary in beneath.entries(home):
            beneath.unlink(home, temporary)
        return beneath.create(home, temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
    if os.fstat(fd).st_size != offset:
        os.close(fd)
        raise Fault("out-of-order", f"a piece of {directory!r:.100} that doesn't follow the one before", "Begin anew.")
    return fd


def _named(root: Root, directory: bytes, name: bytes) -> None:
    target = root.held(directory)
    try:
        beneath.rename(root.open_dir(HOME), _temporary(directory, name), target, name)
    finally:
        os.close(target)


def settle(path: str, _state: str, head: Dict[str, Any], frame: Frame) -> Work:
    """`store.settle_indexes` {operation, accounts, other_dovecot}, blob [[directory, [[name, size, mtime]]]]: take away
    all others. Answers `missing`, [[directory, name]]; where nothing is, they are durable and vouched for, and
    `settled` says how many there are.
    """
    (operation,) = args(head, operation=str)
    wanted: Dict[bytes, Standing] = {
        _directory(directory): {_name(name): (int(size), int(mtime)) for name, size, mtime in rows}
        for directory, rows in unpack(frame) or ()
    }
    missing: List[List[str]] = []
    count = 0
    with demanded(path, head, PASSIVE) as (root, _marker):
        _unused(root, head)
        _begin(root, operation)
        for number, (directory, here) in enumerate(walk(root, Accounts(head.get("accounts")))):
            there = wanted.pop(directory, {})
            kept = _kept(root, directory, here, there)
            count += len(kept)
            missing += [[text(directory), text(name)] for name in there if name not in kept]
            if number % SOME == SOME - 1:
                yield None
        missing += [[text(directory), text(name)] for directory, there in wanted.items() for name in there]
        if not missing:
            _durable(root)
            _say(root, SETTLED, operation)
    return Answer({"missing": missing[:MOST], "settled": count})


def _kept(root: Root, directory: bytes, here: List[bytes], wanted: Standing) -> Set[bytes]:
    kept: Set[bytes] = set()
    for name in here:
        if not name.startswith(_ALL):
            continue
        home = root.open_dir(directory)
        found = beneath.stat(home, name)
        if (found.st_size, found.st_mtime_ns) == wanted.get(name):
            kept.add(name)
        else:
            beneath.unlink(home, name)
    return kept


def _durable(root: Root) -> None:
    """All of the file system: they may be some ten thousand files."""
    try:
        beneath.syncfs(root.fd)
    except beneath.Unsupported:
        os.sync()


def promoted(root: Root, operation: str) -> None:
    """This place is about to be active by this operation: what it didn't settle goes, while no Dovecot is there yet."""
    found = _word(root)
    if found is None or found == (SETTLED, operation) or Neighbour(root.path).may_be_there():
        return
    for directory, here in walk(root, Accounts(None)):
        _kept(root, directory, here, {})
    _durable(root)
    beneath.unlink(root.open_dir(HOME), WORD)


# --- pieces -----------------------------------------------------------------------------------------------------------


def walk(root: Root, accounts: Accounts) -> Iterator[Tuple[bytes, List[bytes]]]:
    """(directory, names of files that begin as an index does) of all that belong to accounts."""
    stack: List[Tuple[bytes, bool]] = [(b"", accounts.are_all)]
    while stack:
        path, inside = stack.pop()
        here: List[bytes] = []
        try:
            with os.scandir(root.open_dir(path)) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        below = path + b"/" + name if path else name
                        if enters(name) and (inside or accounts.may_be_at_or_below(below)):
                            stack.append((below, inside or accounts.may_be(below)))
                    elif inside and name.startswith(_ALL) and entry.is_file(follow_symlinks=False):
                        here.append(name)
        except (FileNotFoundError, NotADirectoryError, Outside):
            root.forget(path)
            continue  # it went meanwhile
        yield path, here


def _directory(word: str) -> bytes:
    path = raw(word)
    if path:
        check_path(path)
    if not all(enters(part) for part in path.split(b"/")):
        raise Fault("bad-request", f"no directory of an index: {path!r:.120}")
    return path


def _name(word: str) -> bytes:
    name = raw(word)
    if not _CARRIED.fullmatch(name):
        raise Fault("bad-request", f"no index: {name!r:.120}")
    return name


def _unused(root: Root, head: Dict[str, Any]) -> None:
    if Neighbour(root.path, bool(head.get("other_dovecot"))).may_be_there():
        raise Fault("in-use", f"a Dovecot on this host may have {root.path} open", "Stop it, and go on.")


def _word(root: Root) -> Optional[Tuple[str, str]]:
    """What is said of the indexes that stand here: (state, operation); None where none were ever laid."""
    try:
        fd = beneath.open_file(root.open_dir(HOME), WORD)
    except FileNotFoundError:
        return None
    try:
        told = json.loads(read_range(fd, 0, 1 << 16))
        return str(told["state"]), str(told["operation"])
    except (ValueError, KeyError, TypeError):
        return OPEN, ""  # a torn word vouches for nothing
    finally:
        os.close(fd)


def _say(root: Root, state: str, operation: str) -> None:
    """Durable when it returns."""
    for made in root.make_dirs(HOME):
        beneath.fsync_dir(root.open_dir(made.rpartition(b"/")[0]))
    home, temporary = root.open_dir(HOME), WORD + b".tmp"
    if temporary in beneath.entries(home):
        beneath.unlink(home, temporary)
    fd = beneath.create(home, temporary)
    try:
        beneath.write_all(fd, json.dumps({"state": state, "operation": operation}).encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    beneath.rename(home, temporary, home, WORD)
    beneath.fsync_dir(home)
