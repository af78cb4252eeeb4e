"""One pair's thread: it takes the pair's lock, connects, follows, and begins again when the link is lost.

Invariant: whatever goes wrong with one pair stays with it. Each error ends the attempt, is
shown in `status` with its remedy, and sets how soon the next attempt is made: a lost link
soon (backoff with jitter), a safety rule's refusal slowly, and meanwhile without the lock,
so that `init` and `seed` can be run. While it is paused it keeps the lock and touches no store:
whoever turns the roles works alone, and the next session follows whom the markers name. Orders
from the desk and the timer run on this thread, between two rounds, and always come to an end: a
result, or the error that prevented it.

It doesn't know how hosts are reached or how mail is copied: `connect` gives a `Replicates`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, TypeVar

from orchestrator.daemon.order import Order
from orchestrator.daemon.systemd import Sign
from orchestrator.errors import BrokenPromise, HostError, MailmirrorError, Refused, TryAgain
from orchestrator.records.lock import Lock
from orchestrator.replication.report import Link, PairStatus, PassiveStatus, Tally
from orchestrator.web.replicates import Replicates, Work

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_DELAY = 0.5  # seconds to the second attempt; doubled with each one that fails
LONGEST_DELAY = 30.0
SLOW_DELAY = 30.0  # after what trying again soon won't mend
LOCKED_DELAY = 2.0
STEADY = 10.0  # seconds of following after which a lost link counts as the first
AWAKE = 5.0  # seconds; who is paused looks around that often
RESTS, CONNECTS, FOLLOWS, WORKS = 60.0, 300.0, 1800.0, 6 * 3600.0
"""Seconds within which the thread's next sign of life is due: while it waits or is paused; while it connects (each part
of that has an end of its own); while it follows, where it gives one after each batch and each round, and waits up to
600 s for one answer of an agent that is alive; and while it carries out an order, of which a whole verification is the
longest.
"""


class Named(Protocol):
    """What the follower needs to know of its pair."""

    @property
    def name(self) -> str: ...
    @property
    def state_dir(self) -> Path: ...


def delay(attempt: int, chance: float) -> float:
    """Seconds to wait before the next attempt, after `attempt` (1, 2, ...) failed; `chance` in 0..1 is the jitter."""
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempt - 1, 16))
    return longest * (0.5 + chance / 2)


class Pulse:
    """The thread's last sign of life."""

    def __init__(self, worker: str) -> None:
        self.last = Sign(worker, time.monotonic(), RESTS)

    def beat(self, within: float | None = None) -> None:
        """A sign, now. The next one is due `within` seconds, or as before."""
        self.last = Sign(self.last.worker, time.monotonic(), within or self.last.within)


class Halt(threading.Event):
    """What ends a session. Whoever follows asks it after each piece of work, which is the thread's sign of life."""

    def __init__(self, pulse: Pulse) -> None:
        super().__init__()
        self._pulse = pulse

    def is_set(self) -> bool:
        self._pulse.beat()
        return super().is_set()


