"""A batch, applied: folders, sidecars, messages and renames, removals, in this order.

A body's data is durable before it gets its name; the names are durable before the ledger says
so and the batch is told as done. A large batch shares one syncfs with the one after it, and
while that runs (`begin`, `ready`) the bodies of later batches may come in.

Invariant: at any instant, and after a crash at any instant, a name in new/ or cur/ names a
complete message, and no base name stands twice in a folder.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from . import beneath
from .adoption import Adoption
from .barrier import Barrier
from .beneath import NotRegular, Outside
from .install import Again, Installer, Refusal, SidecarRow, Staged, local_name
from .ledger import Held, Place
from .log import FOLDER, MESSAGE, SIDECAR
from .owner import Owner
from .parcel import MessageItem, Parcel, RemovalItem
from .passive import Passive
from .places import Places
from .staging import HOME, Arrivals, Arrived
from .wire import raw, text

FEW = 4


class Batch(NamedTuple):
    """One batch as the applier needs it."""

    number: int
    live: int
    dead: int
    parcel: Parcel
    arrivals: Arrivals
    unless: Dict[int, List[Tuple[int, bytes]]]  # item -> local (lid, base) that it may be
    hold: Dict[bytes, str]  # accounts whose removals wait, and why
    durable: bool  # every body was made durable when it came
    complete: int = 0  # with it, all that changed at the source up to this ctime is here; 0: that isn't so


class Outcome:
    """What applying a batch came to."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.live = self.dead = 0
        self.tally: Dict[str, int] = {}
        self.again: List[Tuple[int, str, bool]] = []
        self.problems: List[str] = []
        self.durable_ns = 0

    def count(self, what: str, by: int = 1) -> None:
        self.tally[what] = self.tally.get(what, 0) + by

    def head(self) -> Dict[str, Any]:
        return {
            "live": self.live, "dead": self.dead, "tally": self.tally, "again": self.again,
            "problems": self.problems[:50], "durable_ns": self.durable_ns,
        }  # fmt: skip


