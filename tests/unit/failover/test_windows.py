"""What is due about maintenance windows, from facts alone; a life of them minute by minute, with a daemon that dies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.failover import windows
from orchestrator.failover.windows import DAY, TRIED, Facts, Todo
from orchestrator.inventory.model import MIRROR, PRIMARY, Window
from orchestrator.records.journal import Event
from orchestrator.records.windows import Book, Occasion, fold, key_of

HOUR = 3600.0
OPENS = 1_796_000_400.0
RULE = Window("patching", "Sun 02:30", HOUR, "Europe/Zurich")
ONCE = Occasion(key_of("disks", OPENS), "disks", OPENS, OPENS + HOUR, failback=True, by="ann")


class Life:
    """A book, kept as the journal keeps it, and a daemon that looks at it."""

    def __init__(self, *rules: Window, added: Occasion | None = None) -> None:
        self.rules, self.events = rules, list[Event]()
        self.active, self.ready, self.told = PRIMARY, True, list[tuple[str, str]]()
        if added:
            fields = ("name", "opens", "closes", "failback", "by", "reason")
            told = {name: getattr(added, name) for name in fields}
            self.events.append(Event(OPENS - 5 * DAY, "window", {"what": "added", "key": added.key, **told}))

    @property
    def book(self) -> Book:
        return fold(self.events)

    def mark(self, at: float, what: str, key: str, said: str = "") -> None:
        self.events.append(Event(at, "window", {"what": what, "key": key, "said": said}))

    def look(self, now: float, held: str = "", named: bool = False) -> list[Todo]:
        """What the daemon does at this moment, until nothing more is due."""
        done: list[Todo] = []
        while len(done) < 10:
            facts = Facts(now, self.active, held, named)
            found = windows.due(windows.occasions(self.rules, self.book, now), self.book, facts)
            if found is None:
                return done
            done.append(found.todo)
            self.told.append((found.todo, found.why))
            moves = {Todo.MOVE: MIRROR, Todo.HOME: PRIMARY}.get(found.todo)
            if moves and self.active != moves and not self.ready:
                self.mark(now, TRIED, found.occasion.key, "the lag isn't known")
                continue
            self.active = moves or self.active
            self.mark(now, found.todo, found.occasion.key, found.why)
        raise AssertionError(f"it never ends: {done}")


@pytest.mark.issue("6.6 windows switchover at the start failback at the end reminders TTL lowered ahead")
def test_a_window_from_its_reminder_to_the_way_home() -> None:
    life = Life(added=ONCE)
    assert life.look(OPENS - 2 * DAY, named=True) == []
    assert life.look(OPENS - DAY, named=True) == [Todo.LOWER]
    assert life.look(OPENS - HOUR, named=True) == [Todo.REMIND]
    assert life.look(OPENS) == [Todo.MOVE] and life.active == MIRROR
    assert life.look(OPENS + HOUR - 1) == []
    assert life.look(OPENS + HOUR) == [Todo.HOME, Todo.CLOSE] and life.active == PRIMARY
    assert life.look(OPENS + 5 * DAY) == []


def test_users_stay_and_people_are_reminded_every_day_where_no_failback_was_asked_for() -> None:
    life = Life(added=replace(ONCE, failback=False))
    life.look(OPENS)
    assert life.look(OPENS + HOUR) == [Todo.CLOSE] and "mailmirror failback" in life.told[-1][1]
    assert life.look(OPENS + HOUR + DAY - 1) == []
    assert life.look(OPENS + HOUR + DAY) == [Todo.STILL] and life.look(OPENS + HOUR + DAY + 60) == []
    assert life.look(OPENS + HOUR + 2 * DAY) == [Todo.STILL]
    life.active = PRIMARY
    assert life.look(OPENS + HOUR + 3 * DAY) == []


@pytest.mark.issue("6.6 windows never forced when not ready; missed windows told")
def test_a_pair_that_is_not_ready_is_tried_again_and_then_told_as_missed() -> None:
    life = Life(added=ONCE)
    life.ready = False
    assert life.look(OPENS) == [Todo.MOVE] and life.active == PRIMARY
    assert life.look(OPENS + 299) == [] and life.look(OPENS + 300) == [Todo.MOVE]
    assert life.look(OPENS + HOUR / 2) == [Todo.MISS]
    assert life.told[-1] == (Todo.MISS, "disks was missed: the lag isn't known")
    life.ready = True
    assert life.look(OPENS + HOUR / 2 + 1) == [] == life.look(OPENS + 2 * HOUR), "it isn't made up for"


def test_a_way_home_that_is_not_ready_is_given_up_after_an_hour_and_told() -> None:
    life = Life(added=ONCE)
    life.look(OPENS)
    life.ready = False
    assert life.look(OPENS + HOUR) == [Todo.HOME]
    assert life.look(OPENS + 2 * HOUR) == [Todo.CLOSE] and "couldn't be brought home" in life.told[-1][1]
    assert life.active == MIRROR


def test_what_happened_while_no_daemon_ran_is_told_and_never_done_late() -> None:
    life = Life(RULE)
    life.mark(OPENS - 30 * DAY, "known", RULE.name)
    sundays = [each.opens for each in windows.occasions(life.rules, life.book, OPENS)]
    assert len(sundays) >= 2
    [past] = [at for at in sundays if OPENS - 7 * DAY < at <= OPENS - HOUR]
    assert life.look(past + 2 * DAY) == [Todo.MISS] and "nobody was there" in life.told[-1][1]
    assert life.look(past + 2 * DAY) == []


def test_windows_from_before_a_rule_was_known_are_nobodys() -> None:
    life = Life(RULE)
    life.mark(OPENS, "known", RULE.name)
    assert life.look(OPENS + 60) == []


@pytest.mark.parametrize("held", ["Paused by ann", "mm_mode is observe"])
def test_what_is_held_back_moves_nobody(held: str) -> None:
    life = Life(added=ONCE)
    assert life.look(OPENS, held) == [] == life.look(OPENS + 1799, held)
    assert life.look(OPENS + 1800, held) == [Todo.MISS] and held in life.told[-1][1]


def test_one_that_is_extended_or_cancelled() -> None:
    life = Life(added=ONCE)
    life.look(OPENS)
    life.events.append(Event(OPENS, "window", {"what": "extended", "key": ONCE.key, "closes": OPENS + 2 * HOUR}))
    assert life.look(OPENS + HOUR) == [] and life.look(OPENS + 2 * HOUR) == [Todo.HOME, Todo.CLOSE]
    other = Life(added=ONCE)
    other.mark(OPENS - HOUR, "cancelled", ONCE.key)
    assert other.look(OPENS) == []


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 900), st.booleans(), st.booleans()), min_size=5, max_size=60),
    st.booleans(), st.integers(-6, 2),
)  # fmt: skip
def test_each_window_moves_users_once_at_most_in_its_first_half_and_is_settled_once(
    looks: list[tuple[int, bool, bool]], failback: bool, begins: int
) -> None:
    life = Life(RULE, added=replace(ONCE, failback=failback))
    life.mark(OPENS - DAY, "known", RULE.name)
    now = OPENS + begins * HOUR
    for minutes, ready, held in looks:
        now += minutes * 20.0
        life.ready = ready
        before = life.active
        if Todo.MOVE in life.look(now, "held" if held else "") and before == PRIMARY and life.active == MIRROR:
            spans = windows.occasions(life.rules, life.book, now)
            assert not held and any(0 <= now - each.opens < (each.closes - each.opens) / 2 for each in spans)
    for marks in life.book.marks.values():
        settled = [mark for mark in marks if mark.what in windows.SETTLED]
        assert len(settled) <= 1 and len([mark for mark in marks if mark.what == Todo.MOVE]) <= 1
