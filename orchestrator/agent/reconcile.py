"""The ledger brought together with source and disk: at the start, after a crash, before an adoption, at a round's end.

Invariant: what stands on the disk wins; a ledger row without its file is dropped and asked for
again, a file without a row is noted as unproven. Nothing is removed from the store here but by
`sweep`, into quarantine.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any, Dict, Iterable, List, Set, Tuple

from . import names
from .apply import Applier, Outcome
from .beneath import Outside, Root
from .delta import digest
from .digests import Line, deep, from_names, lines
from .install import cut_torn_tail
from .ledger import HeldSidecar, Ledger, Place
from .log import FOLDER, MESSAGE, SIDECAR
from .maildir import list_directory
from .passive import Passive
from .places import found_again, inode_at
from .serve import Answer, Fault, Work
from .sidecar import COUNTER
from .wire import pack, raw, text


def bind(ledger: Ledger, source: Dict[str, Any], here: int) -> None:
    """Judge the source by what was remembered of it. Raises Fault for one that is older than it was, or of an epoch
    before that of this place's own marker (`here`)."""
    meta = ledger.meta
    epoch, generation = int(source.get("epoch", 0)), int(source.get("generation", 0))
    if source and epoch < here:
        raise Fault(
            "older-epoch",
            f"the source is of epoch {epoch}, and this place of epoch {here}",
            "The place that sent it isn't active any more. Nothing was replicated; reclaim from it.",
        )
    nonce = str(source.get("nonce", ""))
    known = (int(meta.get("epoch", 0)), int(meta.get("generation", 0)))
    another = (epoch, generation) == known and meta.get("nonce", nonce) != nonce
    if source and ((epoch, generation) < known or another):
        raise Fault(
            "older-generation",
            f"the source is an older copy of itself: epoch {epoch}, generation {generation}"
            f" (known: {known[0]}, {known[1]})",
            "It was restored from a snapshot or copy, or lost its disk. Nothing was replicated; reclaim from it.",
        )
    ledger.begin()
    if source and (
        meta.get("index") != source.get("index") or int(meta.get("dead", 0)) < int(source.get("horizon") or 0)
    ):
        # Its folder ids and seqs mean nothing here, or removals were forgotten: compare everything once.
        fresh = meta.get("index") is None and not ledger.places
        ledger.unbind_all()
        meta.set(
            index=source.get("index"), live=0, dead=int(source.get("head") or 0),
            round=int(meta.get("round", 1)) + 1, whole=int(fresh), complete=None,
        )  # fmt: skip
    if source:
        meta.set(epoch=epoch, generation=generation, nonce=nonce)
    ledger.commit()


def after_crash(passive: Passive) -> List[Tuple[int, bytes]]:
    """Read again every folder that was touched when the last conversation ended badly; what is
    missing there, as (fid, base), must be offered again."""
    found_again(passive)
    lost: List[Tuple[int, bytes]] = []
    barred: List[int] = []
    touched = [passive.ledger.places[lid] for lid in passive.ledger.touched()]
    strays = passive.quarantine.unrecorded() if touched else {}
    for place in touched:
        try:
            lost += passive.reread(place, strays) if place.maildir else []
            _record_folder(passive, place, strays)
        except Outside as link:
            passive.problem(f"{text(place.path)}: {link}: nothing is read or written there")
            barred.append(place.lid)
        with suppress(FileNotFoundError, NotADirectoryError, Outside):  # no uidlist, or what was told just now
            cut_torn_tail(passive.root, place)
    for each in strays.values():
        for stored in each:
            passive.quarantine.record_stray(stored)
    passive.flush()
    passive.ledger.untouch()
    passive.ledger.touch(barred)
    passive.ledger.commit()
    return lost


def _record_folder(passive: Passive, place: Place, strays: Dict[bytes, List[bytes]]) -> None:
    """Give a record to a folder that went into quarantine just before the crash."""
    stored = strays.get(place.path.rpartition(b"/")[2])
    if stored and not inode_at(passive, place.path):
        passive.quarantine.record(place, FOLDER, 0, b"", stored.pop(), 0)


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
            passive.reread(place)
            count += place.messages
            passive.flush()
        if account:
            _note_sidecars(passive.ledger, place, here.files)
        stack += [(path + b"/" + name if path else name, account) for name in here.folders]
    for each in passive.quarantine.unrecorded().values():
        for stored in each:
            passive.quarantine.record_stray(stored)
    passive.ledger.commit()
    return count


