"""Decisions over every sequence of looks, orders, journeys' ends, flags and crashes that hypothesis can think of."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from orchestrator.failover import objections
from orchestrator.failover.decide import AUTOMATIC, NEWS, decide, replay
from orchestrator.failover.facts import Decision, Facts, Flags, MailHost, Operation, Order, Word, as_json, from_json
from orchestrator.failover.states import FIRST, NOTED, ORDERS, STARTING, Event, State
from orchestrator.fencing.proof import Verdict as Fence
from orchestrator.health.verdict import Analysis, Level, Remedy, Verdict
from tests.unit.failover.told import NOW, READY, RED, dead, moved, pair

EPOCH = 4
COOLDOWN = 3600.0
PLACES = st.sampled_from(["primary", "mirror"])
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(Level),
    st.sampled_from(Analysis),
    st.sampled_from(Remedy),
    st.just(("imap from witness: timeout",)),
)
EPOCHS = st.integers(EPOCH - 1, EPOCH + 1)
MOSTLY_EPOCH = st.sampled_from([EPOCH] * 6 + [EPOCH - 1, EPOCH + 1])
WORDS = st.builds(
    Word, MOSTLY_EPOCH, PLACES, st.booleans(), st.booleans(), st.sampled_from([0, 0, EPOCH + 1]), st.booleans()
)
FLAGS = st.builds(
    Flags,
    paused_until=st.sampled_from([0.0, NOW - 1, NOW + 600]),
    paused_by=st.just("anna"),
    cooldown_until=st.sampled_from([0.0, NOW + 600]),
    tilt=st.booleans(),
    queueing=st.booleans(),
)
LAGS = st.one_of(st.none(), st.just(0.0), st.floats(0, 60))


def hosts(place: str) -> st.SearchStrategy[MailHost]:
    return st.builds(
        MailHost, st.just(place), st.just(place), VERDICTS, st.booleans(), st.none() | WORDS, st.none() | EPOCHS
    )


OPERATIONS = st.builds(
    Operation,
    st.just("op-1"),
    st.sampled_from(["failover", "switchover", "rejoin"]),
    st.sampled_from(["open", "stuck", "done", "rolled back", "aborted"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([NOW - 20, NOW - 900]),
)
SAID = st.builds(Order, st.sampled_from(sorted(ORDERS)), st.just("anna"), st.just(""), st.booleans())
ANYTHING = st.builds(
    Facts,
    now=st.just(NOW),
    state=st.sampled_from(State),
    active=st.sampled_from(["primary", "mirror", ""]),
    epoch=st.just(EPOCH),
    hosts=st.tuples(hosts("primary"), hosts("mirror")),
    witness=st.none() | WORDS,
    witnessed=st.booleans(),
    checks=st.sampled_from([READY, READY, RED, ()]),
    checked=st.sampled_from([NOW - 40, NOW - 900]),
    suspected=st.sampled_from([0.0, NOW - 12]),
    lag=LAGS,
    at_risk=st.none() | st.integers(0, 3),
    mode=st.sampled_from(["auto", "auto", "confirm", "observe"]),
    device=st.booleans(),
    fence=st.none() | st.builds(Fence, st.booleans(), st.just("why"), st.just(("lacks",))),
    lone=st.sampled_from(["", "", "Only one host looks."]),
    flags=FLAGS,
    operation=st.none() | OPERATIONS,
    order=st.none() | SAID,
    news=st.none() | st.sampled_from(sorted(NEWS)),
)


def _mixed(told: Facts, other: Facts, which: frozenset[str]) -> Facts:
    return replace(told, **{name: getattr(other, name) for name in which})


OF_THE_MIRROR = [{"marker": EPOCH - 1}, {"marker": None}, {"word": None}, {"word": Word(EPOCH, "primary")}]
CLEAR = [
    *[dead(), dead(), pair(), moved(), dead(State.BLOCKED), dead(fence=Fence(True, "why")), dead(lag=31.0)],
    *[dead(mirror=differs) for differs in OF_THE_MIRROR],
    *[dead(order=Order("failover", "anna", accept_loss=True), operation=Operation("op-1", "rejoin", state))
      for state in ("open", "done")],
]  # fmt: skip
NEARLY = st.builds(
    _mixed,
    st.sampled_from(CLEAR),
    ANYTHING,
    st.frozensets(st.sampled_from(sorted({each.name for each in fields(Facts)} - {"epoch", "hosts"})), max_size=2),
)
"""A thing or two is otherwise than in a case where all is clear: else hardly anything would ever be done."""
FACTS = st.one_of(NEARLY, NEARLY, ANYTHING)


def holds_true(facts: Facts, found: Decision) -> None:
    """What has to be so of each decision."""
    running = facts.operation is not None and facts.operation.running
    assert not (found.playbook and running), "two journeys at once"
    assert not (found.playbook and found.state is not State.MOVING)
    assert facts.order is None or found.event is Event.BOTH_CLAIM or found.event.value == facts.order.verb
    if found.by == AUTOMATIC:
        assert found.playbook == "failover" or (found.restart and not found.playbook)
        assert facts.mode == "auto" and not facts.flags.tilt and facts.flags.paused_until <= facts.now
    if found.by == AUTOMATIC and found.playbook:
        _is_safe(facts)
    if found.would == "failover":
        _is_safe(replace(facts, flags=Flags(), mode="auto"))
    for verb in found.may:
        then = replace(facts, state=found.state, order=Order(verb, "anna", accept_loss=True), news=None)
        if not found.playbook and found.state is not State.SPLIT_BRAIN and not objections.claims(then):
            assert decide(then).refused == "", f"{verb} is offered and refused"


def _is_safe(facts: Facts) -> None:
    """In words of their own: what the design wants of an automatic failover."""
    holder, other = facts.holder, facts.other
    assert facts.state is State.DOWN and holder is not None and holder.health.level is Level.DOWN
    assert holder.health.remedy is Remedy.FAILOVER
    armed = other.word and facts.witness and other.word.armed and facts.witness.armed
    ran_out = other.word and facts.witness and other.word.run_out and facts.witness.run_out
    proven = facts.fence is not None and facts.fence.enough
    assert armed or ran_out or proven or facts.device or holder.alive, "no way to prove a fence"
    assert facts.lag is not None and facts.lag <= facts.rpo
    assert facts.checks == READY and facts.flags.cooldown_until <= facts.now and not facts.lone
    assert other.marker == facts.epoch and other.health.level in (Level.HEALTHY, Level.DEGRADED)


def an_operator_gets_out(facts: Facts) -> bool:
    """Whether orders, on hosts that were brought up, lead to HALTED (or it is PROTECTED already)."""
    up = tuple(replace(each, alive=True) for each in facts.hosts)
    open_, seen = [replace(facts, hosts=(up[0], up[1]), news=None, order=None)], set[tuple[State, bool]]()
    while open_:
        now = open_.pop()
        running = now.operation is not None and now.operation.running
        if now.state in (State.PROTECTED, State.HALTED):
            return True
        if (now.state, running) in seen:
            continue
        seen.add((now.state, running))
        for verb in [None, *sorted(ORDERS)]:
            found = decide(replace(now, order=Order(verb, "anna", accept_loss=True) if verb else None))
            begun = replace(now, state=found.state)
            open_.append(replace(begun, operation=Operation("op-2", found.playbook)) if found.playbook else begun)
    return False


@pytest.mark.issue("5.1 decisions: no automatic failover without a way to prove the fence")
@given(facts=FACTS)
@settings(max_examples=300, deadline=None)
def test_whatever_was_seen(facts: Facts) -> None:
    found = decide(facts)
    holds_true(facts, found)
    written = json.loads(json.dumps(as_json(facts), allow_nan=False))
    assert from_json(Facts, written) == facts and replay(written) == found
    assert from_json(Decision, json.loads(json.dumps(as_json(found)))) == found


@given(facts=FACTS, order=SAID, flags=FLAGS)
@settings(max_examples=200, deadline=None)
def test_no_flag_stands_against_an_order(facts: Facts, order: Order, flags: Flags) -> None:
    facts = replace(facts, order=order)
    first, second = decide(facts), decide(replace(facts, flags=flags, mode="observe"))
    assert replace(first, may=(), evidence=()) == replace(second, may=(), evidence=())


@given(facts=FACTS)
@settings(max_examples=200, deadline=None)
def test_while_paused_nothing_is_done_unasked(facts: Facts) -> None:
    held = replace(facts, order=None, flags=Flags(paused_until=facts.now + 60, paused_by="anna"))
    assert decide(held).by == "" and decide(held).playbook == ""


@given(facts=FACTS)
@settings(max_examples=200, deadline=None)
def test_an_operator_gets_out_of_everything(facts: Facts) -> None:
    assert an_operator_gets_out(facts)


class Pair(RuleBasedStateMachine):
    """One pair's life: whoever drives it does as the decisions say, and writes both down."""

    def __init__(self) -> None:
        super().__init__()
        self.state = FIRST
        self.operation: Operation | None = None
        self.flags = Flags()
        self.now = NOW
        self.promoted = 0.0

    def _decided(self, facts: Facts, **more: Any) -> Decision:
        known: dict[str, Any] = {"order": None, "news": None, **more}
        seen = replace(
            facts, now=self.now, checked=self.now - 40, state=self.state, operation=self.operation, flags=self.flags,
            **known,
        )  # fmt: skip
        found = decide(seen)
        holds_true(seen, found)
        assert replay(as_json(seen)) == found
        if found.playbook:
            assert self.operation is None or not self.operation.running
            assert found.by != AUTOMATIC or not self.promoted or self.now - self.promoted >= COOLDOWN
            self.operation = Operation("op", found.playbook)
        self.state = found.state
        return found

    @rule(facts=FACTS, seconds=st.sampled_from([0.5, 30.0, 400.0, 4000.0]))
    def look(self, facts: Facts, seconds: float) -> None:
        self.now += seconds
        self._decided(facts)

    @rule(facts=FACTS, news=st.sampled_from(sorted(NEWS)))
    def news_come(self, facts: Facts, news: Event) -> None:
        assert self._decided(facts, news=news).by == ""

    @rule(facts=FACTS, verb=st.sampled_from(sorted(ORDERS)), accept=st.booleans())
    def order(self, facts: Facts, verb: str, accept: bool) -> None:
        found = self._decided(facts, order=Order(verb, "anna", accept_loss=accept))
        if found.refused:
            assert not found.playbook and (found.state is found.was or found.event is Event.BOTH_CLAIM)
            return
        event = Event(verb)
        assert event in NOTED or found.playbook or self.operation is not None
        assert event not in STARTING or found.playbook == verb
        if event is Event.PAUSE:
            self.flags = Flags(paused_until=self.now + 600, paused_by="anna", cooldown_until=self.flags.cooldown_until)
        elif event is Event.RESUME:
            self.flags = Flags(cooldown_until=self.flags.cooldown_until)
        elif event is Event.ACK:
            self.flags, self.promoted = replace(self.flags, cooldown_until=0.0), 0.0
        elif event in (Event.OP_RESUME, Event.OP_ABORT) and self.operation is not None:
            self.operation = replace(self.operation, state="open" if event is Event.OP_RESUME else "aborted")

    @precondition(lambda self: self.operation is not None and self.operation.state == "open")
    @rule(end=st.sampled_from(["stuck", "done", "rolled back", "unproven"]))
    def a_journey_ends(self, end: str) -> None:
        assert self.operation is not None
        unproven = end == "unproven"
        state = "rolled back" if unproven else end
        self.operation = replace(self.operation, state=state, unproven=unproven, ended=self.now)
        if end == "done" and self.operation.journey in ("failover", "promote_older"):
            self.promoted = self.now
            self.flags = replace(self.flags, cooldown_until=self.now + COOLDOWN)

    @rule(facts=FACTS)
    def an_operator_could_get_out(self, facts: Facts) -> None:
        assert an_operator_gets_out(
            replace(facts, state=self.state, operation=self.operation, flags=self.flags, now=self.now)
        )


@pytest.mark.issue("5.1 decisions over random sequences: flags, two journeys, ping-pong, exits")
def test_a_pair_s_life() -> None:
    run_state_machine_as_test(Pair, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))
