"""What is wrong with a file that people write: `file:line:col: where: what`, the line, a caret, a hint.

Invariant: what is printed holds no control character of the file, and no value of a key whose value may be a
secret. This module finds no problems; `tree`, `written` and `laws` do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError

WIDTH = 100


@dataclass(frozen=True, order=True)
class Place:
    """A place in the file; both count from 1, as editors do."""

    line: int = 1
    column: int = 1
    width: int = 1  # how many characters of the line are meant


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `where` is a path of keys, `hint` says what to write instead."""

    place: Place
    where: str
    what: str
    hint: str = ""
    mask_from: int = 0  # the column from which the line must not be shown, for what may be a secret

    def text(self, path: Path, lines: Sequence[str]) -> str:
        """Three or four lines, the way compilers say it; `lines` are the file's, without what must not be shown."""
        spot = self.place
        where = f"{self.where}: " if self.where else ""
        head = printable(f"{path}:{spot.line}:{spot.column}: {where}{self.what}")
        source = lines[spot.line - 1] if spot.line <= len(lines) else ""
        source = printable(source)
        start = max(0, spot.column - WIDTH + 20)
        shown = source[start : start + WIDTH]
        caret = " " * (spot.column - 1 - start) + "^" * max(1, min(spot.width, len(shown) - (spot.column - 1 - start)))
        rows = [head, f"{spot.line:6} | {shown}".rstrip(), f"{'':6} | {caret}"]
        if self.hint:
            rows.append(f"{'':6} = {printable(self.hint)}")
        return "\n".join(rows)


class WrongFile(ConfigError):
    """A file that people write can't be used; `problems` holds every reason, in the order of the file."""

    def __init__(self, path: Path, problems: Iterable[Problem], lines: Sequence[str]) -> None:
        self.path = path
        self.problems = tuple(sorted(set(problems), key=lambda problem: (problem.place, problem.where, problem.what)))
        count = len(self.problems)
        lines = list(lines)
        for problem in self.problems:
            at = problem.place.line - 1
            if problem.mask_from and at < len(lines):
                lines[at] = lines[at][: problem.mask_from - 1] + "***"
        texts = [problem.text(path, lines) for problem in self.problems]
        texts.append(f"{path}: {count} problem{'' if count == 1 else 's'}")
        super().__init__("\n".join(texts))


class InventoryError(WrongFile):
    """The inventory can't be used."""


def printable(text: str) -> str:
    """The text with everything that a terminal would obey made harmless; a tab becomes one space."""
    return "".join(" " if char == "\t" else char if char.isprintable() else "?" for char in text)


def closest(word: str, known: Iterable[str]) -> str:
    """`did you mean …?` for a word that is near to a known one, else an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""
