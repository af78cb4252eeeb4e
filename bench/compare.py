"""Are the two stores equal? An eye of its own, that shares no code with the product.

Invariant: a difference is never overlooked to be quick. Bytes are compared unless this very pair of files was compared
before and neither inode nor ctime of either has changed since. What may differ: tmp/, our marker, a uidlist's next UID
where a promotion needs it raised (`raised=True`), and the modification time below the second where a peer keeps none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

Stamp = tuple[int, int, int, int]
SKIP = frozenset((".mailmirror", "tmp", "lost+found"))


@dataclass(slots=True)
class Comparer:
    """Compares a source with its copy, repeatedly; remembers which pairs of files it has read."""

    source: Path
    copy: Path
    raised: bool = False  # accept a uidlist whose next UID is at least the source's
    mtime_unit: int = 1  # nanoseconds to which modification times must agree
    read: dict[str, Stamp] = field(default_factory=dict)

    def differences(self, limit: int = 20) -> list[str]:
        """Return at most `limit` differences, as sentences; an empty list means equal."""
        here, there = _listing(self.source), _listing(self.copy)
        found = [f"missing on the copy: {name!r}" for name in sorted(here.keys() - there.keys())[:limit]]
        found += [f"only on the copy: {name!r}" for name in sorted(there.keys() - here.keys())[:limit]]
        for name in here.keys() & there.keys():
            if len(found) >= limit:
                break
            problem = self._differs(name, here[name], there[name])
            if problem:
                found.append(f"{problem}: {name!r}")
        return found[:limit]

    def _differs(self, name: str, here: os.stat_result | None, there: os.stat_result | None) -> str:
        if here is None or there is None:
            return "" if here is there else "a directory on one side only"
        if name.endswith("/dovecot-uidlist"):
            return self._uidlist(name)
        dated = "/cur/" in name or "/new/" in name
        if dated and here.st_mtime_ns // self.mtime_unit != there.st_mtime_ns // self.mtime_unit:
            return "another modification time"
        if here.st_size != there.st_size:
            return "another size"
        stamp = (here.st_ino, here.st_ctime_ns, there.st_ino, there.st_ctime_ns)
        if self.read.get(name) == stamp:
            return ""
        if (self.source / name).read_bytes() != (self.copy / name).read_bytes():
            return "other bytes"
        self.read[name] = stamp
        return ""

    def _uidlist(self, name: str) -> str:
        here, there = (self.source / name).read_bytes(), (self.copy / name).read_bytes()
        if here == there:
            return ""
        if not self.raised:
            return "another uidlist"
        head, _, rows = here.partition(b"\n")
        copied_head, _, copied_rows = there.partition(b"\n")
        mine, copied = _fields(head), _fields(copied_head)
        if rows != copied_rows or mine.keys() != copied.keys():
            return "other uidlist rows"
        if any(mine[key] != copied[key] for key in mine.keys() - {"N"}):
            return "another uidlist header"
        return "" if int(copied["N"]) >= int(mine["N"]) else "a lower next UID"


def _fields(head: bytes) -> dict[str, str]:
    words = head.decode("latin-1").split(" ")
    return {"version": words[0]} | {word[:1]: word[1:] for word in words[1:]}


def _listing(root: Path) -> dict[str, os.stat_result | None]:
    """Return every path below the root; directories have no stat, since their times belong to nobody."""
    listing: dict[str, os.stat_result | None] = {}
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(root / inside) as entries:
            for entry in entries:
                if entry.name in SKIP:
                    continue
                name = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_dir(follow_symlinks=False):
                    listing[name] = None
                    waiting.append(name)
                else:
                    listing[name] = entry.stat(follow_symlinks=False)
    return listing
