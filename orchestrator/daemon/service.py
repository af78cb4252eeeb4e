"""The engine room: builds the pairs' followers, the desk, the socket, the metrics and the timer, and ticks.

A tick looks at every pair: what changed is logged and told to subscribers, and a snapshot is
written on a change or every few seconds, for `status` without a daemon; systemd's watchdog is fed while
every worker is alive. Signals: SIGTERM and SIGINT stop within two seconds; SIGHUP reads the inventory again
and says what needs a restart.

Invariant: only starting can fail as a whole. Later trouble belongs to a pair (its follower
shows it), to a client (its connection ends), or is logged; the tick goes on.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.daemon.alerting import Alerting
from orchestrator.daemon.confirming import Confirming
from orchestrator.daemon.follower import Follower
from orchestrator.daemon.ordering import Decisions
from orchestrator.daemon.readying import Readying
from orchestrator.daemon.showing import serving
from orchestrator.daemon.systemd import Sign, Systemd, overdue
from orchestrator.daemon.timer import Timer
from orchestrator.daemon.travelling import Travelling
from orchestrator.daemon.watching import active_host, watched
from orchestrator.daemon.windows import Windows
from orchestrator.errors import MailmirrorError
from orchestrator.failover.travelled import Travelled, travelled
from orchestrator.health.report import PairHealth
from orchestrator.health.watch import Watch
from orchestrator.inventory.model import MIRROR, PRIMARY, Inventory, Pair
from orchestrator.readiness.checks import Readied
from orchestrator.records import history, snapshot
from orchestrator.replication.lateness import is_late
from orchestrator.replication.report import Link, PairStatus, PassiveStatus
from orchestrator.web import control, pointer
from orchestrator.web.desk import Caller, Desk, Events
from orchestrator.web.metrics import exposition
from orchestrator.web.replicates import Replicates
from orchestrator.web.serving import Serving
from orchestrator.web.trail import Trail

log = logging.getLogger(__name__)

TICK = 0.5  # seconds
SNAPSHOT_EVERY = 5.0
WINDOWS_EVERY = 5.0  # seconds between two looks at what the calendar says
JUDGES = 60.0  # seconds within which a pair's health gives its next sign of life; it looks twice a second
LET_GO_WITHIN = 15.0
STOP_WITHIN = 1.2  # seconds for the pairs' threads, of the two that stopping may take

Connect = Callable[[Pair, Callable[[str, str], None], Callable[[], bool]], Replicates]
"""Connects a pair; its events go to the second argument as (event, sentence), the third says whether to hold removals
back because the active place is under suspicion."""


class Daemon:
    """Attends to every pair of an inventory. `reload` reads the inventory again, for SIGHUP."""

    def __init__(self, inventory: Inventory, connect: Connect, reload: Callable[[], Inventory]) -> None:
        self.events = Events()
        self.stop = threading.Event()
        self.ready = threading.Event()
        self.web: Serving | None = None
        self._inventory, self._reload = inventory, reload
        self._hung_up = threading.Event()
        self._followers = {
            name: Follower(
                pair,
                partial(connect, pair, partial(self._event, name), partial(self._suspects, name)),
                remembered(pair),
            )
            for name, pair in inventory.pairs.items()
        }
        self._watches = {name: self._watched(pair) for name, pair in inventory.pairs.items() if pair.probed}
        self._left: list[Watch] = []  # ended, when roles moved
        self._readying = {name: Readying(inventory.pairs[name], partial(self._status, name)) for name in self._watches}
        self._travelling = Travelling(inventory.pairs, self._followers, partial(_session, connect))
        self._decisions = Decisions(
            inventory.pairs, self._travelling, self._judged, lambda name: self._followers[name].status(),
            lambda name: self._readying[name].last, self._event, self._stand_still,
        )  # fmt: skip
        self._confirming = Confirming(inventory, self._decisions, self._status, self._event)
        self._alerting = [
            Alerting(pair, partial(self._status, name), link=partial(self._confirming.link, name))
            for name, pair in inventory.pairs.items()
            if pair.alerts
        ]
        self._windows = {
            name: Windows(
                pair, self._decisions, partial(self._active_place, name), self._event, partial(self._holds, pair)
            )
            for name, pair in inventory.pairs.items()
            if pair.services
        }
        self.desk = Desk(
            self._followers, self.events, self._note, self.health, self._decisions, self._windows, self._decisions
        )
        self._timer = Timer()
        self._systemd = Systemd()
        self._shown: dict[str, Shown] = {name: Shown() for name in self._followers}
        self._trail = Trail()

    def run(self) -> bool:
        """Attend until `stop` is set or a signal says so. False when a pair's thread didn't end in time.

        Raises MailmirrorError when it can't start: another daemon is there, the socket or the port can't be had.
        """
        with ExitStack() as opened:
            opened.callback(self._follow_signals())
            socket_path = control.place(self._inventory.state_dir)
            opened.callback(control.Control(socket_path, self.desk.answer).close)
            opened.callback(control.link(self._inventory.state_dir, socket_path))
            if self._inventory.listen:
                self.web = self._serving()
                opened.callback(self.web.close)
            self._publish(socket_path, opened)
            opened.callback(self._timer.stop)
            self._start()
            self.ready.set()
            self._systemd.ready()
            while not self.stop.wait(TICK):
                self._tick()
            log.info("Stopping")
            self._systemd.stopping()
            self.desk.stopping.set()
            return self._end()

    def hang_up(self) -> None:
        """Read the inventory again at the next tick (SIGHUP)."""
        self._hung_up.set()

    def _start(self) -> None:
        log.info("mailmirror %s attends to %s", __version__, ", ".join(self._followers))
        for note in self._inventory.not_used:
            log.info("Not used by this version: %s", note)
        self._travelling.take_up_all()  # first: what is under way isn't followed as it was before
        for name, follower in self._followers.items():
            pair = self._inventory.pairs[name]
            self._timer.every(pair.audit, f"audit of {name}", partial(_audit, follower))
            self._timer.every(pair.verify, f"verification of {name}", partial(_verify, follower))
            follower.start()
        for name, calendar in self._windows.items():
            self._timer.every(WINDOWS_EVERY, f"windows of {name}", calendar.tick)
        for watch in self._watches.values():
            watch.start()
        for readying in self._readying.values():
            readying.start()
        for alerting in self._alerting:
            alerting.start()
        self._decisions.start()
        self._timer.start()

    def _end(self) -> bool:
        attending: list[Follower | Watch] = [*self._followers.values(), *self._watches.values(), *self._left]
        for each in (self._decisions, *attending, *self._readying.values(), *self._alerting):
            each.stop()
        deadline = time.monotonic() + STOP_WITHIN
        ended = [each.join(max(deadline - time.monotonic(), 0.05)) for each in attending]
        self._tick()
        return all(ended)

    def _publish(self, socket_path: Path, opened: ExitStack) -> None:
        note = pointer.publish(str(self._inventory.path), str(socket_path))
        if note:
            opened.callback(Path(note).unlink, missing_ok=True)

    def _follow_signals(self) -> Callable[[], None]:
        """Obey SIGTERM, SIGINT and SIGHUP from here on; returns what puts the old ways back."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None  # only the main thread gets signals; whoever runs us elsewhere sets `stop`
        old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        signal.signal(signal.SIGINT, lambda *_: self.stop.set())
        signal.signal(signal.SIGHUP, lambda *_: self.hang_up())

        def restore() -> None:
            for number, way in old.items():
                signal.signal(number, way)

        return restore

    def _tick(self) -> None:
        if self._hung_up.is_set():
            self._hung_up.clear()
            self._systemd.reloading()
            self._read_again()
            self._systemd.ready()
        self._watch_who_is_active()
        statuses = self.desk.statuses()
        self._trail.look(statuses, time.time())
        if not self.stop.is_set():
            self._systemd.tick(self._signs(), {status.pair: status.link.value for status in statuses})
        for status in statuses:
            shown = self._shown[status.pair]
            news = shown.news(status)
            for event, text in news:
                self._event(status.pair, event, text)
            if news or shown.is_due():
                self._write(status)
                shown.written = time.monotonic()

    def _serving(self) -> Serving:
        metrics = exposition(self._told, self._healths, self._readied, self._decisions.standings, self._journeys)

        def rows() -> list[dict[str, Any]]:
            return [self._status(name) for name in self._followers]

        def decides() -> bool:
            return not overdue(self._signs(), time.monotonic())

        return serving(
            self._inventory, rows, self._decisions.sentences, decides, self._trail, self._confirming, metrics
        )

    def _signs(self) -> list[Sign]:
        """The last sign of life of each worker."""
        told = [each.sign() for each in self._followers.values()]
        told += [each.sign() for each in self._readying.values()]
        told += [Sign(f"the health of {name}", watch.beat, JUDGES) for name, watch in self._watches.items()]
        told += [each.sign() for each in self._alerting]
        return [*told, *self._decisions.signs(), self._timer.sign()]

    def _watch_who_is_active(self) -> None:
        """When a pair's roles have moved, its observers begin anew: another place is asked all its services now."""
        self._left = [watch for watch in self._left if not watch.join(0.0)]
        for name, watch in self._watches.items():
            pair, follower = self._inventory.pairs[name], self._followers[name]
            active = active_host(pair, follower)
            if active == watch.active or self.stop.is_set():
                continue
            self._event(name, "active", f"{active} is active now, and no more {watch.active}")
            watch.stop()
            self._left.append(watch)
            self._watches[name] = fresh = self._watched(pair)
            fresh.start()

    def _watched(self, pair: Pair) -> Watch:
        def restarts() -> int:
            return self._decisions.restarts(pair.name)

        return watched(pair, self._followers[pair.name], self._event, restarts, lambda: self._decisions.poke(pair.name))

    def _holds(self, pair: Pair) -> str:
        """Why nobody may be moved in a window now."""
        return "mm_mode is observe" if pair.mode == "observe" else self._decisions.paused(pair.name)

    def _stand_still(self, pair: str, still: bool) -> None:
        follower = self._followers[pair]
        if still:
            follower.pause("two places claim the users", LET_GO_WITHIN)
        else:
            follower.resume()

    def _judged(self, pair: str) -> tuple[str, PairHealth]:
        watch = self._watches[pair]
        return watch.active, watch.status()

    def _note(self, pair: str, verb: str, reason: str, caller: Caller, what: Mapping[str, Any]) -> None:
        if history.worth_noting(verb, reason):
            history.append(self._inventory.state_dir, pair, verb, reason, uid=caller.uid, pid=caller.pid, **what)

    def _write(self, status: PairStatus) -> None:
        try:
            told = asdict(replace(status, seen_by="run")) | self.health(status.pair)
            snapshot.write(self._inventory.state_dir, status.pair, told)
        except (OSError, MailmirrorError) as error:
            log.warning("The snapshot can't be written: %s pair=%s", error, status.pair)

    def health(self, pair: str) -> dict[str, Any]:
        """What `status` says of the pair's health and readiness; nothing for one that only replicates."""
        watch = self._watches.get(pair)
        if watch is None:
            return {}
        readiness = self._readying[pair].last.told()
        return {"health": asdict(watch.status()), "readiness": readiness, **self._decisions.told(pair)}

    def _healths(self) -> list[PairHealth]:
        return [watch.status() for watch in self._watches.values()]

    def _readied(self) -> list[Readied]:
        return [readying.last for readying in self._readying.values()]

    def _journeys(self) -> list[Travelled]:
        found = []
        for name in self._followers:
            try:
                found.append(travelled(self._inventory.state_dir, name))
            except MailmirrorError as error:  # the other metrics are wanted all the more
                log.warning("Its journeys can't be told: %s pair=%s", error, name)
        return found

    def _status(self, pair: str) -> dict[str, Any]:
        return asdict(self._followers[pair].status()) | self.health(pair)

    def _active_place(self, name: str) -> str:
        pair = self._inventory.pairs[name]
        return MIRROR if active_host(pair, self._followers[name]) == pair.mirror.name else PRIMARY

    def _suspects(self, pair: str) -> bool:
        watch = self._watches.get(pair)
        return watch is not None and watch.suspect()

    def _event(self, pair: str, event: str, text: str) -> None:
        log.info("%s event=%s pair=%s", text, event, pair)
        self.events.publish(pair, event, text)

    def _read_again(self) -> None:
        try:
            fresh = self._reload()
        except MailmirrorError as error:
            log.error("The inventory is not valid; the daemon goes on with the old one: %s", error)
            return
        changed = needs_restart(self._inventory.pairs, fresh.pairs)
        if changed:
            log.warning("The inventory has changed; restart the daemon for: %s", "; ".join(changed))
            return
        log.info("The inventory is valid and says what the daemon does already")
        pointer.publish(str(self._inventory.path), str(control.place(self._inventory.state_dir)))

    def _told(self) -> tuple[list[PairStatus], Mapping[str, int], Mapping[str, int]]:
        reconnects = {name: follower.reconnects for name, follower in self._followers.items()}
        return self.desk.statuses(), reconnects, self._timer.trouble


