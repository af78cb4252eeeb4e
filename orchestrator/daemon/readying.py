"""A pair's readiness, looked at every minute and sooner while it isn't ready, for metrics, `status --format json` and
whoever decides on a failover.

It has a thread of its own and nobody waits for it, not even at the end: what a look waits for has its own deadline, and
the thread ends with the process.

Invariant: replication and health share nothing with it; what it tells is as old as it says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.daemon.systemd import Sign
from orchestrator.inventory.model import Pair
from orchestrator.readiness.checks import On, Readied, checks, ready
from orchestrator.readiness.facts import Facts
from orchestrator.readiness.gather import gather
from orchestrator.records import database
from orchestrator.records.journal import Journal

log = logging.getLogger(__name__)

FIRST = 15.0
"""Seconds after the start: by then replication is connected and a first letter is on its way."""
EVERY = 60.0
SOON = 20.0
"""Seconds after a look that found it not ready: who mends something waits to see it, and a failover waits for it."""
LOOKS = 180.0
"""Seconds for one look, in which every host has one end for all of its answers: more is a look that hangs."""

Gather = Callable[[Pair, Mapping[str, Any]], Facts]


class Readying:
    """Looks from `start` to `stop`. `status` is the pair's, as `status --format json` shows it."""

    def __init__(
        self, pair: Pair, status: Callable[[], Mapping[str, Any]], *, gather: Gather = gather, every: float = EVERY
    ) -> None:
        self._pair, self._status, self._gather, self._every = pair, status, gather, every
        self._stop = threading.Event()
        self._last = Readied(pair.name)
        self._sign = Sign(f"the readiness of {pair.name}", time.monotonic(), every + LOOKS)
        self._thread = threading.Thread(target=self._run, name=f"readiness {pair.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No further look; returns at once."""
        self._stop.set()

    def sign(self) -> Sign:
        """The thread's last sign of life. From any thread, at once."""
        return self._sign

    @property
    def last(self) -> Readied:
        """At once, from any thread."""
        return self._last

    def _run(self) -> None:
        wait = min(FIRST, self._every)
        while not self._stop.wait(wait):
            wait = self._every
            self._sign = self._sign._replace(at=time.monotonic())
            try:
                facts = self._gather(self._pair, self._status())
                fresh = Readied(self._pair.name, time.time(), checks(facts), facts.fences, _on(self._pair))
            except Exception:  # the last fence: a look that fails must not be the last one
                log.exception("The readiness of %s can't be looked at", self._pair.name)
                continue
            self._tell(fresh)
            if not ready(fresh.checks).ready:
                wait = min(SOON, self._every)

    def _tell(self, fresh: Readied) -> None:
        """Keep it, and log what is new about it."""
        before, self._last = self._last, fresh
        judged, known = ready(fresh.checks), ready(before.checks)
        if before.at and (judged.ready, _stopping(fresh)) == (known.ready, _stopping(before)):
            return
        if judged.ready:
            log.info("Automatic failover is ready pair=%s", fresh.pair)
        else:
            log.warning("Automatic failover isn't ready: %s pair=%s", "; ".join(judged.reasons), fresh.pair)


def _on(pair: Pair) -> On | None:
    """The journey that hasn't ended, as the journal has it; None where there is none, or no journal yet."""
    if not database.path_of(pair.state_dir).exists():
        return None
    with Journal(pair.state_dir) as journal:
        running = journal.running(pair.name)
    return None if running is None else On(running.opening.journey, running.state.value, running.began)


def _stopping(told: Readied) -> set[str]:
    return {check.name for check in told.checks if check.stops}
