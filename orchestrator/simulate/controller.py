"""A controller: the real conductor over a journal on a real disk, in a process that may die at any instant.

It dies before and after every write of the journal, and before and after everything that it asks a host. What it left
is only the journal; its next life begins with that, as the daemon does.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from orchestrator.agent.marker import ACTIVE
from orchestrator.agent.serve import Fault
from orchestrator.agent.wire import Frame, inflate
from orchestrator.errors import AgentFault, HostError, LinkLost, Refused, StillRunning
from orchestrator.failover.conductor import Ask, Conductor
from orchestrator.failover.course import Do, Move
from orchestrator.failover.playbook import Playbook
from orchestrator.failover.steps import MAKERS
from orchestrator.failover.world import Answered, Equality, Head
from orchestrator.records.journal import Journal, Operation
from orchestrator.records.marks import Json, Phase
from orchestrator.remote.host import Conversation
from orchestrator.replication import firewall
from orchestrator.replication.homecoming import Store
from orchestrator.simulate.agents import Later
from orchestrator.simulate.clockwork import Killed, Process
from orchestrator.simulate.guards import PAIR
from orchestrator.simulate.laws import Broken
from orchestrator.simulate.returning import frame
from orchestrator.simulate.site import MAIL, Site
from orchestrator.traffic.switch import Pointer
from orchestrator.traffic.vip import Vip

LOOKS = {"look", "list", "laid", "read"}
READS = {"store.look", "store.cuts", "store.differences", "store.cut_rows", "store.read_aside", "copy.offer"}
WALL = 1_764_000_000.0
SILENT = 60.0
"""Seconds after which a peer that hasn't answered counts as dead, whatever it was given: heartbeats find it (G6)."""


class Kept(Journal):
    """The journal; `instant` is called before and after every write. `acting`: the newest mark says so."""

    def __init__(self, directory: Path, now: Callable[[], float], instant: Callable[[str], None]) -> None:
        super().__init__(directory, now)
        self._instant = instant
        self.acting = False

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._instant("before a write of the journal")
        with super()._writing() as db:
            yield db
        self._instant("after a write of the journal")

    def mark(self, name: str, number: int, verb: str, phase: Phase, said: str = "", parameters: Json = None) -> None:
        self.acting = False
        super().mark(name, number, verb, phase, said, parameters)
        self.acting = phase in (Phase.ACTING, Phase.UNDOING)


class Line:
    """A conversation with a place's agent, as `replication.homecoming` speaks to a store."""

    def __init__(self, life: Life, place: str) -> None:
        self.name, self._life, self._place = f"{place}.example", life, place

    def request(
        self, verb: str, head: Head, blob: bytes = b"", *, deflated: bool = False, timeout: float = 0.0
    ) -> Frame:
        plain = bytes(inflate(frame({}, blob, deflated)))
        answer = self._life.ask(self._place, verb, head, timeout, plain)
        return frame(dict(answer.head), answer.blob)


