"""The passive's side of replication: one store that takes what the source has.

Answers the `sink.*` verbs: looks at an offer and says which bodies it lacks, takes the bodies, and applies each batch
in order when it is complete (`apply`). Several may be on their way; each is judged by what those before will make.

Invariant: it writes only below a root whose marker says that this place is passive. The cursor
never runs ahead of what is durable. Removals are applied only under a permit that is younger
than its seconds (CLOCK_BOOTTIME), and never for an account that the controller held back.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Dict, List, Optional, Tuple

from . import anew, cut, index, marker, reconcile, undo
from .apply import Applier, Batch, Outcome
from .beneath import Outside, Root
from .dovecot import Neighbour
from .ledger import Ledger, Place, ledger_path
from .owner import Owner
from .parcel import MessageItem, Parcel, as_needs, parse
from .passive import Passive
from .serve import Answer, Desk, Fault, Interrupted, Work
from .staging import Arrivals
from .tie import Tie
from .wire import Frame, Garbled, Kind, pack, raw, text, unpack

CREDIT_STEP = 1 << 20
SMALL = 16
"""A batch with at most so many bodies is made durable file by file, a larger one by one syncfs."""
MAX_CANDIDATES = 8
MOST_LOST = 5_000
"""Messages that are asked for one by one after a crash; where more are missing, everything is compared."""
EXPIRE_SECONDS = 600.0
RETRY_SECONDS = 5.0
"""How often a folder is looked at that something stands in the way of."""


class Sink:
    """One store of a passive place, for one conversation."""

    def __init__(self, desk: Desk, path: str, state: str, head: Dict[str, Any]) -> None:
        self._desk = desk
        self._store = path
        self._state = state
        self.root = Root(path)
        self.marker = marker.demand(self.root, head.get("store_id"), marker.PASSIVE)
        try:
            self.ledger = index.opened(Ledger, ledger_path(state, self.marker.store))
        except sqlite3.Error as error:
            raise Fault("index", f"the passive place's index can't be opened: {error}") from error
        try:
            self._begin(head)
        except BaseException:
            # Whoever opens this store next must not find its ledger locked.
            self.ledger.close(clean=False)
            self.root.close()
            raise

    def _begin(self, head: Dict[str, Any]) -> None:
        self.undelete_seconds = float(head.get("undelete", 7 * 86400))
        self._pending: "OrderedDict[int, Tuple[Batch, int]]" = OrderedDict()  # with its credit group
        self._ahead: Dict[Tuple[int, bytes], Tuple[int, int, int]] = {}
        self._paths: Dict[int, bytes] = {}  # where the source's folders stand, as offered
        self._owed: Dict[int, int] = {}  # group -> bytes of credit not told yet
        self._expire_at = 0.0
        self._idle_told = self._desk.idle_seconds
        self._idle_begun = 0.0  # when the disk was begun to be waited for
        self._clean = True
        untied = not Tie(self.root, self.ledger).holds
        if untied:
            self.ledger.forget_all()
        forgotten = not self.ledger.places
        self.marker = marker.demand(self.root, self.marker.store, marker.PASSIVE)  # it may have been turned meanwhile
        reconcile.bind(self.ledger, head.get("source") or {}, self.marker.epoch)
        self.passive = Passive(self.root, self.ledger)
        if untied:
            self.passive.problem("store and ledger aren't of one time: one was put back from a copy; all is compared")
        self.lost = reconcile.after_crash(self.passive)
        if len(self.lost) > MOST_LOST:
            self.lost = []
            self._compare_all()
        if forgotten and reconcile.populate(self.passive):
            # Mail stands here of which the ledger knows nothing: it was lost, or this is a copy to be adopted.
            # Taken for an empty place, a message whose flags have changed would soon stand here twice.
            self._compare_all()
        self.round = int(self.ledger.meta.get("round", 1))
        self.applier = Applier(self.passive, Owner(str(head.get("owner") or "name")), self.round)
        self.applier.installer.dovecot = Neighbour(self.root.path, bool(head.get("other_dovecot")))
        self.applier.adoption.active = bool(self.ledger.meta.get("adopting"))
        self.applier.owed.update(self.lost)
        self.frozen = False
        self._cuts_ahead = cut.ahead(self._state, self.marker.store, self.marker.epoch)

    def close(self) -> None:
        """End. Raises OSError where what was applied can't be made durable; the next conversation reads it again."""
        try:
            for batch, _ in self._pending.values():
                self.passive.staging.drop(batch.arrivals)
            with suppress(Outside):  # a link in its place: told already, and whoever opens this store next is refused
                self.passive.staging.clear()
            self.applier.finish()
        except BaseException:
            self._clean = False
            raise
        finally:
            self.ledger.close(clean=self._clean)
            self.root.close()

    # --- who the source is ------------------------------------------------------------

    def status(self, head: Dict[str, Any]) -> Answer:
        """How this place stands. `source`, where given, is how old the source is by now, and is remembered."""
        source = head.get("source")
        meta = self.ledger.meta
        if isinstance(source, dict):
            told = (int(source["epoch"]), int(source["generation"]))
            if told > (int(meta.get("epoch", 0)), int(meta.get("generation", 0))):
                inside = self.ledger.uncommitted
                self.ledger.begin()
                meta.set(epoch=told[0], generation=told[1], nonce=str(source["nonce"]))
                if not inside:
                    self.ledger.commit()
        return Answer(self.describe())

    def freeze(self) -> None:
        """Make what was applied durable, drop what is on its way, and take no more in this conversation."""
        self.frozen = True
        for batch, _ in self._pending.values():
            self.passive.staging.drop(batch.arrivals)
        self._pending.clear()
        self._ahead.clear()
        self._tell(self.applier.finish())

    def _compare_all(self) -> None:
        """Have everything that stands here compared with the source, and taken over where it is the same."""
        self.ledger.begin()
        self.ledger.meta.set(adopting=1, live=0, whole=0)
        self.ledger.commit()

    def permit(self, seconds: float) -> Answer:
        """Let removals be applied for so long from now; 0 forbids them at once."""
        self.passive.permit(seconds)
        return Answer({})

    def describe(self) -> Dict[str, Any]:
        meta = self.ledger.meta
        return {
            "live": meta.get("live", 0),
            "dead": meta.get("dead", 0),
            "whole": bool(meta.get("whole", 0)),
            "watermark": meta.get("watermark"),
            "messages": self.ledger.total(),
            "marker": self.marker.head(),
            "waiting": [[text(account), *rest] for account, *rest in self.ledger.waiting_accounts()],
            "counted": [[text(a), n] for a, n in self.ledger.counted_since(time.time() - 600.0)],
            "sidecars_wait": len(self.ledger.waiting_sidecars()), "problems": self.passive.problems[-50:],
        }  # fmt: skip

    # --- looking at an offer ----------------------------------------------------------

    def _check_offer(self, head: Dict[str, Any]) -> None:
        """Raises Fault for one that may not be taken."""
        marker.demand(self.root, self.marker.store, marker.PASSIVE)
        if self.frozen:
            raise Fault("frozen", "what this place has was frozen for its promotion", "Nothing more is taken here.")
        if int(head.get("epoch", 0)) < int(self.ledger.meta.get("epoch", 0)):
            raise Fault("older-epoch", "the offer is of an older epoch", "Its sender isn't active any more.")
        while self._cuts_ahead:
            os.unlink(self._cuts_ahead.pop())  # its promotion didn't happen, and what comes now isn't in it

    def consider(self, head: Dict[str, Any], frame: Frame) -> Answer:
        """Which bodies of an offer are lacking here; the batch is applied once they are there."""
        self._check_offer(head)
        number, items = int(head["batch"]), int(head["items"])
        parcel = parse(unpack(frame), items)
        if number in self._pending:
            raise Fault("bad-request", f"batch {number} is on its way already")
        for folder in parcel.folders:
            self._paths[folder.fid] = folder.path
        self.applier.owner.learn(head.get("users") or {}, head.get("groups") or {})
        plain: List[int] = []
        unless: Dict[int, List[Tuple[int, bytes]]] = {}
        sizes: Dict[int, int] = {}
        self._look_up(parcel)
        for message in parcel.messages:
            candidates = self._lacks(message)
            if candidates is None:
                continue
            sizes[message.item] = message.size
            if candidates:
                unless[message.item] = candidates
            else:
                plain.append(message.item)
        offsets: Dict[int, int] = {}
        for item, row in parcel.sidecars:
            if row.link is not None:
                continue
            start = self.applier.installer.wanted(self._place(row.fid), row)
            if start is not None:
                sizes[item] = row.size
                if start:
                    offsets[item] = start
                else:
                    plain.append(item)
        digests = {item: [self.applier.adoption.digest(*each) for each in found] for item, found in unless.items()}
        attributes = {m.item: (m.mode, m.owner, m.group, m.mtime) for m in parcel.messages if m.item in sizes}
        arrivals = Arrivals(number, sizes, offsets, attributes)
        hold = {raw(account): str(why) for account, why in (head.get("hold") or {}).items()}
        durable = len(sizes) <= SMALL or not self.passive.all_at_once
        batch = Batch(
            number, int(head["live"]), int(head["dead"]), parcel, arrivals, unless, hold, durable,
            int(head.get("complete", 0)),
        )  # fmt: skip
        self._pending[number] = (batch, int(head.get("group", 0)))
        self._foresee(parcel)
        blob, deflated = pack(as_needs(plain, offsets, digests))
        return Answer({"batch": number, "need": len(sizes), "refused": parcel.refused[:20]}, blob, deflated)

    def plan(self, head: Dict[str, Any], frame: Frame) -> Answer:
        """What applying an offer would do, counted; nothing is changed."""
        parcel = parse(unpack(frame), int(head["items"]))
        tally = {"messages": 0, "message_bytes": 0, "linked": 0, "renamed": 0, "folders": 0, "folders_renamed": 0}
        for folder in parcel.folders:
            self._paths[folder.fid] = folder.path
            place = self._place(folder.fid)
            if place is None:
                tally["folders"] += 1
            elif place.path != folder.path:
                tally["folders_renamed"] += 1
        self._look_up(parcel)
        for message in parcel.messages:
            place = self._place(message.fid)
            held = self.passive.held(place, message.base) if place else None
            if self._lacks(message) is not None:
                tally["messages"] += 1
                tally["message_bytes"] += message.size
            elif held is None:
                tally["linked"] += 1
            elif (held.sub, held.info) != (message.sub, message.info):
                tally["renamed"] += 1
        wanted = [
            row for _, row in parcel.sidecars if self.applier.installer.wanted(self._place(row.fid), row) is not None
        ]
        tally["sidecars"] = len(wanted)
        tally["deleted"] = sum(1 for removal in parcel.removals if removal.what == 0 and not removal.moved)
        if not self._pending:
            self.passive.look_away()
        return Answer({"tally": tally})

    def _look_up(self, parcel: Parcel) -> None:
        self.passive.look_up((self._place(m.fid), m.base) for m in parcel.messages)
        self.passive.look_up((self._place(m.origin), m.base) for m in parcel.messages if m.origin is not None)

    def _foresee(self, parcel: Parcel) -> None:
        for folder in parcel.folders:
            self._paths[folder.fid] = folder.path
        for message in parcel.messages:
            self._ahead[message.fid, message.base] = (message.inode, message.size, message.mtime)

    def _place(self, fid: int) -> Optional[Place]:
        """The local folder that is, or is about to be, the source's `fid`."""
        place = self.ledger.by_fid.get(fid)
        if place is None and fid in self._paths:
            place = self.ledger.by_path.get(self._paths[fid])
            return place if place is not None and place.fid is None else None
        return place

    def _lacks(self, message: MessageItem) -> Optional[List[Tuple[int, bytes]]]:
        """None: its content is here. Else the local messages that may be it, if their digest says so."""
        identity = (message.inode, message.size, message.mtime)
        ahead = self._ahead.get((message.fid, message.base))
        if ahead is not None:
            return None if ahead == identity and message.inode else []
        place = self._place(message.fid)
        held = self.passive.held(place, message.base) if place else None
        if held is not None and held.is_file(*identity):
            return None
        if message.origin is not None and self._came_from(message, identity):
            return None
        if held is not None and place is not None:
            return [(place.lid, message.base)] if held.size == message.size else []
        account = place.account if place else self._paths.get(message.fid, b"")
        return self.applier.adoption.candidates(account, message)[:MAX_CANDIDATES]

    def _came_from(self, message: MessageItem, identity: Tuple[int, int, int]) -> bool:
        if message.origin is None:
            return False
        ahead = self._ahead.get((message.origin, message.base))
        if ahead is not None:
            return ahead == identity
        origin = self._place(message.origin)
        other = self.passive.held(origin, message.base) if origin else None
        return other is not None and other.is_file(*identity)

    # --- bodies -----------------------------------------------------------------------

    def expects(self, number: object) -> bool:
        """Whether bodies of this batch may come."""
        return number in self._pending

    def body(self, frame: Frame) -> None:
        """A BODY frame of one of the pending batches."""
        number = frame.head.get("b")
        found = self._pending.get(number) if isinstance(number, int) else None
        if found is None:
            raise Garbled(f"bodies of a batch that isn't pending: {number!r:.20}")
        batch, group = found
        count = self.passive.staging.take(batch.arrivals, frame, batch.durable, self.applier.owner.file)
        self._owed[group] = self._owed.get(group, 0) + count
        if self._owed[group] >= CREDIT_STEP or batch.arrivals.complete:
            self._desk.send(Frame(Kind.CREDIT, 0, {"g": group, "bytes": self._owed.pop(group), "store": self._store}))

    # --- applying ---------------------------------------------------------------------

    def background(self) -> Optional[float]:
        """Apply the next batch if it is complete; the seconds until the next call (0: at once)."""
        batch = next(iter(self._pending.values()))[0] if self._pending else None
        if batch is not None and not batch.arrivals.complete:
            return None
        if batch is not None or self.applier.unsettled:
            return self._go_on(batch)
        now = time.monotonic()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_SECONDS
            self.passive.quarantine.expire(self.undelete_seconds)
            self.ledger.commit()
        if self.passive.barred and self.passive.free_again():
            raise Interrupted("what stood in the way of a folder is gone: everything is compared anew")
        if self.ledger.waiting_sidecars():
            return self._retry_sidecars()
        return RETRY_SECONDS if self.passive.barred else EXPIRE_SECONDS

    def _go_on(self, batch: Optional[Batch]) -> Optional[float]:
        """Settle what was applied before, and apply a complete batch, as soon as the disk is ready for it."""
        self._idle_begun = self._idle_begun or self._desk.idle_seconds
        self.applier.begin(batch, self._desk.wake)
        if not self.applier.ready:
            return None
        begun = self.applier.begun_for
        outcomes = self.applier.settle()
        # What the worker waited for the disk says nothing of the link.
        self._idle_told += self._desk.idle_seconds - self._idle_begun
        self._idle_begun = 0.0
        self._tell(outcomes)
        if batch is not None and begun is batch:
            self._apply(batch)
        return 0.0

    def _apply(self, batch: Batch) -> None:
        self._clean = False
        outcomes = self.applier.apply(batch)
        del self._pending[batch.number]
        self._ahead.clear()
        for later, _ in self._pending.values():
            self._foresee(later.parcel)
        if not self._pending:
            self.passive.look_away()
        self._tell(outcomes)
        self._clean = True

    def _retry_sidecars(self) -> float:
        """When the IMAP server that was in the way has gone, ask for what waits."""
        if not self.applier.installer.dovecot.may_be_there():
            rows = [
                (place.fid, text(name), True)
                for lid, name in self.ledger.waiting_sidecars()
                for place in [self.ledger.places[lid]]
                if place.fid is not None
            ]
            if rows:
                self._desk.notice({"again": rows, "store": self._store})
        return 5.0

    def _tell(self, outcomes: List[Outcome]) -> None:
        for outcome in outcomes:
            idle = self._desk.idle_seconds - self._idle_told
            self._idle_told += idle
            head = {"done": outcome.batch, "store": self._store, "idle_ms": round(1000 * idle)}
            self._desk.notice({**head, **outcome.head()})

    # --- operators' verbs -------------------------------------------------------------

    def sweep(self, hold: Dict[str, str], count_only: bool) -> Answer:
        """End a round: what the source never spoke of, it doesn't have.

        Answers the counts per account; unless `count_only`, puts it into quarantine, or among the
        waiting deletions for the accounts in `hold`.
        """
        counts = reconcile.unseen(self.ledger, self.round)
        if count_only:
            return Answer({"unseen": [[text(account), n] for account, n in counts.items()]})
        if not self.passive.permitted:
            raise Fault("no-permit", "no deletion is permitted now")
        self._tell(self.applier.finish())
        held = {raw(account): why for account, why in hold.items()}
        tally = reconcile.sweep(self.applier, self.passive, self.round, held, whole=True)
        self.ledger.begin()
        self.ledger.meta.set(adopting=0)
        self.ledger.commit()
        self.applier.adoption.active = False
        return Answer({"tally": tally})

    def adopt(self) -> Answer:
        """Note what stands here, to be compared with the source and taken over message by message."""
        self._tell(self.applier.finish())
        count = reconcile.populate(self.passive)
        self._compare_all()
        self.applier.adoption.active = True
        return Answer({"messages": count})

    def set_aside(self, count_only: bool) -> Answer:
        """Empty this place into its quarantine, so that it can be made anew; or count what that would take."""
        if count_only:
            return Answer({"messages": anew.look(self.passive)})
        if self._pending:
            raise Fault("busy", "batches are on their way to this place", "Try again.")
        self._tell(self.applier.finish())
        return Answer({"messages": anew.set_aside(self.passive)})

    def release(self, account: str) -> Answer:
        """Apply an account's waiting deletions: an operator acknowledged them."""
        if not self.passive.permitted:
            raise Fault("no-permit", "no deletion is permitted now", "See `mailmirror status`.")
        self._tell(self.applier.finish())
        return Answer({"deleted": self.applier.release(raw(account))})

    def recall(self, account: str, seconds: float, reason: str) -> Answer:
        """Bring back what was deleted lately in an account, as waiting deletions: the firewall tripped."""
        self._tell(self.applier.finish())
        return Answer({"recalled": undo.recall(self.passive, raw(account), seconds, reason)})

    def undelete(self, head: Dict[str, Any]) -> Answer:
        """List what stands in quarantine, or bring it back (`restore`: qids) as waiting deletions."""
        if head.get("restore") is not None:
            wanted = {int(qid) for qid in head["restore"]}
            self._tell(self.applier.finish())
            return Answer({"restored": undo.restore(self.passive, wanted, "brought back by undelete")})
        return undo.listed(self.ledger)

    def digests(self, head: Dict[str, Any]) -> Work:
        """A line per folder, as the source would make it: waiting deletions are left out."""
        self._tell(self.applier.finish())
        answer = yield from reconcile.proof(self.root, self.ledger, head)
        return answer._replace(head={**answer.head, "pending": len(self._pending)})
