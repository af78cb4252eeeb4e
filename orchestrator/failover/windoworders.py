"""What operators say of maintenance windows: add, extend, cancel; and the list of them. Pure.

Invariant: a window that is settled is changed no more, and none is added where another one is open or planned: two at
once would both move users.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from orchestrator.errors import NothingToDo, Refused, UsageError
from orchestrator.failover.windows import SETTLED, Todo, occasions
from orchestrator.inventory.model import Window
from orchestrator.records.windows import ADDED, CANCELLED, EXTENDED, Book, Occasion, key_of

LEAST, MOST = 60.0, 14 * 86400.0
"""Seconds that a window may last."""


class Said(NamedTuple):
    """An operator's words. `name` may be a window's name or its key; `opens` is seconds since 1970, `seconds` a length,
    or by how much a window is extended.
    """

    what: str
    name: str
    by: str
    reason: str = ""
    opens: float = 0.0
    seconds: float = 0.0
    failback: bool = False


def ordered(said: Said, rules: Sequence[Window], book: Book, now: float) -> tuple[str, str, dict[str, Any]]:
    """The event to write: what, key, and the rest. Raises UsageError, Refused, NothingToDo."""
    known = [each for each in occasions(rules, book, now) if not _settled(book, each)]
    if said.what == "add":
        return _add(said, known, book, now)
    if said.what not in ("extend", "cancel"):
        raise UsageError(f"A window is added, extended or cancelled, not {said.what[:40]!r}.")
    one = next((each for each in known if said.name in (each.key, each.name) and each.closes > now), None)
    if one is None:
        raise NothingToDo(f"No window {said.name} is open or to come.", remedy="See `mailmirror window list`.")
    if said.what == "cancel":
        if _moved(book, one):
            raise Refused(
                f"{one.name} is open, and users were moved.",
                remedy="`mailmirror failback` brings them home; `window extend` moves its end.",
            )
        return CANCELLED, one.key, {"said": said.reason, "by": said.by}
    closes = one.closes + said.seconds
    _fits(one.opens, closes, [each for each in known if each is not one])
    return EXTENDED, one.key, {"closes": closes, "by": said.by, "reason": said.reason}


def _add(said: Said, known: Sequence[Occasion], book: Book, now: float) -> tuple[str, str, dict[str, Any]]:
    opens = max(said.opens, now)
    if said.opens < now - 60:
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(said.opens))
        raise UsageError(f"{at} is over.", remedy="Say a later --start, or leave it out for now.")
    _fits(opens, opens + said.seconds, known)
    key = key_of(said.name, opens)
    if key in book.added:
        raise NothingToDo(f"{key} is there already.")
    told = {"name": said.name, "opens": opens, "closes": opens + said.seconds, "failback": said.failback}
    return ADDED, key, {**told, "by": said.by, "reason": said.reason}


def _fits(opens: float, closes: float, others: Sequence[Occasion]) -> None:
    if not LEAST <= closes - opens <= MOST:
        raise UsageError("A window lasts from a minute to 14 days.", remedy="Say another --for.")
    for other in others:
        if opens < other.closes and other.opens < closes:
            raise Refused(
                f"It would overlap with {other.name} ({other.key}).",
                remedy="Choose another time, or `mailmirror window extend` that one.",
            )


def listed(rules: Sequence[Window], book: Book, now: float) -> list[dict[str, Any]]:
    """Every window that is open or to come, and those of the last days, as JSON, in order of their opening."""
    return [
        {
            "key": each.key, "name": each.name, "opens": each.opens, "closes": each.closes, "failback": each.failback,
            "by": each.by or "the inventory", "reason": each.reason, "state": _state(each, book, now),
            "said": marks[-1].said if (marks := book.of(each.key)) else "",
        }
        for each in occasions(rules, book, now)
    ]  # fmt: skip


def _state(each: Occasion, book: Book, now: float) -> str:
    marks = {mark.what for mark in book.of(each.key)}
    if CANCELLED in marks:
        return "cancelled"
    if Todo.MISS in marks:
        return "missed"
    if Todo.CLOSE in marks or now >= each.closes:
        return "over"
    return "open" if now >= each.opens else "to come"


def _settled(book: Book, each: Occasion) -> bool:
    return any(mark.what in SETTLED for mark in book.of(each.key))


def _moved(book: Book, each: Occasion) -> bool:
    return any(mark.what == Todo.MOVE for mark in book.of(each.key))
