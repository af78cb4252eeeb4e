"""Folders of a passive place: made, renamed and removed as the source's are.

Invariant: a directory is renamed before the ledger says so; after a crash in between, the
directory's inode tells that it has been done. Nothing is removed here: a folder that goes,
goes into quarantine whole.
"""

from __future__ import annotations

import os
from typing import Callable, List, Optional

from . import beneath
from .ledger import Place
from .parcel import FolderItem
from .passive import Passive
from .staging import HOME

Own = Callable[[int, int, int, int], None]
"""Set mode, owner and group of a directory's descriptor."""


class Places:
    def __init__(self, passive: Passive, own: Own) -> None:
        self._passive = passive
        self._own = own
        self.made: List[Place] = []
        self.renamed = 0

    def apply(self, items: List[FolderItem], seen: int) -> None:
        """Bring every folder of an offer to where it belongs; `made` and `renamed` tell what that took."""
        self.made, self.renamed = [], 0
        for item in sorted(items, key=lambda each: each.path):
            place = self._find(item)
            if place is not None and place.path != item.path:
                self._rename(place, item.path)
                self.renamed += 1
            if place is None:
                place = self._passive.ledger.new_place(item.fid, item.account, item.path, item.maildir, seen)
                self.made.append(place)
            self._settle(place, item, seen)

    def _find(self, item: FolderItem) -> Optional[Place]:
        ledger = self._passive.ledger
        place = ledger.by_fid.get(item.fid)
        if place is not None:
            return place
        place = ledger.by_path.get(item.path)
        if place is None:
            return None
        if place.fid is None:
            ledger.bind(place, item.fid)
            return place
        # Another of the source's folders stood here and has gone elsewhere; its own row will tell.
        self._aside(place)
        return None

    def _settle(self, place: Place, item: FolderItem, seen: int) -> None:
        """Make what is missing of a folder on disk, and note its attributes."""
        root = self._passive.root
        if item.path:
            for made in root.make_dirs(item.path, item.mode | 0o700):
                self._passive.dirty_dirs[made.rpartition(b"/")[0]] = None
        fd = root.open_dir(item.path)
        if item.maildir:
            for part in (b"tmp", b"new", b"cur"):
                for made in root.make_dirs(item.path + b"/" + part, item.mode | 0o700):
                    self._own(root.open_dir(made), item.mode | 0o700, item.owner, item.group)
                    self._passive.dirty_dirs[item.path] = None
        if item.path and (place.mode, place.owner, place.group, place.inode) != (
            item.mode, item.owner, item.group, os.fstat(fd).st_ino,
        ):  # fmt: skip
            self._own(fd, item.mode | 0o700, item.owner, item.group)
        place.mode, place.owner, place.group = item.mode, item.owner, item.group
        place.account, place.maildir, place.seen = item.account, item.maildir, seen
        place.inode = os.fstat(fd).st_ino
        self._passive.ledger.put_place(place)

    def _rename(self, place: Place, path: bytes) -> None:
        root, ledger = self._passive.root, self._passive.ledger
        if self._stands(path) != place.inode or not place.inode:
            occupant = ledger.by_path.get(path)
            if occupant is not None and occupant is not place:
                self._aside(occupant)
            parent = path.rpartition(b"/")[0]
            if parent:
                root.make_dirs(parent, 0o700)
            source = self._where(place)
            root.forget(place.path)
            beneath.rename(
                root.open_dir(source.rpartition(b"/")[0]), source.rpartition(b"/")[2],
                root.open_dir(parent), path.rpartition(b"/")[2],
            )  # fmt: skip
            for each in (source.rpartition(b"/")[0], parent):
                self._passive.dirty_dirs[each] = None
        root.forget(place.path)
        root.forget(path)
        ledger.repath(place, path)

    def _where(self, place: Place) -> bytes:
        """Where a folder's directory is: at its path, or put aside by `_aside` before a crash."""
        return place.path if self._stands(place.path) else self._aside_path(place)

    def _aside_path(self, place: Place) -> bytes:
        return HOME.rpartition(b"/")[0] + b"/moving-%d" % place.lid

    def _aside(self, place: Place) -> None:
        """Put a folder out of the way of another that takes its path (two folders that swap names)."""
        root = self._passive.root
        target = self._aside_path(place)
        if self._stands(place.path) == place.inode:
            parent, _, name = place.path.rpartition(b"/")
            beneath.rename(
                root.open_dir(parent), name, root.open_dir(target.rpartition(b"/")[0]), target.rpartition(b"/")[2]
            )
        root.forget(place.path)
        self._passive.ledger.repath(place, target)

    def _stands(self, path: bytes) -> int:
        """The inode of the directory at a path, 0 when there is none."""
        root = self._passive.root
        root.forget(path)
        try:
            return os.fstat(root.open_dir(path)).st_ino
        except (FileNotFoundError, NotADirectoryError):
            return 0
