"""Virtual time: what happens when, one event after the other, and processes that wait in it.

A process is a thread that runs only while all else stands still: it gives its turn away where it waits, and gets it
back by an event. So code that blocks (a conductor) is driven as it is, and a run is the same each time.

Invariant: at any instant one thread of a simulation runs; events of one time happen in the order they were set.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any

Action = Callable[[], None]


class Killed(BaseException):
    """The process has ended here, as by a power cut: nothing in it may catch this."""


class Clockwork:
    """`now` in seconds from the beginning. `watch` is called after every event, and may raise: then the run is over."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.watch: Action = _nothing
        self._due: list[tuple[float, int, Action]] = []
        self._number = itertools.count()

    def after(self, seconds: float, action: Action) -> None:
        heapq.heappush(self._due, (self.now + max(0.0, seconds), next(self._number), action))

    def run(self, until: float, over: Callable[[], bool]) -> None:
        """Events up to a time, or until `over` says so."""
        while self._due and self._due[0][0] <= until and not over():
            self.now, _, action = heapq.heappop(self._due)
            self.events += 1
            action()
            self.watch()
        if not over():
            self.now = max(self.now, until)


class Process:
    """`work` in a thread of its own. `ended` says whether it is over, `failed` what it raised but Killed."""

    def __init__(self, clockwork: Clockwork, work: Action) -> None:
        self.ended = False
        self.failed: BaseException | None = None
        self._clockwork, self._work = clockwork, work
        self._killed = False
        self._waits = 0
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        clockwork.after(0.0, self._turn)

    def _live(self) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self._work()
        except Killed:
            self._killed = True
        except BaseException as error:  # noqa: BLE001 - told to whoever runs the simulation
            self.failed = error
        self.ended = True
        self._back.release()

    def _turn(self) -> None:
        """Called by an event: the process goes on until it waits again."""
        if not self.ended:
            self._go.release()
            self._back.acquire()

    def wait(self, seconds: float, begun: Callable[[Callable[[], None]], Any] | None = None) -> None:
        """Called by the process: until the time is over, or what `begun` was given is called."""
        self._waits += 1
        mine = self._waits

        def wake() -> None:
            if mine == self._waits:
                self._waits += 1
                self._turn()

        if begun is not None:
            begun(wake)
        self._clockwork.after(seconds, wake)
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def kill(self) -> None:
        """From outside, between two events."""
        self._killed = True
        self._waits += 1
        self._turn()


def _nothing() -> None:
    """Nobody watches."""
