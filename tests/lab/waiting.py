"""Waiting for what has no event: a question asked again until it is answered well, with a deadline.

Invariant: it never sleeps longer than the deadline, and says at the end what the last answer was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def until(ask: Callable[[], Answer], *, within: float = 10.0, every: float = 0.05, what: str = "") -> Answer:
    """The first answer that is true. AssertionError, with `what` and the last answer, after `within` seconds."""
    deadline = time.monotonic() + within
    while not (answer := ask()):
        if time.monotonic() + every > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what or ask} (last answer: {answer!r})")
        time.sleep(every)
    return answer
