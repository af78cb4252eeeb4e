"""Where deleted mail stands on a passive place until `mm_undelete` has passed.

On the same file system, below ROOT/.mailmirror/quarantine/<day>/, so that putting something
in and taking it out is one rename. The ledger records what it was; the file's own name stays
readable behind a number, so that a person can find it without any ledger.

Invariant: what is put in was complete in the store, and leaves only by `release` or when its
time is up; nothing is ever overwritten here.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Dict, List, Optional

from . import beneath
from .beneath import Root
from .ledger import Kept, Ledger, Place
from .marker import DIRECTORY

HOME = DIRECTORY + b"/quarantine"
STRAY = 3
"""What a thing in quarantine is, beside a message, a sidecar and a folder: nobody's."""


class Quarantine:
    """One store's quarantine. One thread."""

    def __init__(self, root: Root, ledger: Ledger, dirty: Dict[bytes, None]) -> None:
        """`dirty` gets the paths of the directories whose entries change by this."""
        self._root = root
        self._ledger = ledger
        self._dirty = dirty
        self._count = 0

    def take(self, place: Place, what: int, sub: int, name: bytes, *, counted: bool, size: int = 0) -> bool:
        """Move something of a folder in; False when it isn't there any more. An empty `name` is the folder itself."""
        part = {0: b"/new", 1: b"/cur"}.get(sub, b"") if what == 0 else b""
        path = place.path + part + b"/" + name if name else place.path
        stored = self._move_in(path.lstrip(b"/"))
        if stored is None:
            return False
        self._record(place.account, place.path, what, sub, name, stored, counted, size)
        return True

    def take_stray(self, path: bytes) -> None:
        """Move in a directory or file that is nobody's but in the way; it leaves when its time is up."""
        stored = self._move_in(path)
        if stored is not None:
            self._record(b"", path, STRAY, 0, b"", stored, False, 0)

    def _move_in(self, path: bytes) -> Optional[bytes]:
        """Rename what stands at a path into today's directory; where it stands now, None when it is gone."""
        parent, _, entry = path.rpartition(b"/")
        day = HOME + b"/" + time.strftime("%Y%m%d", time.gmtime()).encode()
        for made in self._root.make_dirs(day, 0o700):
            self._dirty[made.rpartition(b"/")[0]] = None
        self._count += 1
        stored = (b"%x-%x-" % (time.time_ns(), self._count) + entry)[:255]
        try:
            beneath.rename(self._root.open_dir(parent), entry, self._root.open_dir(day), stored)
        except FileNotFoundError:
            return None
        self._dirty.update(dict.fromkeys((parent, day)))
        return day + b"/" + stored

    def _record(
        self, account: bytes, path: bytes, what: int, sub: int, name: bytes, stored: bytes, counted: bool, size: int
    ) -> None:
        self._ledger.put_kept([(time.time(), account, path, what, sub, name, stored, int(counted), size)])

    # --- after a crash ----------------------------------------------------------------

    def unrecorded(self) -> Dict[bytes, List[bytes]]:
        """What was moved in before a crash and never recorded: where it stands, by the name that it had."""
        known = {kept.stored for kept in self._ledger.kept()}
        found: Dict[bytes, List[bytes]] = {}
        try:
            days = beneath.entries(self._root.open_dir(HOME))
        except FileNotFoundError:
            return {}
        for day in days:
            path = HOME + b"/" + day
            for entry in beneath.entries(self._root.open_dir(path)):
                if path + b"/" + entry not in known:
                    found.setdefault(entry.split(b"-", 2)[-1], []).append(path + b"/" + entry)
        return found

    def record(self, place: Place, what: int, sub: int, name: bytes, stored: bytes, size: int) -> None:
        """Record what `unrecorded` told and the ledger still knows. It counts: nobody knows whether it did."""
        self._record(place.account, place.path, what, sub, name, stored, what == 0, size)

    def record_stray(self, stored: bytes) -> None:
        """Record what `unrecorded` told and nobody knows, so that it leaves when its time is up."""
        self._record(b"", b"", STRAY, 0, b"", stored, False, 0)

    # --- what leaves ------------------------------------------------------------------

    def release(self, kept: Kept, target: int, name: bytes) -> bool:
        """Move something back out, under `name` in the directory `target`; False when it is gone.

        Raises FileExistsError where that name is taken; it stays in quarantine then.
        """
        day, _, entry = kept.stored.rpartition(b"/")
        try:
            beneath.link(self._root.open_dir(day), entry, target, name)
            beneath.unlink(self._root.open_dir(day), entry)
        except FileNotFoundError:
            self._ledger.drop_kept([kept.qid])
            return False
        self._dirty[day] = None
        self._ledger.drop_kept([kept.qid])
        return True

    def expire(self, keep_seconds: float, now: Optional[float] = None) -> int:
        """Remove for good what has stood here for longer; how many that were."""
        due = self._ledger.kept("at < ?", ((time.time() if now is None else now) - keep_seconds,))
        for kept in due:
            day, _, entry = kept.stored.rpartition(b"/")
            try:
                self._remove(self._root.open_dir(day), entry)
            except FileNotFoundError:
                continue
        self._ledger.drop_kept(kept.qid for kept in due)
        self._ledger.prune_uidrows()
        self._drop_empty_days()
        return len(due)

    def _drop_empty_days(self) -> None:
        try:
            home = self._root.open_dir(HOME)
        except FileNotFoundError:
            return
        for day in beneath.entries(home):
            path = HOME + b"/" + day
            if not beneath.entries(self._root.open_dir(path)):
                self._root.forget(path)
                beneath.rmdir(home, day)

    def _remove(self, parent: int, name: bytes) -> None:
        """Remove a file or a whole directory, following no link."""
        if not stat.S_ISDIR(beneath.stat(parent, name).st_mode):
            beneath.unlink(parent, name)
            return
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            names: List[bytes] = beneath.entries(fd)
            for each in names:
                self._remove(fd, each)
        finally:
            os.close(fd)
        beneath.rmdir(parent, name)
