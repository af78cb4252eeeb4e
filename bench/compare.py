"""Are the two stores equal? An eye of its own, that shares no code with the product.

Invariant: a difference is never overlooked to be quick. Bytes are compared unless this very pair of files was compared
before and neither inode nor ctime of either has changed since. What may differ: tmp/, our marker, a uidlist's next UID
and the uidvalidity counters where a promotion needs them raised (`raised=True`), and the modification time below the
second where a peer keeps none.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

Stamp = tuple[int, int, int, int]
Listing = dict[str, os.stat_result | None]
COUNTER = re.compile(r"(.*/dovecot-uidvalidity)\.([0-9a-f]{8})")
SKIP = frozenset((".mailmirror", "tmp", "lost+found"))


@dataclass(slots=True)
class Comparer:
    """Compares a source with its copy, repeatedly; remembers which pairs of files it has read."""

    source: Path
    copy: Path
    raised: bool = False  # accept a next UID, and a uidvalidity counter, that is at least the source's
    mtime_unit: int = 1  # nanoseconds to which modification times must agree
    read: dict[str, Stamp] = field(default_factory=dict)

    def differences(self, limit: int = 20) -> list[str]:
        """Return at most `limit` differences, as sentences; an empty list means equal."""
        here, there = _listing(self.source), _listing(self.copy)
        found = self._counters(here, there) if self.raised else []
        found += [f"missing on the copy: {name!r}" for name in sorted(here.keys() - there.keys())[:limit]]
        found += [f"only on the copy: {name!r}" for name in sorted(there.keys() - here.keys())[:limit]]
        for name in here.keys() & there.keys():
            if len(found) >= limit:
                break
            problem = self._differs(name, here[name], there[name])
            if problem:
                found.append(f"{problem}: {name!r}")
        return found[:limit]

    def _counters(self, here: Listing, there: Listing) -> list[str]:
        """Take the counters out of both listings; tell which of the copy's aren't as high as the source's."""
        mine, copied = _take_counters(self.source, here), _take_counters(self.copy, there)
        low = [name for name, value in mine.items() if copied.get(name, -1) < value]
        return [f"a lower uidvalidity counter, or none: {name!r}" for name in sorted(low)]

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


def _take_counters(root: Path, listing: Listing) -> dict[str, int]:
    """Return, and take out, what the counters say: by the file's content, and by the highest name that ends in hex."""
    values: dict[str, int] = {}
    for name in [name for name in listing if "/dovecot-uidvalidity" in name]:
        named = COUNTER.fullmatch(name)
        if named:
            key, value = f"{named[1]}.*", int(named[2], 16)
            values[key] = max(values.get(key, 0), value)
        else:
            values[name] = int((root / name).read_bytes(), 16)
        del listing[name]
    return values


def _listing(root: Path) -> Listing:
    """Return every path below the root; directories have no stat, since their times belong to nobody."""
    listing: Listing = {}
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
