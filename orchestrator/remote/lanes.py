"""The controller's end of lanes: several channels of one SSH connection for bodies (see `orchestrator.agent.lanes`).

A host may open fewer than are wanted (sshd's MaxSessions, by default 10): those are used then.

Invariant: a lane that fails takes the conversation with it; a body is never sent twice by two ways.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.agent.wire import Decoder, Frame, Garbled, Kind, halves
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

    def __len__(self) -> int:
        return len(self._lines)

    def send(self, frame: Frame) -> int:
        """Send a body by the next lane; returns the bytes. Raises OSError, and ValueError for too large a frame."""
        first, blob = halves(frame)
        line, lock = self._lines[next(self._turns) % len(self._lines)]
        with lock:
            line.sendall(first)
            line.sendall(blob)
        return len(first) + len(blob)

    def end(self) -> None:
        for line, _ in self._lines:
            line.abort()
            line.settle()


def open_lanes(count: int, branch: Branch, token: str, name: str) -> tuple[Lanes | None, str]:
    """So many lanes, or as many as the host opens; begun at once, since each takes a few round trips.

    None where there is not even one, and why there aren't all.
    """
    lines: list[Line] = []
    whys: list[str] = []
    with ThreadPoolExecutor(count, thread_name_prefix=f"{name}: lane") as pool:
        begun = [pool.submit(lambda: _greeted(branch(token), name)) for _ in range(count)]
    for one in begun:
        try:
            lines.append(one.result())
        except HostUnreachable as error:
            whys.append(str(error))
    return (Lanes(lines) if lines else None), (whys[0] if whys else "")


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
