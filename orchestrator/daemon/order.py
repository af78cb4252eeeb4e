"""A piece of work for a pair's thread, and the wait for its result.

Invariant: an order ends exactly once, with a result or an error, and whoever waits for it
learns which. One that nobody waits for any more, and that hasn't begun, isn't begun.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from orchestrator.errors import BrokenPromise, MailmirrorError, StillRunning
from orchestrator.web.replicates import Replicates

log = logging.getLogger(__name__)

T_co = TypeVar("T_co", covariant=True)


class Order(Generic[T_co]):
    """Made by who wants the work done, run by the pair's thread."""

    def __init__(self, work: Callable[[Replicates], T_co]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._begun = self._given_up = False
        self.seen = False  # an attempt to connect has begun since it was given
        self._done = threading.Event()
        self._results: list[T_co] = []  # one, once there is one: None may be a result
        self._error: MailmirrorError | None = None

    def run(self, session: Replicates) -> None:
        """On the pair's thread. Never raises: the error is the waiting one's."""
        with self._lock:
            if self._given_up or self._done.is_set():
                return
            self._begun = True
        try:
            self._results.append(self._work(session))
        except MailmirrorError as error:
            self._error = error
        except Exception as error:  # told to who waits, with the traceback in the log
            log.exception("An order failed unexpectedly")
            self._error = BrokenPromise(f"An unexpected {type(error).__name__}: {error}")
        self._done.set()

    def fail(self, error: MailmirrorError) -> None:
        """It can't be begun, for this reason."""
        self._error = error
        self._done.set()

    def result(self, timeout: float | None = None) -> T_co:
        """Wait, at most `timeout` seconds. Raises the work's error; StillRunning when it had begun but isn't done."""
        if not self._done.wait(timeout):
            with self._lock:
                self._given_up = True
                begun = self._begun
            if begun:
                raise StillRunning(f"It isn't done within {timeout:g} s and goes on.")
            raise StillRunning(f"It wasn't begun within {timeout:g} s.", remedy="Nothing was done; try again later.")
        if self._error:
            raise self._error
        return self._results[0]
