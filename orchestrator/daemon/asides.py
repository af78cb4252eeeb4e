"""Work on threads of its own, by name: one of a name at a time, and nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Asides:
    """`pair` is for the threads' names. For one thread to call."""

    def __init__(self, pair: str) -> None:
        self._pair = pair
        self._threads: dict[str, threading.Thread] = {}

    def run(self, name: str, work: Callable[[], None]) -> None:
        """Begin it, unless one of that name is still at it. `work` raises nothing."""
        if self.busy(name):
            return
        self._threads = {key: each for key, each in self._threads.items() if each.is_alive()}
        thread = self._threads[name] = threading.Thread(target=work, name=f"{name} {self._pair}", daemon=True)
        thread.start()

    def busy(self, name: str) -> bool:
        thread = self._threads.get(name)
        return thread is not None and thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait for all that run, each so long."""
        for thread in list(self._threads.values()):
            thread.join(timeout)
