"""The controller's end of lanes: several channels of one SSH connection for bodies (see `orchestrator.agent.lanes`).

Invariant: a lane that fails takes the conversation with it; a body is never sent twice by two ways.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.agent.wire import Decoder, Frame, Garbled, Kind, encode
from orchestrator.errors import HostUnreachable
from orchestrator.remote.lines import Line

Branch = Callable[[str], Line]
"""Opens one more line to the same host, for the agent's lane of that token."""
GREETING = 20.0
"""Seconds that a lane has for its greeting."""


class Lanes:
    """Lines that take BODY frames in turn. Thread-safe; a send blocks while its lane is full."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = [(line, threading.Lock()) for line in lines]
        self._turns = itertools.count()

    def send(self, frame: Frame) -> int:
        """Send a body by the next lane; returns the bytes. Raises OSError, and ValueError for too large a frame."""
        data = encode(frame)
        line, lock = self._lines[next(self._turns) % len(self._lines)]
        with lock:
            line.sendall(data)
        return len(data)

    def end(self) -> None:
        for line, _ in self._lines:
            line.abort()
            line.settle()


def open_lanes(count: int, branch: Branch, token: str, name: str) -> Lanes:
    """So many lanes, begun at once: each takes a few round trips. Raises what `branch` does, and HostUnreachable."""
    lines: list[Line] = []
    try:
        with ThreadPoolExecutor(count, thread_name_prefix=f"{name}: lane") as pool:
            begun = [pool.submit(lambda: lines.append(_greeted(branch(token), name))) for _ in range(count)]
        for one in begun:
            one.result()
    except BaseException:
        Lanes(lines).end()
        raise
    return Lanes(lines)


def _greeted(line: Line, name: str, within: float = GREETING) -> Line:
    """Wait until the agent has taken the lane. Raises HostUnreachable with what was said instead."""
    deadline, decoder = time.monotonic() + within, Decoder()
    why = "it wasn't taken in time"
    try:
        while time.monotonic() < deadline:
            try:
                data = line.recv(1 << 16)
            except TimeoutError:
                continue
            if any(frame.kind is Kind.HELLO for frame in decoder.feed(data)):
                return line
            if not data:
                why = line.settle() or "it ended"
                break
    except (OSError, Garbled) as error:
        why = str(error)
    line.abort()
    raise HostUnreachable(f"{name}: a lane for bodies can't be opened: {why}")
