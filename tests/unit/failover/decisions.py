"""What was observed, and what is to be decided: a name, the facts, and what of the decision matters.

Each mistake that was ever made adds one. `says` has to be found in what `explain` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.failover.facts import Facts, Flags, Operation, Word
from orchestrator.failover.states import Event, State
from tests.unit.failover.told import (
    AWAY,
    CUT_OFF,
    DEGRADED,
    FAILS,
    FULL,
    FULL_BOTH,
    GONE,
    IN_FULL,
    JUMPED,
    NOW,
    ONLY_FROM_US,
    PROVEN,
    RED,
    RESTARTABLE,
    RETURNED,
    SERVICES_DEAD,
    UNPROVEN,
    WELL,
    dead,
    moved,
    order,
    pair,
)

E, S = Event, State  # so that a case stands on a line or two


@dataclass(frozen=True)
class Case:
    name: str
    facts: Facts
    event: Event
    state: State
    playbook: str = ""
    says: tuple[str, ...] = ()
    fields: tuple[tuple[str, Any], ...] = ()


def case(name: str, facts: Facts, event: Event, state: State, playbook: str = "", *says: str, **fields: Any) -> Case:
    return Case(name, facts, event, state, playbook, says, tuple(fields.items()))


PAUSED = Flags(paused_until=NOW + 600, paused_by="anna", paused_why="new kernel")
LIVES = {"alive": True, "word": Word(4, "primary", serves=True, armed=True)}
NO_LEASE: dict[str, Any] = {"mirror": {"word": Word(4, "primary")}, "witness": None, "witnessed": False}
RAN_OUT: dict[str, Any] = {
    "mirror": {"word": Word(4, "primary", run_out=True)},
    "witness": Word(4, "primary", run_out=True),
}
TRIED = Operation("op-7", "failover", "rolled back", unproven=True, ended=NOW - 20)
OPEN = Operation("op-8", "switchover")
PAST = Operation("op-8", "switchover", "stuck", past=True)

LOOKING = [
    case("all is well", pair(), E.READY, S.PROTECTED, may=("switchover", "failover", "seed", "drill", "pause")),
    case("degraded is told, and moves nobody", pair(primary=DEGRADED), E.READY, S.PROTECTED),
    case("a lag above the RPO exposes", pair(lag=31.0), E.UNREADY, S.EXPOSED, "", "The lag is 31.0 s"),
    case("a red check exposes", pair(checks=RED), E.UNREADY, S.EXPOSED, "", "Somebody else answers"),
    case("an old readiness exposes", pair(checked=NOW - 900), E.UNREADY, S.EXPOSED, "", "wasn't looked at lately"),
    case("ready again", pair(S.EXPOSED), E.READY, S.PROTECTED),
    case("it fails for one observer", pair(primary=FAILS), E.FAILING, S.SUSPECT, "", "deletions stop"),
    case("unreachable from the controller alone", pair(S.SUSPECT, primary=ONLY_FROM_US), E.FAILING, S.SUSPECT),
    case("well again after a suspicion", pair(S.SUSPECT), E.READY, S.PROTECTED),
    case("the controller is cut off", pair(S.SUSPECT, primary=CUT_OFF), E.UNCERTAIN, S.SUSPECT),
    case("the clock jumped while it was down", dead(primary={**AWAY, "health": JUMPED}), E.UNCERTAIN, S.DOWN),
    case("the mirror is away", pair(mirror={"health": GONE, "alive": False}), E.PASSIVE_AWAY, S.ALONE),
    case("the mirror is back", pair(S.ALONE), E.PASSIVE_BACK, S.EXPOSED),
    case("the mirror is suspected only", pair(mirror=FAILS), E.UNREADY, S.EXPOSED),
    case("the witness is away", pair(witness=None), E.WITNESS_AWAY, S.EXPOSED),
    case("nobody knows who is active", pair(active=""), E.UNCERTAIN, S.EXPOSED),
]
FALLING = [
    case("two observers agree", dead(S.SUSPECT), E.DOWN_CONFIRMED, S.DOWN),
    case("a power cut, the lease armed", dead(), E.FAILOVER_DUE, S.MOVING, "failover", "0.4 s", by="automatic"),
    case("a power cut, the lease already out", dead(**RAN_OUT), E.FAILOVER_DUE, S.MOVING, "failover", "has run out"),
    case("no lease, but a device", dead(device=True, **NO_LEASE), E.FAILOVER_DUE, S.MOVING, "failover"),
    case("no lease and no device", dead(**NO_LEASE), E.NO_PROOF, S.BLOCKED, "", "no way to prove", by=""),
    case("the witness is gone too", dead(witness=None), E.NO_PROOF, S.BLOCKED),
    case(
        "services dead, a restart first",
        dead(primary={**LIVES, "health": RESTARTABLE}),
        E.RESTART_DUE, S.DOWN, "", "The cheaper remedy first", restart=True, by="automatic",
    ),
    case(
        "services dead, restarts didn't help: the host itself can prove it",
        dead(primary={**LIVES, "health": SERVICES_DEAD}, **NO_LEASE),
        E.FAILOVER_DUE, S.MOVING, "failover", "can be stopped, masked and read",
    ),
    case("its disk is full", dead(primary={**LIVES, "health": FULL}), E.FAILOVER_DUE, S.MOVING, "failover"),
    case(
        "two hosts equally full",
        dead(primary={**LIVES, "health": FULL_BOTH}),
        E.DOWN_CONFIRMED, S.DOWN, "", "A failover wouldn't mend it",
    ),
    case("both hosts are gone", dead(mirror=AWAY), E.BOTH_AWAY, S.DOWN, may=("pause", "attest")),
    case("well again while down", pair(S.DOWN), E.READY, S.PROTECTED),
]  # fmt: skip
HELD_BACK = [
    case("lag at last contact above the RPO", dead(lag=31.0), E.DOWN_CONFIRMED, S.DOWN, "", "more than mm_rpo"),
    case("lag at last contact unknown", dead(lag=None), E.DOWN_CONFIRMED, S.DOWN, "", "isn't known", would=""),
    case("paused", dead(flags=PAUSED), E.DOWN_CONFIRMED, S.DOWN, "", "Paused by anna for 10 min", would="failover"),
    case("a pause that is over", dead(flags=Flags(paused_until=NOW - 1)), E.FAILOVER_DUE, S.MOVING, "failover"),
    case("paused, so no restart either", dead(primary={**LIVES, "health": RESTARTABLE}, flags=PAUSED),
         E.DOWN_CONFIRMED, S.DOWN, "", restart=False, would="restart"),
    case("tilt", dead(flags=Flags(tilt=True)), E.DOWN_CONFIRMED, S.DOWN, "", "In tilt"),
    case("confirm asks", dead(mode="confirm"), E.DOWN_CONFIRMED, S.DOWN, "", asks="failover", would="failover"),
    case("observe would have", dead(mode="observe"), E.DOWN_CONFIRMED, S.DOWN, "", "Would fail over", asks=""),
    case("a red check from before", dead(checks=RED), E.DOWN_CONFIRMED, S.DOWN, "", "Somebody else answers"),
    case("a readiness from long before", dead(checked=NOW - 900), E.DOWN_CONFIRMED, S.DOWN, "", "shortly before"),
    case("a readiness from before counts in a long outage",
         dead(suspected=NOW - 7200, checked=NOW - 7230), E.FAILOVER_DUE, S.MOVING, "failover"),
    case("the mirror isn't well", dead(mirror=FAILS), E.DOWN_CONFIRMED, S.DOWN, "", "mail2 is SUSPECT"),
    case("the mirror's store is of an older epoch", dead(mirror={"marker": 3}),
         E.DOWN_CONFIRMED, S.DOWN, "", "is of epoch 3, not of 4"),
    case("a later epoch is known", dead(witness=Word(5, "mirror")), E.DOWN_CONFIRMED, S.DOWN, "", "a later epoch"),
    case("no second observer", dead(lone="Only one host looks."), E.DOWN_CONFIRMED, S.DOWN, "", "Only one host looks."),
    case("the last try failed just now", dead(operation=Operation("op-7", "failover", "rolled back", ended=NOW - 40)),
         E.DOWN_CONFIRMED, S.DOWN, "", "The last failover ended 40 s ago"),
]  # fmt: skip
BLOCKED = [
    case("still no proof", dead(S.BLOCKED, fence=UNPROVEN, operation=TRIED), E.DOWN_CONFIRMED, S.BLOCKED),
    case("the device says off", dead(S.BLOCKED, fence=PROVEN, operation=TRIED), E.FENCE_PROVEN, S.DOWN),
    case("the lease has run out", dead(S.BLOCKED, operation=TRIED, **RAN_OUT), E.LEASE_RUN_OUT, S.DOWN),
    case("the witness is back", dead(S.BLOCKED), E.PROOF_POSSIBLE, S.DOWN),
    case("its host answers", dead(S.BLOCKED, primary={**LIVES, "health": RESTARTABLE}), E.RESTART_DUE, S.DOWN),
    case("it is well by itself", pair(S.BLOCKED), E.READY, S.PROTECTED),
    case("an operator attests", dead(S.BLOCKED, order=order("attest"), **NO_LEASE), E.ATTEST, S.DOWN, by="anna"),
    case("after the attestation", dead(fence=PROVEN, **NO_LEASE), E.FAILOVER_DUE, S.MOVING, "failover"),
]
AFTERWARDS = [
    case("the old place is away", moved(), E.PASSIVE_AWAY, S.ALONE),
    case("the old place is seen behind its gate", moved(primary={**RETURNED, "health": WELL}),
         E.OLD_PLACE_SEEN, S.ALONE, "", may=("rejoin", "seed", "promote_older", "pause", "ack")),
    case("after the rejoin nobody fails back", moved(S.EXPOSED, primary={**IN_FULL, "health": WELL}, lag=0.0),
         E.READY, S.PROTECTED, "", may=("switchover", "failover", "failback", "seed", "drill", "pause", "ack")),
    case("a window opens, nobody fails back",
         moved(S.PROTECTED, primary={**IN_FULL, "health": WELL}, lag=0.0, news=E.WINDOW_OPENS),
         E.WINDOW_OPENS, S.PROTECTED),
    case("the mirror dies within the hour: no ping-pong",
         moved(S.DOWN, primary={**IN_FULL, "health": WELL}, mirror={"health": SERVICES_DEAD, "marker": 5}, lag=0.0),
         E.DOWN_CONFIRMED, S.DOWN, "", "In cooldown for 50 min", would="failover"),
    case("the mirror dies, the old primary is of an older epoch",
         moved(S.DOWN, primary={**RETURNED, "health": WELL}, mirror={**AWAY, "marker": None}, flags=Flags()),
         E.DOWN_CONFIRMED, S.DOWN, "", "is of epoch 4, not of 5"),
]  # fmt: skip
BOTH_CLAIM = [
    case("both claim one epoch", pair(mirror={"word": Word(4, "mirror", serves=True)}), E.BOTH_CLAIM, S.SPLIT_BRAIN),
    case("the mirror claims a greater epoch, as the witness doesn't",
         pair(mirror={"word": Word(5, "mirror", serves=True)}, witness=Word(5, "primary")),
         E.BOTH_CLAIM, S.SPLIT_BRAIN),
    case("the old one serves without a grant",
         moved(primary={"health": WELL, "alive": True, "word": Word(4, "primary", serves=True), "marker": 4}),
         E.BOTH_CLAIM, S.SPLIT_BRAIN, "", "serves in epoch 4, and epoch 5 has begun"),
    case("the old one knows no better, but is shut",
         moved(primary={"health": WELL, "alive": True, "word": Word(4, "primary"), "marker": 4}),
         E.OLD_PLACE_SEEN, S.ALONE),
    case("a look in the midst of somebody's switchover is no split brain",
         pair(mirror={"word": Word(5, "mirror", serves=True)}), E.READY, S.PROTECTED),
    case("during a journey too", pair(S.MOVING, mirror={"word": Word(4, "mirror")}, operation=OPEN),
         E.BOTH_CLAIM, S.SPLIT_BRAIN),
    case("an operator looked",
         pair(S.SPLIT_BRAIN, mirror={"word": Word(4, "mirror", serves=True)}, order=order("ack")), E.ACK, S.HALTED),
    case("it doesn't end by itself", pair(S.SPLIT_BRAIN), E.READY, S.SPLIT_BRAIN),
]  # fmt: skip
JOURNEYS = [
    case("it runs", pair(S.MOVING, operation=OPEN), E.JOURNEY_OPEN, S.MOVING,
         may=("pause", "op resume", "op rollback", "op abort")),
    case("after a restart the journal has one", pair(S.EXPOSED, operation=OPEN), E.JOURNEY_OPEN, S.MOVING),
    case("the controller dies in it", pair(S.MOVING, operation=OPEN, news=E.CONTROLLER_RESTARTED),
         E.CONTROLLER_RESTARTED, S.MOVING),
    case("the controller dies while it is down", dead(news=E.CONTROLLER_RESTARTED), E.CONTROLLER_RESTARTED, S.SUSPECT),
    case("the controller died before it was begun", pair(S.MOVING), E.JOURNEY_MISSING, S.EXPOSED),
    case("a failover is done", moved(S.MOVING), E.JOURNEY_DONE_ALONE, S.ALONE),
    case("a switchover is done", pair(S.MOVING, operation=Operation("op-8", "switchover", "done")),
         E.JOURNEY_DONE, S.EXPOSED),
    case("no fence was proven", dead(S.MOVING, operation=TRIED), E.JOURNEY_UNPROVEN, S.BLOCKED),
    case("it is stuck", pair(S.MOVING, operation=PAST), E.JOURNEY_STUCK, S.HALTED),
]  # fmt: skip
ORDERS = [
    case("a switchover while paused", pair(order=order("switchover"), flags=PAUSED),
         E.SWITCHOVER, S.MOVING, "switchover"),
    case("a failover in cooldown", dead(order=order("failover", accept_loss=True), flags=Flags(cooldown_until=NOW + 9)),
         E.FAILOVER, S.MOVING, "failover", by="anna"),
    case("a failover names the loss and asks", dead(order=order("failover")), E.FAILOVER, S.DOWN, "",
         "2 messages, 0.4 s at the last contact", asks="accept_loss"),
    case("one that loses nothing doesn't ask", pair(order=order("failover")),
         E.FAILOVER, S.MOVING, "failover", loss=None),
    case("beyond the RPO an operator may", dead(lag=900.0, order=order("failover", accept_loss=True)),
         E.FAILOVER, S.MOVING, "failover"),
    case("not two journeys at once", pair(S.MOVING, operation=OPEN, order=order("failover", accept_loss=True)),
         E.FAILOVER, S.MOVING, "", "op-8 (switchover) is open"),
    case("a failback home", moved(S.PROTECTED, primary={**IN_FULL, "health": WELL}, order=order("failback")),
         E.FAILBACK, S.MOVING, "failback"),
    case("a failback at home", pair(order=order("failback")), E.FAILBACK, S.PROTECTED, "", "active already"),
    case("a drill while exposed", pair(S.EXPOSED, order=order("drill")), E.DRILL, S.EXPOSED, "", "A drill needs"),
    case("a rejoin of a host that is away", moved(order=order("rejoin")), E.REJOIN, S.ALONE, "", "doesn't answer"),
    case("a rejoin", moved(primary={**RETURNED, "health": WELL}, order=order("rejoin")), E.REJOIN, S.MOVING, "rejoin"),
    case("the older place, its loss not accepted",
         moved(primary={**RETURNED, "health": WELL}, mirror=AWAY, order=order("promote_older"), state=S.DOWN),
         E.PROMOTE_OLDER, S.DOWN, "", "an unknown number of messages", asks="accept_loss"),
    case("the older place, its loss accepted",
         moved(primary={**RETURNED, "health": WELL}, mirror=AWAY, state=S.DOWN, lag=4000.0, at_risk=12,
               order=order("promote_older", accept_loss=True)),
         E.PROMOTE_OLDER, S.MOVING, "promote_older", "12 messages"),
    case("a failover to the older place", moved(S.DOWN, primary={**RETURNED, "health": WELL}, mirror=AWAY,
         order=order("failover", accept_loss=True)), E.FAILOVER, S.DOWN, "", "lacks an epoch"),
    case("back, past the point of no return", pair(S.HALTED, operation=PAST, order=order("op rollback")),
         E.OP_ROLLBACK, S.HALTED, "", "past its point of no return"),
    case("forward", pair(S.HALTED, operation=PAST, order=order("op resume")), E.OP_RESUME, S.MOVING),
    case("resume with a stuck journey", pair(S.HALTED, operation=PAST, order=order("resume")), E.RESUME, S.HALTED, "",
         "`op resume`, `op rollback` or `op abort` it first"),
    case("resume", pair(S.HALTED, order=order("resume")), E.RESUME, S.EXPOSED),
    case("an order in a split brain", pair(S.SPLIT_BRAIN, order=order("failover", accept_loss=True)),
         E.FAILOVER, S.SPLIT_BRAIN, "", "then `ack`"),
    case("an order meets a split brain",
         pair(mirror={"word": Word(4, "mirror")}, order=order("switchover")), E.BOTH_CLAIM, S.SPLIT_BRAIN, "",
         "Two places claim the users"),
]  # fmt: skip

CASES = [*LOOKING, *FALLING, *HELD_BACK, *BLOCKED, *AFTERWARDS, *BOTH_CLAIM, *JOURNEYS, *ORDERS]
