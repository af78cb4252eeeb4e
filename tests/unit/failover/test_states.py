"""The table: closed, without dead ends, and drawn as it is."""

from __future__ import annotations

import pytest

from orchestrator.failover.drawing import document
from orchestrator.failover.states import (
    ELSEWHERE,
    FIRST,
    JOURNEYS,
    NOTED,
    OF_A_JOURNEY,
    ORDERS,
    STARTING,
    TABLE,
    Event,
    State,
    follow,
)
from tests.house import source

CELLS = [(state, event) for state in State for event in Event]
FACTS = set(Event) - ORDERS - JOURNEYS


@pytest.mark.issue("5.1 one state table closed over state x event")
def test_each_cell_leads_somewhere_for_a_reason() -> None:
    assert set(TABLE) == set(State)
    for state, event in CELLS:
        move = follow(state, event)
        assert move.state in State and len(move.why) > 8 and move.why[-1] in ".?", (state, event)


def test_the_kinds_of_events_are_all_events_and_share_none() -> None:
    assert set(Event) == FACTS | JOURNEYS | ORDERS
    assert STARTING | NOTED | OF_A_JOURNEY == ORDERS
    assert len(STARTING) + len(NOTED) + len(OF_A_JOURNEY) == len(ORDERS)


def test_a_playbook_starts_by_its_own_order_or_is_the_one_failover() -> None:
    unasked = []
    for state, event in CELLS:
        move = follow(state, event)
        if move.playbook:
            assert move.state is State.MOVING and state not in (State.MOVING, State.SPLIT_BRAIN)
            unasked += [(state, event, move.playbook)] if event not in ORDERS else []
            assert event not in ORDERS or move.playbook == event.value
    assert unasked == [(State.DOWN, Event.FAILOVER_DUE, "failover")]


def test_a_flag_is_no_state() -> None:
    """Pausing moves nothing; what is taken away or noted moves only what waited for an operator."""
    moved = {(state, event) for state in State for event in NOTED if follow(state, event).state is not state}
    assert moved == {
        (State.BLOCKED, Event.ATTEST),
        (State.HALTED, Event.RESUME),
        (State.SPLIT_BRAIN, Event.ACK),
    }


def _reached(first: State, events: set[Event] | frozenset[Event]) -> set[State]:
    found, open_ = {first}, [first]
    while open_:
        state = open_.pop()
        new = {follow(state, event).state for event in events} - found
        found |= new
        open_ += new
    return found


@pytest.mark.issue("5.1 no dead end an operator's exit from every state")
@pytest.mark.parametrize("state", State)
def test_an_operator_alone_gets_to_a_halt_from_everywhere(state: State) -> None:
    assert state is State.PROTECTED or State.HALTED in _reached(state, ORDERS)
    assert any(follow(state, event).state is not state for event in ORDERS)


@pytest.mark.parametrize("state", State)
def test_each_state_is_reached_and_leads_back_to_protected(state: State) -> None:
    assert state in _reached(FIRST, set(Event))
    assert State.PROTECTED in _reached(state, set(Event))


def test_what_is_held_waits_for_an_operator() -> None:
    for state in (State.HALTED, State.SPLIT_BRAIN):
        assert _reached(state, FACTS | JOURNEYS) == {state}


def test_no_word_is_said_that_the_rows_make_pointless() -> None:
    """A reason of ELSEWHERE that every row overrides would never be heard."""
    heard = {event for state in State for event in ELSEWHERE if event not in TABLE[state].moves}
    assert heard == set(ELSEWHERE)


@pytest.mark.issue("5.1 diagram and table in the docs are generated, a test fails when stale")
def test_the_document_is_what_the_table_says() -> None:
    assert (source.CHECKOUT / "docs/states.md").read_text(encoding="utf-8") == document(), (
        "docs/states.md is stale: python -m orchestrator.failover.drawing > docs/states.md"
    )
