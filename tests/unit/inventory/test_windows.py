"""When windows open and close: rules of both kinds, and the two days a year on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.inventory.quantities import Wrong
from orchestrator.inventory.windows import DAYS, Rule, parse, spans, trouble

ZURICH = "Europe/Zurich"
HOUR = 3600.0


def at(text: str) -> float:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def opened(written: str, since: str, count: int, zone: str = ZURICH) -> list[str]:
    """The next openings in UTC."""
    found = islice(spans(parse(written), zone, HOUR, at(since)), count)
    return [f"{datetime.fromtimestamp(span.opens, UTC):%Y-%m-%d %H:%M}" for span in found]


@pytest.mark.issue("6.6 windows weekly or cron in an IANA zone")
def test_weekly_and_cron_say_the_same() -> None:
    week = opened("Sun 02:30", "2026-12-01", 3)
    assert week == ["2026-12-06 01:30", "2026-12-13 01:30", "2026-12-20 01:30"]
    assert opened("30 2 * * sun", "2026-12-01", 3) == week == opened("30 2 * * 0", "2026-12-01", 3)
    assert opened("30 2 * * 7", "2026-12-01", 3) == week


@pytest.mark.issue("6.6 windows across daylight-saving changes")
def test_where_clocks_go_forward_over_it_it_opens_after_the_change() -> None:
    # On 2027-03-28 it is 03:00 right after 01:59 in Zurich.
    assert opened("Sun 02:30", "2027-03-22", 2) == ["2027-03-28 01:30", "2027-04-04 00:30"]
    assert opened("30 2,3 * * *", "2027-03-28", 2) == ["2027-03-28 01:30", "2027-03-29 00:30"], "one moment, one window"


@pytest.mark.issue("6.6 windows across daylight-saving changes")
def test_where_clocks_go_back_it_opens_once() -> None:
    # On 2026-10-25 02:30 comes twice in Zurich: at 00:30 and at 01:30 UTC.
    assert opened("30 2 * * *", "2026-10-24", 3) == ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"]
    [span] = islice(spans(parse("30 2 * * *"), ZURICH, 2 * HOUR, at("2026-10-25")), 1)
    assert span.closes - span.opens == 2 * HOUR, "a length is real time"


def test_either_of_two_restricted_days_is_enough_and_a_star_is_no_restriction() -> None:
    either = opened("0 3 1,15 * fri", "2026-12-01", 6, "UTC")
    days = [day[8:10] for day in either]
    assert days == ["01", "04", "11", "15", "18", "25"]
    assert opened("0 3 */10 * fri", "2026-12-01", 2, "UTC") == ["2026-12-11 03:00", "2027-01-01 03:00"]


def test_steps_ranges_and_names() -> None:
    assert parse("*/20 8-10/2 * jan,DEC mon-wed") == Rule(
        tuple((hour, minute) for hour in (8, 10) for minute in (0, 20, 40)),
        frozenset(range(1, 32)), frozenset((1, 12)), frozenset((1, 2, 3)),
    )  # fmt: skip


@pytest.mark.parametrize(
    "written",
    ["", "Sunday 02:30", "Sun 24:00", "2 30", "60 2 * * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 8", "5-3 2 * * *",
     "*/0 2 * * *", "*-3 2 * * *", "0 2 * * son", "0 2 * * * *"],
)  # fmt: skip
def test_what_is_no_rule_is_told_with_what_to_write(written: str) -> None:
    with pytest.raises(Wrong) as error:
        parse(written)
    assert "crontab(5)" in error.value.hint


def test_windows_that_never_open_or_overlap_themselves() -> None:
    since = at("2026-12-01")
    assert trouble(parse("0 0 31 2 *"), ZURICH, HOUR, since) == "it never opens"
    assert trouble(parse("0 0 29 2 *"), ZURICH, HOUR, since) == ""
    assert "before it has closed" in trouble(parse("0 * * * *"), ZURICH, 1.5 * HOUR, since)
    assert trouble(parse("0 * * * *"), ZURICH, HOUR, since) == ""


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(("UTC", ZURICH, "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu")),
    st.integers(0, 6), st.integers(0, 23), st.integers(0, 59), st.integers(0, 4 * 366 * 24 * 60),
)  # fmt: skip
def test_an_opening_shows_its_own_time_and_is_found_again_from_any_moment_before(
    zone: str, weekday: int, hour: int, minute: int, after: int
) -> None:
    rule = parse(f"{minute} {hour} * * {DAYS[weekday]}")
    since = at("2026-01-01") + after * 60.0
    first, second = islice(spans(rule, zone, HOUR, since), 2)
    assert since <= first.opens < second.opens and first.key != second.key
    assert next(spans(rule, zone, HOUR, first.opens)) == first
    local = datetime.fromtimestamp(first.opens, ZoneInfo(zone))
    shown = (local.isoweekday() % 7, local.hour, local.minute)
    jumped = datetime.fromtimestamp(first.opens - 2 * HOUR, ZoneInfo(zone)).utcoffset() != local.utcoffset()
    assert shown == (weekday, hour, minute) or jumped
