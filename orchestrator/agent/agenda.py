"""Which folders the scanner looks at next, and when. Pure.

In a store's first scan every directory comes before any message, so that it is soon known what the store is made of;
afterwards a folder is looked at as a whole.

Invariant: a folder stands in it once for a look now and once for its messages at the most; the next one is found at
once, however many wait.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Dict, Optional, Set, Tuple

from .tree import Folder

UNSTABLE_TRIES = 5
"""After so many listings that didn't hold still a folder isn't waited for."""


class Agenda:
    """`surveying` says that this is the store's first scan."""

    def __init__(self, surveying: bool) -> None:
        self.surveying = surveying
        self._now: "OrderedDict[int, Folder]" = OrderedDict()
        self._unread: "OrderedDict[int, Folder]" = OrderedDict()  # in a first scan: only their messages are left
        self._later: Dict[int, Folder] = {}
        self._soonest = 0.0  # when the first of those is due
        self._marked: Set[int] = set()  # of those that waited at `mark`, who has to be looked at yet
        self.looking = False  # what is added now comes of a look, and belongs to the mark as well

    def add(self, folder: Folder, due: float = 0.0) -> None:
        """Have a folder looked at now, or when `due` (seconds of the caller's clock) unless it is to be anyway."""
        if self.looking:
            self._marked.add(folder.fid)
        if not due:
            self._later.pop(folder.fid, None)
            self._now[folder.fid] = folder
        elif folder.fid not in self._now and folder.fid not in self._later:
            folder.due = due
            self._soonest = min(self._soonest, due) if self._later else due
            self._later[folder.fid] = folder

    def add_messages(self, folder: Folder) -> None:
        """Its directory has been looked at; its messages come when every directory has."""
        self._unread[folder.fid] = folder
        if self.looking:
            self._marked.add(folder.fid)

    def take(self, now: float) -> Optional[Tuple[Folder, bool]]:
        """The next folder, and whether its messages are to be read too; None when none is due."""
        if self._later and now >= self._soonest:
            self._wake_due(now)
        if self._now:
            return self._left(self._now.popitem(last=False)[1], not self.surveying)
        return self._left(self._unread.popitem(last=False)[1], True) if self._unread else None

    def _left(self, folder: Folder, read: bool) -> Tuple[Folder, bool]:
        self._marked.discard(folder.fid)
        return folder, read

    def mark(self) -> None:
        """Have `passed` tell when all that waits now has been looked at, and all that comes of it."""
        self._marked = {*self._now, *self._unread, *self._later}

    @property
    def passed(self) -> bool:
        return not self._marked

    def _wake_due(self, now: float) -> None:
        for fid, folder in list(self._later.items()):
            if folder.due <= now:
                del self._later[fid]
                self._now[fid] = folder
        self._soonest = min((folder.due for folder in self._later.values()), default=0.0)

    def delay(self, now: float) -> Optional[float]:
        """Seconds until one is due, where none is now; None when none waits."""
        return max(0.001, self._soonest - now) if self._later else None

    @property
    def at_work(self) -> bool:
        """Whether a folder can be looked at now."""
        return bool(self._now or self._unread)

    @property
    def empty(self) -> bool:
        return not (self._now or self._unread or self._later)

    @property
    def surveyed(self) -> bool:
        """In a first scan: whether every directory has been listed, and only messages are still to be read."""
        return self.surveying and not self._now

    @property
    def waiting_accounts(self) -> Set[bytes]:
        """Accounts with a folder that isn't due yet."""
        return {folder.account for folder in self._later.values()}

    @property
    def unstable(self) -> int:
        """Folders of which no listing held still."""
        return sum(f.unstable >= UNSTABLE_TRIES for f in (*self._now.values(), *self._later.values()))

    @property
    def held_up(self) -> bool:
        """Whether nothing is left but folders of which no listing holds still."""
        left = self._later.values()
        return bool(left) and not self.at_work and all(f.unstable >= UNSTABLE_TRIES for f in left)