class Life:
    """One life of a controller: a `World`, its `Copying` and its clock, for the steps of one operation."""

    def __init__(self, site: Site, at: str, directory: Path, dies_at: int) -> None:
        self.site, self.at, self.home = site, at, directory
        self.dies_at, self.instants = dies_at, 0
        self.journal: Kept | None = None
        self.process: Process | None = None
        self.wanted = Ask.GO_ON
        self.ended: Operation | None = None
        self.blind = False

    # ---- its process -------------------------------------------------------------------------------------------------

    def begins(self, work: Callable[[Conductor[Any], Kept], Operation | None]) -> None:
        """`work` with a conductor on the journal that is there."""

        def lives() -> None:
            with contextlib.closing(Kept(self.home, self.wall, self._instant)) as self.journal:
                self.site.copies = self.journal.running(PAIR) is None  # else the pair's thread begins away
                conductor: Conductor[Any] = Conductor(self.journal, MAKERS, self, self, self._told)
                try:
                    self.ended = work(conductor, self.journal)
                    self.site.copies = True  # the pair's thread follows again
                except Killed:
                    self.site.copies = False  # replication dies with its daemon
                    raise
                except (Refused, HostError, StillRunning) as error:
                    self.site.say(f"{self.at}: the controller ends: {error}")
                    self.site.copies = True

        self.process = Process(self.site.clockwork, lives)

    @property
    def alive(self) -> bool:
        return self.process is not None and not self.process.ended

    def _instant(self, where: str) -> None:
        self.instants += 1
        if self.instants == self.dies_at:
            self.site.say(f"{self.at}: the controller dies {where}")
            raise Killed

    def _told(self, operation: Operation, move: Move) -> None:
        verb = ""
        if move.number:
            verb = self.site.lines[operation.opening.journey][move.number - 1]
        if not (move.again and move.do in (Do.PROBE, Do.VERIFY)):
            end = f" {move.state}" if move.do is Do.END else ""
            self.site.say(f"{self.at}: {move.do.name.lower()}{end} {verb}: {move.why}".replace(operation.id, "op"))
        if verb == "cut" and move.do is Do.PASS and not self.site.rivals:
            self.site.cutting.add(operation.id)
        if move.do in (Do.PROBE, Do.VERIFY):
            self.blind = False
        if move.do is Do.ACT and self.blind and verb != "fence":
            begun = any(mark.number == move.number and mark.phase is Phase.ACTING for mark in self._marks(operation.id))
            if not begun:
                raise Broken(f"G8: {verb} is done for the first time, though its look had no answer")

    def _marks(self, name: str) -> Sequence[Any]:
        return self.journal.marks(name) if self.journal is not None else ()

    def now(self) -> float:
        return self.site.clockwork.now

    def pause(self, seconds: float) -> None:
        assert self.process is not None
        self.process.wait(max(0.001, seconds))

    # ---- what it asks ------------------------------------------------------------------------------------------------

    def ask(self, place: str, verb: str, head: Head, within: float, blob: bytes = b"") -> Answered:
        changes = not (verb in READS or _asked(verb, head) in ("status", *LOOKS))
        if changes and not (self.journal is not None and self.journal.acting):
            raise Broken(f"G7: {_asked(verb, head)} was asked of the {place}, and no mark says that it is being done")
        if changes:
            self._instant(f"before it asks for {verb} {_asked(verb, head)}")
        answer = self._asked(place, verb, head, within, blob)
        if changes:
            self._instant(f"after it asked for {verb} {_asked(verb, head)}")
        return answer

    def _asked(self, place: str, verb: str, head: Head, within: float, blob: bytes) -> Answered:
        told: list[Answered | Fault] = []

        def begun(wake: Callable[[], None]) -> None:
            def answers(result: Answered | Fault) -> None:
                told.append(result)
                wake()

            self.site.network.stream(self.at, place, lambda: self._served(place, verb, head, blob, answers))

        assert self.process is not None
        self.process.wait(min(max(0.1, within), SILENT), begun)
        if not told:
            self.blind = True
            raise LinkLost(f"the {place} didn't answer to {verb} within {within:.1f} s")
        if isinstance(told[0], Fault):
            self.blind = True
            raise AgentFault(f"{place}: {told[0]}", code=told[0].code)
        return told[0]

    def _served(
        self, place: str, verb: str, head: Head, blob: bytes, answers: Callable[[Answered | Fault], None]
    ) -> None:
        host = self.site.hosts[place]
        if not host.up:
            return
        if host.frozen:
            boot = host.boot
            self.site.clockwork.after(
                1.0, lambda: self._served(place, verb, head, blob, answers) if host.boot == boot else None
            )
            return
        result: Answered | Fault | Later
        try:
            found = self.site.agents[place].answer(verb, head, blob)
            result = found if isinstance(found, Later) else Answered(*found)
        except Fault as fault:
            result = fault
        if _asked(verb, head) not in ("status", *LOOKS) and verb not in READS:
            what = str(result) if isinstance(result, Fault) else "done" if isinstance(result, Answered) else "begun"
            self.site.say(f"{place}: {verb} {_asked(verb, head)}: {what}")
        if isinstance(result, Later):
            self._later(place, result, answers)
        else:
            self._back(place, result, answers)

    def _later(self, place: str, work: Later, answers: Callable[[Answered | Fault], None]) -> None:
        host, boot = self.site.hosts[place], self.site.hosts[place].boot

        def over() -> None:
            if not host.up or host.boot != boot:
                return
            if host.frozen:
                self.site.clockwork.after(1.0, over)
                return
            try:
                self._back(place, Answered(*work.then()), answers)
            except Fault as fault:
                self._back(place, fault, answers)

        self.site.clockwork.after(work.seconds, over)

    def _back(self, place: str, result: Answered | Fault, answers: Callable[[Answered | Fault], None]) -> None:
        self.site.network.stream(place, self.at, lambda: answers(result))

    # ---- World -------------------------------------------------------------------------------------------------------

    @property
    def copying(self) -> Life:
        return self

    def has(self, place: str) -> bool:
        return place in self.site.hosts

    def wall(self) -> float:
        return WALL + self.site.clockwork.now + self.site.wall_jump

    def host(self, place: str) -> str:
        return f"{place}.example"

    address = host

    def stores(self, place: str) -> Sequence[str]:
        return ["/store"]

    def mailstores(self, place: str) -> Sequence[Store]:
        marker = self.ask(place, "store.look", {}, 5.0).head["marker"]
        if marker is None:
            raise Refused(f"The {place}'s store has no marker.", remedy="Mount its file system.")
        return [Store(cast(Conversation, Line(self, place)), "/store", marker["store"], None, True)]

    def directory(self) -> Path:
        return self.home

    def qresync_after(self) -> float:
        return 30 * 86400.0

    def leased(self) -> bool:
        return "witness" in self.site.hosts

    def pointers(self) -> Sequence[Pointer[Any]]:
        return []

    def vip(self) -> Vip | None:
        return None

    def cut_off(self, place: str, epoch: int, within: float) -> str:
        """A device that works cuts the power, and shows it."""
        if not self.site.device:
            return ""
        self._instant("before it cuts the power")
        self.pause(min(within, 1.0))
        self.site.power_cut(place)
        self.site.counts_as_off(place)
        self._instant("after it cut the power")
        return f"the {place} is off, by its device"

    def attested(self, place: str, epoch: int) -> str:
        if not self.site.states or self.site.hosts[place].up:
            return ""
        self.site.counts_as_off(place)
        return f"an operator states that the {place} is off"

    def unready(self, journey: str) -> Sequence[str]:
        return [] if self.lag() is not None else ["copying: how much the passive place lacks isn't known"]

    def outside(self, place: str, within: float) -> str:
        self.pause(min(within, 0.2))
        host = self.site.hosts[place]
        seen = (self.at, place) not in self.site.network.cut and host.answers()
        return "" if seen else f"the {place} doesn't answer"

    # ---- Copying -----------------------------------------------------------------------------------------------------

    def _ends(self) -> tuple[str, str, int]:
        """Source, sink and epoch, as the markers say. Raises HostError."""
        found = {place: self._asked(place, "store.look", {}, 5.0, b"").head["marker"] for place in MAIL}
        if None in found.values():
            raise Refused("A store has no marker.", remedy="Mount its file system.")
        active = [place for place, marker in found.items() if marker["role"] == ACTIVE]
        epochs = {marker["epoch"] for marker in found.values()}
        if len(active) != 1 or len(epochs) != 1:
            raise Refused("The markers don't say who is the source.", remedy="See `mailmirror status`.")
        return active[0], "mirror" if active[0] == "primary" else "primary", epochs.pop()

    def lag(self) -> float | None:
        hosts = self.site.hosts
        if any(not hosts[place].up or (self.at, place) in self.site.network.cut for place in MAIL):
            return None
        ahead = set(hosts["primary"].store.letters) ^ set(hosts["mirror"].store.letters)
        return 2.0 if ahead else 0.0

    def carry(self, within: float) -> Equality:
        return self._carried(within, adopts=False)

    proof = follow = carry

    def adopt(self, within: float) -> Equality:
        return self._carried(within, adopts=True)

    def _carried(self, within: float, *, adopts: bool) -> Equality:
        self._instant("before a pass")
        self.site.copies = False  # the pair's thread is away from the stores, from the first pass of this life on
        ends = self.now() + within
        source, sink, epoch = self._ends()
        while True:
            number = next(self.site.passes)
            offer = self._asked(source, "copy.offer", {"epoch": epoch}, within, b"").head
            deletes = firewall.permits({"whole": True, **offer}, suspect=False)
            head = {"epoch": epoch, "offer": offer, "number": number, "deletes": deletes, "adopts": adopts}
            self._asked(sink, "copy.take", head, within, b"")
            there = self._asked(sink, "copy.sync", {}, within, b"").head["letters"]
            again = self._asked(source, "copy.offer", {"epoch": epoch}, within, b"").head["letters"]
            if there == again or self.now() >= ends:
                self._instant("after a pass")
                return Equality(there == again, f"{len(there)} and {len(again)} letters")

    def carry_indexes(self, operation: str, within: float, *, stopped: bool) -> str:
        del operation, within, stopped
        return "no index caches stand there"

    def let_go(self) -> None:
        self.site.copies = False


