"""The store of a passive place and what belongs to it, as the parts of the sink share it.

Invariant: names and flags of what stands here change only through this module's calls, so that
the ledger's rows, its digests and the files stay together.
"""

from __future__ import annotations

import os
import time
from typing import Dict, List, Optional, Tuple

from . import beneath
from .beneath import Root
from .delta import digest
from .ledger import Held, Ledger, Place
from .quarantine import Quarantine
from .staging import Staging

PARTS = (b"/new", b"/cur")


class Passive:
    """Root, ledger, staging and quarantine of one passive store. One thread."""

    def __init__(self, root: Root, ledger: Ledger) -> None:
        self.root = root
        self.ledger = ledger
        self.staging = Staging(root)
        self.quarantine = Quarantine(root, ledger)
        self.problems: List[str] = []
        self.dirty_dirs: Dict[bytes, None] = {}  # paths whose entries changed since the last sync
        self._permit_until = 0.0
        self._rows: Dict[Tuple[int, bytes], Held] = {}  # not in the ledger yet
        self._changed: Dict[int, Place] = {}

    # --- the permit -------------------------------------------------------------------

    @property
    def permitted(self) -> bool:
        return time.clock_gettime(time.CLOCK_BOOTTIME) < self._permit_until

    def permit(self, seconds: float) -> None:
        """Let removals be applied for so long from now (at most 30 s); 0 forbids them at once."""
        self._permit_until = time.clock_gettime(time.CLOCK_BOOTTIME) + max(0.0, min(seconds, 30.0))

    # --- messages ---------------------------------------------------------------------

    def directory(self, place: Place, sub: int) -> int:
        """The descriptor of a folder's new or cur, which is about to change."""
        path = place.path + PARTS[sub]
        self.dirty_dirs[path] = None
        return self.root.open_dir(path)

    def held(self, place: Place, base: bytes) -> Optional[Held]:
        row = self._rows.get((place.lid, base))
        return row if row is not None else self.ledger.held(place.lid, base)

    def put(self, place: Place, base: bytes, row: Held, was: Optional[Held]) -> None:
        """Note a message as it stands now; `was` is what was noted before."""
        if was is not None:
            place.digest ^= digest(base, was.sub, was.info)
            place.messages -= 1
        place.digest ^= digest(base, row.sub, row.info)
        place.messages += 1
        self._rows[place.lid, base] = row
        self._changed[place.lid] = place

    def drop(self, place: Place, base: bytes, was: Held) -> None:
        """Note that a message doesn't stand here any more."""
        place.digest ^= digest(base, was.sub, was.info)
        place.messages -= 1
        self._rows.pop((place.lid, base), None)
        self.ledger.drop_held(place.lid, [base])
        self._changed[place.lid] = place

    def move(self, place: Place, base: bytes, was: Held, sub: int, info: bytes) -> None:
        """Give a message other flags, or move it from new to cur. Raises FileNotFoundError."""
        beneath.rename(self.directory(place, was.sub), base + was.info, self.directory(place, sub), base + info)

    def flush(self) -> None:
        """Write what was noted to the ledger's open transaction."""
        self.ledger.put_held(
            [(lid, base, r.sub, r.info, r.inode, r.size, r.mtime, r.seen) for (lid, base), r in self._rows.items()]
        )
        self._rows.clear()
        for place in self._changed.values():
            if place.lid in self.ledger.places:
                self.ledger.put_place(place)
        self._changed.clear()

    # --- durability -------------------------------------------------------------------

    def sync_all(self) -> None:
        """Make everything that was done here durable."""
        try:
            if beneath.syncfs_reports_errors():
                beneath.syncfs(self.root.fd)
                self.dirty_dirs.clear()
                return
        except beneath.Unsupported as why:
            self.problem(f"{why}: every directory is synced by itself")
        self.sync_dirs()

    def sync_dirs(self) -> None:
        """Make the entries of the changed directories durable, one by one."""
        for path in self.dirty_dirs:
            try:
                os.fsync(self.root.open_dir(path))
            except FileNotFoundError:
                continue  # renamed or removed since; its parent is in the list
        self.dirty_dirs.clear()

    def problem(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)
            del self.problems[:-200]
