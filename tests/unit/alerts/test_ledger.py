"""What is told, when and to whom: once when it lasts, again after hours, once at its end; the unreachable later."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.alerts.conditions import PAGE, WARNING, Condition
from orchestrator.alerts.ledger import AGAIN, FIRING, RESOLVED, STEADY, Entry, Notice, due, seen, told, without

DOWN = Condition("down mail1", PAGE, "mail1 is down.", "Look.")
SLOW = Condition("behind mail2", WARNING, "mail2 is behind.", "Look.", after=120.0)
CHANNELS = {"pager": PAGE, "mail": WARNING}


class People:
    """Two channels, and what each was told; one may be out of reach."""

    def __init__(self) -> None:
        self.book: dict[str, Entry] = {}
        self.heard: list[tuple[float, str, str, str]] = []
        self.deaf: set[str] = set()

    def look(self, now: float, *present: Condition) -> list[Notice]:
        self.book = seen(self.book, present, now)
        notices = due(self.book, "org", CHANNELS, now)
        reached = [notice for notice in notices if notice.channel not in self.deaf]
        self.heard += [(now, each.channel, each.status, each.condition.name) for each in reached]
        self.book = told(self.book, reached, now)
        return reached


@pytest.mark.issue("6.5 alerts deduplicated with recovery messages")
def test_a_condition_is_told_once_to_each_and_so_is_its_end() -> None:
    people = People()
    assert [each.channel for each in people.look(0.0, DOWN)] == ["pager", "mail"]
    for now in range(5, 600, 5):
        assert people.look(float(now), DOWN) == []
    assert people.look(600.0) == []
    ended = people.look(600.0 + STEADY)
    assert [(each.channel, each.status, each.ended) for each in ended] == [
        ("pager", RESOLVED, 595.0), ("mail", RESOLVED, 595.0),
    ]  # fmt: skip
    assert people.look(700.0) == [] and people.book == {}


def test_what_lasts_is_told_again_after_hours() -> None:
    people = People()
    people.look(0.0, DOWN)
    people.look(AGAIN - 5, DOWN)
    assert len(people.heard) == 2
    people.look(AGAIN, DOWN)
    assert len(people.heard) == 4


@pytest.mark.issue("6.4 a link's snooze of 30 min, 2 h or 24 h puts the question off, and no later outage")
def test_what_was_put_off_is_told_again_when_the_time_has_come_and_not_before() -> None:
    people = People()
    people.look(0.0, DOWN)
    for now in (10.0, AGAIN + 10, AGAIN + 600):
        assert people.look(now, DOWN._replace(silent_until=AGAIN + 1000)) == []
    assert len(people.look(AGAIN + 1000, DOWN._replace(silent_until=AGAIN + 1000))) == 2
    assert people.look(AGAIN + 1005, DOWN._replace(silent_until=AGAIN + 1000)) == []
    assert len(people.look(2 * AGAIN + 1000, DOWN._replace(silent_until=AGAIN + 1000))) == 2, "as whatever lasts"
    late = People()
    assert late.look(0.0, DOWN._replace(silent_until=50.0)) == [] and len(late.look(50.0, DOWN)) == 2


def test_what_may_pass_by_itself_is_told_when_it_has_lasted_and_only_to_whom_it_concerns() -> None:
    people = People()
    for now in range(0, 120, 5):
        assert people.look(float(now), SLOW) == []
    assert [each.channel for each in people.look(120.0, SLOW)] == ["mail"]
    assert [each.channel for each in people.look(300.0)] == ["mail"], "the end is told to those who were told"


def test_a_swing_is_one_condition() -> None:
    people = People()
    for now in range(0, 600, 30):
        people.look(float(now), *([DOWN] if now % 60 == 0 else []))
    assert [status for _, _, status, _ in people.heard] == [FIRING, FIRING]


def test_a_channel_out_of_reach_is_told_when_it_is_back_and_nobody_twice() -> None:
    people = People()
    people.deaf = {"pager"}
    people.look(0.0, DOWN)
    people.look(30.0, DOWN)
    assert [channel for _, channel, _, _ in people.heard] == ["mail"]
    people.deaf = set()
    people.look(60.0, DOWN)
    assert [channel for _, channel, _, _ in people.heard] == ["mail", "pager"]
    people.deaf = {"mail"}
    people.look(200.0)
    people.deaf = set()
    people.look(205.0)
    assert people.heard[2:] == [(200.0, "pager", RESOLVED, DOWN.name), (205.0, "mail", RESOLVED, DOWN.name)]


def test_a_channel_that_is_gone_from_the_inventory_holds_nothing_up() -> None:
    people = People()
    people.look(0.0, DOWN)
    people.book = without(people.book, ["mail"])
    assert set(people.book[DOWN.name].told) == {"mail"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.booleans(), st.booleans(), st.sampled_from(("", "pager", "mail")))))
def test_each_channel_hears_firing_and_resolved_in_turn(
    looks: list[tuple[int, bool, bool, str]],
) -> None:
    people, now = People(), 0.0
    for seconds, down, slow, deaf in looks:
        now += seconds
        people.deaf = {deaf}
        people.look(now, *([DOWN] if down else []), *([SLOW] if slow else []))
    for channel in CHANNELS:
        for condition in (DOWN, SLOW):
            heard = [row for row in people.heard if row[1] == channel and row[3] == condition.name]
            for before, after in pairwise(heard):
                assert before[2] != after[2] or (after[2] == FIRING and after[0] - before[0] >= AGAIN)
            assert not heard or heard[0][2] == FIRING
