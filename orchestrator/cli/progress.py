"""How far a pass is: a bar with counts, rate and time left on a terminal, a line per tenth elsewhere.

It shows what it is told and measures nothing. Invariant: it writes to stderr only, and a
pass that is over within moments shows nothing.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from orchestrator.cli.words import size, span

QUIET = 0.5  # seconds in which nothing is shown
PLAIN_EVERY = 10.0  # seconds between lines while the total isn't known


class Shown:
    """Told again and again; chooses at the first time how to show it."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._display: Bar | Lines | None = None

    def __call__(self, told: dict[str, Any]) -> None:
        if self._display is None:
            if max(time.monotonic() - self._began, told.get("seconds", 0.0)) < QUIET:
                return
            self._display = Bar() if sys.stderr.isatty() else Lines()
        self._display.show(told)

    def close(self) -> None:
        """The pass is over, whatever its end: leave the terminal as it was."""
        if self._display:
            self._display.close()


def share(told: dict[str, Any]) -> float | None:
    """How much of the pass is done, 0..1; None while the total isn't known."""
    done, total = (
        (told["bytes"], told["bytes_total"]) if told["bytes_total"] else (told["messages"], told["messages_total"])
    )
    return min(done / total, 1.0) if total else None


def sentence(told: dict[str, Any]) -> str:
    """Phase, counts, rate and time left, in one line."""
    part, seconds = share(told), told["seconds"]
    text = f"{told['phase']}: {told['messages']:,}"
    text += f" of {told['messages_total']:,} messages" if told["messages_total"] else " messages"
    text += f", {size(told['bytes'])}"
    if seconds > 0:
        text += f", {size(told['bytes'] / seconds)}/s"
    if part and seconds > 0:
        text += f", {span(seconds / part - seconds)} left"
    return text


class Lines:
    """For logs and pipes."""

    def __init__(self) -> None:
        self._phase, self._tenth, self._next = "", -1, 0.0

    def show(self, told: dict[str, Any]) -> None:
        part, now = share(told), time.monotonic()
        tenth = -1 if part is None else int(part * 10)
        if told["phase"] == self._phase and tenth == self._tenth and (part is not None or now < self._next):
            return
        self._phase, self._tenth, self._next = told["phase"], tenth, now + PLAIN_EVERY
        percent = "" if part is None else f"{tenth * 10} % "
        sys.stderr.write(f"{percent}{sentence(told)}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Lines need no end."""


class Bar:
    """For people: one line, drawn again, gone at the end."""

    def __init__(self) -> None:
        rich = importlib.import_module("rich.progress")
        console = importlib.import_module("rich.console").Console(stderr=True)
        self._bar = rich.Progress(
            rich.BarColumn(bar_width=24),
            rich.TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def show(self, told: dict[str, Any]) -> None:
        part = share(told)
        self._bar.update(
            self._task, total=None if part is None else 1.0, completed=part or 0.0, description=sentence(told)
        )

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