def begin(
    playbook: Playbook, active: str, passive: str, by: str, earlier: int = 0
) -> Callable[[Conductor[Any], Kept], Operation | None]:
    """A journey from its beginning, or the one that a dead controller left; `earlier` ones were before it."""

    def work(conductor: Conductor[Any], journal: Kept) -> Operation | None:
        left = journal.running(PAIR)
        if left is not None:
            return conductor.restart(left.id, lambda: conductor._world.wanted)
        before = journal.operations(PAIR)
        if len(before) > earlier:
            return before[-1]
        epoch = int(conductor._world._asked("mirror", "guard", {"order": {"verb": "status"}}, 5.0, b"").head["epoch"])
        begun = conductor.begin(
            playbook, pair=PAIR, active=active, passive=passive, epoch=epoch, by=by, reason="simulated", version="0"
        )
        return conductor.carry_on(begun.id, lambda: conductor._world.wanted)

    return work


def order(verb: str) -> Callable[[Conductor[Any], Kept], Operation | None]:
    """`op resume`, `op rollback` or `op abort` of what is stuck or open."""

    def work(conductor: Conductor[Any], journal: Kept) -> Operation | None:
        left = journal.running(PAIR)
        if left is None:
            return None
        if verb == "resume":
            return conductor.resume(left.id, "an operator", "simulated")
        if verb == "rollback":
            return conductor.roll_back(left.id, "an operator", "simulated")
        return conductor.abort(left.id, "an operator", "simulated")

    return work


def _asked(verb: str, head: Head) -> str:
    if verb == "guard":
        return str(head["order"]["verb"])
    return str(head.get("do", head.get("role", "")))
