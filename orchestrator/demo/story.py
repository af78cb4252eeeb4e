"""How the demo tells what happens: numbered acts, plain sentences, aligned figures, and proofs that hold or don't.

On a terminal it uses colour, unless NO_COLOR is set (no-color.org); anywhere else it is plain text of any width.
Invariant: a proof that doesn't hold is printed as such and raised; no story ends well that shouldn't.
"""

from __future__ import annotations

import math
import time
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from orchestrator.errors import BrokenPromise

LABEL = 46  # columns before a figure
FIGURE = 12


class Story:
    """Prints to `out`; `width` is for tests and pipes, a terminal has its own."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False, soft_wrap=True, emoji=False)
        self._acts = 0
        self._began = time.monotonic()
        self.proofs = 0

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._began

    def title(self, text: str) -> None:
        self._console.print(f"[bold]{escape(text)}[/bold]")

    def act(self, title: str) -> None:
        self._acts += 1
        self._console.print(f"\n[bold cyan]{self._acts}[/bold cyan]  [bold]{escape(title)}[/bold]")

    def say(self, sentence: str) -> None:
        self._console.print("   " + escape(sentence))

    def figure(self, label: str, value: str, note: str = "") -> None:
        """A row of three columns: what, how much, and what to think of it."""
        row = f"   {escape(label.ljust(LABEL))}[bold]{escape(value.rjust(FIGURE))}[/bold]"
        self._console.print(row + (f"   [dim]{escape(note)}[/dim]" if note else ""))

    def proof(self, claim: str, held: bool, otherwise: str = "") -> None:
        """Tell that `claim` holds. Errors: BrokenPromise(otherwise) when it doesn't."""
        if not held:
            self._console.print(f"   [bold red]{self._mark('✗', 'NOT SO')}[/bold red] {escape(claim)}")
            raise BrokenPromise(f"not so: {claim}" + (f" ({otherwise})" if otherwise else ""))
        self.proofs += 1
        self._console.print(f"   [green]{self._mark('✓', 'proven:')}[/green] {escape(claim)}")

    def _mark(self, sign: str, words: str) -> str:
        return sign if "utf" in (self._console.encoding or "").lower() else words


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def size(octets: float) -> str:
    """In powers of ten, as disks and networks count."""
    for unit in ("B", "kB", "MB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} GB"


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of `values` don't exceed; `values` isn't empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
