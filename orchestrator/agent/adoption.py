"""Mail that stands on a passive place already: taken over instead of being sent again.

A copy made by rsync, by disk, or by an old dsync (which gave messages other names) is offered
digest by digest: the source says which of the local candidates has the very bytes.

Invariant: nothing is taken for a source's message before a SHA-256 over all its bytes says so.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, List, Optional, Tuple

from . import beneath
from .hashing import sha256_at
from .ledger import Place
from .parcel import MessageItem
from .passive import PARTS, Passive

OwnFile = Callable[[int, int, int, int, int], None]


class Adoption:
    """Finds local messages that may be what the source offers. One thread."""

    def __init__(self, passive: Passive) -> None:
        self._passive = passive
        self._by_size: Optional[Dict[Tuple[bytes, int], List[Tuple[int, bytes]]]] = None
        self.active = False  # True while a place's own mail is being compared

    def candidates(self, account: bytes, message: MessageItem) -> List[Tuple[int, bytes]]:
        """(lid, base) of unproven local messages of this size in the account."""
        if not self.active:
            return []
        if self._by_size is None:
            self._by_size = {}
            for place in self._passive.ledger.places.values():
                for base, held in self._passive.ledger.all_held(place.lid).items():
                    if not held.inode:
                        self._by_size.setdefault((place.account, held.size), []).append((place.lid, base))
        found = self._by_size.get((account, message.size), [])
        return [each for each in found if self._is_unproven(*each)]

    def _is_unproven(self, lid: int, base: bytes) -> bool:
        place = self._passive.ledger.places.get(lid)
        held = self._passive.held(place, base) if place else None
        return held is not None and not held.inode

    def digest(self, lid: int, base: bytes) -> str:
        """SHA-256 of a local message; "" when it is gone or unreadable."""
        place = self._passive.ledger.places.get(lid)
        held = self._passive.held(place, base) if place else None
        if place is None or held is None:
            return ""
        try:
            return sha256_at(self._passive.root.open_dir(place.path + PARTS[held.sub]), base + held.info)
        except (OSError, beneath.Outside, beneath.NotRegular):
            return ""

    def take(self, place: Place, message: MessageItem, lid: int, base: bytes, own: OwnFile) -> None:
        """Make a local message the offered one: its name, folder, flags, owner and time.

        Raises FileNotFoundError when it isn't there any more, or was taken for another message meanwhile.
        """
        passive = self._passive
        origin = passive.ledger.places[lid]
        held = passive.held(origin, base)
        if held is None:
            raise FileNotFoundError(base)
        source, target = passive.directory(origin, held.sub), passive.directory(place, message.sub)
        old, new = base + held.info, message.base + message.info
        stays = (origin.lid, held.sub, old) == (place.lid, message.sub, new)
        elsewhere = (origin.lid, base) != (place.lid, message.base)
        proven = elsewhere and held.inode
        copied = proven and held.is_file(message.inode, message.size, message.mtime)
        if proven and not copied:
            raise FileNotFoundError(base)  # it was found to be another message, and stays that
        if not stays:
            target = passive.vacate(place, message.sub, new)
            act = beneath.link if copied else beneath.rename  # a copy, where the source has one too
            act(source, old, target, new)
        fd = os.open(new, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
        try:
            own(fd, message.mode, message.owner, message.group, message.mtime)
        finally:
            os.close(fd)
        if elsewhere and not proven:
            passive.drop(origin, base, held)
            if self._by_size is not None:
                same = self._by_size.get((origin.account, held.size), [])
                if (lid, base) in same:
                    same.remove((lid, base))
