"""The uidlist: which UID names which message. Read, judged and compared; no I/O.

Dovecot's `dovecot-uidlist` (version 3) and Courier's `courierimapuiddb` (version 1):

    3 V<uidvalidity> N<next uid> G<guid> [<key><value> ...]     1 <uidvalidity> <next uid>
    <uid> [<key><value> ...] :<base name>                       <uid> <base name>

A file that Dovecot can't read it deletes, and numbers all messages anew under the same
UIDVALIDITY: clients then show one message's text under another's UID (measured, 2.3.19; read in
Dovecot's maildir-uidlist.c). So nothing counts before it was parsed, and a problem is *fatal*
when installing the file would make Dovecot renumber, or a UID name a second message.

Invariant: `parse` and `tail` take any bytes and never raise. Rows are kept as two parallel lists
beside the file's own bytes, not as objects: 500,000 of them (31 MB) have to fit beside everything
else. The grammar of a row stands in `uidrows`, and what is written in `uidwrite`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from typing import Callable, NamedTuple

from .uidrows import MAX_PROBLEMS, MAX_UID, Kind, Problem, Rows, read_rows, shown, tail

__all__ = [
    "MAX_NEXT",
    "MAX_PROBLEMS",
    "MAX_UID",
    "Header",
    "Kind",
    "Problem",
    "Rows",
    "Summary",
    "UidList",
    "parse",
    "shown",
    "succession",
    "tail",
]

MAX_NEXT = 0xFFFFFFFF

_GUID = re.compile(rb"[0-9a-fA-F]{32}")
_DIGITS = re.compile(rb"[0-9]{1,10}")


class Summary(NamedTuple):
    """What has to be remembered of a uidlist to judge the next one; `next_uid` is the real one."""

    uidvalidity: int
    next_uid: int
    guid: bytes = b""


class Header(NamedTuple):
    """The first line. `fields` are all of version 3's (key, value) pairs, verbatim and in order."""

    version: int
    uidvalidity: int
    next_uid: int
    guid: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()


class UidList(NamedTuple):
    """A parsed uidlist. `data` is the file without a torn tail; `uids[i]` names `bases[i]`."""

    header: Header
    data: bytes
    uids: array[int]
    bases: list[bytes]
    problems: list[Problem]

    @property
    def usable(self) -> bool:
        """Whether Dovecot would take it, cut as it is in `data`, without renumbering anything."""
        return not any(problem.fatal for problem in self.problems)

    @property
    def uidvalidity(self) -> int:
        return self.header.uidvalidity

    @property
    def guid(self) -> bytes:
        """The folder's GUID, 32 hex digits; empty in version 1."""
        return self.header.guid

    @property
    def last_uid(self) -> int:
        return self.uids[-1] if self.uids else 0

    @property
    def next_uid(self) -> int:
        """The real next UID: rows are appended without touching the header's."""
        return max(self.header.next_uid, self.last_uid + 1)

    @property
    def summary(self) -> Summary:
        return Summary(self.header.uidvalidity, self.next_uid, self.header.guid)

    @property
    def certain(self) -> Summary:
        """The summary of the rows alone: what the source had at least, when N was raised here."""
        return Summary(self.header.uidvalidity, self.last_uid + 1, self.header.guid)

    def by_base(self) -> dict[bytes, int]:
        """Base name → UID; where a base stands twice, the last row counts, as for Dovecot."""
        return dict(zip(self.bases, self.uids))

    def lines(self, uids: Iterable[int]) -> list[bytes]:
        """The raw rows (with newline) of those of `uids` that are there, ascending; one pass."""
        found, at = [], self.data.find(b"\n")
        for uid in sorted(set(uids)):
            spot = self.data.find(b"\n%d " % uid, at)
            if spot >= 0:
                at = self.data.index(b"\n", spot + 1)
                found.append(self.data[spot + 1 : at + 1])
        return found


def parse(data: bytes) -> UidList:
    """A whole file. Any bytes: what is wrong stands in `problems`, at most MAX_PROBLEMS of them.

    A torn last line is cut off and isn't fatal: its writer was at it, or died; what Dovecot
    would do is glue its next row to it, and lose both.
    """
    end = data.find(b"\n") + 1
    header, problems = _header(data[:end] if end else data[:200])
    if not header.version:
        return UidList(header, data, array("I"), [], problems)
    found = read_rows(data, end, header.version, after=0, line=2)
    problems += found.problems
    if header.version == 1 and found.uids and found.uids[-1] >= header.next_uid:
        what = f"UID {found.uids[-1]} isn't below the next UID {header.next_uid} of a version 1 file"
        problems.append(Problem(1, Kind.HEADER, what, True))
    whole = data if found.size == len(data) else data[: found.size]
    return UidList(header, whole, found.uids, found.bases, problems)


