"""The ledger brought together with the disk: after a crash, before an adoption, at a round's end.

Invariant: what stands on the disk wins; a ledger row without its file is dropped and asked for
again, a file without a row is noted as unproven. Nothing is removed from the store here but by
`sweep`, into quarantine.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Dict, List, Optional, Set, Tuple

from . import maildir
from .apply import Applier, Outcome
from .beneath import Outside
from .delta import Listing, compare
from .digests import Line, from_names
from .install import cut_torn_tail
from .ledger import Held, Ledger, Place
from .log import MESSAGE
from .maildir import list_directory
from .passive import PARTS, Passive


def after_crash(passive: Passive) -> List[Tuple[int, bytes]]:
    """Read again every folder that was touched when the last conversation ended badly; what is
    missing there, as (fid, base), must be offered again."""
    lost: List[Tuple[int, bytes]] = []
    for lid in passive.ledger.touched():
        place = passive.ledger.places[lid]
        if place.maildir:
            lost += _reread(passive, place)
            with suppress(FileNotFoundError, NotADirectoryError, Outside):
                cut_torn_tail(passive.root, place)
    passive.flush()
    passive.ledger.untouch()
    passive.ledger.commit()
    return lost


def _listing(passive: Passive, place: Place) -> Optional[Tuple[Listing, Tuple[int, int]]]:
    try:
        fds = passive.root.held(place.path + PARTS[0]), passive.root.held(place.path + PARTS[1])
    except (FileNotFoundError, NotADirectoryError, Outside):
        return None
    listed, _, _ = maildir.list_messages(*fds)
    return listed, fds


def _reread(passive: Passive, place: Place) -> List[Tuple[int, bytes]]:
    found = _listing(passive, place)
    if found is None:
        return []
    listed, fds = found
    known = passive.ledger.all_held(place.lid)
    old: Listing = {base: (held.sub, held.info, 1) for base, held in known.items()}
    now: Listing = {base: (sub, info, 1) for base, (sub, info, _) in listed.items()}
    change = compare(old, now)
    try:
        for base in change.added:
            sub, info, _ = now[base]
            stat = os.stat(base + info, dir_fd=fds[sub], follow_symlinks=False)
            passive.put(place, base, Held(sub, info, 0, stat.st_size, stat.st_mtime_ns, 0), None)
        for base in change.renamed:
            sub, info, _ = now[base]
            passive.put(place, base, known[base]._replace(sub=sub, info=info), known[base])
        for base in change.missing:
            passive.drop(place, base, known[base])
    finally:
        for fd in fds:
            os.close(fd)
    return [(place.fid, base) for base in change.missing if place.fid is not None]


def populate(passive: Passive) -> int:
    """Note everything that stands below the root, as unproven; how many messages that is."""
    count = 0
    stack: List[Tuple[bytes, bytes]] = [(b"", b"")]
    while stack:
        path, account = stack.pop()
        here = list_directory(passive.root.open_dir(path))
        if here.is_maildir and not account:
            account = path
        place = passive.ledger.by_path.get(path)
        if place is None:
            place = passive.ledger.new_place(None, account, path, here.is_maildir, 0)
            place.inode = os.fstat(passive.root.open_dir(path)).st_ino
        if here.is_maildir:
            place.maildir = True
            _reread(passive, place)
            count += place.messages
            passive.flush()
        stack += [(path + b"/" + name if path else name, account) for name in here.folders]
    passive.ledger.commit()
    return count


def unseen(ledger: Ledger, seen: int) -> Dict[bytes, int]:
    """Messages per account that the source never spoke of in this round."""
    counts: Dict[bytes, int] = {}
    for lid, _ in ledger.unseen(seen):
        account = ledger.places[lid].account
        counts[account] = counts.get(account, 0) + 1
    return counts


def sweep(applier: Applier, passive: Passive, seen: int, hold: Dict[bytes, str], whole: bool) -> Dict[str, int]:
    """Take away what the source doesn't have, or let it wait for the accounts in `hold`."""
    outcome = Outcome(0)
    ledger = passive.ledger
    rows = ledger.unseen(seen)
    ledger.touch({lid for lid, _ in rows})
    ledger.commit()
    for lid, base in rows:
        place = ledger.places[lid]
        why = hold.get(place.account)
        if why is not None:
            ledger.put_waiting([(lid, MESSAGE, base, 0, place.account, why, time.time())])
            outcome.count("waiting")
        else:
            applier.remove(place, MESSAGE, base, False, False, outcome)
    passive.flush()
    for place in sorted(ledger.places.values(), key=lambda each: each.path, reverse=True):
        if place.fid is None and place.account and place.account not in hold:
            applier.remove(place, 2, b"", False, False, outcome)
    if whole:
        ledger.begin()
        ledger.meta.set(whole=1)
    passive.flush()
    applier.finish()
    return outcome.tally


def without(line: Line, waiting: Set[bytes], names: bool) -> Line:
    """A deep line as it would be if the waiting deletions had been applied."""
    kept = [row for row in line.names if row[0] not in waiting]
    count, digest = from_names(kept)
    return line._replace(messages=count, digest=digest, names=kept if names else [])
