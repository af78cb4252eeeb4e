"""Deletions taken back on a passive place: by an operator, or by the firewall when it trips.

What comes back stands again in its folder, with its flags and its UID, and is noted as a
waiting deletion: the active doesn't have it, and equality allows for it until an operator
lets the deletion through. A folder that is gone comes back first, as it was, uidlist and all.

Invariant: nothing that stands in the store is replaced by what comes back, no base name comes
to stand twice in a folder, and what can't come back stays in quarantine and is told.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Callable, Dict, List, Optional, Set

from . import beneath, names, uidlist, uidwrite
from .beneath import NotRegular, Outside
from .ledger import Held, Kept, Ledger, Place
from .log import FOLDER, MESSAGE
from .maildir import list_directory
from .names import UIDLIST
from .passive import PARTS, Passive
from .places import inode_at
from .serve import Answer
from .sidecar import MAX_UIDLIST, read_range
from .wire import pack, text

DIRECTORIES = (b"", b"/tmp", *PARTS)


def listed(ledger: Ledger) -> Answer:
    """What stands in quarantine and may come back."""
    rows = ledger.kept("what < 2")
    blob, deflated = pack([[k.qid, k.at, text(k.account), text(k.path), k.what, text(k.name), k.size] for k in rows])
    return Answer({"count": len(rows)}, blob, deflated)


def recall(passive: Passive, account: bytes, seconds: float, reason: str) -> int:
    """Bring back what was deleted in an account within the last `seconds` and counted against its
    budget; how many messages that were."""
    rows = passive.ledger.kept("at>=? AND counted=1 AND account=? AND what=0", (time.time() - seconds, account))
    return bring_back(passive, rows, reason)


def restore(passive: Passive, wanted: Set[int], reason: str) -> int:
    """Bring back the quarantined messages with these ids."""
    return bring_back(passive, [kept for kept in passive.ledger.kept("what=0") if kept.qid in wanted], reason)


def bring_back(passive: Passive, rows: List[Kept], reason: str) -> int:
    """Bring these back, each to its folder; how many came."""
    for path, account in sorted(_missing(passive, rows).items()):
        _attempt(passive, path, partial(_folder_back, passive, path, account, reason))
    ledger = passive.ledger
    ledger.touch({ledger.by_path[kept.path].lid for kept in rows if kept.path in ledger.by_path})
    ledger.commit()
    back = 0
    standing: Dict[bytes, Set[bytes]] = {}
    for kept in rows:
        place = ledger.by_path.get(kept.path)
        if place is None or not place.maildir:
            passive.problem(f"{text(kept.path)} can't come back: its messages stay in quarantine")
            continue
        back += _attempt(passive, kept.path, partial(_one, passive, place, kept, reason, standing))
    passive.flush()
    passive.sync_dirs()
    ledger.commit()
    return back


def _attempt(passive: Passive, path: bytes, act: Callable[[], int]) -> int:
    """Do one piece; what stands in its way is told, and the next one has its turn."""
    try:
        return act()
    except (Outside, NotRegular, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        passive.problem(f"{text(path)}: {error}: what was to come back there stays in quarantine")
        return 0


# --- folders --------------------------------------------------------------------------


def _missing(passive: Passive, rows: List[Kept]) -> Dict[bytes, bytes]:
    """The folders that these messages need and that are gone, each with its account."""
    found: Dict[bytes, bytes] = {}
    for kept in rows:
        path = kept.path
        while path not in passive.ledger.by_path and len(path) >= len(kept.account) > 0:
            found[path] = kept.account
            path = path.rpartition(b"/")[0]
    return found


def _folder_back(passive: Passive, path: bytes, account: bytes, reason: str) -> int:
    """Put a folder back out of quarantine, or make it anew where even that is gone."""
    root, ledger = passive.root, passive.ledger
    if inode_at(passive, path):
        raise FileExistsError("a directory that nobody knows of stands there")
    parent, _, name = path.rpartition(b"/")
    if parent:
        root.make_dirs(parent, 0o700)
    for kept in reversed(ledger.kept("what=2 AND path=?", (path,))):
        day, _, entry = kept.stored.rpartition(b"/")
        try:
            beneath.rename(root.open_dir(day), entry, root.open_dir(parent), name)
        except FileNotFoundError:
            continue
        passive.dirty_dirs[day] = None
        ledger.drop_kept([kept.qid])
        break
    else:
        for part in DIRECTORIES:
            root.make_dirs(path + part, 0o700)
    passive.dirty_dirs.update(dict.fromkeys((parent, path)))
    fd = root.open_dir(path)
    found, is_maildir = os.fstat(fd), list_directory(fd).is_maildir
    place = ledger.new_place(None, account, path, is_maildir, 0)
    place.inode, place.mode, place.owner, place.group = found.st_ino, found.st_mode & 0o7777, found.st_uid, found.st_gid
    ledger.put_place(place)
    if is_maildir:
        passive.reread(place)
        passive.flush()
    ledger.put_waiting([(place.lid, FOLDER, b"", 0, account, reason, time.time())])
    return 1


# --- messages -------------------------------------------------------------------------


def _one(passive: Passive, place: Place, kept: Kept, reason: str, standing: Dict[bytes, Set[bytes]]) -> int:
    base, info = names.split(kept.name)
    if passive.held(place, base) is not None:
        return 0
    if place.path not in standing:
        fds = [passive.root.open_dir(place.path + part) for part in PARTS]
        standing[place.path] = {names.split(name)[0] for fd in fds for name in beneath.entries(fd)}
    if base in standing[place.path]:
        raise FileExistsError(f"another file of the name {text(base)} stands there")
    target = passive.directory(place, kept.sub)
    if not passive.quarantine.release(kept, target, kept.name):
        return 0
    standing[place.path].add(base)
    found = beneath.stat(target, kept.name)
    passive.put(place, base, Held(kept.sub, info, 0, found.st_size, found.st_mtime_ns, 0), None)
    passive.ledger.put_waiting([(place.lid, MESSAGE, base, 0, place.account, reason, time.time())])
    _row_back(passive, place, base)
    return 1


def _row_back(passive: Passive, place: Place, base: bytes) -> None:
    """Put the message's row back into the uidlist, if it was dropped from it."""
    row = passive.ledger.uidrow(place.lid, base)
    parsed = _uidlist(passive, place) if row is not None else None
    if row is None or parsed is None or not parsed.usable or base in parsed.by_base():
        return
    folder = passive.root.open_dir(place.path)
    stat = beneath.stat(folder, UIDLIST)
    content = uidwrite.with_rows(parsed, [row])
    temporary = b"undelete-%x" % time.time_ns()
    out = beneath.create(passive.staging.fd, temporary, stat.st_mode & 0o7777)
    try:
        beneath.write_all(out, content)
        if os.geteuid() == 0:
            os.fchown(out, stat.st_uid, stat.st_gid)
        os.fsync(out)
    finally:
        os.close(out)
    beneath.rename(passive.staging.fd, temporary, folder, UIDLIST)
    passive.dirty_dirs[place.path] = None
    held = passive.ledger.sidecar(place.lid, UIDLIST)
    if held is not None:
        # The file isn't as it was installed any more: the next change installs it whole.
        passive.ledger.put_sidecar(held._replace(local=""))


def _uidlist(passive: Passive, place: Place) -> Optional[uidlist.UidList]:
    """The folder's uidlist; None where there is none that may be read: its messages get new UIDs at a promotion."""
    try:
        fd, found = beneath.open_with_stat(passive.root.open_dir(place.path), UIDLIST)
    except (FileNotFoundError, Outside, NotRegular) as error:
        passive.problem(f"{text(place.path)}: no uidlist to put a row back into: {error}")
        return None
    try:
        return uidlist.parse(read_range(fd, 0, min(found.st_size, MAX_UIDLIST)))
    finally:
        os.close(fd)
