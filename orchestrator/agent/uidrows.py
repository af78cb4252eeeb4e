"""Rows of a uidlist: bytes in, two parallel lists and a list of problems out; no I/O.

The grammar of Dovecot's version 3 and of version 1 (Courier's, and Dovecot's before 1.1), read
in maildir-uidlist.c. A problem is *fatal* when Dovecot would delete a file that has it and
number its messages anew, or when a UID would name two messages.

Invariant: any bytes may be fed, nothing is raised, time and memory follow the size of the input.
A chunk without a fault costs one regular expression; only a chunk with one is read line by line.
"""

from __future__ import annotations

import re
from array import array
from enum import Enum
from itertools import islice
from operator import lt
from typing import NamedTuple

MAX_UID = 0xFFFFFFFE  # Dovecot keeps 2^32-1 for "none yet"
MAX_PROBLEMS = 100  # more aren't kept, only counted: a hostile file may hold millions

_CHUNK = 1 << 20
_ROW3 = re.compile(rb"^([1-9][0-9]{0,9})(?: [A-Z][^ \r\n\0]*){0,26} :([^:/\r\n\0]+)(?::[^/\r\n\0]*)?\n", re.MULTILINE)
_ROW1 = re.compile(rb"^([1-9][0-9]{0,9}) +([^ :/\r\n\0][^:/\r\n\0]*)(?::[^/\r\n\0]*)?\n", re.MULTILINE)
# What Dovecot still reads: superfluous spaces, and fields that it drops with an error in its log.
_LAX = re.compile(rb"([1-9][0-9]{0,9}) +(?:[^: \r\n\0][^ \r\n\0]* +){0,26}:([^:/\r\n\0]+)(?::[^/\r\n\0]*)?\n")


class Kind(Enum):
    """What is wrong with a uidlist; the value is the word that people read."""

    TORN = "torn"  # the last line has no newline; it is cut off
    GARBAGE = "garbage"  # a line that is no row
    DISORDER = "disorder"  # a UID that isn't higher than the one before
    CLASH = "clash"  # a UID that names two messages
    TWICE = "twice"  # a message with two UIDs: it was moved back; the last row counts
    FIELD = "field"  # a row with a field that Dovecot drops
    ZERO = "zero"  # a UID or header value of 0
    HEADER = "header"  # the first line can't be used
    LOWER_NEXT = "lower-next"  # the real next UID went back
    LOWER_VALIDITY = "lower-validity"  # UIDVALIDITY went back
    NEW_VALIDITY = "new-validity"  # another UIDVALIDITY: a new mailbox under the old name
    NEW_GUID = "new-guid"  # another folder GUID under the same path
    RENUMBERED = "renumbered"  # a message that has another, new UID


class Problem(NamedTuple):
    """One finding. `line` counts from 1 (0: the file as a whole); `fatal` forbids installing it."""

    line: int
    kind: Kind
    what: str
    fatal: bool


class Rows(NamedTuple):
    """Rows as parallel lists. `size`: bytes up to and with the last newline; the rest was torn."""

    uids: array[int]
    bases: list[bytes]
    problems: list[Problem]
    size: int

    @property
    def usable(self) -> bool:
        return not any(problem.fatal for problem in self.problems)


def tail(data: bytes, *, version: int = 3, after: int = 0, line: int = 0) -> Rows:
    """Rows without a header: what was appended to a file whose last UID was `after`.

    `line` is the number of the first row's line in its file, for the problems.
    """
    return read_rows(data, 0, version, after, line)


def read_rows(data: bytes, start: int, version: int, after: int, line: int) -> Rows:
    reader = _Reader(data, version, line)
    reader.read(start)
    reader.judge(after)
    return Rows(reader.uids, reader.bases, reader.findings(), reader.end)


