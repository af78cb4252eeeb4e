"""Sidecars put in their place on a passive place: the uidlist above all.

A uidlist is validated again here, whatever the source said of it; its next UID is installed
already raised, so that a promotion writes nothing; rows whose messages still stand here (their
deletion waits) are kept. Appended rows are appended, a rewritten file is replaced whole.

Invariant: what Dovecot would renumber is never installed: the old file stays and the reason is
told. Where a Dovecot may have the store open (`dovecot`) nothing is installed; it waits.
"""

from __future__ import annotations

import os
import zlib
from typing import Callable, List, NamedTuple, Optional, Tuple, Union

from . import beneath, names, uidlist, uidwrite
from .beneath import Root
from .dovecot import Neighbour
from .ledger import HeldSidecar, Ledger, Place
from .sidecar import COUNTER, MAX_UIDLIST, read_range, refusal, signature

LONGEST_ROW = 64 << 10


class SidecarRow(NamedTuple):
    """A sidecar as the source offers it."""

    fid: int
    name: bytes
    link: Optional[bytes]
    size: int
    mtime: int
    mode: int
    owner: int
    group: int
    rewrites: int
    crc: int
    uidvalidity: Optional[int]
    next_uid: Optional[int]


class Staged(NamedTuple):
    """A sidecar's new content, ready to be renamed into place."""

    place: Place
    row: SidecarRow
    temporary: bytes  # in the staging directory
    target: bytes
    raised: Optional[int]


class Again(Exception):
    """What came can't be used as it is; the whole must be sent again."""


class Refusal(Exception):
    """What came must not be installed; the old one stays. The text says why."""


def local_name(name: bytes) -> bytes:
    """The name under which a sidecar stands on a passive place: uidvalidity counters are raised."""
    try:
        return uidwrite.raise_marker(name) or name
    except uidwrite.Exhausted:
        return name


def cut_torn_tail(root: Root, place: Place) -> bool:
    """Cut off what a power cut left of an append to a folder's uidlist; whether there was any.

    Dovecot would glue its next row to it and lose both, without a word (measured, 2.3.19).
    """
    try:
        fd = os.open(names.UIDLIST, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root.open_dir(place.path))
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(fd).st_size
        tail = read_range(fd, max(0, size - LONGEST_ROW), size)
        whole = tail.rfind(b"\n") + 1
        if whole in (0, len(tail)):
            return False
        os.ftruncate(fd, size - len(tail) + whole)
        os.fsync(fd)
        return True
    finally:
        os.close(fd)


