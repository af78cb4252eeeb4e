"""Which letters are moved: played out with hosts that do what the plan says, in any order of journeys and cuts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import AgentFault
from orchestrator.failover import carrying, queueplan
from orchestrator.failover.queueplan import Laid, Letter

pytestmark = pytest.mark.issue("5.2 queue moved as held files by explicit list")
IDS = [f"{number:05X}{number:X}" for number in range(8)]
QUEUES = st.sampled_from(["incoming", "active", "deferred", "hold", "maildrop", "corrupt"])
HELD = st.sampled_from(["us", "holding", "site", "laid"])
STATES = st.sampled_from(["laying", "laid", "releasing", "released", "lifted", "left"])
OPERATIONS = st.sampled_from(["one", "two"])


@st.composite
def letters(draw: st.DrawFn) -> list[Letter]:
    found = []
    for name in draw(st.lists(st.sampled_from(IDS), unique=True)):
        queue = draw(QUEUES)
        held = draw(HELD) if queue == "hold" else ""
        whose = draw(OPERATIONS) if held in ("us", "holding") else ""
        found.append(Letter(name, queue, draw(st.sampled_from([None, 1, 2])), held, whose, draw(st.booleans())))
    return found


@st.composite
def rows(draw: st.DrawFn) -> list[Laid]:
    names = draw(st.lists(st.tuples(st.sampled_from(IDS), st.integers(1, 2)), unique=True))
    sources = st.sampled_from(["primary", "mirror"])
    return [Laid(draw(sources), name, arrived, "d", draw(STATES), draw(OPERATIONS)) for name, arrived in names]


@given(letters(), rows())
def test_what_the_receiver_had_for_good_is_never_carried_and_the_sites_own_is_in_no_list(
    there: list[Letter], ledger: list[Laid]
) -> None:
    plan = queueplan.move(there, ledger, "primary", "one")
    by_id = {letter.id: letter for letter in there}
    states: dict[tuple[str, int | None], str] = {
        (row.id, row.arrived): row.state for row in ledger if row.source == "primary"
    }
    for name in plan.carry:
        assert states.get((name, by_id[name].arrived)) not in ("releasing", "released")
    acts = {*plan.hold, *plan.carry, *queueplan.to_drop(there, ledger, "primary")}
    acts |= set(queueplan.to_unhold(there, ledger, "primary", "one"))
    own = {each.id for each in there if each.queue == "hold" and each.held == "site"}
    assert not acts & own and own <= plan.stays.keys()
    assert not {*plan.hold, *plan.carry} & plan.stays.keys()
    assert {*plan.hold, *plan.carry, *plan.stays} | {
        each.id for each in there if each.held in ("us", "holding")
    } == by_id.keys()


@given(letters(), rows())
def test_what_is_given_back_to_the_sender_stands_nowhere_else(there: list[Letter], ledger: list[Laid]) -> None:
    states: dict[tuple[str, int | None], str] = {
        (row.id, row.arrived): row.state for row in ledger if row.source == "primary"
    }
    arrived = {letter.id: letter.arrived for letter in there}
    for name in queueplan.to_unhold(there, ledger, "primary", "one"):
        assert states.get((name, arrived[name])) in (None, "lifted")
    for name in queueplan.to_drop(there, ledger, "primary"):
        assert states[(name, arrived[name])] == "released"


@given(letters(), st.integers(0, 3))
def test_a_move_that_is_done_has_nothing_to_do(there: list[Letter], steps: int) -> None:
    """Cut off after so many of its steps and planned anew, each letter comes to one end."""
    ledger: dict[tuple[str, int | None], Laid] = {}
    for last in (steps, 3):
        plan = queueplan.move(there, ledger.values(), "primary", "one")
        if last > 0:
            there = [
                each._replace(queue="hold", held="us", operation="one") if each.id in plan.hold else each
                for each in there
            ]
        if last > 1:
            for each in there:
                if each.id in plan.carry:
                    assert each.arrived is not None
                    ledger[each.id, each.arrived] = Laid("primary", each.id, each.arrived, "d", "laid", "one")
        if last > 2:
            release = queueplan.to_release(ledger.values(), "primary", "one")
            ledger = {key: row._replace(state="released") if row.id in release else row for key, row in ledger.items()}
            gone = queueplan.to_drop(there, ledger.values(), "primary")
            there = [each for each in there if each.id not in gone]
    again = queueplan.move(there, ledger.values(), "primary", "one")
    assert (again.hold, again.carry) == ((), ())
    assert queueplan.to_release(ledger.values(), "primary", "one") == []
    assert {each.id for each in there} == again.stays.keys()


def answering(head: dict[str, Any]) -> carrying.Ask:
    return lambda _head, _blob: (head, b"")


def test_nobodys_nonsense_keeps_a_move_from_ending() -> None:
    piece = {"id": "A", "offset": 0, "length": 1}
    nothing: dict[str, Any] = {"laid": [], "known": [], "again": [], "remains": []}
    for pieces, told in (([], nothing), ([piece], {**nothing, "again": ["A"]}), ([piece], {}), (None, nothing)):
        ends = carrying.Ends(answering({"pieces": pieces}), answering(told), "primary")
        with pytest.raises(AgentFault):
            carrying.carried(ends, ["A"], "one", 1)
    with pytest.raises(AgentFault, match="can't be understood"):
        carrying.looked(carrying.Ends(answering({"letters": [[1]]}), answering({}), "primary"))