class Applier:
    """Applies batches to one passive store, in their order. One thread."""

    def __init__(self, passive: Passive, owner: Owner, seen: int) -> None:
        self._passive = passive
        self._seen = seen
        self.owner = owner
        self.installer = Installer(passive.root, passive.ledger, HOME, owner.sidecar)
        self.adoption = Adoption(passive)
        self._places = Places(passive, owner.directory)
        self._unacked: List[Outcome] = []
        self.owed: Set[Tuple[int, bytes]] = set()  # (fid, base) of messages that were asked for again
        self._barrier: Optional[Barrier] = None
        self._begun = False
        self.begun_for: Optional[Batch] = None  # a batch that completes after `begin` isn't covered by it

    # --- one batch --------------------------------------------------------------------

    def begin(self, batch: Optional[Batch], over: Callable[[], None]) -> None:
        """Begin to make durable what the names in this batch need, and what was applied before it (None: only that).

        When `ready`, `settle` and `apply` follow; `over` is called on another thread where that takes time.
        """
        if self._begun:
            return
        self._begun, self.begun_for = True, batch
        if batch is not None:
            self._passive.ledger.touch(self._lids(batch))
        if self._passive.all_at_once and (self._unacked or (batch is not None and not batch.durable)):
            self._barrier = self._passive.barrier(over)

    @property
    def ready(self) -> bool:
        return self._begun and (self._barrier is None or self._barrier.done)

    @property
    def unsettled(self) -> bool:
        """Whether something was applied that isn't told as durable yet."""
        return bool(self._unacked)

    def settle(self) -> List[Outcome]:
        """End what `begin` began, waiting for it; the outcomes that are durable by that."""
        if self._barrier is not None:
            self._passive.surely(self._barrier.wait)
            self._barrier = None
        elif self._unacked:
            self._passive.sync_dirs()
        self._begun, self.begun_for = False, None
        return self._commit()

    def _commit(self) -> List[Outcome]:
        self._passive.ledger.commit()
        done, self._unacked = self._unacked, []
        for outcome in done:
            outcome.durable_ns = time.monotonic_ns()
        return done

    def apply(self, batch: Batch) -> List[Outcome]:
        """Apply a batch that was begun for and settled; the outcomes that are durable now."""
        passive, ledger = self._passive, self._passive.ledger
        outcome = Outcome(batch.number)
        ledger.begin()
        self._places.apply(batch.parcel.folders, self._seen)
        outcome.again += [(fid, text(base), False) for fid, base in self._places.lost]
        outcome.count("folders", len(self._places.made))
        outcome.count("folders_renamed", self._places.renamed)
        if self._places.made or self._places.renamed:
            ledger.touch(place.lid for place in self._places.made)
            ledger.commit()
            ledger.begin()
        self._sidecars(batch, outcome)
        by_fid = ledger.by_fid
        passive.look_up((by_fid.get(m.fid), m.base) for m in batch.parcel.messages)
        passive.look_up((by_fid.get(m.origin), m.base) for m in batch.parcel.messages if m.origin is not None)
        for message in batch.parcel.messages:
            try:
                self._message(batch, message, outcome)
            except (Outside, NotRegular, OSError) as error:
                self._bar(message.fid, error)
        passive.look_up((by_fid.get(r.fid), r.name) for r in batch.parcel.removals if r.what == MESSAGE)
        removed = self._removals(batch, outcome)
        passive.flush()
        self._note_complete(batch, outcome)
        passive.staging.drop(batch.arrivals)
        ledger.meta.set(live=batch.live, watermark=time.time(), **({"dead": batch.dead} if removed else {}))
        outcome.live, outcome.dead = batch.live, int(ledger.meta.get("dead", 0))
        outcome.problems += [why for _, why in batch.arrivals.failed] + passive.told()
        self._unacked.append(outcome)
        return self.finish(small=True) if batch.durable else []

    def _note_complete(self, batch: Batch, outcome: Outcome) -> None:
        """Remember up to which change at the source everything is here, unless something of it is still to come."""
        self.owed.update((fid, raw(name)) for fid, name, sidecar in outcome.again if not sidecar)
        self.owed.difference_update((r.fid, r.name) for r in batch.parcel.removals)
        short = batch.arrivals.failed or batch.arrivals.vanished or batch.parcel.refused or self._passive.barred
        if batch.complete and not short and not self.owed:
            self._passive.ledger.meta.set(complete=batch.complete)

    def finish(self, small: bool = False) -> List[Outcome]:
        """Make what was applied durable now, ledger included; the outcomes that this settles."""
        done = self.settle() if self._begun else []
        if small and len(self._passive.dirty_dirs) <= 64:
            self._passive.sync_dirs()
        else:
            self._passive.sync_all()
        return done + self._commit()

    def _bar(self, fid: int, error: Exception) -> None:
        place = self._passive.ledger.by_fid.get(fid)
        self._passive.bar(fid, place.path if place else b"", error)

    def _lids(self, batch: Batch) -> Set[int]:
        """The folders that a batch changes; a message that is taken over leaves its own."""
        by_fid, parcel = self._passive.ledger.by_fid, batch.parcel
        fids = {m.fid for m in parcel.messages} | {s.fid for _, s in parcel.sidecars} | {r.fid for r in parcel.removals}
        left = {lid for found in batch.unless.values() for lid, _ in found}
        return left | {by_fid[fid].lid for fid in fids if fid in by_fid}

    # --- sidecars ---------------------------------------------------------------------

    def _sidecars(self, batch: Batch, outcome: Outcome) -> None:
        """Stage every sidecar, make the content durable, then put it in place: keywords, uidlists, others."""
        staged: List[Staged] = []
        appends: List[Tuple[Place, SidecarRow, int, bytes]] = []
        waits = bool(batch.parcel.sidecars) and self.installer.dovecot.may_be_there()
        for item, row in batch.parcel.sidecars:
            place = self._passive.ledger.by_fid.get(row.fid)
            data = self._sidecar_data(batch, item, row)
            if place is None or row.fid in self._passive.barred:
                continue
            self.installer.seen(place, row.name, self._seen)
            if data is None:
                continue
            if waits:
                self.installer.note(place, row, None, self._seen, waits=True)
                continue
            try:
                made = self.installer.stage(place, row, batch.arrivals.offsets.get(item, 0), data)
            except Refusal as why:
                outcome.problems.append(f"{text(place.path)}/{text(row.name)}: {why}")
                self._passive.problem(outcome.problems[-1])
                continue
            except Again:
                self.installer.forget(place, row.name)
                outcome.again.append((row.fid, text(row.name), True))
                continue
            except Outside as error:
                self._bar(row.fid, error)
                continue
            outcome.count("sidecars")
            if isinstance(made, Staged):
                staged.append(made)
            else:
                appends.append((place, row, made[0], made[1]))
        self._install(staged, appends)

    def _install(self, staged: List[Staged], appends: List[Tuple[Place, SidecarRow, int, bytes]]) -> None:
        few = len(staged) + len(appends) <= FEW
        for place, row, offset, data in appends:
            self.installer.write_append(place, row, offset, data, sync=few)
        for each in staged:
            if few:
                self.installer.sync(each)
        if not few:
            self._passive.sync_all()
        for place, row, _, _ in appends:
            held = self._passive.ledger.sidecar(place.lid, row.name)
            self.installer.note(place, row, held.raised if held else None, self._seen)
        for each in staged:
            self.installer.install(each, self._seen)
            self._passive.dirty_dirs[each.place.path] = None

    def _sidecar_data(self, batch: Batch, item: int, row: SidecarRow) -> Optional[bytes]:
        """What arrived of a sidecar; None when nothing did."""
        if row.link is not None:
            return row.link
        arrived = batch.arrivals.files.pop(item, None)
        return None if arrived is None else self._passive.staging.content(arrived)

    # --- messages ---------------------------------------------------------------------

    def _message(self, batch: Batch, message: MessageItem, outcome: Outcome) -> None:
        passive = self._passive
        if message.fid in passive.barred:
            return
        place = passive.ledger.by_fid.get(message.fid)
        if place is None or not place.maildir:
            outcome.again.append((message.fid, text(message.base), False))
            return
        held = passive.held(place, message.base)
        row = Held(
            message.sub, message.info, message.inode, message.size, message.mtime, self._seen, message.changed
        )  # fmt: skip
        arrived = batch.arrivals.files.get(message.item)
        try:
            if held is not None and held.is_file(message.inode, message.size, message.mtime):
                if (held.sub, held.info) != (message.sub, message.info):
                    passive.move(place, message.base, held, message.sub, message.info)
                    outcome.count("renamed")
            elif arrived is not None:
                self._arrive(place, message, held, arrived)
                del batch.arrivals.files[message.item]
                outcome.count("messages")
                outcome.count("message_bytes", message.size)
            elif message.item in batch.arrivals.same:
                lid, base = batch.unless[message.item][batch.arrivals.same[message.item]]
                self.adoption.take(place, message, lid, base, self.owner.file)
                outcome.count("adopted")
                held = passive.held(place, message.base)
            elif message.item in batch.arrivals.sizes:
                return  # vanished or unreadable at the source, which will offer it anew
            else:
                self._link(place, message)
                outcome.count("linked")
        except (FileNotFoundError, Vanished):
            # Somebody else changed this place. Forget what was believed of it and take it anew.
            if held is not None:
                passive.drop(place, message.base, held)
            outcome.again.append((message.fid, text(message.base), False))
            return
        passive.put(place, message.base, row, held)
        self.owed.discard((message.fid, message.base))
        if self._passive.ledger.waits(place.lid, message.base):
            passive.ledger.drop_waiting([(place.lid, MESSAGE, message.base)])

    def _arrive(self, place: Place, message: MessageItem, held: Optional[Held], arrived: Arrived) -> None:
        """Give an arrived body its name; what stood under its base name goes into quarantine."""
        passive = self._passive
        if held is not None:
            passive.quarantine.take(place, MESSAGE, held.sub, message.base + held.info, counted=False, size=held.size)
        target, name = passive.directory(place, message.sub), message.base + message.info
        try:
            passive.staging.give(arrived, target, name)
        except FileExistsError:
            # Somebody put a file there that the ledger doesn't know.
            passive.quarantine.take(place, MESSAGE, message.sub, name, counted=False)
            passive.staging.give(arrived, target, name)

    def _link(self, place: Place, message: MessageItem) -> None:
        """A second name for a message that stands in another folder. Raises Vanished when it doesn't."""
        passive = self._passive
        origin = passive.ledger.by_fid.get(message.origin) if message.origin is not None else None
        other = passive.held(origin, message.base) if origin is not None else None
        if origin is None or other is None or not other.is_file(message.inode, message.size, message.mtime):
            raise Vanished
        try:
            beneath.link(
                passive.directory(origin, other.sub), message.base + other.info,
                passive.directory(place, message.sub), message.base + message.info,
            )  # fmt: skip
        except FileExistsError:
            # A crash came between this link and the ledger's note of it.
            here = beneath.stat(passive.directory(place, message.sub), message.base + message.info)
            there = beneath.stat(passive.directory(origin, other.sub), message.base + other.info)
            if here.st_ino != there.st_ino:
                raise Vanished from None

    # --- removals ---------------------------------------------------------------------

    def _removals(self, batch: Batch, outcome: Outcome) -> bool:
        """Apply the batch's removals, or let them wait; False when none may be applied now."""
        if not batch.parcel.removals:
            return True
        if not self._passive.permitted:
            outcome.count("not_permitted", len(batch.parcel.removals))
            return False
        waiting = {row[0] for row in self._passive.ledger.waiting_accounts()}
        for removal in batch.parcel.removals:
            place = self._passive.ledger.by_fid.get(removal.fid)
            if place is None or removal.fid in self._passive.barred:
                continue
            reason = batch.hold.get(removal.account)
            if reason is None and removal.account in waiting and not removal.moved:
                reason = "earlier deletions of this account wait"
            if reason is not None and not removal.moved:
                self._wait(place, removal, reason, outcome)
                continue
            try:
                self.remove(place, removal.what, removal.name, removal.moved, not removal.exempt, outcome)
            except (Outside, OSError) as error:
                self._bar(removal.fid, error)
        return True

    def _wait(self, place: Place, removal: RemovalItem, reason: str, outcome: Outcome) -> None:
        if removal.what == MESSAGE and self._passive.held(place, removal.name) is None:
            return
        self._passive.ledger.put_waiting(
            [(place.lid, removal.what, removal.name, int(removal.moved), removal.account, reason, time.time())]
        )
        outcome.count("waiting")

    def remove(self, place: Place, what: int, name: bytes, moved: bool, counted: bool, outcome: Outcome) -> None:
        """Take something away: into quarantine, or, when it stands elsewhere too, only its name."""
        passive = self._passive
        if what == MESSAGE:
            held = passive.held(place, name)
            if held is None:
                return
            self._take_message(place, name, held, moved, counted)
            passive.drop(place, name, held)
            outcome.count("moved_away" if moved else "deleted")
        elif what == SIDECAR:
            passive.quarantine.take(place, SIDECAR, 0, local_name(name), counted=False)
            passive.ledger.drop_sidecar(place.lid, name)
        elif what == FOLDER:
            self._take_folder(place)

    def _take_message(self, place: Place, base: bytes, held: Held, moved: bool, counted: bool) -> None:
        passive = self._passive
        name = base + held.info
        try:
            fd = passive.directory(place, held.sub)
        except FileNotFoundError:
            return  # the whole folder is gone already
        if moved and self._has_twin(fd, name):
            beneath.unlink(fd, name)
            return
        passive.quarantine.take(place, MESSAGE, held.sub, name, counted=counted and not moved, size=held.size)

    @staticmethod
    def _has_twin(dirfd: int, name: bytes) -> bool:
        try:
            return beneath.stat(dirfd, name).st_nlink > 1
        except FileNotFoundError:
            return False

    def _take_folder(self, place: Place) -> None:
        passive = self._passive
        below = [p for p in passive.ledger.places.values() if p.path.startswith(place.path + b"/")]
        if place.messages or below or not place.path:
            # Something of it waits. The folder stays until that is settled.
            passive.ledger.put_waiting(
                [(place.lid, FOLDER, b"", 0, place.account, "something in it waits", time.time())]
            )
            return
        passive.root.forget(place.path)
        passive.quarantine.take(place, FOLDER, 0, b"", counted=False)
        passive.ledger.drop_place(place)

    def release(self, account: bytes) -> int:
        """Apply an account's waiting removals; how many messages went."""
        outcome = Outcome(0)
        rows = sorted(self._passive.ledger.waiting(account), key=lambda row: row[1])
        self._passive.ledger.touch({row[0] for row in rows})
        self._passive.ledger.commit()
        for lid, what, name, moved, *_ in rows:
            place = self._passive.ledger.places.get(lid)
            if place is not None:
                self.remove(place, what, name, bool(moved), False, outcome)
            self._passive.ledger.drop_waiting([(lid, what, name)])
        self._passive.flush()
        self.finish(small=True)
        return outcome.tally.get("deleted", 0)


class Vanished(Exception):
    """What should stand here doesn't; it has to be sent again."""
