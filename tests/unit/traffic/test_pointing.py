"""Plans, whatever the servers say: only from servers that agree, only onwards, and never over what isn't the pair's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Refused
from orchestrator.traffic.pointing import Exchange, Mark, Sight, is_older, planned, read_texts, shows, written_texts
from orchestrator.traffic.switch import Target

pytestmark = pytest.mark.issue("4.4 compare-and-swap on an epoch TXT in the same update; plan refuse when unsafe")

HOSTS = ("mail1.example.test", "mail2.example.test")
EXCHANGE = Exchange("example.test", HOSTS, 10, 20)
ADDRESSES = st.sampled_from([("192.0.2.10",), ("192.0.2.20",), ("192.0.2.20", "2001:db8::20")])
MARKS = st.builds(Mark, st.integers(0, 5), st.sampled_from(HOSTS))
OTHERS = st.sets(st.tuples(st.integers(0, 99), st.sampled_from(["a.example.net", "b.example.net"])))


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    ours = [(draw(st.integers(0, 99)), host) for host in HOSTS if draw(st.booleans())]
    return Sight(
        "ns1",
        draw(st.integers(1, 2**32 - 1)),
        {"mail": draw(ADDRESSES), "imap": draw(ADDRESSES)},
        {"mail": draw(st.integers(1, 9999)), "imap": 60, "@mx": draw(st.integers(0, 9999))},
        draw(st.none() | MARKS),
        mx=tuple(sorted([*ours, *draw(OTHERS)])),
    )


TARGETS = st.builds(Target, st.integers(0, 6), st.sampled_from(HOSTS), st.just("mirror"), ADDRESSES)


@given(now=sights(), target=TARGETS)
def test_a_plan_goes_onwards_and_leaves_what_isnt_the_pairs(now: Sight, target: Target) -> None:
    try:
        plan = planned([now, replace(now, server="ns2")], target, 60, EXCHANGE)
    except Refused:
        assert now.mark is not None and now.mark.epoch >= target.epoch
        return
    assert plan.is_done or now.mark is None or now.mark.epoch < target.epoch
    assert plan.mark == Mark(target.epoch, target.host)
    assert set(plan.addresses.values()) == {tuple(sorted(target.addresses))}
    assert dict.fromkeys(each for each in plan.mx if each[1] not in HOSTS) == dict.fromkeys(
        each for each in now.mx if each[1] not in HOSTS
    )
    assert sorted(each for each in plan.mx if each[1] in HOSTS) == [
        (10, target.host),
        (20, *(host for host in HOSTS if host != target.host)),
    ]
    assert plan.is_done or max(plan.ttls.values()) <= 60
    then = replace(now, mark=plan.mark, lowered=plan.lowered, addresses=plan.addresses, ttls=plan.ttls, mx=plan.mx)
    assert shows(then, plan)
    assert planned([then], target, 60, EXCHANGE).is_done, "once more is nothing more"


@given(now=sights(), other=sights(), target=TARGETS, excused=st.booleans())
def test_servers_that_disagree_are_never_planned_from(now: Sight, other: Sight, target: Target, excused: bool) -> None:
    second = replace(other, server="ns2")
    if now.said != second.said:
        with pytest.raises(Refused, match="disagree"):
            planned([now, second], target, 60, EXCHANGE, ["ns2"] if excused else [])


@given(now=sights(), target=TARGETS)
def test_only_one_that_is_away_can_be_excused_and_never_the_one_that_is_changed(now: Sight, target: Target) -> None:
    away = Sight("ns2", trouble="doesn't answer", is_away=True)
    odd = replace(away, is_away=False)
    for seen, excused in (([now, away], []), ([now, odd], ["ns2"]), ([away, now], ["ns2"]), ([], ["ns1"])):
        with pytest.raises(Refused, match="Not every name server answers"):
            planned(seen, target, 60, EXCHANGE, excused)


@given(mark=st.none() | MARKS)
def test_a_mark_is_read_as_it_was_written(mark: Mark | None) -> None:
    assert read_texts(("somebody's note", *written_texts(mark, None))) == (mark, None)


@given(serial=st.integers(0, 2**32 - 1), ahead=st.integers(1, 2**31 - 1))
def test_serials_are_compared_around_the_circle(serial: int, ahead: int) -> None:
    later = (serial + ahead) % 2**32
    assert is_older(serial, later) and not is_older(later, serial) and not is_older(serial, serial)
