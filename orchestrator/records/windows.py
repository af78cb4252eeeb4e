"""Maintenance windows in the journal: single ones that operators added, and what became of each.

A window is known by its key, NAME@OPENING. What is kept of it are events of the verb "window", which are only added:
`added`, `extended` and `cancelled` are operators' words, the others are the daemon's (`failover.windows`). `known` says
since when the daemon has known a rule of the inventory, so that nothing before it counts as missed.

Invariant: a mark is durable before the daemon acts on it; events are folded in the order in which they were written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.records import database
from orchestrator.records.journal import Event, Journal

VERB = "window"
ADDED, EXTENDED, CANCELLED, KNOWN = "added", "extended", "cancelled", "known"
_SAID = ("name", "opens", "closes", "failback", "by", "reason")


@dataclass(frozen=True)
class Occasion:
    """One window: `opens` and `closes` in seconds since 1970. `failback`: users go home when it closes. `by` who added
    it, empty for a rule of the inventory.
    """

    key: str
    name: str
    opens: float
    closes: float
    failback: bool = False
    by: str = ""
    reason: str = ""


class Mark(NamedTuple):
    """What the daemon did about a window, or found: `what` as `failover.windows` names it."""

    what: str
    at: float
    said: str = ""


@dataclass(frozen=True)
class Book:
    """All that is kept of a pair's windows. `closes`: of those that were extended; `known`: since when, by rule."""

    added: Mapping[str, Occasion] = field(default_factory=dict)
    closes: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, tuple[Mark, ...]] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)

    def as_kept(self, occasion: Occasion) -> Occasion:
        """The window with the end that it has by now."""
        return replace(occasion, closes=self.closes.get(occasion.key, occasion.closes))

    def of(self, key: str) -> tuple[Mark, ...]:
        return self.marks.get(key, ())


def fold(events: Sequence[Event]) -> Book:
    """The book that these events come to, oldest first."""
    added: dict[str, Occasion] = {}
    closes: dict[str, float] = {}
    marks: dict[str, tuple[Mark, ...]] = {}
    known: dict[str, float] = {}
    for event in events:
        what, key = str(event.what["what"]), str(event.what["key"])
        told: Mapping[str, Any] = event.what
        if what == ADDED:
            added[key] = Occasion(key, **{name: told[name] for name in _SAID})
        elif what == EXTENDED:
            closes[key] = float(told["closes"])
        elif what == KNOWN:
            known.setdefault(key, event.at)
        else:
            marks[key] = (*marks.get(key, ()), Mark(what, event.at, str(told.get("said", ""))))
    return Book(added, closes, marks, known)


def read(directory: Path, pair: str) -> Book:
    """The book of a pair; an empty one where nothing was ever written. Raises as `Journal` does."""
    if not database.path_of(directory).exists():
        return Book()
    with Journal(directory) as journal:
        return fold(journal.events(pair, VERB))


def write(directory: Path, pair: str, what: str, key: str, clock: Callable[[], float], **more: Any) -> None:
    """One more event, at the clock's time. Raises as `Journal` does."""
    with Journal(directory, clock) as journal:
        journal.event(pair, VERB, {"what": what, "key": key, **more})


def key_of(name: str, opens: float) -> str:
    """Of a single window; those of rules have their rule's local time."""
    return f"{name}@{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(opens))}"
