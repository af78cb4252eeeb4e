"""Ctrl-C, SIGTERM and SIGHUP, as one KeyboardInterrupt that comes once, and never between a birth and its register.

Python raises it between any two instructions: also after a process was started and before anybody knows of it. What
mustn't be torn apart stands in `held()`. Invariant: within `once()` at most one KeyboardInterrupt is raised, so that
an impatient second Ctrl-C doesn't stop the cleaning up that the first one began.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _State:
    """Of the process, as signal handlers are."""

    holding: int = 0
    arrived: bool = False
    raised: bool = False


_state = _State()


@contextmanager
def once() -> Iterator[None]:
    """Handle the three signals within; on the main thread only. The old actions come back afterwards."""
    _state.arrived = _state.raised = False
    before = {number: signal.signal(number, _handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def held() -> Iterator[None]:
    """An interrupt that comes within is raised at the end of it."""
    _state.holding += 1
    try:
        yield
    finally:
        _state.holding -= 1
    _raise_if_due()


def ignore() -> None:
    """From here on to the end of `once`, none is raised: the cleaning up has begun."""
    _state.raised = True


def _handle(number: int, frame: FrameType | None) -> None:
    _state.arrived = True
    _raise_if_due()


def _raise_if_due() -> None:
    if _state.arrived and not _state.raised and not _state.holding:
        _state.raised = True
        raise KeyboardInterrupt
