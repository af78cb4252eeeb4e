"""One store on its way to one passive place: batches asked for, judged, relayed, settled.

The source offers what the cursor lacks; the firewall judges the removals in it; the passive
place says which bodies it needs; the source sends them under a credit, straight through the
reader thread to the passive place; the passive place tells when a batch is durable. Several
batches are on their way at once, and are settled in their order.

Invariant: the cursor that is asked from is one that the passive place has told as durable, or
follows one that is on its way to it; nothing is removed but under a permit that this module
renews, and it renews it only while the source's last scan was whole and its root is undoubted.
"""

from __future__ import annotations

import hashlib
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.agent.wire import Frame, unpack
from orchestrator.errors import AgentFault, LinkLost
from orchestrator.inventory.model import Pair
from orchestrator.remote.pending import Pending
from orchestrator.replication import firewall
from orchestrator.replication.firewall import Death, judge
from orchestrator.replication.heads import REMEDY, blamed, checked
from orchestrator.replication.pace import Pace
from orchestrator.replication.report import PassiveStatus, Tally, Waiting
from orchestrator.replication.unasked import CREDIT, End, Unasked

DEPTH = 4
BATCH_ROWS = 2_000
BATCH_BYTES = 24 << 20
FIRST_BYTES = 2 << 20
"""The first batches are small: what is on its way before the link was measured goes uncompressed."""
PERMIT_SECONDS = 5.0
PERMIT_EVERY = 2.0
AGAIN_AT_ONCE = 1_000
MOST_ROUNDS = 1_000
"""How often one pull begins anew because the passive place wants something to be offered again."""
PATIENCE = 600.0
"""Seconds that one batch may take. The heartbeat finds a dead peer long before."""

_TALLY = {
    "messages": "messages", "message_bytes": "message_bytes", "linked": "linked", "adopted": "linked",
    "renamed": "renamed",
    "folders": "folders", "folders_renamed": "folders_renamed", "sidecars": "sidecars", "deleted": "deleted",
    "waiting": "waiting",
}  # fmt: skip


