"""From what is known of a pair to what is done next: which event it is, where that leads, and why. Pure.

It asks nobody and knows no clock: the same facts give the same decision, so `replay` decides again from the journal.
One decision is one step through the table of `states`; whoever acts on it decides again at once until nothing changes,
and starts the playbook that it names. What is unsafe, held back by a flag, or an operator's to say, it says in words.

Invariant: nobody is moved unasked but to a copy of the present epoch within `mm_rpo`, with a way to prove the fence,
and never back home. No flag stands against an order. No playbook is named while a journey is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.failover import objections
from orchestrator.failover.facts import Decision, Facts, MailHost, Operation, Order, Word, from_json
from orchestrator.failover.states import ORDERS, Event, State, follow
from orchestrator.health.verdict import Level, Remedy
from orchestrator.readiness.checks import ready

AUTOMATIC = "automatic"
HELD = frozenset((State.HALTED, State.SPLIT_BRAIN))
"""States that no fact leads out of."""
NEWS = frozenset(
    (
        Event.WITNESS_BACK, Event.WINDOW_OPENS, Event.WINDOW_CLOSES, Event.ARCHIVE_SERVES, Event.ARCHIVE_ENDS,
        Event.CONTROLLER_RESTARTED, Event.STEP_DONE, Event.STEP_FAILED,
    )
)  # fmt: skip
"""Events that no look shows. None of them starts anything."""
PROMOTING = frozenset((Event.FAILOVER, Event.PROMOTE_OLDER))
"""Orders that may lose something."""


def decide(facts: Facts) -> Decision:
    """What these facts come to. ValueError for an order with an unknown verb (the command line knows them) and for news
    that a look has to find.
    """
    if objections.claims(facts) and facts.state not in HELD:
        found = _told(facts, _Found(Event.BOTH_CLAIM))
        return replace(found, refused="Two places claim the users: look first.") if facts.order else found
    if facts.order is not None:
        return _ordered(facts, facts.order)
    return _told(facts, _of_news(facts) or _of_journey(facts) or _of_looks(facts))


def replay(facts: Mapping[str, Any]) -> Decision:
    """Decide again from what `as_json` wrote. BrokenPromise when it can't be read."""
    return decide(from_json(Facts, facts))


@dataclass(frozen=True)
class _Found:
    """An event, and what of it is held back."""

    event: Event
    suppressed_by: tuple[str, ...] = ()
    would: str = ""


# --- which event it is ------------------------------------------------------------------------------------------------


def _of_news(facts: Facts) -> _Found | None:
    if facts.news is not None and facts.news not in NEWS:
        raise ValueError(f"{facts.news.value!r} is for a look to find, not to be told")
    return _Found(facts.news) if facts.news is not None else None


def _of_journey(facts: Facts) -> _Found | None:
    last = facts.operation
    if facts.state is not State.MOVING:
        taken_up = last is not None and last.running and facts.state not in HELD
        return _Found(Event.JOURNEY_OPEN) if taken_up else None
    return _Found(Event.JOURNEY_MISSING if last is None else _of_operation(last, facts))


def _of_operation(last: Operation, facts: Facts) -> Event:
    if last.state == "done":
        there = facts.other.alive and not objections.is_older(facts.other, facts)
        return Event.JOURNEY_DONE if there else Event.JOURNEY_DONE_ALONE
    if last.state == "rolled back" and last.unproven:
        return Event.JOURNEY_UNPROVEN
    ends = {
        "open": Event.JOURNEY_OPEN,
        "stuck": Event.JOURNEY_STUCK,
        "rolled back": Event.JOURNEY_ROLLED_BACK,
        "aborted": Event.JOURNEY_ABORTED,
    }
    return ends[last.state]


def _of_looks(facts: Facts) -> _Found:
    holder, other = facts.holder, facts.other
    if holder is None or holder.health.level is Level.UNKNOWN:
        return _Found(Event.UNCERTAIN)
    if holder.health.level is Level.SUSPECT:
        return _Found(Event.FAILING)
    if holder.health.level is Level.DOWN:
        return _of_down(facts, holder)
    if other.alive and objections.is_older(other, facts):
        return _Found(Event.OLD_PLACE_SEEN)
    if other.health.level is Level.DOWN or (facts.state is State.ALONE and not other.well):
        return _Found(Event.PASSIVE_AWAY)
    if facts.state is State.ALONE:
        return _Found(Event.PASSIVE_BACK)
    if facts.witnessed and facts.witness is None:
        return _Found(Event.WITNESS_AWAY)
    return _Found(Event.UNREADY if _unready(facts) else Event.READY)


