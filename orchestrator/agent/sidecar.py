"""One sidecar on the source, looked at: what of it counts, and whether it was appended to.

A uidlist is parsed before it counts; of an appended one only the tail is read. Everything
else is small and read whole. A link counts as its text, and only one that points below its
own folder travels.

Invariant: what `look` returns was read through a descriptor of a regular file below the root.
"""

from __future__ import annotations

import os
import stat
import zlib
from typing import Optional, Union

from . import beneath, maildir, names, uidlist, uidwrite
from .log import Sidecar

MAX_SIZE = 64 << 20
MAX_UIDLIST = 512 << 20
TAIL = 1024
GONE = "0 0 0 0"
COUNTER = b"dovecot-uidvalidity"


def signature(dirfd: int, name: bytes) -> str:
    """What changes with every change of a file: its times, its size and its inode; zeros when there is none.

    The size is in it because the kernel sets the times of a file before it appends to it: who looks in between sees
    the new times and the old content (measured on ext4, under load).
    """
    try:
        found = beneath.stat(dirfd, name)
    except FileNotFoundError:
        return GONE
    return f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"


def settled(sig: str, window_ns: int) -> bool:
    """Whether a file with this signature last changed longer ago than the window, see `maildir.settled`."""
    mtime, ctime, _, inode = (int(part) for part in sig.split())
    return maildir.settled([(mtime, ctime, inode)], window_ns)


def look(dirfd: int, name: bytes, was: Optional[Sidecar]) -> Union[Sidecar, str, None]:
    """The sidecar's row (`fid`, `sig` and `seq` are the caller's to set), a sentence saying why
    it can't be taken, or None when it is gone again."""
    try:
        found = beneath.stat(dirfd, name)
        if stat.S_ISLNK(found.st_mode):
            return _link(dirfd, name, found)
        fd, found = beneath.open_with_stat(dirfd, name)
    except FileNotFoundError:
        return None
    except (beneath.Outside, beneath.NotRegular) as error:
        return str(error)
    except OSError as error:
        return f"can't be read: {error.strerror}"
    try:
        limit = MAX_UIDLIST if names.is_uidlist(name) else MAX_SIZE
        if found.st_size > limit:
            return f"holds {found.st_size} bytes, more than the {limit} that a sidecar may have: not copied"
        if names.is_uidlist(name):
            return _uidlist(fd, name, found, was)
        data = read_range(fd, 0, found.st_size)
        if name == COUNTER and not uidwrite.is_counter(data):
            # Dovecot 2.4 doesn't sync it: a power cut leaves it empty (measured), until a folder is made.
            return f"isn't a uidvalidity counter ({uidlist.shown(data)}): not copied; Dovecot makes it anew"
        return _row(name, found, len(data), zlib.crc32(data), 0, was)
    finally:
        os.close(fd)


def read_range(fd: int, start: int, end: int) -> bytes:
    """The bytes from `start` to `end` of a file, fewer when it is shorter."""
    parts = []
    while start < end:
        data = os.pread(fd, min(end - start, 1 << 20), start)
        if not data:
            break
        parts.append(data)
        start += len(data)
    return b"".join(parts)


def _row(name: bytes, found: os.stat_result, size: int, crc: int, tail: int, was: Optional[Sidecar]) -> Sidecar:
    same = was is not None and was.link is None and (was.size, was.crc) == (size, crc)
    rewrites = 0 if was is None else was.rewrites if same else was.rewrites + 1
    return Sidecar(
        0, name, "", None, size, found.st_mtime_ns, found.st_mode & 0o7777, found.st_uid, found.st_gid,
        rewrites, crc, tail, None, None, None, 0,
    )  # fmt: skip


def _link(dirfd: int, name: bytes, found: os.stat_result) -> Union[Sidecar, str]:
    target = os.readlink(name, dir_fd=dirfd)
    if target.startswith(b"/") or b".." in target.split(b"/"):
        return f"a link to {uidlist.shown(target)}, outside its folder: not copied"
    return Sidecar(
        0, name, "", target, len(target), found.st_mtime_ns, 0o777, found.st_uid, found.st_gid,
        0, zlib.crc32(target), 0, None, None, None, 0,
    )  # fmt: skip


def _uidlist(fd: int, name: bytes, found: os.stat_result, was: Optional[Sidecar]) -> Union[Sidecar, str]:
    if was is not None and was.size and found.st_size >= was.size and was.sig.endswith(f" {found.st_ino}"):
        start = max(0, was.size - TAIL)
        end = read_range(fd, start, found.st_size)
        old = was.size - start
        if zlib.crc32(end[:old]) == was.tail:
            return _appended(name, found, was, end, old)
    data = read_range(fd, 0, found.st_size)
    parsed = uidlist.parse(data)
    if not parsed.usable:
        return refusal(parsed.problems)
    if was is not None and was.uidvalidity is not None and was.next_uid is not None:
        bad = uidlist.succession(uidlist.Summary(was.uidvalidity, was.next_uid), parsed)
        if any(problem.fatal for problem in bad):
            return refusal(bad)
    data = parsed.data
    row = _row(name, found, len(data), zlib.crc32(data), zlib.crc32(data[-TAIL:]), was)
    return row._replace(uidvalidity=parsed.header.uidvalidity, next_uid=parsed.next_uid, last_uid=parsed.last_uid)


def _appended(name: bytes, found: os.stat_result, was: Sidecar, end: bytes, old: int) -> Union[Sidecar, str]:
    rows = uidlist.tail(end[old:], after=was.last_uid or 0)
    if not rows.usable:
        return refusal(rows.problems)
    added = end[old : old + rows.size]
    last = rows.uids[-1] if rows.uids else was.last_uid
    return was._replace(
        size=was.size + len(added), crc=zlib.crc32(added, was.crc), mtime=found.st_mtime_ns,
        mode=found.st_mode & 0o7777, owner=found.st_uid, group=found.st_gid,
        tail=zlib.crc32(end[: old + rows.size][-TAIL:]), last_uid=last,
        next_uid=max(was.next_uid or 0, (last or 0) + 1),
    )  # fmt: skip


def refusal(problems: "list[uidlist.Problem]") -> str:
    """Why a uidlist doesn't count, in a sentence."""
    first = next(problem for problem in problems if problem.fatal)
    more = sum(problem.fatal for problem in problems) - 1
    also = f" (and {more} more)" if more else ""
    return f"refused, line {first.line}: {first.kind.value}: {first.what}{also}; the mirror keeps the last good one"
