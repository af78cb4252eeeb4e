"""When a place answered, when two did at once, when nobody did."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.oracle.intervals import (
    JOIN,
    SLACK,
    Answer,
    Span,
    blind,
    longest,
    merged,
    outages,
    overlaps,
    second_writers,
    serving,
)

PERIOD = 0.05
times = st.integers(0, 2000).map(lambda number: number / 10)
spans = st.tuples(times, times).map(lambda pair: Span(min(pair), max(pair)))


def said(place: str, *at: float, link: str = "") -> list[Answer]:
    """Answers, each on a connection of its own unless one is named."""
    return [Answer(t, place, link or f"{place}-{t}", "imap", "OK") for t in at]


@given(st.lists(spans))
def test_a_union_holds_exactly_what_its_spans_hold(given_spans: list[Span]) -> None:
    union = merged(given_spans)
    for t in {edge for span in given_spans for edge in (span.start, span.end, span.start + 0.05, span.end + 0.05)}:
        inside = any(span.start <= t <= span.end for span in given_spans)
        assert inside == any(span.start <= t <= span.end for span in union)
    assert all(one.end < other.start for one, other in itertools.pairwise(union))


@given(st.lists(spans), st.lists(spans))
def test_an_overlap_is_found_exactly_where_both_were_writers(one: list[Span], other: list[Span]) -> None:
    found = [span for _, span in overlaps({"mirror": merged(one), "primary": merged(other)})]
    for t in {edge for span in [*one, *other] for edge in (span.start, span.end, span.start + 0.05)}:
        both = all(any(span.start <= t <= span.end for span in spans) for spans in (one, other))
        assert both == any(span.start <= t <= span.end for span in found)


@given(st.lists(times, min_size=1, unique=True))
def test_every_answer_lies_in_a_span_of_its_place(at: list[float]) -> None:
    spans = serving(said("primary", *at))["primary"]
    assert all(any(span.start <= t <= span.end for span in spans) for t in at)
    assert {span.start for span in spans} | {span.end for span in spans} <= set(at)


@given(st.lists(times, min_size=1), st.lists(times, min_size=1), st.integers(3, 50))
def test_places_that_take_turns_with_a_pause_are_never_second_writers(
    first: list[float], second: list[float], pause: int
) -> None:
    """A switchover, and a failback after it."""
    start = max(first) + pause
    moved = [start + t for t in second]
    back = max(moved) + pause
    answers = said("primary", *first) + said("mirror", *moved) + said("primary", back, back + 1)
    assert second_writers(answers) == []


@given(st.lists(st.integers(1, 8), min_size=2, max_size=40), st.data())
def test_one_answer_of_another_place_among_a_busy_places_own_is_found(gaps: list[int], data: st.DataObject) -> None:
    at = [sum(gaps[:count]) / 10 for count in range(len(gaps) + 1)]
    place = data.draw(st.integers(0, len(at) - 2))
    intruder = (at[place] + at[place + 1]) / 2
    (found,) = second_writers(said("primary", *at) + said("mirror", intruder))
    assert found.places == ("mirror", "primary") and found.span == Span(intruder, intruder)


def test_a_connection_that_goes_on_answering_after_the_other_place_did_is_found() -> None:
    """However quiet it was in between: it was never fenced."""
    answers = said("primary", 0, 600, link="c1>s") + said("mirror", 300)
    assert [both.span for both in second_writers(answers)] == [Span(300, 300)]
    assert second_writers(said("primary", 0, 600) + said("mirror", 300)) == []


def test_a_hand_over_without_a_pause_is_sound_and_one_answer_too_late_is_not() -> None:
    orderly = said("primary", 0.0, 0.5, 1.0) + said("mirror", 1.001, 1.5)
    assert second_writers(orderly) == []
    (found,) = second_writers([*orderly, *said("primary", 1.2)])
    assert "primary" not in found.said[0] and found.span == Span(1.001, 1.2)


@given(st.integers(0, 200), st.integers(int(SLACK) + 2, 400), st.integers(1, 200))
def test_an_outage_is_told_to_within_a_period(before: int, away: int, after: int) -> None:
    """Probes every period; those begun while the service was away failed."""
    ticks = [number * PERIOD for number in range(before + away + after)]
    good = [t + 0.01 for number, t in enumerate(ticks) if not before <= number < before + away]
    watch = Span(-0.02, ticks[-1] + 0.02)
    (found,) = outages(good, ticks, watch, PERIOD)
    assert found.seconds == pytest.approx(away * PERIOD, abs=PERIOD + 0.02)
    assert found.whole == (before > 0)
    assert longest(good, watch) == found.seconds
    assert blind(good, ticks, watch, PERIOD) == []


@given(st.integers(1, 100), st.integers(int(SLACK) + 2, 400), st.integers(1, 100))
def test_a_prober_that_slept_reports_its_own_sleep_and_no_outage(before: int, asleep: int, after: int) -> None:
    numbers = [*range(before), *range(before + asleep, before + asleep + after)]
    ticks = [number * PERIOD for number in numbers]
    watch = Span(0, ticks[-1] + 0.02)
    good = [t + 0.01 for t in ticks]
    assert outages(good, ticks, watch, PERIOD) == []
    assert sum(gap.seconds for gap in blind(good, ticks, watch, PERIOD)) == pytest.approx(
        asleep * PERIOD, abs=PERIOD + 0.02
    )


def test_a_service_that_hangs_and_then_answers_everything_was_away_meanwhile() -> None:
    """A frozen server: no attempt failed, but none succeeded in that second either."""
    ticks = [number * PERIOD for number in range(60)]
    good = [t + 0.01 if not 1 <= t < 2 else 2.01 for t in ticks]
    (found,) = outages(good, ticks, Span(0, 3), PERIOD)
    assert found.seconds == pytest.approx(1.05, abs=0.05)


def test_a_service_that_never_answered_was_away_all_the_time() -> None:
    ticks = [number * PERIOD for number in range(100)]
    (found,) = outages([], ticks, Span(0, 5), PERIOD)
    assert found.seconds == 5 and not found.whole


def test_answers_of_one_place_join_up_to_the_limit() -> None:
    assert serving(said("primary", 0, JOIN, 2 * JOIN)) == {"primary": [Span(0, 2 * JOIN)]}
    assert len(serving(said("primary", 0, JOIN * 1.01))["primary"]) == 2
