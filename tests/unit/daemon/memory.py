"""A pair's replication in memory: it really copies, from one dictionary to another, and can be told to fail.

It is a whole `Replicates`, so that the daemon, the desk and the command line can be tested without hosts.
"""

from __future__ import annotations

import fnmatch
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from orchestrator.errors import HostUnreachable, LinkLost, MailmirrorError, NothingToDo, Refused
from orchestrator.inventory.model import Host, Inventory, Pair, Store
from orchestrator.replication.indexes import Carrying
from orchestrator.replication.report import (
    Deleted,
    Difference,
    LastPass,
    Link,
    PairStatus,
    PassiveStatus,
    Progress,
    Selection,
    SyncReport,
    Tally,
    UndeleteReport,
    VerifyReport,
    Waiting,
)
from orchestrator.web.replicates import Told, Work


@dataclass
class World:
    """Two stores, account/name -> content, and what goes wrong with them. It outlives sessions, as hosts do."""

    active: dict[str, bytes] = field(default_factory=dict)
    passive: dict[str, bytes] = field(default_factory=dict)
    quarantine: dict[str, bytes] = field(default_factory=dict)
    marked: bool = True
    unreachable: bool = False
    waiting: list[Waiting] = field(default_factory=list)
    slow: threading.Event | None = None  # a pass waits for it
    connections: int = 0
    let_go: int = 0
    turned: bool = False  # the mirror's markers say active
    cut: threading.Event = field(default_factory=threading.Event)


