"""A step that goes on beside others: begun in a thread of its own, and waited for where its end is needed.

Invariant: what was begun has ended when `wait` or `result` returns; what it raised is raised where its result is asked
for, and nowhere else.
"""

from __future__ import annotations

import threading
from typing import Callable, Generic, List, Optional, TypeVar

T = TypeVar("T")


class Abreast(Generic[T]):
    """Begun when it is made."""

    def __init__(self, name: str, work: Callable[[], T]) -> None:
        self._work = work
        self._found: List[T] = []
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._error = error

    def wait(self) -> None:
        """Until it has ended, however it did."""
        self._thread.join()

    def result(self) -> T:
        """What it came to. Raises what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._found[0]