class _Reader:
    """Takes rows out of bytes: a quick way for chunks without a fault, a slow one that explains."""

    def __init__(self, data: bytes, version: int, line: int) -> None:
        self.data, self.line = data, line
        self.row = _ROW1 if version == 1 else _ROW3
        self.lax = None if version == 1 else _LAX
        self.end = data.rfind(b"\n") + 1
        self.uids: array[int] = array("I")
        self.bases: list[bytes] = []
        self.skipped: list[int] = []
        self.problems: list[Problem] = []
        self.unsaid = 0
        self.last: Problem | None = None

    def report(self, line: int, kind: Kind, what: str, fatal: bool = True) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(line, kind, what, fatal))
            return
        self.unsaid += 1
        if self.last is None or fatal or not self.last.fatal:
            self.last = Problem(line, kind, what, fatal)

    def findings(self) -> list[Problem]:
        """The problems; beyond MAX_PROBLEMS one that stands for all others, fatal if any was."""
        if self.last is None:
            return self.problems
        return [*self.problems, self.last._replace(what=f"{self.unsaid} more, among them: {self.last.what}")]

    def read(self, start: int) -> None:
        at, line = start, self.line
        while at < self.end:
            cut = self.data.rfind(b"\n", at, min(at + _CHUNK, self.end)) + 1
            cut = cut if cut > at else self.data.index(b"\n", at) + 1
            count = self.data.count(b"\n", at, cut)
            found = self.row.findall(self.data, at, cut)
            if len(found) != count or not self._take(found):
                self._slowly(self.data[at:cut], line)
            at, line = cut, line + count
        if self.end < len(self.data):
            torn = self.data[self.end : self.end + 60]
            self.report(line, Kind.TORN, f"the last line has no newline: {shown(torn)}", False)

    def _take(self, found: list[tuple[bytes, bytes]]) -> bool:
        """Keep a chunk's rows; False, and nothing kept, when a UID is too high to be one."""
        numbers = [int(uid) for uid, _ in found]
        if numbers and max(numbers) > MAX_UID:
            return False
        self.uids.extend(numbers)
        self.bases += [base for _, base in found]
        return True

    def _slowly(self, chunk: bytes, line: int) -> None:
        for number, text in enumerate(_lines(chunk), line):
            found = self.row.fullmatch(text)
            if found is None and self.lax is not None:
                found = self.lax.fullmatch(text)
                if found is not None and int(found.group(1)) <= MAX_UID:
                    self.report(number, Kind.FIELD, f"a field that isn't one: {shown(text)}", False)
            if found is not None and int(found.group(1)) <= MAX_UID:
                self.uids.append(int(found.group(1)))
                self.bases.append(found.group(2))
                continue
            self.skipped.append(number)
            zero = re.match(rb"0+ ", text) is not None
            self.report(number, Kind.ZERO if zero else Kind.GARBAGE, f"not a row: {shown(text)}")

    def judge(self, after: int) -> None:
        """Order and uniqueness of what was read; `after` is the UID before the first row."""
        uids = self.uids
        if (uids and uids[0] <= after) or not all(map(lt, uids, islice(uids, 1, None))):
            self._disorder(after)
        if len(set(self.bases)) != len(self.bases):
            self._twice()

    def _disorder(self, after: int) -> None:
        named: dict[int, bytes] = {}
        before = after
        for spot, (uid, base) in enumerate(zip(self.uids, self.bases)):
            if uid in named and named[uid] != base:
                what = f"UID {uid} names {shown(named[uid])} and {shown(base)}"
                self.report(self._line_of(spot), Kind.CLASH, what)
            elif uid <= before:
                self.report(self._line_of(spot), Kind.DISORDER, f"UID {uid} after UID {before}")
            named[uid] = base
            before = uid

    def _twice(self) -> None:
        seen: dict[bytes, int] = {}
        for spot, (uid, base) in enumerate(zip(self.uids, self.bases)):
            if seen.setdefault(base, uid) != uid:
                what = f"{shown(base)} has UID {seen[base]} and UID {uid}; the last counts"
                self.report(self._line_of(spot), Kind.TWICE, what, False)

    def _line_of(self, spot: int) -> int:
        line = self.line + spot
        for skipped in self.skipped:
            if skipped > line:
                break
            line += 1
        return line


def _lines(chunk: bytes) -> list[bytes]:
    """Lines by newline alone: `splitlines` would also break at a carriage return."""
    return [line + b"\n" for line in chunk[:-1].split(b"\n")]


def shown(raw: bytes) -> str:
    """Bytes as a person may read them on one line, cut at 60."""
    return repr(raw[:60])[1:] + ("..." if len(raw) > 60 else "")
