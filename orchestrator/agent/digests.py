"""Lines by which two places prove that they are equal: one per folder, the same on both when it is.

From the indexes a line costs nothing to make: digests over names, flags and sidecars (the
uidlist among them: UIDs and UIDVALIDITY) are kept up with every change. `deep` makes a line
from the disk instead, reading every body and every message's UID in Dovecot's uidlist.

Invariant: equal lines mean equal folders, but for a collision of 64-bit digests.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Any, Dict, Iterable, List, NamedTuple, Protocol, Tuple

from . import beneath, maildir, uidlist
from .beneath import NotRegular, Outside, Root
from .hashing import sha256_of
from .names import UIDLIST
from .sidecar import MAX_UIDLIST, read_range
from .wire import text

Row = Tuple[bytes, int, bytes, str, str]
"""(base, sub, info, "UIDVALIDITY:UID" or "", SHA-256 of size, mtime and body)"""
UNREADABLE = b"/"
"""How the base of the row begins that says why a folder can't be read: no message's does."""


class Line(NamedTuple):
    path: bytes
    account: bytes
    maildir: bool
    messages: int
    digest: int
    sidecars: int
    names: List[Row]  # where asked for

    def packed(self) -> List[Any]:
        names = [[text(base), sub, text(info), uid, proof] for base, sub, info, uid, proof in self.names]
        return [text(self.path), text(self.account), int(self.maildir), self.messages,
                f"{self.digest:016x}", f"{self.sidecars:016x}", names]  # fmt: skip


class HasDigest(Protocol):
    path: bytes
    account: bytes
    maildir: bool
    messages: int
    digest: int


class HasCrc(Protocol):
    @property
    def name(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    @property
    def crc(self) -> int: ...


def lines(folders: Iterable[Tuple[int, HasDigest]], sidecars: Iterable[Tuple[int, HasCrc]]) -> List[Line]:
    """A line per folder from what an index knows; both are given with the folder's number in that index."""
    of: Dict[int, int] = {}
    for number, row in sidecars:
        value = blake2b(b"%b\0%d\0%d" % (row.name, row.size, row.crc), digest_size=8).digest()
        of[number] = of.get(number, 0) ^ int.from_bytes(value, "big")
    found = [
        Line(f.path, f.account, f.maildir, f.messages, f.digest, of.get(number, 0), [])
        for number, f in folders
        if b"\0" not in f.path
    ]
    return sorted(found, key=lambda line: line.path)


def deep(root: Root, path: bytes, account: bytes, is_maildir: bool, names: bool) -> Line:
    """A folder's line from the disk: every name, flag, UID, size, mtime and body. Other sidecars aren't in it.

    A folder that can't be read (its cur is missing, or a link) has a line that equals no other; its one
    row's base is `UNREADABLE` and the reason.
    """
    if not is_maildir:
        return Line(path, account, False, 0, 0, 0, [])
    try:
        found = _read(root, path)
    except (OSError, Outside) as error:
        root.forget(path)
        found = [(UNREADABLE + str(error).encode(), 0, b"", "", os.urandom(8).hex())]
    count, total = from_names(found)
    return Line(path, account, True, count, total, 0, sorted(found) if names else [])


def _read(root: Root, path: bytes) -> List[Row]:
    """Every message of a folder. Raises OSError and Outside where it, or its uidlist, can't be read."""
    root.forget(path)  # what stands there now counts, not what an open descriptor shows
    new_fd = root.held(path + b"/new")
    try:
        cur_fd = root.held(path + b"/cur")
        try:
            listed, _, _ = maildir.list_messages(new_fd, cur_fd)
            uids = _uids(root, path)
            return [
                (base, sub, info, uids.get(base, ""), _proof(cur_fd if sub else new_fd, base + info))
                for base, (sub, info, _) in listed.items()
            ]
        finally:
            os.close(cur_fd)
    finally:
        os.close(new_fd)


def _uids(root: Root, path: bytes) -> Dict[bytes, str]:
    """What Dovecot calls each message; nothing where there is no uidlist, or none that it could use. Raises OSError."""
    try:
        fd, found = beneath.open_with_stat(root.open_dir(path), UIDLIST)
    except (FileNotFoundError, NotRegular):
        return {}
    try:
        listing = uidlist.parse(read_range(fd, 0, min(found.st_size, MAX_UIDLIST)))
    finally:
        os.close(fd)
    if not listing.usable:
        return {}
    return {base: f"{listing.header.uidvalidity}:{uid}" for base, uid in listing.by_base().items()}


def from_names(rows: Iterable[Row]) -> Tuple[int, int]:
    """(messages, digest) of a folder's rows."""
    total = count = 0
    for base, sub, info, uid, proof in rows:
        row = blake2b(b"%d\0%b\0%b\0%b\0%b" % (sub, base, info, uid.encode(), proof.encode()), digest_size=8).digest()
        total ^= int.from_bytes(row, "big")
        count += 1
    return count, total


def _proof(dirfd: int, name: bytes) -> str:
    try:
        fd, found = beneath.open_with_stat(dirfd, name)
    except (OSError, Outside, NotRegular) as error:
        return f"unreadable: {type(error).__name__}"
    try:
        return sha256_of(fd, found.st_size, b"%d %d\n" % (found.st_size, found.st_mtime_ns))
    finally:
        os.close(fd)
