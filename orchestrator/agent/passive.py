"""The store of a passive place and what belongs to it, as the parts of the sink share it.

Invariant: names and flags of what stands here change only through this module's calls, so that
the ledger's rows, its digests and the files stay together.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple

from . import beneath
from .barrier import Barrier
from .beneath import Outside, Root
from .delta import Listing, compare, digest
from .ledger import Held, Ledger, Place
from .log import MESSAGE
from .maildir import list_messages
from .names import STATE_DIR
from .quarantine import Quarantine
from .staging import Staging
from .tie import Tie
from .wire import text

PARTS = (b"/new", b"/cur")
ODD = frozenset((errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.EXDEV, errno.EINVAL,
                 errno.EACCES, errno.EPERM))  # fmt: skip
"""What a system call says of something that shouldn't stand where it stands."""


class Passive:
    """Root, ledger, staging and quarantine of one passive store. One thread."""

    def __init__(self, root: Root, ledger: Ledger) -> None:
        self.root = root
        self.ledger = ledger
        self.staging = Staging(root)
        self.dirty_dirs: Dict[bytes, None] = {}  # paths whose entries changed since the last sync
        self.quarantine = Quarantine(root, ledger, self.dirty_dirs)
        self.tie = Tie(root, ledger)
        self.problems: List[str] = []
        self.barred: Dict[int, str] = {}  # fid of a folder that can't be worked on -> why
        self._untold: List[str] = []  # of those, what the controller wasn't told yet
        self._permit_until = 0.0
        self._rows: Dict[Tuple[int, bytes], Held] = {}  # not in the ledger yet
        self._dropped: Set[Tuple[int, bytes]] = set()  # in the ledger still
        self._known: Dict[Tuple[int, bytes], Optional[Held]] = {}  # what the ledger says, where it was asked before
        self._changed: Dict[int, Place] = {}
        self._syncfs: Optional[bool] = None
        self._failed: Optional[OSError] = None

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
        fd = self.root.open_dir(path)
        self.dirty_dirs[path] = None
        return fd

    def vacate(self, place: Place, sub: int, name: bytes) -> int:
        """The same for a name that is about to be given; a stranger's file that has it goes into quarantine."""
        target = self.directory(place, sub)
        try:
            beneath.stat(target, name)
        except FileNotFoundError:
            return target
        self.quarantine.take(place, MESSAGE, sub, name, counted=False)
        return target

    def look_up(self, wanted: Iterable[Tuple[Optional[Place], bytes]]) -> None:
        """Ask the ledger at once for many messages that `held` will be asked for one by one, until `look_away`."""
        groups: Dict[int, List[bytes]] = {}
        for place, base in wanted:
            if place is not None and (place.lid, base) not in self._known:
                self._known[place.lid, base] = None
                if place.messages:
                    groups.setdefault(place.lid, []).append(base)
        for lid, bases in groups.items():
            self._known.update(((lid, base), held) for base, held in self.ledger.held_among(lid, bases).items())

    def look_away(self) -> None:
        """Forget what `look_up` found: no batch is on its way that needs it."""
        self._known.clear()

    def held(self, place: Place, base: bytes) -> Optional[Held]:
        """What is noted of a message in a folder."""
        key = place.lid, base
        row = self._rows.get(key)
        if row is not None or key in self._dropped:
            return row
        if key in self._known:
            return self._known[key]
        return self.ledger.held(place.lid, base)

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
        self._dropped.add((place.lid, base))
        self._changed[place.lid] = place

    def move(self, place: Place, base: bytes, was: Held, sub: int, info: bytes) -> None:
        """Give a message other flags, or move it from new to cur. Raises FileNotFoundError."""
        source, target = self.directory(place, was.sub), self.vacate(place, sub, base + info)
        beneath.rename(source, base + was.info, target, base + info)

    def reread(self, place: Place, strays: Optional[Dict[bytes, List[bytes]]] = None) -> List[Tuple[int, bytes]]:
        """Have the ledger know a folder's messages as they stand on disk; those that don't any more, as (fid, base).

        `strays` is what stands in quarantine without a record, by name; what was of this folder is recorded
        and taken out of it. Raises Outside where a link stands in the way.
        """
        known = self.ledger.all_held(place.lid)
        listed, fds = self._listed(place)
        change = compare(
            {base: (held.sub, held.info, 1) for base, held in known.items()},
            {base: (sub, info, 1) for base, (sub, info, _) in listed.items()},
        )
        try:
            for base in change.added:
                sub, info, _ = listed[base]
                stat = os.stat(base + info, dir_fd=fds[sub], follow_symlinks=False)
                self.put(place, base, Held(sub, info, 0, stat.st_size, stat.st_mtime_ns, 0), None)
            for base in change.renamed:
                sub, info, _ = listed[base]
                self.put(place, base, known[base]._replace(sub=sub, info=info), known[base])
        finally:
            for fd in fds:
                os.close(fd)
        for base in change.missing:
            held = known[base]
            stored = strays.get(base + held.info) if strays else None
            if stored:
                self.quarantine.record(place, 0, held.sub, base + held.info, stored.pop(), held.size)
            self.drop(place, base, held)
        return [(place.fid, base) for base in change.missing if place.fid is not None]

    def _listed(self, place: Place) -> Tuple[Listing, List[int]]:
        """What stands in a folder, and descriptors of its new and cur to be closed; nothing where it is gone."""
        fds: List[int] = []
        try:
            fds += [self.root.held(place.path + part) for part in PARTS]
        except (OSError, Outside) as error:
            for fd in fds:
                os.close(fd)
            if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise
            return {}, []
        return list_messages(*fds)[0], fds

    def flush(self) -> None:
        """Write what was noted to the ledger's open transaction."""
        self.ledger.drop_held(self._dropped)
        self.ledger.put_held([(lid, base, *row) for (lid, base), row in self._rows.items()])
        for key in (*self._rows, *self._dropped):
            self._known.pop(key, None)
        self._rows.clear()
        self._dropped.clear()
        for place in self._changed.values():
            if place.lid in self.ledger.places:
                self.ledger.put_place(place)
        self._changed.clear()

    # --- durability -------------------------------------------------------------------

    @property
    def all_at_once(self) -> bool:
        """Whether one call makes everything durable here, and tells when that failed; else each file needs its own."""
        if self._syncfs is None:
            try:
                self._syncfs = beneath.syncfs_reports_errors()
                if self._syncfs:
                    beneath.syncfs(self.root.fd)
            except beneath.Unsupported as why:
                self.problem(f"{why}: every file is made durable by itself")
                self._syncfs = False
        return self._syncfs

    def sync_all(self) -> None:
        """Make everything that was done here durable."""
        if not self.all_at_once:
            self.sync_dirs()
            return
        self.surely(beneath.syncfs, self.root.fd)
        self.dirty_dirs.clear()

    def surely(self, call: Callable[..., None], *args: Any) -> None:
        """Make something durable by a call. Where that failed once, this fails for ever.

        The kernel tells a failed write a single time (fsync(2)): asked again, it would say that all is well.
        """
        if self._failed is not None:
            raise self._failed
        try:
            call(*args)
        except OSError as error:
            self._failed = error
            raise

    def barrier(self, over: Callable[[], None]) -> Barrier:
        """As `sync_all`, in the background; only where it goes `all_at_once`. Whoever waits does it `surely`."""
        self.dirty_dirs.clear()
        return Barrier(self.root.fd, over)

    def sync_dirs(self) -> None:
        """Make the entries of the changed directories durable, one by one."""
        for path in self.dirty_dirs:
            try:
                fd = self.root.open_dir(path)
            except FileNotFoundError:
                continue  # renamed or removed since; its parent is in the list
            self.surely(os.fsync, fd)
        self.dirty_dirs.clear()

    # --- what stands in the way -------------------------------------------------------

    def bar(self, fid: int, path: bytes, error: Exception) -> None:
        """Note that a folder can't be worked on, for a reason of its own, such as a link in its place.

        It is left alone for the rest of this conversation, and the next one compares everything. Raises
        `error` again where it isn't this folder's alone: a full disk, say.
        """
        if isinstance(error, OSError) and error.errno not in ODD:
            raise error
        if isinstance(error, Outside) and error.path.split(b"/")[0] == STATE_DIR:
            raise error
        if fid not in self.barred:
            self.barred[fid] = f"{text(path)}: {error}: left alone, other folders go on; put a directory there again"
            self._untold.append(self.barred[fid])
            self.problem(self.barred[fid])
            self.ledger.begin()
            self.ledger.meta.set(index="")

    def told(self) -> List[str]:
        """Why folders were barred since this was asked last."""
        told, self._untold = self._untold, []
        return told

    def free_again(self) -> bool:
        """Whether nothing stands in a barred folder's way any more."""
        places = [self.ledger.by_fid[fid] for fid in self.barred if fid in self.ledger.by_fid]
        return bool(places) and all(self._is_free(place) for place in places)

    def _is_free(self, place: Place) -> bool:
        self.root.forget(place.path)
        try:
            for part in (b"", *PARTS, b"/tmp") if place.maildir else (b"",):
                self.root.open_dir(place.path + part)
        except FileNotFoundError:
            return True
        except (OSError, Outside):
            return False
        return True

    def problem(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)
            del self.problems[:-200]
