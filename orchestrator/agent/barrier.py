"""Everything on a file system made durable in the background, while the worker goes on with what doesn't depend on it.

Invariant: what was written before the barrier began is durable when it is over without an error;
nothing is said of what was written meanwhile.
"""

from __future__ import annotations

import threading
from typing import Callable, Optional

from . import beneath


class Barrier:
    """One syncfs(2) on a thread of its own; `over` is called there at its end. `fd` has to stay open until `wait`."""

    def __init__(self, fd: int, over: Callable[[], None]) -> None:
        self._fd = fd
        self._over = over
        self._error: Optional[BaseException] = None
        self._done = False
        self._thread = threading.Thread(target=self._run, name="barrier", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            beneath.syncfs(self._fd)
        except BaseException as error:  # noqa: BLE001 - it is raised to whoever waits
            self._error = error
        self._done = True
        self._over()

    @property
    def done(self) -> bool:
        """Whether `wait` would return at once."""
        return self._done

    def wait(self) -> None:
        """Until it is over. Raises what syncfs raised: OSError for a failed write."""
        self._thread.join()
        if self._error is not None:
            raise self._error
