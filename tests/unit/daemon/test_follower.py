"""One pair's thread: what it does when things go wrong, and that every order comes to an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.daemon.follower import LONGEST_DELAY, Follower, added, delay, unlinked
from orchestrator.errors import HostUnreachable, Refused, StillRunning, TryAgain
from orchestrator.records.lock import Held, Lock
from orchestrator.replication.report import Link, PairStatus, PassiveStatus, Tally
from orchestrator.web.replicates import Replicates
from tests.unit.daemon.memory import Site, pair

Start = Callable[[], Follower]


def until(true: Callable[[], bool], within: float = 5.0) -> None:
    """Wait for something that another thread is about to do."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "it didn't come to pass"
        time.sleep(0.002)


@pytest.fixture
def site() -> Site:
    return Site("org")


@pytest.fixture
def follower(site: Site, tmp_path: Path) -> Iterator[Follower]:
    it = Follower(pair("org", tmp_path), lambda: site.connect(pair("org", tmp_path)))
    yield it
    it.stop()
    assert it.join(2.0)


def equal(session: Replicates) -> bool:
    return all(report.equal for report in session.verify())


def test_an_order_runs_between_two_rounds_on_the_pair_s_own_thread(follower: Follower) -> None:
    follower.start()
    assert follower.call(lambda session: threading.current_thread().name, 5.0) == "pair org"


def test_an_order_given_before_there_is_a_link_waits_for_it(follower: Follower, site: Site) -> None:
    site.worlds["org"].active["a/1"] = b"body"
    order = follower.order(lambda session: [report.tally.messages for report in session.sync()])
    follower.start()
    assert order.result(5.0) == [0]  # following began with a pass of its own
    assert site.worlds["org"].passive == {"a/1": b"body"}


@pytest.mark.issue("2.6 run: every pair, live, with reconnects (reconnect)")
def test_a_lost_link_is_made_anew_and_orders_go_on(follower: Follower, site: Site) -> None:
    follower.start()
    assert follower.call(equal, 5.0)
    site.cut("org")
    until(lambda: follower.reconnects == 1)
    assert follower.call(equal, 5.0)
    assert site.worlds["org"].connections == 2


def test_an_unreachable_host_is_told_to_who_waits_with_its_remedy(follower: Follower, site: Site) -> None:
    site.worlds["org"].unreachable = True
    follower.start()
    with pytest.raises(HostUnreachable, match=r"mirror\.org"):
        follower.call(equal, 5.0)
    status = follower.status()
    assert (status.link, status.trouble) == (Link.CONNECTING, "mirror.org can't be reached.")
    assert status.remedy == HostUnreachable.default_remedy


def test_an_order_shortens_the_wait_for_the_next_attempt(follower: Follower, site: Site) -> None:
    site.error = Refused("No.")
    follower.start()
    until(lambda: follower.status().link is Link.REFUSED)  # the next attempt is half a minute away
    site.error = None
    assert follower.call(equal, 5.0)


def test_a_refused_pair_gives_its_lock_back_so_that_init_can_be_run(
    follower: Follower, site: Site, tmp_path: Path
) -> None:
    site.worlds["org"].marked = False
    follower.start()
    until(lambda: follower.status().link is Link.REFUSED)
    with Lock(tmp_path, "org", "init"):
        site.worlds["org"].marked = True
    follower.poke()
    until(lambda: follower.status().link is Link.LIVE)


def test_a_pair_whose_lock_is_held_says_by_whom(follower: Follower, tmp_path: Path) -> None:
    with Lock(tmp_path, "org", "sync"):
        follower.start()
        with pytest.raises(Held, match="`sync`"):
            follower.call(equal, 5.0)
        assert "`sync`" in follower.status().trouble
    follower.poke()
    assert follower.call(equal, 5.0)


def test_an_unexpected_error_stays_with_its_pair(follower: Follower, site: Site) -> None:
    site.error = ZeroDivisionError("of ours")
    follower.start()
    until(lambda: "ZeroDivisionError" in follower.status().trouble)
    site.error = None
    assert follower.call(equal, 5.0)