def remembered(pair: Pair) -> PairStatus:
    """The status of a pair to which nobody has connected yet; who was active last, and
    when the other place was proven equal, is still known."""
    seen, equal = snapshot.equality(pair.state_dir, pair.name)
    told = snapshot.active(pair.state_dir, pair.name)
    active, passive = (pair.mirror, pair.primary) if told == pair.mirror.name else (pair.primary, pair.mirror)
    return PairStatus(
        pair.name,
        active=active.name,
        passives=[PassiveStatus(passive.name, passive.place, equal_as_of=equal.get(passive.name))],
        not_used=list(pair.not_used),
        rpo=pair.rpo,
        taken_at=seen,
    )


class Shown:
    """What of a pair's status was told last, so that only what changes is told."""

    def __init__(self) -> None:
        self.written = 0.0
        self._link: Link | None = None
        self._waiting: frozenset[str] = frozenset()
        self._late: frozenset[str] = frozenset()

    def is_due(self) -> bool:
        return time.monotonic() - self.written >= SNAPSHOT_EVERY

    def news(self, status: PairStatus) -> list[tuple[str, str]]:
        """(event, sentence) for what is new since the last look."""
        told: list[tuple[str, str]] = []
        if status.link is not self._link:
            self._link = status.link
            told.append((status.link.name.lower(), f"Replication is {status.link.value}"))
        told += self._behind(status)
        waiting = {held.id: held for passive in status.passives for held in passive.waiting}
        for fresh in sorted(waiting.keys() - self._waiting):
            held = waiting[fresh]
            told.append(("deletions_wait", f"{held.count} deletions wait for `mailmirror ack {status.pair} {fresh}`"))
        self._waiting = frozenset(waiting)
        return told

    def _behind(self, status: PairStatus) -> list[tuple[str, str]]:
        """What is told when a place falls behind by more than mm_rpo, and when it has caught up."""
        linked, now = status.link in (Link.LIVE, Link.CATCHING_UP), time.time()
        late = {
            passive.host
            for passive in status.passives
            if is_late(status.rpo, passive.lag_seconds, linked=linked, seen_at=status.taken_at, now=now)
        }
        told = [("behind", f"{host} is behind by more than mm_rpo, {status.rpo:g} s") for host in late - self._late]
        told += [("in_time", f"{host} is within mm_rpo again") for host in self._late - late]
        self._late = frozenset(late)
        return told


