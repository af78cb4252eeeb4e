"""Times to live: counted on no earlier than the last resolver forgot the old answer, whoever asks and however often."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Refused
from orchestrator.traffic.lifetime import Held, held, is_counted_on, keeps, lowering, restoring
from orchestrator.traffic.pointing import MX, Lowered, Mark, Plan, Sight, planned, read_texts, shows, written_texts
from orchestrator.traffic.switch import Target

pytestmark = pytest.mark.issue("4.4 TTL lowered ahead and restored")

HERE = Sight("ns1", 7, {"mail": ("192.0.2.10",)}, {"mail": 3600}, Mark(3, "mail1.example.test"))
AWAY = Target(4, "mail2.example.test", "mirror", ("192.0.2.20",))


def after(plan: Plan | None, now: Sight) -> Sight:
    """The zone once this was applied."""
    assert plan is not None and not plan.is_move
    return replace(now, serial=now.serial + 1, ttls=plan.ttls, lowered=plan.lowered)


def test_a_long_time_to_live_is_lowered_stamped_and_waited_for() -> None:
    lower = after(lowering([HERE], 60, 1000.0), HERE)
    assert (held(lower), is_counted_on(lower, 60, 10**9)) == (Held(60, None, True), False)
    assert keeps(lower, 1000.0) == 3600, "nobody knows when it came to every server"
    stamped = after(lowering([lower], 60, 1005.2), lower)
    assert held(stamped) == Held(60, 1006 + 3600, True)
    assert [is_counted_on(stamped, 60, when) for when in (1006.0, 4605.9, 4606.0)] == [False, False, True]
    assert lowering([stamped], 60, 2000.0) is None, "nothing is due but time"
    assert [keeps(stamped, when) for when in (1006.0, 4000.0, 9999.0)] == [3600, 606, 60]


def test_one_that_was_low_already_is_left_and_nobody_knows_since_when() -> None:
    low = replace(HERE, ttls={"mail": 30})
    assert lowering([low], 60, 1000.0) is None and restoring([low]) is None
    assert (held(low), is_counted_on(low, 60, 1000.0), keeps(low, 1000.0)) == (Held(30, None, False), None, 30)


def test_while_a_secondary_shows_the_old_one_nothing_is_stamped() -> None:
    lower = after(lowering([HERE], 60, 1000.0), HERE)
    for other in (replace(HERE, server="ns2"), Sight("ns2", trouble="doesn't answer", is_away=True)):
        with pytest.raises(Refused):
            lowering([lower, other], 60, 2000.0)


def test_a_stamp_of_a_clock_that_was_ahead_is_written_anew() -> None:
    lower = replace(HERE, ttls={"mail": 60}, lowered=Lowered((("mail", 3600),), 10**10))
    assert is_counted_on(lower, 60, 1000.0) is False
    again = lowering([lower], 60, 1000.0)
    assert again is not None and again.lowered == Lowered((("mail", 3600),), 1001)


def test_one_that_somebody_raised_meanwhile_is_lowered_again_and_the_first_is_remembered() -> None:
    raised = replace(HERE, ttls={"mail": 600}, lowered=Lowered((("mail", 3600),), 50))
    again = lowering([raised], 60, 10**6)
    assert again is not None and (again.lowered, again.ttls) == (Lowered((("mail", 3600),)), {"mail": 60})


def test_an_unplanned_move_notes_what_it_lowered() -> None:
    plan = planned([HERE], AWAY, 60)
    assert (plan.ttls, plan.lowered) == ({"mail": 60}, Lowered((("mail", 3600),)))


@given(
    was=st.dictionaries(st.sampled_from(["mail", "imap", MX]), st.integers(1, 10**6), min_size=1),
    wanted=st.integers(1, 86400),
    clock=st.integers(0, 10**9),
    delay=st.integers(0, 10**5),
)
def test_lowered_and_restored_it_is_as_it_was_and_never_counted_on_too_early(
    was: dict[str, int], wanted: int, clock: int, delay: int
) -> None:
    now = start = replace(
        HERE, addresses={name: ("192.0.2.10",) for name in was if name != MX} or HERE.addresses, ttls=was
    )
    shown_everywhere = clock + delay
    for when in (clock, shown_everywhere):
        if plan := lowering([now], wanted, when):
            now = after(plan, now)
            assert read_texts(written_texts(plan.mark, plan.lowered)) == (plan.mark, plan.lowered)
            assert shows(now, plan)
    assert max(now.ttls.values()) <= wanted
    assert not is_counted_on(now, wanted, shown_everywhere + max(was.values()) - 1) or max(was.values()) <= wanted
    assert keeps(now, shown_everywhere) >= min(max(was.values()), max(was.values()) if now.lowered else wanted)
    if plan := restoring([now]):
        now = after(plan, now)
    assert (now.ttls, now.lowered, now.mark) == (start.ttls, None, start.mark)
