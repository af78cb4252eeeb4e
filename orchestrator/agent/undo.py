"""Deletions taken back on a passive place: by an operator, or by the firewall when it trips.

What comes back stands again in its folder, with its flags and its UID, and is noted as a
waiting deletion: the active doesn't have it, and equality allows for it until an operator
lets the deletion through.

Invariant: nothing that stands in the store is replaced by what comes back.
"""

from __future__ import annotations

import os
import time
from typing import List, Set

from . import beneath, names, uidlist, uidwrite
from .install import UIDLIST
from .ledger import Held, Kept, Place
from .log import MESSAGE
from .passive import Passive
from .sidecar import MAX_UIDLIST, read_range


def recall(passive: Passive, account: bytes, seconds: float, reason: str) -> int:
    """Bring back what was deleted in an account within the last `seconds` and counted against its
    budget; how many messages that were."""
    rows = passive.ledger.kept("at>=? AND counted=1 AND account=? AND what=0", (time.time() - seconds, account))
    return bring_back(passive, rows, reason)


def restore(passive: Passive, wanted: Set[int], reason: str) -> int:
    """Bring back the quarantined messages with these ids."""
    return bring_back(passive, [kept for kept in passive.ledger.kept("what=0") if kept.qid in wanted], reason)


def bring_back(passive: Passive, rows: List[Kept], reason: str) -> int:
    places = [passive.ledger.by_path[kept.path] for kept in rows if kept.path in passive.ledger.by_path]
    passive.ledger.touch({place.lid for place in places})
    passive.ledger.commit()
    back = 0
    for kept in rows:
        place = passive.ledger.by_path.get(kept.path)
        if place is None or not place.maildir:
            passive.problem("a folder that is gone: make it on the active, then undelete again")
            continue
        back += _one(passive, place, kept, reason)
    passive.flush()
    passive.sync_dirs()
    passive.ledger.commit()
    return back


def _one(passive: Passive, place: Place, kept: Kept, reason: str) -> int:
    base, info = names.split(kept.name)
    if passive.held(place, base) is not None:
        return 0
    target = passive.directory(place, kept.sub)
    if not passive.quarantine.release(kept, target, kept.name):
        return 0
    found = beneath.stat(target, kept.name)
    passive.put(place, base, Held(kept.sub, info, 0, found.st_size, found.st_mtime_ns, 0), None)
    passive.ledger.put_waiting([(place.lid, MESSAGE, base, 0, place.account, reason, time.time())])
    _row_back(passive, place, base)
    return 1


def _row_back(passive: Passive, place: Place, base: bytes) -> None:
    """Put the message's row back into the uidlist, if it was dropped from it."""
    row = passive.ledger.uidrow(place.lid, base)
    if row is None:
        return
    folder = passive.root.open_dir(place.path)
    fd = beneath.open_file(folder, UIDLIST)
    try:
        parsed = uidlist.parse(read_range(fd, 0, min(os.fstat(fd).st_size, MAX_UIDLIST)))
        stat = os.fstat(fd)
    finally:
        os.close(fd)
    if not parsed.usable or base in parsed.by_base():
        return
    content = uidwrite.with_rows(parsed, [row])
    temporary = b"undelete-%x" % time.time_ns()
    out = beneath.create(passive.staging.fd, temporary, stat.st_mode & 0o7777)
    try:
        view = memoryview(content)
        while view:  # a short write must never become a shortened uidlist
            view = view[os.write(out, view) :]
        os.fsync(out)
    finally:
        os.close(out)
    beneath.rename(passive.staging.fd, temporary, folder, UIDLIST)
    passive.dirty_dirs[place.path] = None
    held = passive.ledger.sidecar(place.lid, UIDLIST)
    if held is not None:
        # The file isn't as it was installed any more: the next change installs it whole.
        passive.ledger.put_sidecar(held._replace(local=""))
