"""Folders of a passive place: made, renamed and removed as the source's are.

Invariant: what is about to be renamed stands in the ledger first, durable (`moving`); after a
crash at any instant each folder is found again by its directory's inode (`found_again`). Two
folders that change names change them in one step, where the file system can do that. Nothing
is removed here: a folder that goes, goes into quarantine whole.
"""

from __future__ import annotations

import json
import os
from typing import Callable, Dict, List, Optional, Tuple

from . import beneath
from .beneath import Outside, Unsupported
from .ledger import Place
from .log import FOLDER
from .marker import DIRECTORY
from .parcel import FolderItem
from .passive import Passive
from .wire import raw, text

Own = Callable[[int, int, int, int], None]
"""Set mode, owner and group of a directory's descriptor."""


class Places:
    def __init__(self, passive: Passive, own: Own) -> None:
        self._passive = passive
        self._own = own
        self.made: List[Place] = []
        self.renamed = 0
        self.lost: List[Tuple[int, bytes]] = []  # (fid, base) of messages that turned out not to stand here

    def apply(self, items: List[FolderItem], seen: int) -> None:
        """Bring every folder of an offer to where it belongs; `made`, `renamed` and `lost` tell what that took."""
        self.made, self.renamed, self.lost = [], 0, []
        self._passive.tie.renew()
        self._passive.root.forget(b"")  # a directory that was moved out of the root meanwhile isn't written to
        known = self._passive.ledger.by_fid
        items = sorted(items, key=lambda each: each.path)
        leaving = [item for item in items if item.fid in known and known[item.fid].path != item.path]
        self._intend(leaving)
        for item in leaving:
            if known[item.fid].path != item.path:  # one that holds it may have taken it along
                self._unless_barred(item, lambda item: self._rename(known[item.fid], item.path))
                self.renamed += 1
        for item in items:
            self._unless_barred(item, lambda item: self._bring(item, seen))

    def _unless_barred(self, item: FolderItem, act: Callable[[FolderItem], None]) -> None:
        """Act on a folder, or bar it, if something stands in its way alone."""
        if item.fid in self._passive.barred:
            return
        try:
            act(item)
        except (Outside, OSError) as error:
            self._passive.bar(item.fid, item.path, error)

    def _bring(self, item: FolderItem, seen: int) -> None:
        place = self._find(item)
        if place is None:
            place = self._passive.ledger.new_place(item.fid, item.account, item.path, item.maildir, seen)
            self.made.append(place)
        self._settle(place, item, seen)

    def _intend(self, leaving: List[FolderItem]) -> None:
        """Have the ledger know where folders are about to go, and which ones are in their way."""
        if not leaving:
            return
        ledger = self._passive.ledger
        moving: Dict[int, bytes] = {}
        for item in leaving:
            moving[ledger.by_fid[item.fid].lid] = item.path
            occupant = ledger.by_path.get(item.path)
            if occupant is not None:
                moving.setdefault(occupant.lid, item.path)
        ledger.begin()
        ledger.meta.set(moving=json.dumps([[lid, text(path)] for lid, path in sorted(moving.items())]))
        ledger.commit()
        ledger.begin()

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
            ledger.drop_waiting([(place.lid, FOLDER, b"")])
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
        inode = os.fstat(fd).st_ino
        if place.inode != inode and place.messages:
            # Another directory stands here than the one that the ledger speaks of: what is in it counts.
            self.lost += self._passive.reread(place)
        if item.path and (place.mode, place.owner, place.group, place.inode) != (
            item.mode, item.owner, item.group, inode,
        ):  # fmt: skip
            self._own(fd, item.mode | 0o700, item.owner, item.group)
        place.mode, place.owner, place.group = item.mode, item.owner, item.group
        place.account, place.maildir, place.seen = item.account, item.maildir, seen
        place.inode = inode
        self._passive.ledger.put_place(place)

    def _rename(self, place: Place, path: bytes) -> None:
        """Rename a folder's directory; one that stands under its new path changes places with it."""
        ledger, old = self._passive.ledger, place.path
        occupant = self._occupant(path)
        if occupant is not None and self._swapped(old, path):
            ledger.repath(occupant, aside_path(occupant))
            ledger.repath(place, path)
            ledger.repath(occupant, old)
            return
        if occupant is not None:
            self._aside(occupant)
            old = place.path  # it may stand in what was put aside
        if inode_at(self._passive, old):
            parent = path.rpartition(b"/")[0]
            if parent:
                self._passive.root.make_dirs(parent, 0o700)
            beneath.rename(*self._entry(old), *self._entry(path))
        self._forget(old, path)
        ledger.repath(place, path)

    def _occupant(self, path: bytes) -> Optional[Place]:
        """The folder whose directory stands at a path. What nobody knows there is taken into quarantine."""
        ledger, stands = self._passive.ledger, inode_at(self._passive, path)
        occupant = ledger.by_path.get(path)
        if occupant is not None and occupant.inode not in (stands, 0):
            ledger.repath(occupant, aside_path(occupant))
            occupant = None
        if occupant is None and stands:
            self._passive.quarantine.take_stray(path)
            self._forget(path)
        return occupant

    def _swapped(self, one: bytes, other: bytes) -> bool:
        """Have two directories change names in one step; False where that can't be."""
        if not inode_at(self._passive, one):
            return False
        try:
            beneath.exchange(*self._entry(one), *self._entry(other))
        except Unsupported:
            return False
        self._forget(one, other)
        return True

    def _aside(self, place: Place) -> None:
        """Put a folder out of the way of another that takes its path."""
        target = aside_path(place)
        if inode_at(self._passive, place.path) == place.inode:
            if inode_at(self._passive, target):
                self._passive.quarantine.take_stray(target)
            beneath.rename(*self._entry(place.path), *self._entry(target))
        self._forget(place.path, target)
        self._passive.ledger.repath(place, target)

    def _entry(self, path: bytes) -> Tuple[int, bytes]:
        parent, _, name = path.rpartition(b"/")
        return self._passive.root.open_dir(parent), name

    def _forget(self, *paths: bytes) -> None:
        """Directories have other names now."""
        for path in paths:
            self._passive.root.forget(path)
            self._passive.dirty_dirs[path.rpartition(b"/")[0]] = None


def aside_path(place: Place) -> bytes:
    """Where a folder waits that is in another's way."""
    return DIRECTORY + b"/moving-%d" % place.lid


def inode_at(passive: Passive, path: bytes) -> int:
    """The inode of the directory at a path, 0 when there is none. Raises Outside for a link."""
    passive.root.forget(path)
    try:
        return os.fstat(passive.root.open_dir(path)).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return 0


def found_again(passive: Passive) -> None:
    """After a crash: have the ledger know where the folders that were being renamed stand by now."""
    ledger = passive.ledger
    moving = [(int(lid), raw(path)) for lid, path in json.loads(ledger.meta.get("moving") or "[]")]
    places = [ledger.places[lid] for lid, _ in moving if lid in ledger.places]
    paths = {path for _, path in moving}.union(*((place.path, aside_path(place)) for place in places))
    standing = {inode_at(passive, path): path for path in paths}
    astray = [(place, standing[place.inode]) for place in places if standing.get(place.inode, place.path) != place.path]
    for place, _ in astray:
        ledger.repath(place, aside_path(place))
    for place, path in sorted(astray, key=lambda each: each[1]):
        occupant = ledger.by_path.get(path)
        if occupant is not None and occupant is not place:
            ledger.repath(occupant, aside_path(occupant))
        ledger.repath(place, path)
