"""A thread that waits until a watch has something to read, and wakes the worker.

Watches come and go while it waits: a store is closed and opened again, a watch is replaced by a
better or a worse one. So the worker, which alone reads and closes them, says at every turn which
there are; a descriptor that was closed leaves the kernel's set by itself (epoll(7)).

Invariant: once `rearm` has returned, something readable in any of its watches wakes the worker,
once until the next `rearm`. Nothing is read from a watch here.
"""

from __future__ import annotations

import select
import socket
import threading
from typing import Callable, Dict, Sequence

from .watch import Watch


class Waker:
    """`wake` may be called at any time, on the waker's own thread. The rest is for the worker only."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._armed = threading.Event()
        self._held: Dict[int, Watch] = {}  # by descriptor
        self._set = select.epoll()
        self._stop, self._stopped = socket.socketpair()
        self._set.register(self._stopped.fileno(), select.EPOLLIN)
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def rearm(self, watches: Sequence[Watch]) -> None:
        """These are the watches from now on, and all that they had was read."""
        wanted = {fd: watch for watch in watches for fd in [watch.fileno()] if fd is not None}
        if wanted != self._held:
            self._hold(wanted)
        self._armed.set()

    def _hold(self, wanted: Dict[int, Watch]) -> None:
        for fd, watch in self._held.items():
            if wanted.get(fd) is not watch:
                self._drop(fd)
        for fd, watch in wanted.items():
            if self._held.get(fd) is not watch:
                self._set.register(fd, select.EPOLLIN)
        self._held = wanted

    def _drop(self, fd: int) -> None:
        try:
            self._set.unregister(fd)
        except OSError:
            return  # closed: the kernel has dropped it, and the number may be another file's by now

    def close(self) -> None:
        """End the thread. No wake comes any more, but for one that is under way."""
        self._stop.close()
        self._armed.set()

    def _run(self) -> None:
        with self._set, self._stopped:
            while not any(fd == self._stopped.fileno() for fd, _ in self._set.poll()):
                self._armed.clear()
                self._wake()
                self._armed.wait()
