"""A batch, applied: folders, sidecars, messages and renames, removals, in this order.

A body's data is durable before it gets its name; the names are durable before the ledger says
so and the batch is told as done. A large batch shares one syncfs with the one after it.

Invariant: at any instant, and after a crash at any instant, a name in new/ or cur/ names a
complete message, and no base name stands twice in a folder.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from . import beneath
from .adoption import Adoption
from .install import Again, Installer, Refusal, SidecarRow, Staged, dovecot_runs, local_name
from .ledger import Held, Place
from .log import FOLDER, MESSAGE, SIDECAR
from .parcel import MessageItem, Parcel, RemovalItem
from .passive import Passive
from .places import Places
from .serve import Fault
from .sidecar import read_range
from .staging import HOME, Arrivals
from .wire import text

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
            "live": self.live, "dead": self.dead, "tally": self.tally, "again": self.again[:500],
            "problems": self.problems[:50], "durable_ns": self.durable_ns,
        }  # fmt: skip


class Owner:
    """Sets owner, mode and time as far as this process may.

    `how` is "name" (the source's names, its numbers where a name is unknown here), "number", or
    USER:GROUP for everything. Raises Fault for a user or group that this host doesn't have.
    """

    def __init__(self, how: str) -> None:
        self._may = os.geteuid() == 0
        self._by_name = how == "name"
        self._fixed: Optional[Tuple[int, int]] = None
        self._users: Dict[int, int] = {}
        self._groups: Dict[int, int] = {}
        if ":" in how:
            user, _, group = how.partition(":")
            try:
                self._fixed = (pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
            except KeyError as error:
                raise Fault("owner", f"mm_owner {how}: {error.args[0]}", "Create it on this host.") from error

    def learn(self, users: Dict[str, str], groups: Dict[str, str]) -> None:
        """What the source's numbers are called there."""
        if not self._by_name:
            return
        for number, name in users.items():
            try:
                self._users[int(number)] = pwd.getpwnam(name).pw_uid
            except KeyError:
                self._users[int(number)] = int(number)
        for number, name in groups.items():
            try:
                self._groups[int(number)] = grp.getgrnam(name).gr_gid
            except KeyError:
                self._groups[int(number)] = int(number)

    def _own(self, fd: int, owner: int, group: int) -> None:
        if self._may:
            local = self._fixed or (self._users.get(owner, owner), self._groups.get(group, group))
            if local != (0, 0):
                os.fchown(fd, *local)

    def directory(self, fd: int, mode: int, owner: int, group: int) -> None:
        self._own(fd, owner, group)
        os.fchmod(fd, mode)

    def file(self, fd: int, mode: int, owner: int, group: int, mtime: int) -> None:
        self._own(fd, owner, group)
        if mode != 0o600:
            os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime, mtime))

    def sidecar(self, fd: int, row: SidecarRow) -> None:
        self.file(fd, row.mode, row.owner, row.group, row.mtime)


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

    # --- one batch --------------------------------------------------------------------

    def apply(self, batch: Batch, last: bool) -> List[Outcome]:
        """Apply a batch; the outcomes that are durable now. `last`: nothing follows, so settle everything."""
        passive, ledger = self._passive, self._passive.ledger
        outcome = Outcome(batch.number)
        done: List[Outcome] = []
        fresh = ledger.touch(self._lids(batch.parcel))
        if self._unacked or not batch.durable:
            done = self.finish()
        elif fresh:
            ledger.commit()
        ledger.begin()
        self._places.apply(batch.parcel.folders, self._seen)
        outcome.count("folders", len(self._places.made))
        outcome.count("folders_renamed", self._places.renamed)
        if self._places.made or self._places.renamed:
            ledger.touch(place.lid for place in self._places.made)
            ledger.commit()
            ledger.begin()
        self._sidecars(batch, outcome)
        virgin = {place.lid for place in ledger.places.values() if not place.messages}
        for message in batch.parcel.messages:
            self._message(batch, message, outcome, virgin)
        passive.flush()
        removed = self._removals(batch, outcome)
        passive.flush()
        ledger.meta.set(live=batch.live, watermark=time.time(), **({"dead": batch.dead} if removed else {}))
        outcome.live, outcome.dead = batch.live, int(ledger.meta.get("dead", 0))
        outcome.problems += [why for _, why in batch.arrivals.failed]
        self._unacked.append(outcome)
        if last or batch.durable:
            done += self.finish(small=batch.durable)
        return done

    def finish(self, small: bool = False) -> List[Outcome]:
        """Make what was applied durable, ledger included; the outcomes that this settles."""
        if not self._unacked and not self._passive.ledger.uncommitted and small:
            return []
        if small and len(self._passive.dirty_dirs) <= 64:
            self._passive.sync_dirs()
        else:
            self._passive.sync_all()
        self._passive.ledger.commit()
        done, self._unacked = self._unacked, []
        for outcome in done:
            outcome.durable_ns = time.monotonic_ns()
        return done

    def _lids(self, parcel: Parcel) -> Set[int]:
        by_fid = self._passive.ledger.by_fid
        fids = {m.fid for m in parcel.messages} | {s.fid for _, s in parcel.sidecars} | {r.fid for r in parcel.removals}
        return {by_fid[fid].lid for fid in fids if fid in by_fid}

    # --- sidecars ---------------------------------------------------------------------

    def _sidecars(self, batch: Batch, outcome: Outcome) -> None:
        """Stage every sidecar, make the content durable, then put it in place: keywords, uidlists, others."""
        staged: List[Staged] = []
        appends: List[Tuple[Place, SidecarRow, int, bytes]] = []
        waits = bool(batch.parcel.sidecars) and dovecot_runs()
        for item, row in batch.parcel.sidecars:
            place = self._passive.ledger.by_fid.get(row.fid)
            data = self._sidecar_data(batch, item, row)
            if place is None or data is None:
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
        name = batch.arrivals.files.pop(item, None)
        if name is None:
            return None
        home = self._passive.staging.fd
        fd = beneath.open_file(home, name)
        try:
            return read_range(fd, 0, os.fstat(fd).st_size)
        finally:
            os.close(fd)
            beneath.unlink(home, name)

    # --- messages ---------------------------------------------------------------------

    def _message(self, batch: Batch, message: MessageItem, outcome: Outcome, virgin: Set[int]) -> None:
        passive = self._passive
        place = passive.ledger.by_fid.get(message.fid)
        if place is None or not place.maildir:
            outcome.again.append((message.fid, text(message.base), False))
            return
        held = passive.held(place, message.base) if place.lid not in virgin or place.messages else None
        row = Held(message.sub, message.info, message.inode, message.size, message.mtime, self._seen)
        staged = batch.arrivals.files.get(message.item)
        try:
            if held is not None and held.is_file(message.inode, message.size, message.mtime):
                if (held.sub, held.info) != (message.sub, message.info):
                    passive.move(place, message.base, held, message.sub, message.info)
                    outcome.count("renamed")
            elif staged is not None:
                self._arrive(place, message, held, staged)
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
        if self._passive.ledger.waits(place.lid, message.base):
            passive.ledger.drop_waiting([(place.lid, MESSAGE, message.base)])

    def _arrive(self, place: Place, message: MessageItem, held: Optional[Held], staged: bytes) -> None:
        """Give an arrived body its name; what stood under its base name goes into quarantine."""
        passive = self._passive
        if held is not None:
            passive.quarantine.take(place, MESSAGE, held.sub, message.base + held.info, counted=False, size=held.size)
            passive.dirty_dirs[place.path + (b"/cur" if held.sub else b"/new")] = None
        beneath.rename(passive.staging.fd, staged, passive.directory(place, message.sub), message.base + message.info)

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
        waiting = {account for account, _, _, _ in self._passive.ledger.waiting_accounts()}
        for removal in batch.parcel.removals:
            place = self._passive.ledger.by_fid.get(removal.fid)
            if place is None:
                continue
            reason = batch.hold.get(removal.account)
            if reason is None and removal.account in waiting and not removal.moved:
                reason = "earlier deletions of this account wait"
            if reason is not None and not removal.moved:
                self._wait(place, removal, reason, outcome)
            else:
                self.remove(place, removal.what, removal.name, removal.moved, not removal.exempt, outcome)
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
            passive.dirty_dirs[place.path] = None
            passive.ledger.drop_sidecar(place.lid, name)
        elif what == FOLDER:
            self._take_folder(place)

    def _take_message(self, place: Place, base: bytes, held: Held, moved: bool, counted: bool) -> None:
        passive = self._passive
        fd = passive.directory(place, held.sub)
        name = base + held.info
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
        passive.dirty_dirs[place.path.rpartition(b"/")[0]] = None
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