def needs_restart(old: Mapping[str, Pair], new: Mapping[str, Pair]) -> list[str]:
    """What of a changed inventory a running daemon can't take over, as "PAIR was added|removed|changed"."""
    told = [f"{name} was added" for name in new if name not in old]
    told += [f"{name} was removed" for name in old if name not in new]
    return told + [f"{name} was changed" for name in new if name in old and new[name] != old[name]]


def _session(connect: Connect, pair: Pair) -> Replicates:
    """A session of its own, for a journey: what happens in it is told by the journey."""
    return connect(pair, lambda *_: None, bool)


def _audit(follower: Follower) -> None:
    """On the timer's thread. A pair without a link needs no audit: connecting begins with one."""
    if follower.status().link in (Link.LIVE, Link.CATCHING_UP):
        follower.order(lambda session: session.sync())


def _verify(follower: Follower) -> None:
    if follower.status().link in (Link.LIVE, Link.CATCHING_UP):
        follower.order(_verify_and_tell)


def _verify_and_tell(session: Replicates) -> None:
    for report in session.verify():
        if report.equal:
            log.info("Verified equal pair=%s host=%s messages=%d", report.pair, report.host, report.messages)
        else:
            log.warning(
                "Verification found differences: see `mailmirror verify` pair=%s host=%s differences=%d",
                report.pair,
                report.host,
                len(report.differences),
            )