class MemorySession:
    """See `web.replicates.Replicates`."""

    def __init__(self, pair: Pair, world: World) -> None:
        if world.unreachable:
            raise HostUnreachable(f"{pair.mirror.name} can't be reached.")
        world.connections += 1
        world.cut.clear()
        self._pair, self._world = pair, world
        self._tally, self._link = Tally(), Link.CATCHING_UP
        self._requests: SimpleQueue[Work] | None = None
        self.closed = threading.Event()

    def sync(
        self, progress: Told | None = None, *, dry_run: bool = False, deletes: bool = True, adopt: bool = False
    ) -> list[SyncReport]:
        self._ready()
        began, tally = time.monotonic(), Tally()
        world = self._world
        lacking = {name: body for name, body in world.active.items() if world.passive.get(name) != body}
        for number, (name, body) in enumerate(lacking.items(), 1):
            tally.messages, tally.message_bytes = tally.messages + 1, tally.message_bytes + len(body)
            if progress:
                progress(Progress("messages", number, len(lacking), tally.message_bytes, 0, time.monotonic() - began))
            if not dry_run:
                world.passive[name] = body
        if world.slow:
            while not world.slow.wait(0.05):
                self._ready()
                if progress:
                    progress(Progress("waiting", tally.messages, 2 * len(lacking), seconds=time.monotonic() - began))
        gone = [name for name in world.passive if name not in world.active] if deletes else []
        tally.deleted = len(gone)
        if not dry_run:
            world.quarantine |= {name: world.passive.pop(name) for name in gone}
            self._tally = Tally(self._tally.messages + tally.messages, deleted=self._tally.deleted + tally.deleted)
        seconds = time.monotonic() - began
        return [SyncReport(self._pair.name, self._pair.mirror.name, tally, seconds, 1000, 2000, planned=dry_run)]

    def follow(self, stop: threading.Event, requests: SimpleQueue[Work]) -> None:
        self._requests = requests
        self.sync()
        self._link = Link.LIVE
        while not stop.is_set():
            requests.get()()
        self._link = Link.STOPPED

    def status(self) -> PairStatus:
        lacking = len(self._world.active.keys() - self._world.passive.keys())
        passive = PassiveStatus(
            self._pair.mirror.name,
            "mirror",
            connected=not self.closed.is_set(),
            pending=lacking,
            lag_seconds=float(lacking),
            waiting=list(self._world.waiting),
            tally=replace(self._tally),
            equal_as_of=1.0,
        )
        return PairStatus(
            self._pair.name,
            self._link,
            active=(self._pair.mirror if self._world.turned else self._pair.primary).name,
            watch="poll",
            messages=len(self._world.active),
            permit_open=True,
            passives=[passive],
            bytes_received=10,
            bytes_sent=20,
            taken_at=time.time(),
        )

    def look(self) -> PairStatus:
        self._ready()
        return self.status()

    def set_aside(self, *, dry_run: bool = False) -> list[str]:
        self._ready()
        count = len(self._world.passive)
        if not dry_run:
            self._world.quarantine |= self._world.passive
            self._world.passive.clear()
        return [f"{count} messages {'would go' if dry_run else 'went'} into quarantine."]

    def verify(self, deep: bool = False) -> list[VerifyReport]:
        self._ready()
        names = {*self._world.active, *self._world.passive}
        wrong = [name for name in sorted(names) if self._world.active.get(name) != self._world.passive.get(name)]
        found = [Difference(name.partition("/")[0], "INBOX", f"{name} differs") for name in wrong]
        return [
            VerifyReport(
                self._pair.name, self._pair.mirror.name, not found, deep, 1, 1, len(names), 0, found, time.time(), 0.01
            )
        ]

    def initialise(self, *, adopt: bool = False, dry_run: bool = False) -> list[str]:
        if self._world.marked:
            raise NothingToDo("The markers are there.")
        if self._world.passive and not adopt:
            raise Refused("The mirror isn't empty.")
        self._world.marked = not dry_run
        return [f"A marker was laid in {store.root}." for store in self._pair.stores]

    def last_pass(self) -> LastPass:
        self.sync()
        [told] = self.verify()
        lacking = [each.what for each in told.differences]
        count = len(self._world.active)
        return LastPass(
            self._pair.name, self._pair.primary.name, 1, told.equal, lacking, time.time(), 1, 1, count, 0.01
        )

    def carry_indexes(self, carrying: Carrying, *, stopped: bool) -> int:
        self._ready()
        return 0

    def let_go(self) -> None:
        self._ready()
        self._world.let_go += 1

    def undelete(self, chosen: Selection, *, dry_run: bool = False) -> list[UndeleteReport]:
        self._ready()
        names = [name for name in self._world.quarantine if fnmatch.fnmatch(name, f"{chosen.account or '*'}/*")]
        found = [
            Deleted(name.partition("/")[0], "INBOX", name, len(self._world.quarantine[name]), 1.0) for name in names
        ]
        size = sum(item.size for item in found)
        if not dry_run:
            self._world.passive |= {name: self._world.quarantine.pop(name) for name in names}
        restored = 0 if dry_run else len(names)
        return [UndeleteReport(self._pair.name, self._pair.mirror.name, len(names), size, restored, dry_run, found)]

    def release(self, waiting: str) -> int:
        self._ready()
        for held in self._world.waiting:
            if held.id == waiting:
                self._world.waiting.remove(held)
                return held.count
        raise Refused(f"Nothing waits under {waiting}.")

    def retire(self, account: str, *, dry_run: bool = False) -> int:
        self._ready()
        if any(name.startswith(f"{account}/") for name in self._world.active):
            raise Refused(f"The account {account} is there.")
        return sum(name.startswith(f"{account}/") for name in self._world.passive)

    def close(self) -> None:
        self.closed.set()
        if self._requests is not None:
            self._requests.put(self._ready)

    def _ready(self) -> None:
        if self._world.cut.is_set() or self.closed.is_set():
            raise LinkLost(f"The link to {self._pair.mirror.name} was lost.")
        if not self._world.marked:
            raise Refused(f"{self._pair.mirror.name} has no marker.", remedy="Run `mailmirror init`.")


def pair(name: str, state_dir: Path) -> Pair:
    """A pair of two hosts that nobody connects to."""
    hosts = {f"{place}.{name}": Host(f"{place}.{name}", place, "192.0.2.1") for place in ("primary", "mirror")}
    return Pair(name, hosts, (Store("/var/vmail"),), audit=0.0, verify=0.0, state_dir=state_dir)


def inventory(path: Path, state_dir: Path, *names: str) -> Inventory:
    """An inventory of such pairs."""
    return Inventory(path, {name: pair(name, state_dir) for name in names})


class Site:
    """A world per pair, and the way to connect to them."""

    def __init__(self, *names: str) -> None:
        self.worlds = {name: World() for name in names}
        self.sessions: list[MemorySession] = []
        self.error: MailmirrorError | Exception | None = None

    def connect(self, pair: Pair, on_event: object = None, suspect: object = None) -> MemorySession:
        if self.error:
            raise self.error
        self.sessions.append(MemorySession(pair, self.worlds[pair.name]))
        return self.sessions[-1]

    def cut(self, name: str) -> None:
        """The link of this pair dies, as it does when a host goes away."""
        self.worlds[name].cut.set()
        for session in self.sessions:
            if not session.closed.is_set():
                session.close()
