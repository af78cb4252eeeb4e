"""When maintenance windows open and close: weekly or cron rules in a zone of the IANA database. Pure.

A rule speaks of local time, a window is an interval of real time: it opens at the first moment that its zone's clocks
show the time, and lasts `length` seconds. Where clocks are put back, a time that comes twice counts once, the first
time. Where they are put forward over it, the window opens as long after the change as it would have (02:30 is 03:30).

Cron is Vixie's, crontab(5): five fields, names of months and days, ranges, lists, steps; 0 and 7 are Sunday; when both
day fields are restricted, either is enough. It is read here, and not by the timer, whose weekdays begin on Monday.

Invariant: the same rule gives the same openings whenever they are asked for, each with a key of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from orchestrator.inventory.quantities import Wrong, shown

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKLY = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([01][0-9]|2[0-3]):([0-5][0-9])")
_PART = re.compile(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]{1,2}))?")
HINT = 'write "Sun 02:30", or five fields as in crontab(5): "30 2 * * sun"'
HORIZON = 9 * 366
"""Days that are looked through for an opening: 29 February may be eight years away."""


class _Field(NamedTuple):
    what: str
    least: int
    most: int
    names: Mapping[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of the month", 1, 31, {}),
    _Field("month", 1, 12, {name: number for number, name in enumerate(MONTHS, 1)}),
    _Field("day of the week", 0, 7, {name: number for number, name in enumerate(DAYS)}),
)


@dataclass(frozen=True)
class Rule:
    """The local times that open a window. `weekdays` as `DAYS` counts; `either`: one of both day fields is enough."""

    times: tuple[tuple[int, int], ...]  # (hour, minute), in order
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool = False

    def on(self, day: date) -> bool:
        """Whether it opens on this day."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


class Span(NamedTuple):
    """One window: seconds since 1970, and a key that no other opening of the rule has."""

    opens: float
    closes: float
    key: str


def parse(written: str) -> Rule:
    """`Sun 02:30`, or cron's five fields. Raises Wrong."""
    weekly = _WEEKLY.fullmatch(written)
    if weekly:
        weekday = DAYS.index(weekly[1].lower())
        every = frozenset(range(1, 32)), frozenset(range(1, 13))
        return Rule(((int(weekly[2]), int(weekly[3])),), *every, frozenset((weekday,)))
    words = written.split()
    if len(words) != len(_FIELDS):
        raise Wrong(f"{shown(written)} is no time at which a window could open", HINT)
    minutes, hours, days, months, weekdays = (_values(word, field) for word, field in zip(words, _FIELDS, strict=True))
    times = tuple((hour, minute) for hour in sorted(hours) for minute in sorted(minutes))
    # crontab(5): a field counts as restricted unless it begins with a star.
    either = not words[2].startswith("*") and not words[4].startswith("*")
    return Rule(times, days, months, frozenset(number % 7 for number in weekdays), either)


def _values(word: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for part in word.lower().split(","):
        match = _PART.fullmatch(part)
        if match is None or (match[1] == "*" and match[2]):
            raise Wrong(f"{shown(part)} is no {field.what}", HINT)
        step = int(match[3] or 1)
        if match[1] == "*":
            first, last = field.least, field.most
        else:
            first = _number(match[1], field)
            last = _number(match[2], field) if match[2] else field.most if match[3] else first
        if first > last or not step:
            raise Wrong(f"{shown(part)} is an empty range for the {field.what}", HINT)
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(word: str, field: _Field) -> int:
    number = field.names.get(word, int(word) if word.isdigit() else -1)
    if not field.least <= number <= field.most:
        raise Wrong(f"{shown(word)} is no {field.what}: it is {field.least} to {field.most}", HINT)
    return number


def spans(rule: Rule, zone: str, length: float, since: float, days: int = HORIZON) -> Iterator[Span]:
    """The windows that open at `since` or later, in order, looking so many days ahead. ZoneInfoNotFoundError for a zone
    that this machine doesn't know.
    """
    where = ZoneInfo(zone)
    first = datetime.fromtimestamp(since, where).date() - timedelta(days=1)
    last = float("-inf")
    for ahead in range(days + 2):
        day = first + timedelta(days=ahead)
        if not rule.on(day):
            continue
        for hour, minute in rule.times:
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=where)  # fold=0: the first of two
            opens = local.astimezone(UTC).timestamp()
            if opens >= since and opens > last:  # not greater: the same moment, by a time that clocks jumped over
                last = opens
                yield Span(opens, opens + length, f"{local:%Y-%m-%dT%H:%M}")


def trouble(rule: Rule, zone: str, length: float, since: float) -> str:
    """Why no such window can be kept, or nothing: it never opens, or opens again before it has closed."""
    before: Span | None = None
    for number, span in enumerate(spans(rule, zone, length, since)):
        if before is not None and span.opens < before.closes:
            return f"it opens again at {span.key} before it has closed"
        if number == 400:
            break
        before = span
    return "" if before is not None else "it never opens"
