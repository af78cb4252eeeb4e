"""What changed in a folder: its listing held against what was known. Pure.

A listing maps base names to (sub, info, inode): `sub` is 0 for new, 1 for cur; `info` the
flags part with its colon. Additions and renames are true of any listing, since a name that
was read was there; an absence is true only of a listing that held still, so `missing` is
for the caller to use or to leave (DESIGN section 6).

Invariant: a base name stands in at most one place of the answer.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Dict, Iterable, List, NamedTuple, Tuple

NEW, CUR = 0, 1

Place = Tuple[int, bytes, int]
"""(sub, info, inode) of one message in one folder."""

Listing = Dict[bytes, Place]


class Delta(NamedTuple):
    added: List[bytes]  # base names that weren't known
    renamed: List[bytes]  # same file, other flags, or from new to cur
    replaced: List[bytes]  # same base name, another file
    missing: List[bytes]  # known, not listed


def compare(known: Listing, listed: Listing) -> Delta:
    """What turns `known` into `listed`."""
    if known == listed:
        return Delta([], [], [], [])
    renamed: List[bytes] = []
    replaced: List[bytes] = []
    for base in known.keys() & listed.keys():
        was, now = known[base], listed[base]
        if was != now:
            (renamed if was[2] == now[2] else replaced).append(base)
    return Delta(list(listed.keys() - known.keys()), renamed, replaced, list(known.keys() - listed.keys()))


def listing(entries: Iterable[Tuple[bytes, bytes, int, int]]) -> Tuple[Listing, List[bytes]]:
    """A listing of (base, info, inode, sub) entries, and the base names that stood twice.

    `new` must be listed before `cur`: a message that moves meanwhile is then seen twice and
    never not at all, and the later sight is the truer one.
    """
    found: Listing = {}
    twice: List[bytes] = []
    for base, info, inode, sub in entries:
        if base in found:
            twice.append(base)
        found[base] = (sub, info, inode)
    return found, twice


def digest(base: bytes, sub: int, info: bytes) -> int:
    """64 bits that stand for one placement; a folder's digest is the XOR of its messages'."""
    return int.from_bytes(blake2b(b"%d\0%b\0%b" % (sub, base, info), digest_size=8).digest(), "big")


def signed(value: int) -> int:
    """A 64-bit digest as SQLite stores it."""
    return value - (1 << 64) if value >= 1 << 63 else value


def unsigned(value: int) -> int:
    return value & 0xFFFFFFFFFFFFFFFF
