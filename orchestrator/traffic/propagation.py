"""When a change is seen at each name server: asked again and again, each by a thread of its own, up to one deadline.

A server that hangs delays nobody's measurement but its own. A secondary that lags is told by its serial, one that
doesn't answer is UNKNOWN, and neither is taken for the other.

Invariant: a server SHOWS only what it showed in its last answer; what was seen once and is gone again doesn't count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock

from orchestrator.traffic.pointing import Sight, is_older
from orchestrator.traffic.switch import OLD, SHOWS, UNKNOWN, Arrival

PAUSE = 0.1
"""Seconds between two looks at one server: the measurement's grain."""


@dataclass(frozen=True)
class Watched:
    """A server to look at, and what it has to show."""

    name: str
    look: Callable[[], Sight]
    shows: Callable[[Sight], bool]
    counts: bool = True


def arrivals(servers: Sequence[Watched], began: float, deadline: float, *, patient: bool = False) -> list[Arrival]:
    """What became of a change that was sent when time.monotonic() said `began`, in the servers' order. Returns when all
    that count show it, or all of them if `patient`, or at the deadline and the look that is under way then.
    """
    over = Event()
    waited_for = sum(server.counts or patient for server in servers)
    lock = Lock()

    def follow(server: Watched) -> tuple[Sight, float | None]:
        nonlocal waited_for
        try:
            return _followed(server, began, deadline, over)
        finally:
            with lock:
                waited_for -= server.counts or patient
                if waited_for == 0:
                    over.set()

    with ThreadPoolExecutor(max(1, len(servers))) as pool:
        found = list(pool.map(follow, servers))
    serials = [sight.serial for server, (sight, _) in zip(servers, found, strict=True) if server.counts]
    newest = next(iter(serials), 0)
    return [_arrival(server, sight, at, newest) for server, (sight, at) in zip(servers, found, strict=True)]


def _followed(server: Watched, began: float, deadline: float, over: Event) -> tuple[Sight, float | None]:
    while True:
        is_last = over.is_set()
        sight = server.look()
        now = time.monotonic()
        if server.shows(sight):
            return sight, now - began
        if is_last or now >= deadline:
            return sight, None
        over.wait(min(PAUSE, max(0.0, deadline - now)))


def _arrival(server: Watched, sight: Sight, seconds: float | None, newest: int) -> Arrival:
    if sight.trouble:
        return Arrival(server.name, UNKNOWN, None, sight.trouble, server.counts)
    said = f"serial {sight.serial}, {sight.mark or 'no epoch'}"
    if seconds is not None:
        return Arrival(server.name, SHOWS, seconds, said, server.counts)
    if server.counts and newest and is_older(sight.serial, newest):
        said += f"; the zone is at serial {newest} where it is changed"
    return Arrival(server.name, OLD, None, said, server.counts)
