"""What stands in a store now, told in pages: by it a returned host's store is held against a cut.

Invariant: nothing is touched, not even an access time, and no link is followed. A folder is told as it stood in one
listing that held still; where none did, that is told too. Memory follows the largest folder. On a returned host the
mail services are shut: where a Dovecot may have the store open, nothing is told.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Generator, Iterator, List, Optional, Tuple

from . import beneath, maildir, uidlist
from .accounts import Accounts
from .beneath import NotRegular, Outside, Root
from .delta import Listing, digest
from .dovecot import Neighbour
from .marker import demanded
from .names import UIDLIST
from .serve import Answer, Fault, Work
from .sidecar import MAX_UIDLIST, read_range
from .wire import Frame, pack, raw, text

PAGE = 20_000
"""Rows in one answer."""
TRIES = 25
KEYWORDS = b"dovecot-keywords"


def listed(path: str, _state: str, head: Dict[str, Any], _: Frame) -> Work:
    """`store.differences`: one page of what stands there; `after` is the `next` of the page before.

    Without `paths`: the folders as [path, account, messages, digest, UIDVALIDITY or 0, ctime of the directory, whether
    a listing held still]; the digest is the one that the ledger keeps. With `paths`: their messages as [path, base,
    sub, info, inode, size, mtime, ctime, UID or 0]; in the head `keywords` {path: {letter: word}}, and `moving`, the
    paths of which no listing held still. Times in ns.
    `live` says that this place serves; else Fault("in-use") where a Dovecot may have the store open.
    """
    with demanded(path, head) as (root, _marker):
        if not head.get("live"):
            unused(root, head)
        if head.get("paths") is None:
            return (yield from _folders(root, Accounts(head.get("accounts")), raw(head.get("after") or "")))
        return (yield from _messages(root, sorted(raw(each) for each in head["paths"]), head.get("after")))


def unused(root: Root, head: Dict[str, Any]) -> None:
    """Raises Fault where a Dovecot may have the store open."""
    if Neighbour(root.path, bool(head.get("other_dovecot"))).may_be_there():
        raise Fault(
            "in-use", f"a Dovecot on this host may have {root.path} open", "Stop it: its boot gate should be shut."
        )


def walk(root: Root, accounts: Accounts) -> Iterator[Tuple[bytes, bytes]]:
    """(path, account) of every Maildir folder, by path. The topmost Maildir on a way down is an account."""
    stack: List[Tuple[bytes, bytes]] = [(b"", b"")]
    while stack:
        path, account = stack.pop()
        try:
            here = maildir.list_directory(root.open_dir(path))
        except (FileNotFoundError, NotADirectoryError):
            root.forget(path)
            continue
        if here.is_maildir and (account or accounts.may_be(path)):
            account = account or path
            yield path, account
        below = [path + b"/" + name if path else name for name in here.folders]
        stack += [(each, account) for each in sorted(below, reverse=True)]


def _folders(root: Root, accounts: Accounts, after: bytes) -> Work:
    told: List[Any] = []
    for path, account in sorted(walk(root, accounts)):
        if after and path <= after:
            continue
        listing, still = yield from standing(root, path)
        total = 0
        for base, (sub, info, _) in listing.items():
            total ^= digest(base, sub, info)
        found = os.fstat(root.open_dir(path))
        known = _uids(root, path)
        told.append([text(path), text(account), len(listing), f"{total:016x}",
                     known.uidvalidity if known else 0, found.st_ctime_ns, int(still)])  # fmt: skip
        if len(told) == PAGE:
            break
    blob, deflated = pack(told)
    return Answer({"next": told[-1][0] if len(told) == PAGE else None}, blob, deflated)


def _messages(root: Root, paths: List[bytes], after: Optional[List[str]]) -> Work:
    start, base = (raw(after[0]), raw(after[1])) if after else (b"", b"")
    told: List[Any] = []
    words: Dict[str, Dict[str, str]] = {}
    moving: List[str] = []
    for path in paths:
        if after and path < start:
            continue
        listing, still = yield from standing(root, path)
        if not still:
            moving.append(text(path))
        words[text(path)] = keywords(root, path)
        known = _uids(root, path)
        uids = known.by_base() if known else {}
        for each in sorted(listing):
            if path == start and each <= base:
                continue
            row = _row(root, path, each, listing, uids)
            if row is not None:
                told.append(row)
            if len(told) == PAGE:
                blob, deflated = pack(told)
                return Answer({"next": told[-1][:2], "keywords": words, "moving": moving}, blob, deflated)
        yield None
    blob, deflated = pack(told)
    return Answer({"next": None, "keywords": words, "moving": moving}, blob, deflated)


def _row(root: Root, path: bytes, base: bytes, listing: Listing, uids: Dict[bytes, int]) -> Optional[List[Any]]:
    sub, info, inode = listing[base]
    try:
        found = beneath.stat(root.open_dir(path + (b"/cur" if sub else b"/new")), base + info)
    except FileNotFoundError:
        return None  # only where a server is at work
    return [text(path), text(base), sub, text(info), inode, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
            uids.get(base, 0)]  # fmt: skip


def standing(root: Root, path: bytes) -> Generator[Optional[float], None, Tuple[Listing, bool]]:
    """A folder's messages, and whether the listing held still. A folder that isn't there has none."""
    listing: Listing = {}
    for attempt in range(TRIES):
        if attempt:
            yield 0.02
        root.forget(path)
        try:
            fds = [root.open_dir(path + part) for part in (b"/new", b"/cur")]
        except (FileNotFoundError, NotADirectoryError):
            return {}, True
        before = [maildir.signature(os.fstat(fd)) for fd in fds]
        listing, twice, _ = maildir.list_messages(*fds)
        if before == [maildir.signature(os.fstat(fd)) for fd in fds] and not twice:
            return listing, True
    return listing, False


def keywords(root: Root, path: bytes) -> Dict[str, str]:
    """Letter -> word of a folder's Dovecot keywords; empty where there is no such file."""
    try:
        fd, found = beneath.open_with_stat(root.open_dir(path), KEYWORDS)
    except (FileNotFoundError, NotADirectoryError, Outside, NotRegular):
        return {}
    try:
        rows = [line.partition(b" ") for line in read_range(fd, 0, min(found.st_size, 1 << 16)).splitlines()]
    finally:
        os.close(fd)
    return {chr(97 + int(n)): text(word) for n, _, word in rows if n.isdigit() and int(n) < 26 and word}


def _uids(root: Root, path: bytes) -> Optional[uidlist.UidList]:
    try:
        fd, found = beneath.open_with_stat(root.open_dir(path), UIDLIST)
    except (FileNotFoundError, NotADirectoryError, Outside, NotRegular):
        return None
    try:
        known = uidlist.parse(read_range(fd, 0, min(found.st_size, MAX_UIDLIST)))
    finally:
        os.close(fd)
    return known if known.usable else None
