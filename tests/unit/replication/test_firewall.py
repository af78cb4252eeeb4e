"""Which accounts' deletions flow, judged from counts alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory.model import DeleteBudget
from orchestrator.replication.firewall import Death, Verdict, judge, permits

BUDGET = DeleteBudget()
NOBODY: frozenset[str] = frozenset()


def verdict(deaths: list[Death], applied: dict[str, int] | None = None, store: int = 100_000) -> Verdict:
    return judge(deaths, applied or {}, NOBODY, store, BUDGET)


@pytest.mark.issue("2.P firewall POP3")
@pytest.mark.parametrize(
    ("counted", "left"),
    [(0, 0), (200, 0), (30, 1), (1_999, 8_001)],
    ids=["exempt, whatever their number", "a small INBOX emptied", "some", "a fifth of a large account"],
)
def test_what_users_do_daily_flows(counted: int, left: int) -> None:
    assert verdict([Death("ann", counted, left)]).hold == {}


@pytest.mark.issue("2.P firewall rm -rf of an account")
@pytest.mark.parametrize(("counted", "left"), [(201, 0), (5_000, 0), (2_001, 7_999)])
def test_a_mass_deletion_waits_and_other_accounts_flow(counted: int, left: int) -> None:
    found = verdict([Death("ann", counted, left), Death("bob", 3, 50)])
    assert (set(found.hold), found.tripped) == ({"ann"}, ("ann",))
    assert f"{counted} messages deleted within 10 minutes" in found.hold["ann"]


def test_what_was_applied_lately_counts_too() -> None:
    assert verdict([Death("ann", 1, 0)], {"ann": 199}).hold == {}
    assert set(verdict([Death("ann", 1, 0)], {"ann": 200}).hold) == {"ann"}


@pytest.mark.issue("2.5 delete firewall: budget per store")
def test_many_small_deletions_trip_the_stores_budget() -> None:
    deaths = [Death(f"user{number}", 150, 0) for number in range(40)]
    found = judge(deaths, {}, NOBODY, 20_000, BUDGET)
    assert set(found.hold) == {death.account for death in deaths}
    assert judge(deaths[:33], {}, NOBODY, 20_000, BUDGET).hold == {}


def test_an_account_that_waits_goes_on_waiting_and_trips_nothing() -> None:
    found = judge([Death("ann", 1, 10)], {}, frozenset(("ann",)), 1_000, BUDGET)
    assert (set(found.hold), found.tripped) == ({"ann"}, ())


deaths = st.lists(
    st.builds(Death, st.sampled_from("abcd"), st.integers(0, 9_000), st.integers(0, 9_000)),
    max_size=4,
    unique_by=lambda death: death.account,
)


@given(deaths, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9_000)), st.integers(0, 100_000))
def test_what_flows_is_within_every_budget(deaths: list[Death], applied: dict[str, int], store: int) -> None:
    found = judge(deaths, applied, NOBODY, store, BUDGET)
    flowing = [death for death in deaths if death.account not in found.hold and death.counted]
    for death in flowing:
        total = death.counted + applied.get(death.account, 0)
        assert total <= max(BUDGET.account_messages, BUDGET.account_percent / 100 * (death.messages + total))
    total = sum(death.counted for death in flowing) + sum(applied.values())
    assert not flowing or total <= max(BUDGET.store_messages, BUDGET.store_percent / 100 * (store + total))
    assert set(found.tripped) <= set(found.hold)


@given(deaths, st.integers(0, 100_000))
def test_more_deletions_never_let_more_flow(deaths: list[Death], store: int) -> None:
    more = [Death(death.account, death.counted + 1, death.messages) for death in deaths]
    if all(death.counted for death in deaths):
        assert set(judge(deaths, {}, NOBODY, store, BUDGET).hold) <= set(judge(more, {}, NOBODY, store, BUDGET).hold)


@pytest.mark.parametrize(
    ("facts", "suspect", "may"),
    [
        ({"whole": True}, False, True),
        ({"whole": True, "trouble": ""}, False, True),
        ({"whole": True, "trouble": "the store's marker isn't there"}, False, False),
        ({"whole": False}, False, False),
        ({}, False, False),
        ({"whole": True}, True, False),
    ],
)
def test_removals_flow_only_from_a_source_about_which_nothing_is_odd(
    facts: dict[str, object], suspect: bool, may: bool
) -> None:
    assert permits(facts, suspect=suspect) is may