def _unready(facts: Facts) -> tuple[str, ...]:
    """Why a failover would lose or isn't ready, while the active place is well."""
    found = [] if facts.other.well else [f"{facts.other.host} is {facts.other.health.level.value}."]
    if facts.lag is None or facts.lag > facts.rpo:
        found.append("The lag isn't known." if facts.lag is None else f"The lag is {facts.lag:.1f} s.")
    if not facts.checks or facts.now - facts.checked > objections.READINESS_LASTS:
        return (*found, "Its readiness wasn't looked at lately.")
    return (*found, *ready(facts.checks).reasons)


def _of_down(facts: Facts, holder: MailHost) -> _Found:
    """Confirmed down: what may be done about it, the cheaper first."""
    if facts.state is State.BLOCKED:
        return _Found(_of_blocked(facts, holder))
    if facts.state is not State.DOWN:
        return _Found(Event.DOWN_CONFIRMED)
    if holder.health.remedy is Remedy.RESTART:
        held, settling = objections.holds(facts, moves=False), objections.settling(facts)
        if settling:
            return _Found(Event.DOWN_CONFIRMED, (*settling, *held))
        return _Found(Event.DOWN_CONFIRMED, held, "restart") if held else _Found(Event.RESTART_DUE)
    unsafe, held = objections.unsafe(facts), objections.holds(facts)
    if facts.other.health.level is Level.DOWN:
        return _Found(Event.BOTH_AWAY, (*unsafe, *held))
    if unsafe:
        return _Found(Event.DOWN_CONFIRMED, (*unsafe, *held))
    if not objections.ways(facts):
        return _Found(Event.NO_PROOF, held)
    return _Found(Event.DOWN_CONFIRMED, held, "failover") if held else _Found(Event.FAILOVER_DUE)


def _of_blocked(facts: Facts, holder: MailHost) -> Event:
    if facts.fence is not None and facts.fence.enough:
        return Event.FENCE_PROVEN
    if objections.run_out(facts):
        return Event.LEASE_RUN_OUT
    if holder.health.remedy is Remedy.RESTART:
        return Event.RESTART_DUE
    last = facts.operation
    tried = last is not None and last.unproven and facts.now - last.ended < objections.RETRY_AFTER
    return Event.PROOF_POSSIBLE if objections.ways(facts) and not tried else Event.DOWN_CONFIRMED


# --- what is said of it -----------------------------------------------------------------------------------------------


def _told(facts: Facts, found: _Found) -> Decision:
    move = follow(facts.state, found.event)
    restart = found.event is Event.RESTART_DUE and facts.state is State.DOWN
    moves = "failover" in (move.playbook, found.would)
    why = " ".join((move.why, *_unready(facts))) if found.event is Event.UNREADY else move.why
    return Decision(
        found.event, facts.state, move.state, why, move.playbook, restart,
        by=AUTOMATIC if move.playbook or restart else "",
        suppressed_by=found.suppressed_by,
        would=found.would,
        asks="failover" if found.would == "failover" and _only_asks(facts) else "",
        evidence=_evidence(facts),
        loss=objections.loss(facts) if moves else None,
        may=_may(facts, move.state, bool(move.playbook)),
    )  # fmt: skip


def _only_asks(facts: Facts) -> bool:
    """Whether nothing is in the way but that an operator has to say so."""
    return facts.mode == "confirm" and len(objections.holds(facts)) == 1