def _note_sidecars(ledger: Ledger, place: Place, files: Iterable[bytes]) -> None:
    """Note sidecars as unproven: each is installed anew, or goes at the round's end when the source has none such.
    Counters of UIDVALIDITY are called otherwise at the source, and only the highest of them counts."""
    for name in files:
        if not name.startswith(COUNTER) and ledger.sidecar(place.lid, name) is None:
            ledger.put_sidecar(HeldSidecar(place.lid, name, -1, -1, -1, None, None, None, "", 0, 0))


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
    _sweep_sidecars(applier, ledger, seen, hold, outcome)
    for place in sorted(ledger.places.values(), key=lambda each: each.path, reverse=True):
        if place.fid is None and place.account and place.account not in hold:
            applier.remove(place, FOLDER, b"", False, False, outcome)
    if whole:
        ledger.begin()
        ledger.meta.set(whole=1)
    passive.flush()
    applier.finish()
    return outcome.tally


def _sweep_sidecars(applier: Applier, ledger: Ledger, seen: int, hold: Dict[bytes, str], outcome: Outcome) -> None:
    """Take away the sidecars that the source doesn't have. Never a uidlist: it goes with its folder, or is replaced."""
    for sidecar in ledger.sidecars():
        place = ledger.places[sidecar.lid]
        spoken_of = sidecar.seen == seen or place.fid is None or names.is_uidlist(sidecar.name)
        if not spoken_of and place.account not in hold:
            applier.remove(place, SIDECAR, sidecar.name, False, False, outcome)


def waiting(ledger: Ledger) -> Dict[int, Set[bytes]]:
    """The messages whose deletion waits, by folder."""
    found: Dict[int, Set[bytes]] = {}
    for lid, what, name, *_ in ledger.waiting():
        if what == MESSAGE:
            found.setdefault(lid, set()).add(name)
    return found


def allowed(ledger: Ledger, waits: Dict[int, Set[bytes]]) -> List[Line]:
    """A line per folder from the ledger, as it would be if the waiting deletions had been applied."""
    going = {(lid, what, name) for lid, what, name, *_ in ledger.waiting() if what != MESSAGE}
    staying = (
        (row.lid, row)
        for row in ledger.sidecars()
        if (row.lid, SIDECAR, row.name) not in going and not _is_leftover(row)
    )
    found = []
    for line in lines(ledger.places.items(), staying):
        lid = ledger.by_path[line.path].lid
        for base in waits.get(lid, ()):
            held = ledger.held(lid, base)
            if held is not None:
                changed = line.digest ^ digest(base, held.sub, held.info)
                line = line._replace(digest=changed, messages=line.messages - 1)
        if line.messages or (lid, FOLDER, b"") not in going:
            found.append(line)
    return found


def _is_leftover(row: HeldSidecar) -> bool:
    """Whether it is a uidlist that stood here before a copy was adopted, of a folder in which the source's server has
    made none yet. It stays until it makes one: UIDs that clients may know are better than none.
    """
    return row.size < 0 and names.is_uidlist(row.name)


def without(line: Line, waits: Set[bytes], listed: bool) -> Line:
    """A deep line as it would be if the waiting deletions had been applied."""
    kept = [row for row in line.names if row[0] not in waits]
    count, total = from_names(kept)
    return line._replace(messages=count, digest=total, names=kept if listed else [])


def proof(root: Root, ledger: Ledger, head: Dict[str, Any]) -> Work:
    """A line per folder: from the ledger, or with `deep` from the disk, of the `paths` if any are given."""
    waits = waiting(ledger)
    found: List[Line] = []
    if head.get("deep"):
        wanted = {raw(path) for path in head["paths"]} if head.get("paths") else None
        for place in sorted(ledger.places.values(), key=lambda each: each.path):
            if wanted is None or place.path in wanted:
                line = deep(root, place.path, place.account, place.maildir, True)
                found.append(without(line, waits.get(place.lid, set()), bool(head.get("names"))))
                yield None
    else:
        found = allowed(ledger, waits)
    blob, deflated = pack([line.packed() for line in found])
    return Answer({"live": ledger.meta.get("live", 0), "waiting": sum(map(len, waits.values()))}, blob, deflated)
