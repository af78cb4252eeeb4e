"""The reclaim area of a returned host: what only it has, hard-linked aside before anything touches its store.

ROOT/.mailmirror/reclaim/OPERATION/KEY-NAME; the key is made of folder and base name, so that doing it again finds what
was done. The same file system, so a link is all it takes, and whatever becomes of the store, the bodies stay.

Invariant: nothing of the store itself is changed but a link count (and with it ctimes: whoever judges by them has
noted them before). A file leaves the area only under the digest of its bytes, which its receiver has told as durable.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any, Dict, List

from . import beneath
from .beneath import Root
from .cut import plain
from .differences import unused
from .hashing import sha256_of
from .marker import DIRECTORY, demanded
from .names import check_path, is_message
from .serve import Answer, Fault, Work, args
from .sidecar import read_range
from .wire import Frame, pack, raw, text, unpack

HOME = DIRECTORY + b"/reclaim"
PIECE = 4 << 20
SOME = 200
"""Links between two breaths."""


def entry_name(folder: bytes, base: bytes) -> bytes:
    """What a message is called in the area, however its flags change: a key, and its name for people."""
    key = sha256(folder + b"\0" + base).hexdigest()[:32].encode()
    return (key + b"-" + base)[:255]


def laid(path: str, _state: str, head: Dict[str, Any], frame: Frame) -> Work:
    """`store.aside` {operation, epoch}, blob [[folder, sub, base, info, inode], ...]: link these files aside.

    Answers how many stand in the area now, `missing` and `changed` (another file has the name) as [folder, base].
    Durable when it is answered; done again it finds what it did. Raises Fault.
    """
    operation, _epoch = args(head, operation=str, epoch=int)
    told: Dict[str, Any] = {"aside": 0, "missing": [], "changed": []}
    with demanded(path, head) as (root, _marker):
        unused(root, head)
        area = _area(root, operation, make=True)
        for number, (folder, sub, base, info, inode) in enumerate(unpack(frame) or ()):
            what = _link(root, area, raw(folder), int(sub), raw(base), raw(info), int(inode))
            if what == "aside":
                told["aside"] += 1
            else:
                told[what].append([folder, base])
            if number % SOME == SOME - 1:
                yield None
        beneath.fsync_dir(root.open_dir(area))
    return Answer(told)


def _link(root: Root, area: bytes, folder: bytes, sub: int, base: bytes, info: bytes, inode: int) -> str:
    if folder:
        check_path(folder)
    if not is_message(base + info) or sub not in (0, 1) or folder.split(b"/")[0] == DIRECTORY:
        raise Fault("bad-request", f"no message: {folder + b'/' + base!r:.120}")
    name, target = entry_name(folder, base), root.held(area)
    try:
        there = _inode(target, name)
        if there:
            return "aside" if there == inode else "changed"
        source = root.open_dir(folder + (b"/cur" if sub else b"/new"))
        if beneath.stat(source, base + info).st_ino != inode:
            return "changed"
        beneath.link(source, base + info, target, name)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    finally:
        os.close(target)
    return "aside"


def _inode(dirfd: int, name: bytes) -> int:
    """The inode of an entry, 0 where there is none."""
    try:
        return beneath.stat(dirfd, name).st_ino
    except FileNotFoundError:
        return 0


def read(path: str, _state: str, head: Dict[str, Any], _: Frame) -> Answer:
    """`store.read_aside` {operation, folder, base, offset}: a piece of a file in the area, and its `size` and `mtime`;
    with the piece at 0 also its `sha256`. Raises Fault("not-aside")."""
    operation, folder, base, offset = args(head, operation=str, folder=str, base=str, offset=int)
    with demanded(path, head) as (root, _marker):
        try:
            home = root.open_dir(_area(root, operation))
            fd, found = beneath.open_with_stat(home, entry_name(raw(folder), raw(base)))
        except FileNotFoundError as error:
            raise Fault("not-aside", f"{folder}/{base} doesn't stand aside", "Ask for `store.aside` first.") from error
        try:
            told: Dict[str, Any] = {"size": found.st_size, "mtime": found.st_mtime_ns}
            if offset == 0:
                told["sha256"] = sha256_of(fd, found.st_size)
            return Answer(told, read_range(fd, offset, min(found.st_size, offset + PIECE)))
        finally:
            os.close(fd)


def known(path: str, _state: str, head: Dict[str, Any], _: Frame) -> Answer:
    """`store.reclaim_area`: what stands in the area, as [operation, entries]."""
    with demanded(path, head) as (root, _marker):
        try:
            operations = beneath.entries(root.open_dir(HOME))
        except FileNotFoundError:
            operations = []
        found = [[text(each), len(beneath.entries(root.open_dir(HOME + b"/" + each)))] for each in operations]
    blob, deflated = pack(sorted(found))
    return Answer({}, blob, deflated)


def dropped(path: str, _state: str, head: Dict[str, Any], frame: Frame) -> Work:
    """`store.drop_aside` {operation, epoch}, blob [[folder, base, sha256], ...]: remove what its receiver has.

    The digest is the receiver's word that these bytes are durable there: a file that has another one stays, and is
    told in `kept` as [folder, base]. Idempotent; an empty area is removed.
    """
    operation, _epoch = args(head, operation=str, epoch=int)
    kept: List[List[str]] = []
    count = 0
    with demanded(path, head) as (root, _marker):
        area = _area(root, operation)
        for folder, base, word in unpack(frame) or ():
            name = entry_name(raw(folder), raw(base))
            try:
                fd, found = beneath.open_with_stat(root.open_dir(area), name)
            except FileNotFoundError:
                continue
            try:
                same = sha256_of(fd, found.st_size) == word
            finally:
                os.close(fd)
            if same:
                beneath.unlink(root.open_dir(area), name)
                count += 1
            else:
                kept.append([folder, base])
            yield None
        left = _tidy(root, area)
    return Answer({"dropped": count, "kept": kept, "left": left})


def _tidy(root: Root, area: bytes) -> int:
    """How many entries an area has still; without any it is removed."""
    try:
        fd = root.open_dir(area)
    except FileNotFoundError:
        return 0
    left = len(beneath.entries(fd))
    beneath.fsync_dir(fd)
    if not left:
        root.forget(area)
        beneath.rmdir(root.open_dir(HOME), area.rpartition(b"/")[2])
        beneath.fsync_dir(root.open_dir(HOME))
    return left


def _area(root: Root, operation: str, make: bool = False) -> bytes:
    area = HOME + b"/" + plain(operation, "the operation").encode()
    if make:
        for made in root.make_dirs(area, 0o700):
            beneath.fsync_dir(root.open_dir(made.rpartition(b"/")[0]))
    return area
