"""One observer: a conversation with the agent at a place, which asks it to look, again and again.

It has a thread of its own and nobody waits for it: looks that are out overlap, each ends at its deadline, and what
doesn't come back in time is dropped. A conversation that is lost, or that answers nothing any more, is begun anew.

Invariant: whatever a host or its agent does, nothing but this observer is late; silence yields no look at all.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import AgentFault, LinkLost, MailmirrorError
from orchestrator.health.asked import Seat, Task
from orchestrator.health.report import ObserverHealth
from orchestrator.remote.dial import backoff
from orchestrator.remote.host import Conversation
from orchestrator.remote.pending import Pending

log = logging.getLogger(__name__)

LATE = 2.0
"""Seconds beyond a task's own after which its answer isn't waited for any more."""
MOST_OUT = 5
"""Requests of one task that may be out at a time."""
DEAF = 4
"""Answers in a row that didn't come: then the conversation is begun anew."""
TICK = 0.1
SLOW = 60.0
"""Seconds to the next attempt where only a person can mend it."""
QUIET = 86_400.0
"""Seconds for which the same trouble isn't told again; `status` shows it all the time."""
STEADY = 10.0
"""Seconds of conversation after which a lost one counts as the first."""

Open = Callable[[Seat], Conversation]


@dataclass(frozen=True)
class Told:
    """An answer. `began` is when it was asked on CLOCK_MONOTONIC, `asked` and `answered` are seconds since 1970."""

    seat: Seat
    task: Task
    began: float
    asked: float
    answered: float
    head: Mapping[str, Any]


@dataclass
class _Out:
    task: Task
    began: float
    asked: float
    pending: Pending


@dataclass
class _Turn:
    """What is under way in one conversation."""

    due: dict[str, float] = field(default_factory=dict)
    out: list[_Out] = field(default_factory=list)
    deaf: int = 0


class Looking:
    """An observer at work from `start` to `stop`. `told` gets each answer, on this observer's thread."""

    def __init__(
        self, seat: Seat, open_link: Open, told: Callable[[Told], None], trouble: Callable[[str], None]
    ) -> None:
        self._seat, self._open, self._tell, self._complain = seat, open_link, told, trouble
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of the two below
        observer = seat.observer
        self._status = ObserverHealth(observer.name, observer.host, seat.looks, since=time.time())
        self._link: Conversation | None = None
        self._said: deque[tuple[str, float]] = deque(maxlen=8)
        self._thread = threading.Thread(target=self._run, name=f"observer {observer.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end after `stop`. True when it has ended; one that is still connecting may take longer."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def status(self) -> ObserverHealth:
        """How it stands. From any thread, at once."""
        with self._lock:
            return ObserverHealth(**vars(self._status))

    @property
    def answers(self) -> bool:
        """Whether its agent is there, by the conversation's own heartbeat."""
        with self._lock:
            return self._link is not None and not self._link.lost.is_set()

    # --- the thread

    def _run(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._converse()
            except MailmirrorError as error:
                attempt = 1 if time.monotonic() - began > STEADY else attempt + 1
                blocked = isinstance(error, AgentFault) and error.code == "not-allowed"
                self._note(False, " ".join(str(error).split()), error.remedy)
                self._stop.wait(SLOW if blocked else backoff(attempt, random.Random()))
            except Exception as error:  # the last fence: an observer's trouble is nobody else's
                log.exception("%s met an unexpected error observer=%s", type(error).__name__, self._seat.observer.name)
                self._note(False, f"An unexpected {type(error).__name__}: {error}", "The daemon's log has more.")
                self._stop.wait(SLOW)

    def _converse(self) -> None:
        """One conversation, until it is lost (raises) or everything stops (returns)."""
        with self._open(self._seat) as link:
            with self._lock:
                self._link = link
            before = self.status()
            self._note(True, before.trouble if self._seat.tasks else "", before.remedy)  # until a look is answered
            turn = _Turn()
            while not self._stop.is_set():
                if link.lost.is_set():
                    raise LinkLost(f"{link.name}: {link.why}")
                self._ask(link, turn)
                self._collect(turn)
                self._stop.wait(TICK if turn.out else self._until_due(turn))

    def _until_due(self, turn: _Turn) -> float:
        """Seconds to wait while nothing is out; short enough to see that the link is lost."""
        return max(TICK, min([0.5, *(due - time.monotonic() for due in turn.due.values())]))

    def _ask(self, link: Conversation, turn: _Turn) -> None:
        for task in self._seat.tasks:
            key, now = f"{task.kind} {task.place}", time.monotonic()
            if now < turn.due.get(key, 0.0):
                continue
            # Looks that were missed aren't made up for: what matters is now.
            turn.due[key] = max(turn.due.get(key, now) + task.every, now + task.every / 2)
            if sum(each.task is task for each in turn.out) < MOST_OUT:
                pending = link.start("observe", {"seconds": task.seconds, **task.head})
                turn.out.append(_Out(task, now, time.time(), pending))

    def _collect(self, turn: _Turn) -> None:
        """Hand on what has been answered, drop what hasn't been in time."""
        for each in list(turn.out):
            if each.pending.done:
                turn.out.remove(each)
                turn.deaf = 0
                self._take(each)
            elif time.monotonic() - each.began > each.task.seconds + LATE:
                turn.out.remove(each)
                turn.deaf += 1
        if turn.deaf >= DEAF:
            raise LinkLost(f"{self._seat.host.name}: its agent doesn't answer its looks any more")

    def _take(self, each: _Out) -> None:
        try:
            head = each.pending.result(0).head
            self._tell(Told(self._seat, each.task, each.began, each.asked, time.time(), head))
        except AgentFault as fault:
            if fault.code == "not-allowed":
                raise
            self._note(True, str(fault), fault.remedy)
        else:
            self._note(True, "", "")

    def _note(self, connected: bool, trouble: str, remedy: str) -> None:
        with self._lock:
            if not connected:
                self._link = None
            status = self._status
            if connected != status.connected:
                status.connected, status.since = connected, time.time()
            status.trouble, status.remedy = trouble, remedy if trouble else ""
        now = time.monotonic()
        if trouble and not any(said == trouble and now - when < QUIET for said, when in self._said):
            self._said.append((trouble, now))
            self._complain(f"{trouble} {remedy}".strip())
