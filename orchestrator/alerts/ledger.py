"""Which notices are due, and to whom: each condition is told once when it has lasted, again from time to time while it
does, and once when it is over. Pure.

What was told is kept by channel, so that one which couldn't be reached is told later, and the others aren't told twice.
A condition that comes and goes within `STEADY` is the same one: people aren't told of every swing.

Invariant: from the same book, conditions and time the same notices follow; the end of a condition is told to exactly
those who were told of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from orchestrator.alerts.conditions import SEVERITIES, Condition

AGAIN = 4 * 3600.0
"""Seconds after which a condition that lasts is told again."""
STEADY = 60.0
"""Seconds for which a condition has to be gone before it is over."""
FIRING, RESOLVED = "firing", "resolved"


@dataclass(frozen=True)
class Entry:
    """A condition that holds, or held: since when, when it was last seen, and when each channel was told (seconds since
    1970).
    """

    condition: Condition
    since: float
    seen: float
    told: Mapping[str, float] = field(default_factory=dict)


class Notice(NamedTuple):
    """What one channel is to be told. `ended` is 0 while it holds; `link`: where it can be answered."""

    channel: str
    status: str
    pair: str
    condition: Condition
    since: float
    ended: float = 0.0
    link: str = ""


Book = Mapping[str, Entry]
"""By the condition's name."""


def seen(book: Book, present: Sequence[Condition], now: float) -> dict[str, Entry]:
    """The book after a look."""
    entries = dict(book)
    for condition in present:
        known = entries.get(condition.name)
        if known is None or (now - known.seen > STEADY and not known.told):
            entries[condition.name] = Entry(condition, now, now)
        else:
            entries[condition.name] = replace(known, condition=condition, seen=now)
    return {name: each for name, each in entries.items() if each.told or now - each.seen <= STEADY}


def due(book: Book, pair: str, channels: Mapping[str, str], now: float) -> list[Notice]:
    """What is to be told now. `channels`: each channel's name, and the least severity that it is told of."""
    found = []
    for each in book.values():
        over = now - each.seen > STEADY
        lasted = each.seen - each.since >= each.condition.after
        for channel, least in channels.items():
            last = each.told.get(channel)
            if over and last is not None:
                found.append(Notice(channel, RESOLVED, pair, each.condition, each.since, each.seen))
            elif not over and lasted and _worth(each, least) and _is_time(last, each.condition.silent_until, now):
                found.append(Notice(channel, FIRING, pair, each.condition, each.since))
    return found


def told(book: Book, notices: Iterable[Notice], now: float) -> dict[str, Entry]:
    """The book after these notices have arrived. A condition whose end everybody knows is struck out."""
    entries = dict(book)
    for notice in notices:
        each = entries.get(notice.condition.name)
        if each is None:
            continue
        if notice.status == FIRING:
            entries[notice.condition.name] = replace(each, told={**each.told, notice.channel: now})
            continue
        left = {channel: at for channel, at in each.told.items() if channel != notice.channel}
        if left:
            entries[notice.condition.name] = replace(each, told=left)
        else:
            del entries[notice.condition.name]
    return entries


def without(book: Book, channels: Iterable[str]) -> dict[str, Entry]:
    """The book where only these channels are left, as after a change of the inventory."""
    kept = set(channels)
    return {
        name: replace(each, told={channel: at for channel, at in each.told.items() if channel in kept})
        for name, each in book.items()
    }


def as_json(book: Book) -> dict[str, Any]:
    """What `json.dumps` takes."""
    return {name: asdict(each) | {"condition": list(each.condition)} for name, each in book.items()}


def from_json(told: Mapping[str, Any]) -> dict[str, Entry]:
    """The book that was written; what of it isn't understood is left out: people are told of that again."""
    found = {}
    for name, each in told.items():
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            since, seen_at = float(each["since"]), float(each["seen"])
            channels = {str(channel): float(at) for channel, at in each["told"].items()}
            found[name] = Entry(Condition(*each["condition"]), since, seen_at, channels)
    return found


def _is_time(last: float | None, silent_until: float, now: float) -> bool:
    """Whether a condition that holds is told now: for the first time, again after a while, or when it was put off and
    the time has come.
    """
    if now < silent_until:
        return False
    return last is None or last < silent_until or now - last >= AGAIN


def _worth(each: Entry, least: str) -> bool:
    return SEVERITIES.index(each.condition.severity) >= SEVERITIES.index(least)
