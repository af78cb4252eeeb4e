"""What a cursor lacks, put together for a passive place, and the bodies that it asks for.

A cursor is two numbers: `live` (folders, sidecars, placements) and `dead` (removals). Removals
are offered only when nothing live is left, so that a message that moved is never missed in its
old folder before it stands in its new one. A folder's sidecars come with its first messages,
whatever their own seq: keywords and uidlist rows must be there before the names that need them.

Invariant: nothing is offered that isn't durable in the log. A body is read from the very file
that was offered (inode, size, mtime); anything else is told as vanished and comes again with
what it has become.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from typing import Any, Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import beneath
from .beneath import NotRegular, Outside, Root
from .bundle import BUNDLE, Bundle
from .hashing import sha256_of
from .log import MESSAGE, Log, Placement, Removal, Sidecar
from .owner import names_of
from .scan import Scanner
from .serve import Answer, Desk, Fault, Work
from .wire import Frame, pack, text, unpack

KEEP_BATCHES = 32

Item = Union[Placement, Sidecar]


class Wanted(NamedTuple):
    """The batch that is asked for: beyond the cursor (live, dead), at most so many rows and about so many bytes."""

    number: int
    live: int
    dead: int
    rows: int
    size: int
    deletes: bool


class Batch(NamedTuple):
    """An offer that may be fetched from. Items are numbered: placements first, then sidecars."""

    placements: List[Placement]
    sidecars: List[Sidecar]

    def item(self, number: int) -> Item:
        if not 0 <= number < len(self.placements) + len(self.sidecars):
            raise Fault("bad-request", f"no item {number} was offered")
        if number < len(self.placements):
            return self.placements[number]
        return self.sidecars[number - len(self.placements)]


class Offers:
    """One store's offers and bodies, for one conversation."""

    def __init__(self, root: Root, log: Log, scanner: Scanner, desk: Desk, store: str) -> None:
        self._root, self._log, self._scanner, self._desk, self._store = root, log, scanner, desk, store
        self._batches: "OrderedDict[int, Batch]" = OrderedDict()
        self._credit: Dict[int, int] = {}
        self._levels: Dict[int, int] = {}
        self._lines: Dict[int, Deque[int]] = {}
        self._blocked = 0.0  # seconds in this conversation in which the way out was full
        self._allowed_at = 0.0  # when the bandwidth limit lets the next frame out

    # --- offering ---------------------------------------------------------------------

    def offer(self, wanted: Wanted, unfinished: bool) -> Answer:
        """The next batch; `unfinished` says that the log grows, so that the end of it isn't the end."""
        number, live, dead, rows, size, deletes = wanted
        self._log.commit()
        placements = self._within(self._log.placements_after(live, rows + 1), rows, size)
        more = self._log.placements_after(placements[-1].seq if placements else live, 1)
        upto = placements[-1].seq if more else self._log.head
        folders = self._log.folders_between(live, upto)
        fids = {row.fid for row in placements}
        known = {row.fid for row in folders}
        sidecars = {(row.fid, row.name): row for row in self._log.sidecars_between(live, upto)}
        for fid in fids:
            for sidecar in self._log.sidecars_of(fid, live):
                sidecars[sidecar.fid, sidecar.name] = sidecar
        needed = {fid for fid, _ in sidecars} | fids
        tree = self._scanner.tree.by_fid
        rows_of_folders = folders + [tree[fid].row() for fid in needed - known if fid in tree]
        removals = self._log.removals_after(dead, 100_000) if deletes and not more and not unfinished else []
        batch = Batch(placements, list(sidecars.values()))
        self._batches[number] = batch
        while len(self._batches) > KEEP_BATCHES:
            self._batches.popitem(last=False)
        return self._answer(number, batch, rows_of_folders, removals, upto, dead, bool(more) or unfinished)

    @staticmethod
    def _within(placements: List[Placement], rows: int, size: int) -> List[Placement]:
        total = 0
        for count, row in enumerate(placements):
            total += row.size
            if count == rows or (count and total > size):
                return placements[:count]
        return placements

    def _answer(
        self, number: int, batch: Batch, folders: List[Any], removals: List[Removal], upto: int, dead: int, more: bool
    ) -> Answer:
        by_fid: Dict[int, List[Any]] = {}
        for row in batch.placements:
            by_fid.setdefault(row.fid, []).append(
                [text(row.base), row.sub, text(row.info), row.inode, row.size, row.mtime,
                 row.mode, row.owner, row.group, row.origin, row.changed]
            )  # fmt: skip
        value = {
            "folders": [
                [f.fid, text(f.account), text(f.path), f.maildir, f.mode, f.owner, f.group]
                for f in folders
                if b"\0" not in f.path
            ],
            "placements": list(by_fid.items()),
            "order": _order(batch.placements, by_fid),
            "sidecars": [
                [s.fid, text(s.name), None if s.link is None else text(s.link), s.size, s.mtime,
                 s.mode, s.owner, s.group,
                 s.rewrites, s.crc, s.uidvalidity, s.next_uid]
                for s in batch.sidecars
            ],
            "removals": [[r.fid, r.what, text(r.name), r.moved, r.exempt, text(r.account)] for r in removals],
        }  # fmt: skip
        blob, deflated = pack(value)
        head = {
            "batch": number,
            "live": upto,
            "dead": removals[-1].seq if removals else dead,
            "more": more,
            "rows": len(batch.placements),
            "items": len(batch.placements) + len(batch.sidecars),
            "changes": len(folders) + len(batch.placements) + len(batch.sidecars) + len(removals),
            "bytes": sum(row.size for row in batch.placements),
            "deaths": self._deaths(removals),
            **self._owners(batch, folders),
        }
        return Answer(head, blob, deflated)

    def _owners(self, batch: Batch, folders: List[Any]) -> Dict[str, Dict[str, str]]:
        """Names of the users and groups that occur: numbers may differ from host to host."""
        rows: List[Any] = [*batch.placements, *batch.sidecars, *folders]
        return names_of({row.owner for row in rows}, {row.group for row in rows})

    def _deaths(self, removals: List[Removal]) -> List[Tuple[str, int, int]]:
        """(account, removals that count against its budget, its messages now), for the firewall."""
        counts: Dict[bytes, int] = {}
        tree = self._scanner.tree
        for row in removals:
            counts.setdefault(row.account, 0)
            if row.what == MESSAGE and not row.moved and not row.exempt:
                counts[row.account] += 1
        return [
            (text(a), n, sum(tree.by_fid[f].messages for f in tree.of_account.get(a, ()))) for a, n in counts.items()
        ]

    # --- bodies -----------------------------------------------------------------------

    def credit(self, group: int, count: int) -> None:
        self._credit[group] = self._credit.get(group, 0) + count
        self._desk.hurry()

    def compress(self, group: int, level: int) -> None:
        """Deflate what goes out for a group from now on at this level (0: not at all), running fetches too: what a
        slow link still carries of them is most of what it carries."""
        self._levels[group] = level

    def fetch(self, number: int, group: int, request: Frame, rate: Optional[float]) -> Work:
        """Send the bodies of a batch that are asked for; yields while credit or bandwidth is short, and while an
        earlier batch of its group is on its way: batches settle in their order, so side by side they would only wait.

        The request's blob: {"plain": [[first, last], ...], "from": [[item, offset], ...],
        "unless": [[item, [sha256, ...]], ...]}. BODY heads: "w" [item, length, ...] whole bodies in
        the blob's order; "p" [item, offset, length, total] a part; "v" items that vanished; "s"
        [[item, k], ...] bodies whose SHA-256 is the k-th that was named; "e" [[item, why], ...].
        """
        batch = self._batches.get(number)
        wanted = unpack(request)
        if batch is None or not isinstance(wanted, dict):
            raise Fault("bad-request", f"batch {number} wasn't offered in this conversation", "Offer it again.")
        tally = {"batch": number, "bytes": 0, "waited_ms": 0}
        line = self._lines.setdefault(group, deque())
        line.append(number)
        try:
            while line[0] != number:
                yield 1.0
            out = Bundle(number)
            for item, start, unless in _wanted(wanted):
                for _ in self._body(out, batch.item(item), item, start, unless):
                    yield from self._send(out, group, rate, tally)
            if not out.empty:
                yield from self._send(out, group, rate, tally)
        finally:
            line.remove(number)
            self._desk.hurry()  # the next in line waits for its turn
        return Answer(tally)

    def _send(self, out: Bundle, group: int, rate: Optional[float], tally: Dict[str, int]) -> Iterator[Optional[float]]:
        frame = out.frame(self._levels.get(group, 0))
        yield None
        yield from self._wait(group, len(frame.blob), rate)
        began = time.monotonic()
        self._desk.send(frame)
        out.clear()
        self._blocked += time.monotonic() - began
        tally["waited_ms"] = round(1000 * (self._blocked + self._desk.idle_seconds))
        tally["bytes"] += len(frame.blob)

    def _wait(self, group: int, size: int, rate: Optional[float]) -> Iterator[Optional[float]]:
        while self._credit.get(group, 0) < 0:
            yield 1.0
        self._credit[group] = self._credit.get(group, 0) - size
        if rate:
            now = time.monotonic()
            self._allowed_at = max(self._allowed_at, now - 0.1) + size / rate
            while self._allowed_at > time.monotonic():
                yield min(0.5, self._allowed_at - time.monotonic())

    def _body(self, out: Bundle, item: Item, number: int, start: int, unless: List[str]) -> Iterator[None]:
        """Put a body into the bundle; yields each time that the bundle is full and has to be sent."""
        try:
            fd, size = self._open(item)
        except (OSError, Outside, NotRegular, KeyError) as error:
            self._missed(out, item, number, error)
            return
        try:
            if unless:
                same = sha256_of(fd, size)
                if same in unless:
                    out.note("s", (number, unless.index(same)))
                    return
            if start or size > BUNDLE:
                for at in range(start, size, BUNDLE):
                    if not out.room(min(BUNDLE, size - at)):
                        yield
                    if not out.part(fd, number, at, min(BUNDLE, size - at), size):
                        self._missed(out, item, number, None)
                        return
                    yield
            else:
                if not out.room(size):
                    yield
                if not out.whole(fd, number, size):
                    self._missed(out, item, number, None)
        except OSError as error:
            self._missed(out, item, number, error)
        finally:
            os.close(fd)

    def _open(self, item: Item) -> Tuple[int, int]:
        """The file of an item and how many of its bytes count. Raises KeyError when it is another file now."""
        folder = self._scanner.tree.by_fid[item.fid]
        if isinstance(item, Sidecar):
            fd, found = beneath.open_with_stat(self._root.open_dir(folder.path), item.name)
            if found.st_size < item.size:
                os.close(fd)
                raise KeyError(item.name)
            return fd, item.size
        row: Optional[Placement] = item
        for attempt in (1, 2):
            if row is None:
                break
            try:
                dirfd = self._root.open_dir(folder.path + (b"/cur" if row.sub else b"/new"))
                fd, found = beneath.open_with_stat(dirfd, row.base + row.info)
            except FileNotFoundError:
                # Flags may have changed since the offer: the file is the same, its name is newer.
                row = self._log.placement(item.fid, item.base) if attempt == 1 else None
                continue
            if (found.st_ino, found.st_size, found.st_mtime_ns) == (item.inode, item.size, item.mtime):
                return fd, item.size
            os.close(fd)
            break
        raise KeyError(item.base)

    def _missed(self, out: Bundle, item: Item, number: int, error: Optional[BaseException]) -> None:
        """An item that can't be read as it was offered: gone or changed (it comes again), or unreadable."""
        sidecar = isinstance(item, Sidecar)
        name = item.name if isinstance(item, Sidecar) else item.base
        folder = self._scanner.tree.by_fid.get(item.fid)
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and folder is not None:
            why = f"can't be read: {error.strerror}"
            self._scanner.problem(folder.path, name, why)
            self._log.put_later(item.fid, name, sidecar)
            out.note("e", (number, why))
            return
        self._scanner.again(item.fid, name, sidecar)
        self._desk.wake()
        out.note("v", number)


def _order(placements: List[Placement], by_fid: Dict[int, List[Any]]) -> List[int]:
    """Item numbers in the order in which the grouped rows stand; empty when they are 0, 1, 2, ..."""
    spots: Dict[int, List[int]] = {fid: [] for fid in by_fid}
    for number, row in enumerate(placements):
        spots[row.fid].append(number)
    flat = [number for fid in by_fid for number in spots[fid]]
    return [] if flat == list(range(len(flat))) else flat


def _wanted(wanted: Dict[str, Any]) -> Iterator[Tuple[int, int, List[str]]]:
    """(item, offset, digests) of each item that a fetch asks for."""
    for first, last in wanted.get("plain", ()):
        for item in range(int(first), int(last) + 1):
            yield item, 0, []
    for item, start in wanted.get("from", ()):
        yield int(item), int(start), []
    for item, unless in wanted.get("unless", ()):
        yield int(item), 0, [str(digest) for digest in unless]
