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

from orchestrator.agent.wire import Frame, Kind, unpack
from orchestrator.errors import BrokenPromise, LinkLost
from orchestrator.inventory.model import Pair
from orchestrator.remote.host import Conversation
from orchestrator.remote.pending import Pending
from orchestrator.replication.firewall import Death, judge
from orchestrator.replication.pace import Pace
from orchestrator.replication.report import PassiveStatus, Tally, Waiting

DEPTH = 4
BATCH_ROWS = 2_000
BATCH_BYTES = 24 << 20
FIRST_BYTES = 6 << 20
"""The first batches are small: what is on its way before the link was measured goes uncompressed."""
CREDIT = 32 << 20
PERMIT_SECONDS = 5.0
PERMIT_EVERY = 2.0
PATIENCE = 600.0
"""Seconds that one batch may take. The heartbeat finds a dead peer long before."""

_TALLY = {
    "messages": "messages", "message_bytes": "message_bytes", "linked": "linked", "adopted": "linked",
    "renamed": "renamed",
    "folders": "folders", "folders_renamed": "folders_renamed", "sidecars": "sidecars", "deleted": "deleted",
    "waiting": "waiting",
}  # fmt: skip


@dataclass
class End:
    """One store on one host: its conversation and the path there."""

    host: str
    link: Conversation
    path: str


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
        *, wake: Callable[[], None], trace: Trace | None = None,
    ) -> None:  # fmt: skip
        self.pair, self.source, self.sink = pair, source, sink
        self.status = PassiveStatus(host=sink.host, place=place)
        self.tally = Tally()
        self.live = self.dead = 0
        self.whole = False
        self.facts: dict[str, Any] = {}  # what the source last told of itself
        self.dirty = False  # something changed at the source since the last pull began
        self._wake = wake
        self._numbers = numbers
        self._group = numbers.next()
        self._trace = trace
        self._done: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._again: list[Any] = []
        self._flights: deque[Flight] = deque()
        self._expected: set[int] = set()
        self._permit_at = 0.0
        self._told: dict[str, Any] = {}
        self._pace = Pace()
        self._settled_at = 0.0
        self._settled = 0  # batches
        self._waited = 0.0
        self._arrived = 0
        self.deletes = True
        self._unsubscribe = (source.link.subscribe(self._from_source), sink.link.subscribe(self._from_sink))

    # --- frames, on the readers' threads ----------------------------------------------

    def _from_source(self, frame: Frame) -> None:
        if frame.kind is Kind.BODY:
            if frame.head.get("b") in self._expected:
                self._arrived += len(frame.blob)
                self.sink.link.send(frame)
        elif frame.kind is Kind.NOTICE and frame.head.get("changed") == self.source.path:
            self.dirty = True
            self._wake()

    def _from_sink(self, frame: Frame) -> None:
        if frame.head.get("store") != self.sink.path:
            return
        if frame.kind is Kind.CREDIT and frame.head.get("g") == self._group:
            self._give_credit(int(frame.head["bytes"]))
        elif frame.kind is Kind.NOTICE and "done" in frame.head:
            self._done.put(frame.head)
        elif frame.kind is Kind.NOTICE and "again" in frame.head:
            self._again += frame.head["again"]
            self.dirty = True
            self._wake()

    def _give_credit(self, count: int) -> None:
        self.source.link.send(Frame(Kind.CREDIT, 0, {"g": self._group, "bytes": count, "store": self.source.path}))

    # --- opening ----------------------------------------------------------------------

    def open(self, facts: dict[str, Any]) -> None:
        """Open the passive store for this source, as the source described itself. Raises AgentFault, LinkLost."""
        self.facts = facts
        marker = facts["marker"]
        origin = {key: facts[key] for key in ("index", "horizon", "head")}
        origin.update(_age(marker))
        told = self._ask_sink(
            "store.open", side="sink", store_id=marker["store"], source=origin,
            undelete=self.pair.undelete, owner=self.pair.owner,
        )  # fmt: skip
        self._note(told)
        self.live, self.dead, self.whole = int(told["live"]), int(told["dead"]), bool(told["whole"])
        if told["again"]:
            self._ask_source("source.again", rows=told["again"])
        self._give_credit(CREDIT)

    def close(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def _ask_source(self, verb: str, **head: Any) -> dict[str, Any]:
        return self.source.link.request(verb, {**head, "store": self.source.path}, timeout=PATIENCE).head

    def _ask_sink(self, verb: str, **head: Any) -> dict[str, Any]:
        return self.sink.link.request(verb, {**head, "store": self.sink.path}, timeout=PATIENCE).head

    # --- the permit -------------------------------------------------------------------

    @property
    def may_delete(self) -> bool:
        """Whether removals may flow at all: the operator lets them, and nothing about the source is odd."""
        return self.deletes and bool(self.facts.get("whole")) and not self.facts.get("trouble")

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

    def pull(self, progress: Callable[[], None] | None = None) -> None:
        """Bring over everything that the cursor lacks, until nothing is left. Raises LinkLost, AgentFault."""
        while True:
            self.dirty = False
            before = (self.live, self.dead)
            moved = self._pull_once(progress)
            if self._again:
                rows, self._again = self._again, []
                self._ask_source("source.again", rows=rows)
                continue
            if not moved or (self.live, self.dead) == before:
                return

    def _pull_once(self, progress: Callable[[], None] | None) -> bool:
        self.renew_permit()
        live, dead = self.live, self.dead
        asked: Pending | None = self._offer(live, dead)
        moved = False
        try:
            while asked is not None:
                offer = asked.result(PATIENCE)
                head = offer.head
                self.facts["whole"] = head["whole"]
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
            self._expected.clear()
            raise
        return moved

    def _advance_idle(self, live: int) -> None:
        """Nothing was offered up to `live`: every change since the cursor has been overtaken by later ones."""
        if not self._flights:
            self.live = max(self.live, live)

    def _offer(self, live: int, dead: int) -> Pending:
        number = self._numbers.next()
        head = {
            "store": self.source.path, "batch": number, "live": live, "dead": dead, "rows": BATCH_ROWS,
            "bytes": min(BATCH_BYTES, FIRST_BYTES << min(self._settled, 8)), "deletes": self.may_delete,
        }  # fmt: skip
        return self.source.link.start("source.offer", head)

    def _launch(self, offer: Frame) -> None:
        """Hand an offer to the passive place, and have the source send what it needs."""
        head = dict(offer.head)
        number = int(head["batch"])
        hold = self._judge(head) if head["deaths"] else {}
        keys = ("batch", "live", "dead", "items", "epoch", "users", "groups")
        ask = {key: head[key] for key in keys} | {"store": self.sink.path, "group": self._group, "hold": hold}
        need = self.sink.link.start("sink.consider", ask, offer.blob, deflated=offer.deflated)
        answer = need.result(PATIENCE)
        self.status.problems += [str(each) for each in answer.head["refused"]]
        del self.status.problems[:-50]
        self.tally.refused += len(answer.head["refused"])
        fetch = None
        if answer.head["need"]:
            self._expected.add(number)
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
                done = self._done.get(timeout=0.25)
                break
            except queue.Empty:
                self._still_there(flight, deadline)
            self.renew_permit()
        if int(done["done"]) != flight.number:
            raise BrokenPromise(f"{self.sink.host} settled batch {done['done']} before batch {flight.number}")
        self._flights.popleft()
        self._expected.discard(flight.number)
        self._take(flight, done)

    def _still_there(self, flight: Flight, deadline: float) -> None:
        for link in (self.source.link, self.sink.link):
            if link.lost.is_set():
                raise LinkLost(f"{link.name}: {link.why}")
        if flight.fetch is not None and flight.fetch.done:
            flight.fetch.result(0)
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
        self._again += done["again"]
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
            self._pace.sample(plain, seconds, min(since, idle), flight.level)

    # --- the end of a round, and telling ----------------------------------------------

    def sweep(self, adopting: bool) -> dict[str, Any]:
        """End a round in which everything was compared: what the source doesn't have goes, or waits.

        When a copy is adopted, its operator has said so; otherwise the firewall has its say.
        """
        counts = self._ask_sink("sink.sweep", count_only=True)["unseen"]
        hold: dict[str, str] = {}
        if not adopting:
            self._note(self._ask_sink("sink.status"))
            deaths = [Death(str(account), int(n), 0) for account, n in counts]
            waiting = frozenset(each.account for each in self.status.waiting)
            messages = int(self.facts.get("messages", 0))
            hold = judge(deaths, {}, waiting, messages, self.pair.delete_budget).hold
        self._permit_at = 0.0
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

    def release(self, account: str) -> int:
        """Apply an account's waiting deletions; how many messages. Raises AgentFault where no permit may be given."""
        self._permit_at = 0.0
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
            head = {"store": self.sink.path, "items": offer.head["items"]}
            told = self.sink.link.request("sink.plan", head, offer.blob, deflated=offer.deflated, timeout=PATIENCE).head
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
            Waiting(waiting_id(self.sink.path, str(account)), str(account), int(n), str(why), float(since))
            for account, n, why, since in told["waiting"]
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


def waiting_id(store: str, account: str) -> str:
    """A short name for an account's waiting deletions, the same until they are released."""
    return hashlib.sha256(f"{store}\0{account}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