class Follower:
    """Attends to one pair from `start` to `stop`."""

    def __init__(self, pair: Named, connect: Callable[[], Replicates], known: PairStatus | None = None) -> None:
        self.reconnects = 0
        self._pair, self._connect = pair, connect
        self._stop, self._wake = threading.Event(), threading.Event()
        self._pulse = Pulse(f"the thread of {pair.name}")
        self._away, self._halt = threading.Event(), Halt(self._pulse)  # it is paused by now; its session is to end
        self._paused = ""  # why
        self._connecting = False  # then no store is held, and none will be before it has looked whether it is paused
        self._lock = threading.Lock()  # guards what follows
        self._orders: deque[Order[object]] = deque()
        self._session: Replicates | None = None
        self._requests: SimpleQueue[Work] | None = None
        self._last = self._carried = known or PairStatus(pair.name)
        self._thread = threading.Thread(target=self._run, name=f"pair {pair.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        with self._lock:
            self._stop.set()
            self._halt.set()
        self.poke()

    def stay_away(self, why: str) -> None:
        """Before `start`: begin as if paused, until `resume`."""
        with self._lock:
            self._paused = why
            self._halt.set()

    def pause(self, why: str, timeout: float) -> None:
        """Let go of the pair's stores at every host, and stay away from them until `resume`. From any other thread.

        It returns when no store is held any more, with the pair's lock kept. Raises TryAgain after `timeout` seconds:
        then it isn't paused (another process has the lock, say).
        """
        with self._lock:
            self._paused = why
            self._halt.set()
            if self._connecting:  # to a host that is away that may take long
                self._away.set()
        self.poke()
        if not self._away.wait(timeout):
            self.resume()
            raise TryAgain(f"{self._pair.name} couldn't be paused within {timeout:g} s.", remedy="See its status.")

    def resume(self, roles: PairStatus | None = None) -> None:
        """Follow again, whomever the markers name; at once. `roles`, where given, is how it stands until they can be
        read (one host may be away): its `active` host, `epoch` and `passives`, of which nothing is known yet.
        """
        with self._lock:
            self._paused = ""
            if roles is not None and roles.active != self._last.active:
                self._last, self._carried = _with_roles(self._last, roles), _with_roles(self._carried, roles)
            if not self._stop.is_set():
                self._halt.clear()
        self.poke()

    def join(self, timeout: float) -> bool:
        """Wait for the end after `stop`; a pass that doesn't end in time loses its link. True when it has ended."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            with self._lock:
                session = self._session
            if session:
                session.close()
            self._thread.join(0.3)
        return not self._thread.is_alive()

    def poke(self) -> None:
        """Whatever it waits for, look again now."""
        with self._lock:
            requests = self._requests
        self._wake.set()
        if requests is not None:
            requests.put(_nothing)

    def call(self, work: Callable[[Replicates], T], timeout: float | None = None) -> T:
        """See `web.desk.Attends`. Where there is no link, one attempt to make it is awaited."""
        return self.order(work).result(timeout)

    def order(self, work: Callable[[Replicates], T]) -> Order[T]:
        """The same, without waiting for the result."""
        order = Order(work)
        with self._lock:
            stopping = self._stop.is_set()
            if not stopping:
                self._orders.append(order)
                if self._requests is not None:
                    self._requests.put(self._work_one)
        if stopping:
            order.fail(TryAgain("The daemon is stopping."))
        self._wake.set()
        return order

    def sign(self) -> Sign:
        """The thread's last sign of life. From any thread, at once."""
        return self._pulse.last

    def status(self) -> PairStatus:
        """How the pair stands. From any thread."""
        with self._lock:
            session, last, carried = self._session, self._last, self._carried
        now = session.status() if session else None
        if now and now.taken_at:
            return added(now, carried)
        return replace(unlinked(last, time.time()), link=now.link if now else last.link)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._begin()
            try:
                with Lock(self._pair.state_dir, self._pair.name, "run"):
                    self._attend()
            except TryAgain as error:
                self._rest(Link.STOPPED, error, LOCKED_DELAY)
            except MailmirrorError as error:
                self._rest(Link.REFUSED, error, SLOW_DELAY)
            except Exception as error:  # the last fence between this pair's trouble and the other pairs
                log.exception("%s met an unexpected error pair=%s", type(error).__name__, self._pair.name)
                self._rest(Link.CONNECTING, _unexpected(error), SLOW_DELAY)
        self._fail_orders(TryAgain("The daemon is stopping."))
        self._note(Link.STOPPED, "", "")

    def _attend(self) -> None:
        """With the lock: connect and follow, again and again. Raises what trying again soon won't mend."""
        attempt = 0
        while not self._stop.is_set():
            began = time.monotonic()
            self._begin()
            if self._paused:
                self._stay_away()
                continue
            try:
                self._follow()
            except Refused:
                raise
            except HostError as error:
                self.reconnects += 1
                attempt = 1 if time.monotonic() - began > STEADY else attempt + 1
                self._rest(Link.CONNECTING, error, delay(attempt, random.random()))

    def _stay_away(self) -> None:
        """With no session and no store held: until `resume`."""
        paused = f"Replication is paused: {self._paused}."
        self._note(Link.STOPPED, paused, "")
        self._away.set()
        try:
            while self._paused and not self._stop.is_set():
                self._fail_orders(TryAgain(paused))
                self._wake.wait(AWAKE)
                self._begin()
        finally:
            self._away.clear()
            self._note(Link.CONNECTING, "", "")

    def _begin(self) -> None:
        """An attempt begins: the orders given so far share its fate."""
        self._pulse.beat(RESTS)
        self._wake.clear()
        with self._lock:
            for order in self._orders:
                order.seen = True

    def _follow(self) -> None:
        self._note(Link.CONNECTING, self._last.trouble, self._last.remedy)
        self._pulse.beat(CONNECTS)
        session = self._connected()
        if session is None:
            return
        self._pulse.beat(FOLLOWS)
        requests: SimpleQueue[Work] = SimpleQueue()
        try:
            with self._lock:
                self._session, self._requests = session, requests
                for _ in self._orders:
                    requests.put(self._work_one)
            log.info("Connected pair=%s", self._pair.name)
            session.follow(self._halt, requests)
            if self._paused:
                session.let_go()
        finally:
            with self._lock:
                self._session = self._requests = None
                self._keep(session.status())
            session.close()

    def _connected(self) -> Replicates | None:
        """A session; None where it was paused meanwhile. Raises what connecting raises."""
        with self._lock:
            if self._paused:
                return None
            self._connecting = True
        session: Replicates | None = None
        try:
            session = self._connect()
        finally:
            with self._lock:
                self._connecting, wanted = False, not self._paused
                if wanted:
                    self._away.clear()
            if session is not None and not wanted:
                session.close()
        return session if wanted else None

    def _keep(self, status: PairStatus) -> None:
        """What a session that ends saw is how the pair stood last, unless it came to see nothing."""
        known = added(status, self._carried)
        if not status.taken_at:
            known = replace(
                self._last, link=status.link, bytes_received=known.bytes_received, bytes_sent=known.bytes_sent
            )
        self._last = self._carried = known

    def _work_one(self) -> None:
        """On the pair's thread, between two rounds: the oldest order."""
        with self._lock:
            order, session = self._orders.popleft() if self._orders else None, self._session
        if order and session:
            self._pulse.beat(WORKS)
            order.run(session)
            self._pulse.beat(FOLLOWS)

    def _rest(self, link: Link, error: MailmirrorError, seconds: float) -> None:
        """Show the trouble, tell it to whoever waits for an order, and wait, unless there is something new."""
        sentence = " ".join(str(error).split())
        if sentence != self._last.trouble:
            log.warning("%s pair=%s next_attempt_seconds=%.1f", sentence, self._pair.name, seconds)
        self._note(link, sentence, error.remedy)
        self._fail_orders(error)
        if not self._stop.is_set():
            self._pulse.beat(RESTS)
            self._wake.wait(seconds)

    def _note(self, link: Link, trouble: str, remedy: str) -> None:
        with self._lock:
            self._last = replace(self._last, link=link, trouble=trouble, remedy=remedy)

    def _fail_orders(self, error: MailmirrorError) -> None:
        """Tell those that waited for this attempt; all of them once it stops."""
        with self._lock:
            failed = [order for order in self._orders if order.seen or self._stop.is_set()]
            self._orders = deque(order for order in self._orders if order not in failed)
        for order in failed:
            order.fail(error)


def unlinked(last: PairStatus, now: float) -> PairStatus:
    """The status of a pair without a link, from how it last stood: what can't be known any more is unknown."""
    passives = [
        replace(
            passive,
            connected=False,
            lag_seconds=now - last.taken_at + passive.lag_seconds if passive.pending and passive.lag_seconds else None,
        )
        for passive in last.passives
    ]
    return replace(last, permit_open=False, passives=passives)


def added(status: PairStatus, carried: PairStatus) -> PairStatus:
    """A session's status with what the sessions before it counted and proved: counters never fall while it runs."""
    before = {passive.host: passive for passive in carried.passives}
    passives = [_with(passive, before.get(passive.host)) for passive in status.passives]
    return replace(
        status,
        passives=passives,
        bytes_received=status.bytes_received + carried.bytes_received,
        bytes_sent=status.bytes_sent + carried.bytes_sent,
    )


def _with(passive: PassiveStatus, before: PassiveStatus | None) -> PassiveStatus:
    if before is None:
        return passive
    summed = {f.name: getattr(passive.tally, f.name) + getattr(before.tally, f.name) for f in fields(Tally)}
    tally = Tally(**{**summed, "waiting": passive.tally.waiting})
    return replace(passive, tally=tally, equal_as_of=passive.equal_as_of or before.equal_as_of)


def _with_roles(status: PairStatus, roles: PairStatus) -> PairStatus:
    return replace(status, active=roles.active, epoch=roles.epoch, passives=list(roles.passives))


def _unexpected(error: Exception) -> BrokenPromise:
    return BrokenPromise(f"An unexpected {type(error).__name__}: {error}", remedy="The daemon's log has the traceback.")


def _nothing() -> None:
    """A piece of work that only wakes."""