class Installer:
    """Stages and installs one store's sidecars. `own(fd, row)` sets owner, mode and time."""

    def __init__(self, root: Root, ledger: Ledger, staging: bytes, own: Callable[[int, SidecarRow], None]) -> None:
        self.dovecot = Neighbour(root.path)
        self._root, self._ledger, self._staging, self._own = root, ledger, staging, own
        self._count = 0

    def wanted(self, place: Optional[Place], row: SidecarRow) -> Optional[int]:
        """The offset from which a sidecar's content is wanted; None when it is here already."""
        held = self._ledger.sidecar(place.lid, row.name) if place else None
        if place is None or held is None or held.waits:
            return 0
        if (held.size, held.crc, held.rewrites) == (row.size, row.crc, row.rewrites):
            return None
        appended = names.is_uidlist(row.name) and held.rewrites == row.rewrites and held.size < row.size
        return held.size if appended and self._untouched(place, held) else 0

    def _untouched(self, place: Place, held: HeldSidecar) -> bool:
        """Whether the file is as we left it; if not, somebody wrote here, and it is installed whole."""
        try:
            fd = self._root.open_dir(place.path)
        except (OSError, beneath.Outside):
            return False
        return signature(fd, local_name(held.name)) == held.local

    def stage(self, place: Place, row: SidecarRow, start: int, data: bytes) -> Union[Staged, Tuple[int, bytes]]:
        """Make the new content ready: a temporary file to be renamed, or for an append (offset in
        the local file, rows) still to be written. Raises Refusal, Again."""
        content, raised = data, None
        held = self._ledger.sidecar(place.lid, row.name)
        if names.is_uidlist(row.name) and row.link is None:
            if start:
                appended = self._append(place, row, held, data)
                if appended is not None:
                    return appended
                content, raised = self._grown(place, row, held, data)
            else:
                content, raised = self._whole(place, row, held, data)
        elif zlib.crc32(data) != row.crc:
            raise Again(f"{row.name!r} changed while it was read")
        elif row.name == COUNTER:
            try:
                content = uidwrite.raise_counter(data)
            except (ValueError, uidwrite.Exhausted) as error:
                raise Refusal(str(error)) from error
        return Staged(place, row, self._write(row, content), local_name(row.name), raised)

    def _write(self, row: SidecarRow, content: bytes) -> bytes:
        staging = self._root.open_dir(self._staging)
        self._count += 1
        temporary = b"sidecar-%x" % self._count
        if row.link is not None:
            os.symlink(row.link, temporary, dir_fd=staging)
            return temporary
        fd = beneath.create(staging, temporary, 0o600)
        try:
            beneath.write_all(fd, content)
            self._own(fd, row)
        finally:
            os.close(fd)
        return temporary

    def sync(self, staged: Staged) -> None:
        if staged.row.link is None:
            fd = beneath.open_file(self._root.open_dir(self._staging), staged.temporary)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def install(self, staged: Staged, seen: int) -> None:
        """Rename a staged file into place and note it."""
        target = self._root.open_dir(staged.place.path)
        beneath.rename(self._root.open_dir(self._staging), staged.temporary, target, staged.target)
        if names.is_uidlist(staged.row.name):
            self._drop_indexes(target)
        self.note(staged.place, staged.row, staged.raised, seen)

    def _drop_indexes(self, dirfd: int) -> None:
        """Dovecot's index of a folder whose uidlist was replaced would contradict it (measured:
        "Expunged message reappeared, giving a new UID"). It is a cache; Dovecot makes it anew."""
        for name in beneath.entries(dirfd):
            if name.startswith((b"dovecot.index", b"dovecot.list.index")):
                beneath.unlink(dirfd, name)

    def note(self, place: Place, row: SidecarRow, raised: Optional[int], seen: int, waits: bool = False) -> None:
        fd = self._root.open_dir(place.path)
        local = "" if waits else signature(fd, local_name(row.name))
        self._ledger.put_sidecar(
            HeldSidecar(
                place.lid,
                row.name,
                row.size,
                row.crc,
                row.rewrites,
                row.uidvalidity,
                row.next_uid,
                raised,
                local,
                int(waits),
                seen,
            )
        )

    def seen(self, place: Place, name: bytes, seen: int) -> None:
        """The source spoke of a sidecar in this round, whatever becomes of it."""
        held = self._ledger.sidecar(place.lid, name)
        if held is not None and held.seen != seen:
            self._ledger.put_sidecar(held._replace(seen=seen))

    def forget(self, place: Place, name: bytes) -> None:
        """Have the whole be wanted when it is offered next."""
        held = self._ledger.sidecar(place.lid, name)
        if held is not None:
            self._ledger.put_sidecar(held._replace(rewrites=-1, crc=-1))

    def write_append(self, place: Place, row: SidecarRow, offset: int, data: bytes, sync: bool) -> None:
        """Append rows at `offset`, the end of the local uidlist as we left it (`wanted` has looked)."""
        fd = os.open(row.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root.open_dir(place.path))
        try:
            os.ftruncate(fd, offset)
            os.lseek(fd, offset, os.SEEK_SET)
            beneath.write_all(fd, data)
            self._own(fd, row)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    # --- the uidlist ------------------------------------------------------------------

    def _local(self, place: Place, name: bytes) -> bytes:
        try:
            fd, found = beneath.open_with_stat(self._root.open_dir(place.path), name)
        except (OSError, beneath.Outside, beneath.NotRegular):
            return b""
        try:
            return read_range(fd, 0, min(found.st_size, MAX_UIDLIST))
        finally:
            os.close(fd)

    def _append(
        self, place: Place, row: SidecarRow, held: Optional[HeldSidecar], data: bytes
    ) -> Optional[Tuple[int, bytes]]:
        """The rows as an append, or None when the next UID has to be raised further."""
        if held is None or held.raised is None or held.next_uid is None or zlib.crc32(data, held.crc) != row.crc:
            raise Again(f"{row.name!r} doesn't continue what stands here")
        rows = uidlist.tail(data, after=held.next_uid - 1)
        if not rows.usable or rows.size != len(data):
            raise Refusal(refusal(rows.problems) if not rows.usable else "a torn row was sent")
        if uidwrite.raised_next(row.next_uid or 1) > held.raised:
            return None
        size = beneath.stat(self._root.open_dir(place.path), row.name).st_size
        return size, data

    def _grown(self, place: Place, row: SidecarRow, held: Optional[HeldSidecar], data: bytes) -> Tuple[bytes, int]:
        """The local file with rows appended and the next UID raised further."""
        parsed = uidlist.parse(self._local(place, row.name) + data)
        if not parsed.usable:
            raise Again("the local uidlist isn't what it was")
        raised = uidwrite.raised_next(row.next_uid or 1)
        return uidwrite.with_next(parsed, raised), raised

    def _whole(self, place: Place, row: SidecarRow, held: Optional[HeldSidecar], data: bytes) -> Tuple[bytes, int]:
        """The source's file as it is installed here. Raises Refusal when it must not be."""
        if zlib.crc32(data) != row.crc:
            raise Again(f"{row.name!r} changed while it was read")
        parsed = uidlist.parse(data)
        if not parsed.usable:
            raise Refusal(refusal(parsed.problems))
        old = uidlist.parse(self._local(place, row.name))
        raised = uidwrite.raised_next(parsed.next_uid)
        if old.usable:
            another = old.header.guid and parsed.header.guid and old.header.guid != parsed.header.guid
            # Another folder took this path while nobody could tell its renaming: the old one's UIDs don't bind it.
            if not another and held is not None and held.uidvalidity is not None and held.next_uid is not None:
                before = uidlist.Summary(held.uidvalidity, held.next_uid)
                bad = uidlist.succession(before, parsed, old.by_base().get)
                if any(problem.fatal for problem in bad):
                    raise Refusal(refusal(bad))
            if old.header.uidvalidity == parsed.header.uidvalidity:
                raised = max(raised, old.header.next_uid if held is None or held.raised is None else held.raised)
                parsed = self._with_kept(place, old, parsed)
        return uidwrite.with_next(parsed, min(raised, uidlist.MAX_NEXT)), raised

    def _with_kept(self, place: Place, old: uidlist.UidList, new: uidlist.UidList) -> uidlist.UidList:
        """The new list with the rows of messages that still stand here; rows of those in quarantine are saved."""
        present = set(new.bases)
        dropped = [(uid, base) for uid, base in zip(old.uids, old.bases) if base not in present]
        if not dropped:
            return new
        rows = dict(zip((uid for uid, _ in dropped), old.lines(uid for uid, _ in dropped)))
        keep: List[bytes] = []
        save: List[Tuple[int, bytes, bytes]] = []
        for uid, base in dropped:
            if self._ledger.held(place.lid, base) is not None:
                keep.append(rows[uid])
            else:
                save.append((place.lid, base, rows[uid]))
        self._ledger.put_uidrows(save)
        return uidlist.parse(uidwrite.with_rows(new, keep)) if keep else new