def succession(
    old: Summary | UidList, new: UidList, known: Callable[[bytes], int | None] | None = None
) -> list[Problem]:
    """What keeps `new` from following `old` at the same path; empty or notes only: it may.

    `known(base)` is the UID that `old` had for a base, or None (a dict's `.get` will do; may be
    left out when `old` is a whole UidList). It has to know all rows of the old file, also those
    whose message is gone. Compare what a source said before with what it says now; of a file
    whose next UID was raised here only `certain` says something about the source.
    """
    before = old.summary if isinstance(old, UidList) else old
    if known is None:
        known = old.by_base().get if isinstance(old, UidList) else None
    problems: list[Problem] = []
    validity = new.header.uidvalidity
    if before.guid and new.header.guid and before.guid.lower() != new.header.guid.lower():
        problems.append(Problem(1, Kind.NEW_GUID, "another folder stands under this path", False))
    if validity < before.uidvalidity:
        what = f"UIDVALIDITY went back from {before.uidvalidity} to {validity}"
        return [*problems, Problem(1, Kind.LOWER_VALIDITY, what, True)]
    if validity > before.uidvalidity:
        what = f"UIDVALIDITY went from {before.uidvalidity} to {validity}: a new mailbox"
        return [*problems, Problem(1, Kind.NEW_VALIDITY, what, False)]
    if new.next_uid < before.next_uid:
        what = f"the next UID went back from {before.next_uid} to {new.next_uid}"
        problems.append(Problem(1, Kind.LOWER_NEXT, what, True))
    if known is not None:
        problems += _reused(before.next_uid, new, known)
    return problems


def _reused(limit: int, new: UidList, known: Callable[[bytes], int | None]) -> list[Problem]:
    """UIDs below the old next UID that name what they didn't name, and messages with a new UID."""
    strangers = [spot for spot, base in enumerate(new.bases) if known(base) != new.uids[spot]]
    if not strangers:
        return []
    last = new.by_base()  # a row that a later one of the same message replaces names nothing any more
    strangers = [spot for spot in strangers if last[new.bases[spot]] == new.uids[spot]]
    problems: list[Problem] = []
    for spot in [spot for spot in strangers if new.uids[spot] < limit][:MAX_PROBLEMS]:
        uid, base = new.uids[spot], new.bases[spot]
        was = known(base)
        what = f"UID {uid} was given out before, and not to {shown(base)}" + (f" (UID {was})" if was else "")
        problems.append(Problem(spot + 2, Kind.CLASH, what, True))
    again = [spot for spot in strangers if new.uids[spot] >= limit and known(new.bases[spot]) is not None]
    if again:
        first = again[0]
        what = f"{len(again)} messages have a new UID, first {shown(new.bases[first])}: {new.uids[first]}"
        problems.append(Problem(first + 2, Kind.RENUMBERED, what, False))
    return problems


def _header(line: bytes) -> tuple[Header, list[Problem]]:
    """The first line as a header; version 0 when no rows can be read after it."""
    if not line.endswith(b"\n"):
        what = f"the header is torn: {shown(line)}" if line else "the file is empty"
        return Header(0, 0, 0, b""), [Problem(1, Kind.HEADER, what, True)]
    if line[:2] == b"1 ":
        values = line.split()
        header = Header(1, _number(values[1:2]), _number(values[2:3]), b"")
    elif line[:2] == b"3 ":
        fields = tuple((field[:1], field[1:]) for field in line[2:-1].split(b" ") if field)
        of = {key: [value for name, value in fields if name == key] for key in (b"V", b"N", b"G")}
        header = Header(3, _number(of[b"V"]), _number(of[b"N"]), b"".join(of[b"G"]), fields)
    else:
        what = f"an unknown version: {shown(line)}"
        return Header(0, 0, 0, b""), [Problem(1, Kind.HEADER, what, True)]
    return header, _header_problems(header, line)


def _header_problems(header: Header, line: bytes) -> list[Problem]:
    problems = []
    for what, value in (("UIDVALIDITY", header.uidvalidity), ("next UID", header.next_uid)):
        if value < 0 or value > MAX_NEXT:
            problems.append(Problem(1, Kind.HEADER, f"no {what} can be read: {shown(line)}", True))
        elif value == 0:
            problems.append(Problem(1, Kind.ZERO, f"the {what} is 0", True))
    if header.version == 3 and not any(key == b"G" for key, _ in header.fields):
        problems.append(Problem(1, Kind.HEADER, "no folder GUID; Dovecot makes one and rewrites the file", False))
    elif header.version == 3 and _GUID.fullmatch(header.guid) is None:
        problems.append(Problem(1, Kind.HEADER, f"a folder GUID that isn't one: {shown(header.guid)}", True))
    return problems


def _number(values: Sequence[bytes]) -> int:
    """The one value as a number; -1 when there are none, several, or it isn't one."""
    return int(values[0]) if len(values) == 1 and _DIGITS.fullmatch(values[0]) else -1
