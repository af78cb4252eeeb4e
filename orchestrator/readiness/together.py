"""Jobs side by side, with one end for all of them, and the conversations that they began.

Invariant: `side_by_side` returns within its seconds and a moment, whatever a job does. A job that hangs is left to end
by itself, and what it brings then is thrown away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from orchestrator.errors import MailmirrorError
from orchestrator.readiness.facts import Unknown
from orchestrator.remote.host import Conversation

T = TypeVar("T")
CLOSING = 2.0
"""Seconds for ending conversations in good order."""


class Links:
    """Conversations that end together; one that comes later ends at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Conversation] | None = []

    def keep(self, link: Conversation) -> Conversation:
        with self._lock:
            late = self._open is None
            if self._open is not None:
                self._open.append(link)
        if late:
            link.close()
        return link

    def close(self) -> None:
        with self._lock:
            ending, self._open = self._open or [], None
        side_by_side({str(number): link.close for number, link in enumerate(ending)}, CLOSING)


def side_by_side(jobs: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T | Unknown]:
    """What came of each job, in their order; Unknown for one that raised a MailmirrorError or wasn't back in time."""
    late = Unknown(f"no answer within {seconds:g} s", "Check that it is up and reachable, then try again.")
    found: dict[str, T | Unknown] = {}
    broken: list[Exception] = []

    def run(name: str, job: Callable[[], T]) -> None:
        try:
            found[name] = job()
        except MailmirrorError as error:
            found[name] = Unknown(" ".join(str(error).split()).rstrip("."), error.remedy)
        except Exception as error:  # noqa: BLE001 - whoever asked for the job gets it, on his own thread
            broken.append(error)

    threads = [threading.Thread(target=run, args=each, name=f"ask {each[0]}", daemon=True) for each in jobs.items()]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if broken:
        raise broken[0]
    return {name: found.get(name, late) for name in jobs}