def test_an_order_that_fails_unexpectedly_fails_alone(follower: Follower) -> None:
    follower.start()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        follower.call(lambda session: 1 // 0, 5.0)
    assert follower.call(equal, 5.0)


def test_who_waits_too_long_learns_whether_it_had_begun(follower: Follower, site: Site) -> None:
    follower.start()
    assert follower.call(equal, 5.0)
    gate = site.worlds["org"].slow = threading.Event()
    with pytest.raises(StillRunning, match="goes on"):
        follower.call(lambda session: session.sync(), 0.3)
    with pytest.raises(StillRunning, match="wasn't begun"):
        follower.call(equal, 0.05)
    gate.set()
    assert follower.call(equal, 5.0)


def test_stopping_ends_a_pass_that_hangs_within_two_seconds(site: Site, tmp_path: Path) -> None:
    hung = Follower(pair("org", tmp_path), lambda: site.connect(pair("org", tmp_path)))
    site.worlds["org"].slow = threading.Event()
    hung.start()
    until(lambda: bool(site.sessions))
    began = time.monotonic()
    hung.stop()
    assert hung.join(1.0)
    assert time.monotonic() - began < 2.0


def test_orders_to_a_stopping_follower_are_refused_at_once(follower: Follower) -> None:
    follower.start()
    assert follower.call(equal, 5.0)
    follower.stop()
    assert follower.join(2.0)
    with pytest.raises(TryAgain, match="stopping"):
        follower.call(equal, 5.0)
    assert follower.status().link is Link.STOPPED


def test_counters_never_fall_when_a_link_is_made_anew(follower: Follower, site: Site) -> None:
    site.worlds["org"].active["a/1"] = b"1"
    follower.start()
    assert follower.call(equal, 5.0)
    before = follower.status()
    site.cut("org")
    until(lambda: follower.reconnects == 1)
    site.worlds["org"].active["a/2"] = b"2"
    follower.call(lambda session: session.sync(), 5.0)
    after = follower.status()
    assert [p.tally.messages for p in (*before.passives, *after.passives)] == [1, 2]
    assert (before.bytes_sent, after.bytes_sent) == (20, 40)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_delays_stay_between_a_quarter_of_a_second_and_the_longest(attempt: int, chance: float) -> None:
    assert 0.25 <= delay(attempt, chance) <= LONGEST_DELAY


def test_without_a_link_a_lag_grows_when_something_was_pending_and_else_is_unknown() -> None:
    behind = PassiveStatus("m", "mirror", connected=True, pending=3, lag_seconds=2.0)
    level = PassiveStatus("n", "mirror", connected=True, lag_seconds=0.0)
    told = unlinked(PairStatus("org", permit_open=True, passives=[behind, level], taken_at=100.0), 110.0)
    assert [(p.connected, p.lag_seconds) for p in told.passives] == [(False, 12.0), (False, None)]
    assert not told.permit_open


def test_what_waits_is_the_present_count_not_a_sum() -> None:
    now = PassiveStatus("m", "mirror", tally=Tally(messages=1, waiting=5))
    status = PairStatus("org", passives=[now])
    both = added(status, replace(status, passives=[replace(now, tally=Tally(messages=2, waiting=7))]))
    assert both.passives[0].tally == Tally(messages=3, waiting=5)


# --- paused, while roles are turned ---------------------------------------------------


def test_a_paused_follower_has_let_go_and_keeps_the_lock(follower: Follower, site: Site, tmp_path: Path) -> None:
    follower.start()
    assert follower.call(equal, 5.0)
    follower.pause("a switchover", 5.0)
    assert site.worlds["org"].let_go == 1
    assert site.sessions[-1].closed.is_set()
    with pytest.raises(Held), Lock(tmp_path, "org", "sync"):
        pass
    with pytest.raises(TryAgain, match="paused: a switchover"):
        follower.call(equal, 5.0)
    assert (follower.status().link, follower.status().trouble) == (Link.STOPPED, "Replication is paused: a switchover.")
    follower.resume()
    assert follower.call(equal, 5.0)
    assert site.worlds["org"].connections == 2


def test_a_follower_that_waits_for_its_next_attempt_is_paused_at_once(follower: Follower, site: Site) -> None:
    site.worlds["org"].unreachable = True
    follower.start()
    until(lambda: follower.reconnects > 1)
    follower.pause("a failover", 5.0)
    follower.resume(PairStatus("org", active="mirror.org", epoch=2, passives=[PassiveStatus("mail1.org", "primary")]))
    until(lambda: follower.status().link is Link.CONNECTING)
    status = follower.status()
    assert (status.active, status.epoch) == ("mirror.org", 2)
    assert [(each.host, each.connected, each.lag_seconds) for each in status.passives] == [("mail1.org", False, None)]


def test_a_follower_that_connects_to_a_host_that_is_away_is_paused_at_once(follower: Follower, site: Site) -> None:
    reached = threading.Event()
    connect, follower._connect = follower._connect, lambda: (reached.wait(10.0), connect())[1]
    follower.start()
    until(lambda: follower._connecting)
    follower.pause("a failover", 1.0)
    reached.set()
    until(lambda: follower.status().link is Link.STOPPED)
    assert site.sessions[-1].closed.is_set()
    follower.resume()
    assert follower.call(equal, 5.0)


def test_a_follower_without_the_lock_cant_be_paused(follower: Follower, tmp_path: Path) -> None:
    with Lock(tmp_path, "org", "sync"):
        follower.start()
        with pytest.raises(TryAgain, match="couldn't be paused"):
            follower.pause("a switchover", 0.3)
    assert follower.call(equal, 10.0)


def test_a_paused_follower_stops(follower: Follower) -> None:
    follower.start()
    follower.pause("a switchover", 5.0)
    follower.stop()
    assert follower.join(2.0)


def test_pauses_that_come_one_after_another_each_let_go(follower: Follower, site: Site) -> None:
    follower.start()
    for number in range(1, 6):
        assert follower.call(equal, 5.0)
        follower.pause("a drill", 5.0)
        follower.resume()
        assert site.worlds["org"].let_go == number
