"""What a failover's orders rest on at a granter's guard: one that was withdrawn is refused, however late it comes."""

from __future__ import annotations

import pytest

from orchestrator.agent import guard
from orchestrator.agent.guard import Mind, Rules
from orchestrator.agent.lease import Impossible
from orchestrator.agent.orders import Order, ordered
from orchestrator.agent.register import Register
from orchestrator.failover import course
from orchestrator.failover.course import Standing
from orchestrator.failover.playbook import SHIPPED, load
from orchestrator.failover.step import DONE, NOT_DONE
from orchestrator.failover.steps import fences

PROOF = "the primary is off, by its device"


def granter(ttl: float) -> Mind:
    return guard.began(Rules("witness", ("primary", "mirror"), ttl), Register(1, "primary"), "boot", 0.0)


@pytest.mark.parametrize(("ttl", "verb"), [(8.0, "relent"), (0.0, "forget")])
def test_an_advance_whose_name_was_taken_is_refused_when_it_comes_late(ttl: float, verb: str) -> None:
    late = Order("advance", "op.advance", 2, "mirror", PROOF)
    advanced, _ = ordered(granter(ttl), late, 1.0)
    assert advanced.register.epoch == 2
    with pytest.raises(Impossible):  # it can't be withdrawn any more, and whoever asks learns it
        ordered(advanced, Order(verb, "op.advance", 1), 2.0)
    withdrawn, _ = ordered(granter(ttl), Order(verb, "op.advance", 1), 1.0)
    with pytest.raises(Impossible, match="the name of another order"):
        ordered(withdrawn, late, 2.0)
    again, _ = ordered(withdrawn, late._replace(operation="op.advance1"), 3.0)
    assert again.register.epoch == 2


def test_a_point_that_was_withdrawn_and_not_settled_leaves_the_way_forward_open() -> None:
    lines = load("failover", SHIPPED).lines
    [point] = [line.number for line in lines if line.point]
    known = {line.number: Standing(intended=True, begun=True, passed=line.number < point) for line in lines}
    known[point] = known[point]._replace(touched=True)
    assert course.may_go_forward(lines, known)
    assert not course.may_go_forward(lines, {**known, point: known[point]._replace(closed=True)})
    before = known[point - 1]._replace(touched=True)
    assert not course.may_go_forward(lines, {**known, point - 1: before})


def test_a_lease_without_an_end_or_without_a_gate_in_the_kernel_proves_nothing() -> None:
    granted = {"refuses": True, "without_end": False, "weak": False}
    assert fences._ends({"granted": granted}).state is DONE
    for change in ({"refuses": False}, {"without_end": True}, {"weak": True}):
        assert fences._ends({"granted": {**granted, **change}}).state is NOT_DONE