def _ordered(facts: Facts, order: Order) -> Decision:
    event = Event(order.verb)
    if event not in ORDERS:
        raise ValueError(f"{order.verb!r} is no order")
    move = follow(facts.state, event)
    refused, asks = objections.against(order, event, facts), ""
    losing = event in PROMOTING and objections.loses(facts)
    if not refused and losing and not order.accept_loss:
        asks, refused = "accept_loss", f"It may lose {objections.loss(facts)}: say --accept-loss and the pair's name."
    if refused:
        state, why, playbook = facts.state, refused, ""
    else:
        state, playbook, why = move.state, move.playbook, move.why
    return Decision(
        event, facts.state, state, why, playbook,
        by="" if refused else order.by,
        refused=refused,
        asks=asks,
        evidence=_evidence(facts),
        loss=objections.loss(facts) if losing else None,
        may=_may(facts, state, bool(playbook)),
    )  # fmt: skip


def _may(facts: Facts, state: State, started: bool) -> tuple[str, ...]:
    """The verbs that an operator can use once this is decided; those that may lose something among them."""
    if started:
        return ("pause", "op rollback", "op abort")
    then = replace(facts, state=state, order=None)
    paused = facts.flags.paused_until > facts.now
    useful = {
        Event.PAUSE: not paused,
        Event.RESUME: paused or state is State.HALTED,
        Event.ACK: state is State.SPLIT_BRAIN or facts.flags.cooldown_until > facts.now,
        Event.ATTEST: state in (State.DOWN, State.BLOCKED),
    }
    return tuple(
        event.value
        for event in Event
        if event in ORDERS and useful.get(event, True) and not objections.against(Order(event.value, ""), event, then)
    )


def _evidence(facts: Facts) -> tuple[str, ...]:
    """What it rests on, a sentence each, for whoever reads it in the journal."""
    found = [f"Epoch {facts.epoch}, the {facts.active or 'place of nobody'} is active.", *objections.claims(facts)]
    for each in facts.hosts:
        health = each.health
        said = "; ".join(health.evidence[:6])
        found.append(f"{each.host} ({each.place}) is {health.level.value}: {health.analysis.value}. {said}".strip())
        found.append(_of_guard(each.host, each.word, each.marker))
    if facts.witnessed:
        found.append(_of_guard("The witness", facts.witness, None))
    found.append(f"The other place lacked {objections.loss(facts)}.")
    if facts.state in (State.DOWN, State.BLOCKED):
        found += objections.ways(facts) or ("There is no way to prove the fence.",)
        found += facts.fence.lacks if facts.fence is not None and not facts.fence.enough else ()
    elif facts.holder is not None and facts.holder.well:
        found += _unready(facts)
    if facts.operation is not None:
        last = facts.operation
        found.append(f"The last operation is {last.name}, a {last.journey}: {last.state}.")
    return tuple(found)


def _of_guard(name: str, word: Word | None, marker: int | None) -> str:
    store = "" if marker is None else f" Its store is of epoch {marker}."
    if word is None:
        return f"{name}: its guard doesn't answer.{store}"
    serves = "serves" if word.serves else "doesn't serve"
    more = f", has a tombstone for epoch {word.tombstone}" * bool(word.tombstone) + ", is armed" * word.armed
    return f"{name}: its guard knows epoch {word.epoch}, {serves}{more}.{store}"


def explain(decision: Decision) -> list[str]:
    """The decision in words, a line each, for `mailmirror explain`."""
    moved = "stays" if decision.was is decision.state else f"goes to {decision.state.value}"
    said = f"It was ordered: {decision.event.value}." if decision.event in ORDERS else f"{decision.event.value}."
    lines = [f"{decision.was.value} {moved}: {decision.why}", said[0].upper() + said[1:]]
    lines += [f"  {each}" for each in decision.evidence]
    if decision.playbook:
        lines.append(f"Starts the {decision.playbook} ({decision.by}).")
    if decision.restart:
        lines.append(f"Restarts the services that failed ({decision.by}).")
    if decision.refused:
        lines.append(f"Not obeyed: {decision.refused}")
    lines += [f"Not done unasked: {each}" for each in decision.suppressed_by]
    if decision.would:
        lines.append(f"Would {'fail over' if decision.would == 'failover' else 'restart the services that failed'}.")
    if decision.loss is not None:
        lines.append(f"Could be lost: {decision.loss}.")
    if decision.may:
        lines.append(f"You may: {', '.join(decision.may)}.")
    return lines
