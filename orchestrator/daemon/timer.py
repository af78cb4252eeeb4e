"""The clock that reminds pairs of their audits and verifications: APScheduler, and nothing more of it.

The timer only hands an order to a pair's thread; it holds no logic and no state, and after
a restart every interval begins anew. Invariant: a job that runs late still runs, once
(`coalesce`, no grace time), and what the timer missed or failed at is counted.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from orchestrator.daemon.systemd import Sign

log = logging.getLogger(__name__)

KINDS = {EVENT_JOB_MISSED: "missed", EVENT_JOB_ERROR: "failed", EVENT_JOB_MAX_INSTANCES: "still running"}
BEAT, SILENT = 5.0, 60.0
"""Seconds between two signs that the timer and its thread are alive, and after how long without one they hang."""
JITTER = 0.1  # of the interval: pairs shouldn't all audit in the same second


class Timer:
    """Calls each piece of work at its interval, on a thread of its own. The work must be quick."""

    def __init__(self) -> None:
        self.trouble: Counter[str] = Counter()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            jobstores={"default": MemoryJobStore()},
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._sign = Sign("the timer", time.monotonic(), SILENT)
        self.every(BEAT, "sign of life", self._beat)
        self._scheduler.add_listener(self._note, EVENT_JOB_MISSED | EVENT_JOB_ERROR | EVENT_JOB_MAX_INSTANCES)

    def every(self, seconds: float, name: str, work: Callable[[], None]) -> None:
        """Call `work` each `seconds`, give or take a tenth; never for 0."""
        if seconds > 0:
            self._scheduler.add_job(work, "interval", seconds=seconds, jitter=seconds * JITTER, id=name, name=name)

    def start(self) -> None:
        self._beat()
        self._scheduler.start()

    def sign(self) -> Sign:
        """Its last sign of life. From any thread, at once."""
        return self._sign

    def stop(self) -> None:
        """No more calls; one that runs is not waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _beat(self) -> None:
        self._sign = self._sign._replace(at=time.monotonic())

    def _note(self, event: JobEvent) -> None:
        kind = KINDS.get(event.code, "failed")
        self.trouble[kind] += 1
        log.warning("The timer's %s was %s", event.job_id, kind)