class Numbers:
    """Batch and group numbers, unique within a session."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def next(self) -> int:
        return next(self._count)


@dataclass
class Flight:
    """A batch on its way."""

    number: int
    head: dict[str, Any]
    blob: Frame
    fetch: Pending | None
    level: int  # of compression that its bodies were fetched with
    started: float


Trace = Callable[[str, int], None]
"""(base name, CLOCK_MONOTONIC nanoseconds of the directory fsync) of a message made durable on a passive place."""


class Flow:
    """One store to one passive place. One thread drives it; frames come in on the readers' threads."""

    def __init__(
        self, pair: Pair, source: End, sink: End, place: str, numbers: Numbers,
        *, wake: Callable[[], None], trace: Trace | None = None, suspect: Callable[[], bool] = bool,
    ) -> None:  # fmt: skip
        self.pair, self.source, self.sink = pair, source, sink
        self.status = PassiveStatus(host=sink.host, place=place)
        self.tally = Tally()
        self.live = self.dead = 0
        self.whole = False
        self.facts: dict[str, Any] = {}  # what the source last told of itself
        self._numbers = numbers
        self._group = numbers.next()
        self._trace = trace
        self._suspect = suspect  # whether the active place is under suspicion
        self._flights: deque[Flight] = deque()
        self._permit_at = 0.0
        self._told: dict[str, Any] = {}
        self._pace = Pace()
        self._settled_at = 0.0
        self._settled = 0  # batches
        self._waited = 0.0
        self.deletes = True
        self.ahead = False  # the source is still being read: take what it has found by now, but no removals
        self._unasked = Unasked(source, sink, self._group, wake)

    # --- opening ----------------------------------------------------------------------

    def open(self, facts: dict[str, Any]) -> None:
        """Open the passive store for this source, as the source described itself. Raises AgentFault, LinkLost."""
        self.facts = facts
        marker = facts["marker"]
        origin = {key: facts[key] for key in ("index", "horizon", "head")}
        origin.update(_age(marker))
        told = self._ask_sink(
            "store.open", "sink", side="sink", store_id=marker["store"], source=origin,
            undelete=self.pair.undelete, owner=self.pair.owner,
            other_dovecot=self.pair.hosts[self.sink.host].other_dovecot,
        )  # fmt: skip
        self._note(told)
        self.live, self.dead, self.whole = int(told["live"]), int(told["dead"]), bool(told["whole"])
        if told["again"]:
            self._ask_source("source.again", rows=told["again"])
        self._unasked.give_credit(CREDIT)

    def close(self) -> None:
        self._unasked.close()

    @property
    def dirty(self) -> bool:
        """Whether something changed at the source since the last pull began."""
        return self._unasked.dirty

    def _ask_source(self, verb: str, **head: Any) -> dict[str, Any]:
        answer = self.source.link.request(verb, {**head, "store": self.source.path}, timeout=PATIENCE)
        return checked(self.source.host, verb, answer.head)

    def _ask_sink(self, verb: str, which: str = "", /, **head: Any) -> dict[str, Any]:
        answer = self.sink.link.request(verb, {**head, "store": self.sink.path}, timeout=PATIENCE)
        return checked(self.sink.host, f"{verb} {which}".strip(), answer.head)

    # --- the permit -------------------------------------------------------------------

    @property
    def may_delete(self) -> bool:
        """Whether removals may flow at all: the operator lets them, and nothing about the source is odd."""
        return self.deletes and firewall.permits(self.facts, suspect=self._suspect())

    def renew_permit(self) -> None:
        now = time.monotonic()
        if self.may_delete and now - self._permit_at >= PERMIT_EVERY:
            self._permit_at = now
            self._ask_sink("sink.permit", seconds=PERMIT_SECONDS)
        elif not self.may_delete and self._permit_at:
            self._permit_at = 0.0
            self._ask_sink("sink.permit", seconds=0.0)

    @property
    def permit_open(self) -> bool:
        return bool(self._permit_at) and time.monotonic() - self._permit_at < PERMIT_SECONDS

    # --- pulling ----------------------------------------------------------------------

    def pull(self, progress: Callable[[], None] | None = None, *, once: bool = False) -> None:
        """Bring over everything that the cursor lacks, until nothing is left. Raises LinkLost, AgentFault.

        With `once` it ends where the source had come to when it was last asked: a source that changes faster than it
        can be followed would otherwise never let go.
        """
        rounds = 0
        while True:
            self._unasked.dirty = False
            before = (self.live, self.dead)
            moved = self._pull_once(progress)
            if again := self._unasked.take_again():
                rounds += 1
                if rounds > MOST_ROUNDS:
                    raise AgentFault(f"{self.sink.host}: it asks for the same again and again", remedy=REMEDY)
                for at in range(0, len(again), AGAIN_AT_ONCE):
                    self._ask_source("source.again", rows=again[at : at + AGAIN_AT_ONCE])
                continue
            if once or not moved or (self.live, self.dead) == before:
                return

    def _pull_once(self, progress: Callable[[], None] | None) -> bool:
        self.renew_permit()
        live, dead = self.live, self.dead
        asked: Pending | None = self._offer(live, dead)
        moved = False
        try:
            while asked is not None:
                offer = asked.result(PATIENCE)
                head = self._checked_offer(offer.head, live, dead)
                live = int(head["live"])
                self.facts.update({key: head[key] for key in ("whole", "messages") if key in head})
                asked = self._offer(int(head["live"]), dead) if head["more"] else None
                if not head["changes"] and not head["more"]:
                    self._advance_idle(int(head["live"]))
                    break
                moved = True
                self._launch(offer)
                while len(self._flights) >= DEPTH:
                    self._settle()
                    if progress:
                        progress()
            while self._flights:
                self._settle()
                if progress:
                    progress()
        except BaseException:
            self._flights.clear()
            self._unasked.expected.clear()
            raise
        return moved

    def _checked_offer(self, head: dict[str, Any], live: int, dead: int) -> dict[str, Any]:
        """An offer's head, if it can follow this cursor."""
        checked(self.source.host, "source.offer", head)
        if head["live"] < live or head["dead"] < dead or (head["more"] and head["live"] == live):
            raise AgentFault(
                f"{self.source.host}: its offer of changes up to {head['live']} doesn't follow {live}",
                code="garbled", remedy=REMEDY,
            )  # fmt: skip
        return head

    def _advance_idle(self, live: int) -> None:
        """Nothing was offered up to `live`: every change since the cursor has been overtaken by later ones."""
        if not self._flights:
            self.live = max(self.live, live)

    def _offer(self, live: int, dead: int) -> Pending:
        number = self._numbers.next()
        head = {
            "store": self.source.path, "batch": number, "live": live, "dead": dead, "rows": BATCH_ROWS,
            "bytes": min(BATCH_BYTES, FIRST_BYTES << min(self._settled, 8)),
            "deletes": self.may_delete and not self.ahead, "patient": self.ahead,
        }  # fmt: skip
        return self.source.link.start("source.offer", head)

    def _launch(self, offer: Frame) -> None:
        """Hand an offer to the passive place, and have the source send what it needs."""
        head = dict(offer.head)
        number = int(head["batch"])
        hold = self._judge(head) if head["deaths"] else {}
        keys = ("batch", "live", "dead", "items", "epoch", "users", "groups")
        ask = {key: head[key] for key in keys} | {"store": self.sink.path, "group": self._group, "hold": hold}
        if "complete" in head:
            ask["complete"] = head["complete"]
        need = self.sink.link.start("sink.consider", ask, offer.blob, deflated=offer.deflated)
        try:
            answer = need.result(PATIENCE)
        except AgentFault as fault:
            raise blamed(fault, self.source.host, f"{self.sink.host} can't understand its offer") from fault
        checked(self.sink.host, "sink.consider", answer.head)
        self.status.problems += [str(each) for each in answer.head["refused"]]
        del self.status.problems[:-50]
        self.tally.refused += len(answer.head["refused"])
        fetch = None
        if answer.head["need"]:
            self._unasked.expected.add(number)
            request = {"store": self.source.path, "batch": number, "group": self._group, "deflate": self._pace.level}
            if self.pair.bandwidth:
                request["rate"] = self.pair.bandwidth
            fetch = self.source.link.start("source.fetch", request, answer.blob, deflated=answer.deflated)
        self._flights.append(Flight(number, head, offer, fetch, self._pace.level, time.monotonic()))

    def _judge(self, head: dict[str, Any]) -> dict[str, str]:
        """The firewall's word on a batch's removals."""
        self._note(self._ask_sink("sink.status"))
        deaths = [Death(str(account), int(n), int(messages)) for account, n, messages in head["deaths"]]
        applied = {str(account): int(n) for account, n in self._told["counted"]}
        waiting = frozenset(each.account for each in self.status.waiting)
        verdict = judge(deaths, applied, waiting, int(self.facts.get("messages", 0)), self.pair.delete_budget)
        for account in verdict.tripped:
            self._ask_sink(
                "sink.recall", account=account, seconds=self.pair.delete_budget.within, reason=verdict.hold[account]
            )
        return verdict.hold

    def _settle(self) -> None:
        """Wait until the oldest batch on its way is durable."""
        flight = self._flights[0]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                done = self._unasked.done.get(timeout=0.25)
                break
            except queue.Empty:
                self._still_there(flight, deadline)
            self.renew_permit()
        checked(self.sink.host, "done", done)
        if (done["done"], done["live"]) != (flight.number, flight.head["live"]):
            raise AgentFault(
                f"{self.sink.host}: it settled batch {done['done']} up to {done['live']}, and batch {flight.number}"
                f" up to {flight.head['live']} was due",
                code="garbled", remedy=REMEDY,
            )  # fmt: skip
        self._flights.popleft()
        self._unasked.expected.discard(flight.number)
        self._take(flight, done)

    def _still_there(self, flight: Flight, deadline: float) -> None:
        for link in (self.source.link, self.sink.link):
            if link.lost.is_set():
                raise LinkLost(f"{link.name}: {link.why}")
        if flight.fetch is not None and flight.fetch.done:
            try:
                flight.fetch.result(0)
            except AgentFault as fault:
                raise blamed(fault, self.sink.host, f"{self.source.host} never offered what it wants") from fault
        if time.monotonic() > deadline:
            raise LinkLost(f"{self.sink.host}: a batch wasn't settled within {PATIENCE:g} s")

    def _take(self, flight: Flight, done: dict[str, Any]) -> None:
        self.live, self.dead = int(done["live"]), int(done["dead"])
        self.status.watermark = time.time()
        for key, count in done["tally"].items():
            if key in _TALLY:
                name = _TALLY[key]
                setattr(self.tally, name, getattr(self.tally, name) + int(count))
                setattr(self.status.tally, name, getattr(self.status.tally, name) + int(count))
        self._unasked.once_more(done["again"])
        self.status.problems += [str(each) for each in done["problems"]]
        del self.status.problems[:-50]
        plain = int(done["tally"].get("message_bytes", 0))
        self._measure(flight, plain, int(done.get("idle_ms", 0)) / 1000)
        if self._trace is not None:
            for _, rows in unpack(flight.blob)["placements"]:
                for row in rows:
                    self._trace(str(row[0]), int(done["durable_ns"]))

    def _measure(self, flight: Flight, plain: int, idle: float) -> None:
        """Give the pace a sample. Batches overlap: a batch's time runs from the one before it was settled."""
        now = time.monotonic()
        seconds = now - max(flight.started, self._settled_at)
        self._settled_at = now
        self._settled += 1
        if flight.fetch is not None and flight.fetch.done:
            # Fetches overlap: the source counts its waits from its start, and the difference is this interval's.
            waited = int(flight.fetch.result(0).head.get("waited_ms", 0)) / 1000
            since, self._waited = waited - self._waited, waited
            self._pace.sample(plain, seconds, since, idle, flight.level)

    # --- the end of a round, and telling ----------------------------------------------

    def sweep(self, adopting: bool) -> dict[str, Any]:
        """End a round in which everything was compared: what the source doesn't have goes, or waits.

        When a copy is adopted, its operator has said so; otherwise the firewall has its say.
        """
        counts = self._ask_sink("sink.sweep", "count", count_only=True)["unseen"]
        hold: dict[str, str] = {}
        if not adopting:
            self._note(self._ask_sink("sink.status"))
            deaths = [Death(str(account), int(n), 0) for account, n in counts]
            waiting = frozenset(each.account for each in self.status.waiting)
            messages = int(self.facts.get("messages", 0))
            hold = judge(deaths, {}, waiting, messages, self.pair.delete_budget).hold
        self._permit_at = min(self._permit_at, time.monotonic() - PERMIT_EVERY)
        self.renew_permit()
        tally: dict[str, Any] = self._ask_sink("sink.sweep", hold=hold)["tally"]
        self.whole = True
        self.tally.deleted += int(tally.get("deleted", 0))
        self.tally.waiting += int(tally.get("waiting", 0))
        return tally

    def adopt(self) -> int:
        """Have the passive place note what stands there, to be compared instead of sent again; how many messages."""
        count = int(self._ask_sink("sink.adopt")["messages"])
        self.live = 0
        return count

    def set_aside(self, *, count_only: bool) -> int:
        """Have the passive place emptied into its quarantine; how many messages. It has to be opened anew then."""
        if not count_only:
            self._permit_at = min(self._permit_at, time.monotonic() - PERMIT_EVERY)
            self.renew_permit()
        return int(self._ask_sink("sink.set-aside", count_only=count_only)["messages"])

    def release(self, account: str) -> int:
        """Apply an account's waiting deletions; how many messages. Raises AgentFault where no permit may be given."""
        self._permit_at = min(self._permit_at, time.monotonic() - PERMIT_EVERY)
        self.renew_permit()
        count = int(self._ask_sink("sink.release", account=account)["deleted"])
        self.tally.deleted += count
        self.status.tally.deleted += count
        self._note(self._ask_sink("sink.status"))
        return count

    def plan(self) -> Tally:
        """What a pull would do, counted by the passive place from the same offers. Nothing is changed."""
        tally = Tally()
        live = self.live
        while True:
            offer = self._offer(live, self.dead).result(PATIENCE)
            self._checked_offer(offer.head, live, self.dead)
            head = {"store": self.sink.path, "items": offer.head["items"]}
            told = self.sink.link.request("sink.plan", head, offer.blob, deflated=offer.deflated, timeout=PATIENCE).head
            checked(self.sink.host, "sink.plan", told)
            for name, count in told["tally"].items():
                setattr(tally, name, getattr(tally, name) + int(count))
            live = int(offer.head["live"])
            if not offer.head["more"]:
                return tally

    def _note(self, told: dict[str, Any]) -> None:
        self._told = told
        status = self.status
        status.connected = True
        status.waiting = [
            Waiting(waiting_id(self.sink, str(account), n, last), str(account), int(n), str(why), float(since))
            for account, n, why, since, last in told["waiting"]
        ]
        status.sidecars_wait = int(told["sidecars_wait"])
        status.watermark = told["watermark"] if told["watermark"] is not None else status.watermark
        for problem in told["problems"]:
            if problem not in status.problems:
                status.problems.append(str(problem))

    def refresh(self) -> None:
        """Ask both ends how they are; the lag comes from the source's own clock."""
        self.facts = self._ask_source("source.status", live=self.live, dead=self.dead)
        self._note(self._ask_sink("sink.status", source=_age(self.facts["marker"])))
        self.status.pending = int(self.facts["pending"])
        age = self.facts["age"]
        self.status.lag_seconds = 0.0 if not self.status.pending else age

    @property
    def level(self) -> int:
        """The compression level in use, 0 for none."""
        return self._pace.level


def _age(marker: dict[str, Any]) -> dict[str, Any]:
    """What a passive place remembers of the source, to know an older copy of it."""
    return {key: marker[key] for key in ("epoch", "generation", "nonce")}


def waiting_id(sink: End, account: str, count: int, last: float) -> str:
    """A short name for what of an account waits on a place: another deletion, or one less, makes it another.

    `last` is when the newest of them began to wait; so no two waves of an account have the same name.
    """
    wave = f"{sink.host}\0{sink.path}\0{account}\0{count}\0{last!r}"
    return hashlib.sha256(wave.encode("utf-8", "surrogateescape")).hexdigest()[:8]
