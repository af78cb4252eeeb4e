"""What is due about a pair's maintenance windows: to remind, to lower times to live, to move, to bring home. Pure.

A window that opens moves the users to the mirror, by a switchover; one that closes brings them home, where that was
asked for. Neither is forced: a journey that finds the pair not ready is rolled back, and tried again every five
minutes, until half of the window is over, and for an hour after its end. What wasn't done is told, as a window that was
missed, and never made up for later. A pause holds both back; so does a mode that only observes.

Invariant: the marks of a window (`records.windows`) alone say what was done, so a daemon that starts anew goes on where
the last one was; each window is settled once, and one that is settled starts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple

from orchestrator.inventory import windows
from orchestrator.inventory.model import MIRROR, PRIMARY, Window
from orchestrator.records.windows import CANCELLED, Book, Mark, Occasion

DAY = 86400.0
AHEAD = DAY
"""Seconds before a window opens at which times to live are lowered: nobody keeps an older answer by then."""
NOTICE = 3600.0
"""Seconds before it opens at which people are reminded."""
RETRY = 300.0
"""Seconds between two tries of a journey."""
PATIENCE = 3600.0
"""Seconds after its end for which the way home is tried."""
LOOK_BACK = 8 * DAY
"""Seconds for which what a daemon wasn't there for is still told."""
LOOK_AHEAD = 9
"""Days that are shown, and acted on, ahead."""


class Todo(StrEnum):
    """What is due. The value is also the mark that says it was done; `TRIED` marks a journey that didn't get there."""

    REMIND = "reminded"
    LOWER = "lowered"
    MOVE = "moved"
    MISS = "missed"
    HOME = "home"
    CLOSE = "closed"
    STILL = "still away"


TRIED = "tried"
SETTLED = frozenset((Todo.MISS, Todo.CLOSE, CANCELLED))


class Due(NamedTuple):
    """`why` is a sentence for people."""

    todo: Todo
    occasion: Occasion
    why: str


@dataclass(frozen=True)
class Facts:
    """`active`: the place; `held`: why nothing may be moved now, or empty; `named`: names follow by DNS, whose times to
    live can be lowered.
    """

    now: float
    active: str
    held: str = ""
    named: bool = False


def occasions(rules: Sequence[Window], book: Book, now: float) -> list[Occasion]:
    """Every window from `LOOK_BACK` to `LOOK_AHEAD`, in the order of their opening."""
    found = []
    for rule in rules:
        since = max(now - LOOK_BACK, book.known.get(rule.name, now) - rule.length)
        opened = windows.spans(windows.parse(rule.start), rule.zone, rule.length, since, days=LOOK_AHEAD + 9)
        for span in takewhile(lambda span: span.opens <= now + LOOK_AHEAD * DAY, opened):
            found.append(Occasion(f"{rule.name}@{span.key}", rule.name, span.opens, span.closes, rule.failback))
    found += book.added.values()
    kept = [book.as_kept(each) for each in found]
    return sorted((each for each in kept if each.closes > now - LOOK_BACK), key=lambda each: (each.opens, each.key))


def due(all_of_them: Sequence[Occasion], book: Book, facts: Facts) -> Due | None:
    """The next thing to do, or nothing. Ask again after it was done and marked."""
    begun = [each for each in all_of_them if each.opens <= facts.now]
    for each in all_of_them:
        marks = book.of(each.key)
        if not _has(marks, *SETTLED):
            found = _of(each, marks, facts)
        else:
            found = _still(each, marks, facts) if [each] == begun[-1:] else None
        if found is not None:
            return found
    return None


def _of(each: Occasion, marks: Sequence[Mark], facts: Facts) -> Due | None:
    if facts.now < each.opens:
        return _before(each, marks, facts)
    if not _has(marks, Todo.MOVE):
        return _open(each, marks, facts)
    if facts.now < each.closes:
        return None
    return _after(each, marks, facts)


def _before(each: Occasion, marks: Sequence[Mark], facts: Facts) -> Due | None:
    left = each.opens - facts.now
    if facts.named and left <= AHEAD and not _has(marks, Todo.LOWER):
        return Due(Todo.LOWER, each, f"{each.name} opens in {_long(left)}: answers are kept for less long by then")
    if left <= NOTICE and not _has(marks, Todo.REMIND):
        return Due(Todo.REMIND, each, f"{each.name} opens in {_long(left)}: users go to the mirror{_until(each)}")
    return None


def _open(each: Occasion, marks: Sequence[Mark], facts: Facts) -> Due | None:
    tried = [mark for mark in marks if mark.what == TRIED]
    if facts.now >= each.opens + (each.closes - each.opens) / 2:
        why = tried[-1].said if tried else facts.held or "nobody was there to begin it"
        return Due(Todo.MISS, each, f"{each.name} was missed: {why}")
    if facts.active == MIRROR:
        return Due(Todo.MOVE, each, "users are at the mirror already")
    if facts.held or (tried and facts.now - tried[-1].at < RETRY):
        return None
    return Due(Todo.MOVE, each, f"{each.name} has opened{_until(each)}")


def _after(each: Occasion, marks: Sequence[Mark], facts: Facts) -> Due | None:
    if facts.active == PRIMARY:
        return Due(Todo.CLOSE, each, f"{each.name} is over, users are at the primary")
    if not each.failback:
        return Due(Todo.CLOSE, each, f"{each.name} is over; users stay at the mirror until `mailmirror failback`")
    since = [mark for mark in marks if mark.what == TRIED and mark.at >= each.closes]
    if facts.now >= each.closes + PATIENCE:
        why = since[-1].said if since else facts.held or "nobody was there to do it"
        return Due(Todo.CLOSE, each, f"{each.name} is over, and users couldn't be brought home: {why}")
    if facts.held or (since and facts.now - since[-1].at < RETRY):
        return None
    return Due(Todo.HOME, each, f"{each.name} is over")


def _still(each: Occasion, marks: Sequence[Mark], facts: Facts) -> Due | None:
    """A reminder a day while users are where a window left them."""
    last = marks[-1]
    if facts.active != MIRROR or last.what not in (Todo.CLOSE, Todo.STILL) or facts.now - last.at < DAY:
        return None
    gone = facts.now - each.closes
    return Due(Todo.STILL, each, f"{each.name} ended {_long(gone)} ago, and users are still at the mirror")


def _has(marks: Sequence[Mark], *whats: str) -> bool:
    return any(mark.what in whats for mark in marks)


def _until(each: Occasion) -> str:
    back = "and come home" if each.failback else "and stay there"
    return f" for {_long(each.closes - each.opens)}, {back}"


def _long(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 48 * 60:
        return f"{minutes // 1440} days"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
