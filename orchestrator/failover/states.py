"""The one table of a pair's states: (state, event) -> (state, playbook to start or "", why). Pure.

Ten states say how a pair stands; the step of a journey stands in the journal, and flags (paused, cooldown, tilt,
queueing) are no states. An event is a fact that was seen, a word of a journey, or an operator's order. `decide` finds
the event and whether it may be acted on; this table only says where it leads. docs/states.md is made from it.

How to read a row: an event moves to another state as `moves` says. Else the pair stays as it is, for the reason that
`ELSEWHERE` gives for that event, or else the row for its kind. So each cell has an answer and a reason.

Invariant: closed over state x event; only MOVING has a journey; an operator gets out of every state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    PROTECTED = "PROTECTED"
    EXPOSED = "EXPOSED"
    SUSPECT = "SUSPECT"
    DOWN = "DOWN"
    BLOCKED = "BLOCKED"
    MOVING = "MOVING"
    ALONE = "ALONE"
    SERVING_ARCHIVE = "SERVING_ARCHIVE"
    HALTED = "HALTED"
    SPLIT_BRAIN = "SPLIT_BRAIN"


FIRST = State.EXPOSED
"""Before anything was seen: nothing may be decided by itself yet."""


class Event(StrEnum):
    """Facts first, then what a journey says, then orders, whose names are the verbs that an operator types."""

    READY = "the active place is well and a failover is ready"
    UNREADY = "the active place is well but a failover would lose, or isn't ready"
    UNCERTAIN = "nobody can tell how the active place is"
    FAILING = "the active place fails, which isn't confirmed"
    DOWN_CONFIRMED = "two observers agree that the active place is down"
    RESTART_DUE = "its host lives and a restart is to be tried first"
    FAILOVER_DUE = "it is down and all that a failover depends on is there"
    NO_PROOF = "a failover is due, but there is no way to prove the fence"
    PROOF_POSSIBLE = "there is a way again to prove the fence"
    FENCE_PROVEN = "the active place is proven to be fenced"
    LEASE_RUN_OUT = "both granters confirm that the lease has run out"
    BOTH_AWAY = "both mail hosts are away"
    PASSIVE_AWAY = "the passive place is away"
    PASSIVE_BACK = "the passive place is back, of the present epoch"
    OLD_PLACE_SEEN = "the other place is back, of an older epoch"
    WITNESS_AWAY = "the witness is away"
    WITNESS_BACK = "the witness is back"
    BOTH_CLAIM = "two places claim to be active, or an old one serves"
    WINDOW_OPENS = "a window opens"
    WINDOW_CLOSES = "a window closes"
    ARCHIVE_SERVES = "the archive serves the users"
    ARCHIVE_ENDS = "the archive no longer serves"
    CONTROLLER_RESTARTED = "the controller was started anew"

    STEP_DONE = "a step is done"
    STEP_FAILED = "a step failed"
    JOURNEY_OPEN = "the journal has an open journey"
    JOURNEY_MISSING = "no journey was begun"
    JOURNEY_DONE = "the journey is done, both places are there"
    JOURNEY_DONE_ALONE = "the journey is done, the other place is away"
    JOURNEY_ROLLED_BACK = "the journey was rolled back"
    JOURNEY_UNPROVEN = "the journey ended before anything irreversible: no fence was proven"
    JOURNEY_STUCK = "the journey is stuck"
    JOURNEY_ABORTED = "the journey was aborted"

    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    FAILBACK = "failback"
    REJOIN = "rejoin"
    SEED = "seed"
    DRILL = "drill"
    PROMOTE_OLDER = "promote_older"
    PAUSE = "pause"
    RESUME = "resume"
    ACK = "ack"
    ATTEST = "attest"
    OP_RESUME = "op resume"
    OP_ROLLBACK = "op rollback"
    OP_ABORT = "op abort"


_ALL = list(Event)
JOURNEYS = frozenset(_ALL[_ALL.index(Event.STEP_DONE) : _ALL.index(Event.SWITCHOVER)])
ORDERS = frozenset(_ALL[_ALL.index(Event.SWITCHOVER) :])
STARTING = frozenset(_ALL[_ALL.index(Event.SWITCHOVER) : _ALL.index(Event.PAUSE)])
"""Orders that start the playbook of their name. None is obeyed while a journey is open."""
NOTED = frozenset((Event.PAUSE, Event.RESUME, Event.ACK, Event.ATTEST))
"""Orders that change a flag or a record: obeyed in every state, also where they change no state."""
OF_A_JOURNEY = frozenset((Event.OP_RESUME, Event.OP_ROLLBACK, Event.OP_ABORT))


class Move(NamedTuple):
    state: State
    playbook: str
    why: str


@dataclass(frozen=True)
class Row:
    """What a state means, and why it stays as it is at a fact, a journey's word or an order that `moves` leaves out."""

    meaning: str
    facts: str
    journeys: str
    orders: str
    moves: Mapping[Event, Move]


E, S = Event, State


def to(state: State, why: str) -> Move:
    return Move(state, "", why)


def start(*playbooks: Event) -> dict[Event, Move]:
    """The operator's orders that start their playbook here."""
    return {order: Move(S.MOVING, order.value, f"An operator orders a {order.value}.") for order in playbooks}


ELSEWHERE: Mapping[Event, str] = {
    E.RESTART_DUE: "Only a place that is DOWN is restarted.",
    E.FAILOVER_DUE: "A failover begins in DOWN, and nowhere else.",
    E.NO_PROOF: "A proof is asked for only when users are to be moved.",
    E.PROOF_POSSIBLE: "A proof is asked for only when users are to be moved.",
    E.FENCE_PROVEN: "A proof counts only when users are to be moved.",
    E.LEASE_RUN_OUT: "A proof counts only when users are to be moved.",
    E.WITNESS_BACK: "The next look says whether a failover is ready.",
    E.WINDOW_OPENS: "A window orders nothing by itself; a failback in it is an operator's order.",
    E.WINDOW_CLOSES: "What runs comes to its end.",
    E.JOURNEY_MISSING: "None is looked for here.",
    E.PAUSE: "A flag: until it ends nothing is done unasked.",
    E.RESUME: "The flag is taken away; the state was none of its doing.",
    E.ACK: "What it names is released, the state stays.",
    E.ATTEST: "The statement is kept, and counts for an hour.",
    E.OP_RESUME: "No journey waits here.",
    E.OP_ROLLBACK: "No journey waits here.",
    E.OP_ABORT: "No journey waits here.",
}
"""Why a state stays at these, wherever its row doesn't move."""

NO_JOURNEY = "No journey runs here: a late word of one that has ended."
LOOKS: Mapping[Event, Move] = {
    E.READY: to(S.PROTECTED, "It serves, and a failover is ready."),
    E.UNREADY: to(S.EXPOSED, "It serves; a failover would lose, or isn't ready."),
    E.FAILING: to(S.SUSPECT, "It fails for somebody: deletions stop, nothing irreversible is done."),
    E.DOWN_CONFIRMED: to(S.DOWN, "Two observers agree, one of them not the controller's."),
    E.BOTH_CLAIM: to(S.SPLIT_BRAIN, "Replication stops both ways; a person has to look."),
    E.JOURNEY_OPEN: to(S.MOVING, "The journal has a journey that hasn't ended: it is taken up."),
}
"""What a look at the hosts does in every state that isn't held."""
LACKING = {
    E.PASSIVE_AWAY: to(S.ALONE, "The active place serves without a second one."),
    E.OLD_PLACE_SEEN: to(S.ALONE, "The other place has to rejoin before it counts."),
    E.WITNESS_AWAY: to(S.EXPOSED, "Without the witness no lease can be proven to have run out."),
}
"""What a look does that finds the active place well, and something else missing."""
UNSEEN = to(S.SUSPECT, "What was seen before doesn't count: look anew.")
ARCHIVE = {E.ARCHIVE_SERVES: to(S.SERVING_ARCHIVE, "Users read there until a mail host is back.")}

TABLE: Mapping[State, Row] = {
    S.PROTECTED: Row(
        meaning="The active place serves; a failover is ready and loses no more than `mm_rpo`.",
        facts="Nothing to do: the active place serves.",
        journeys=NO_JOURNEY,
        orders="There is nothing that it would mend: no place is away or older.",
        moves={
            **LOOKS,
            **LACKING,
            E.UNCERTAIN: to(S.EXPOSED, "Nobody can tell, so a failover couldn't be decided."),
            E.CONTROLLER_RESTARTED: to(S.EXPOSED, "Readiness has to be looked at anew."),
            **start(E.SWITCHOVER, E.FAILOVER, E.FAILBACK, E.SEED, E.DRILL),
        },
    ),
    S.EXPOSED: Row(
        meaning="The active place serves; a failover would lose, or isn't ready.",
        facts="Already so: the active place serves, a failover isn't ready.",
        journeys=NO_JOURNEY,
        orders="A drill needs a failover that is ready, and there is no older place to promote.",
        moves={
            **LOOKS,
            **{event: move for event, move in LACKING.items() if event is not E.WITNESS_AWAY},
            **start(E.SWITCHOVER, E.FAILOVER, E.FAILBACK, E.REJOIN, E.SEED),
        },
    ),
    S.SUSPECT: Row(
        meaning="The active place fails for somebody; nothing irreversible is done, deletions wait.",
        facts="It doesn't settle whether the active place is down.",
        journeys=NO_JOURNEY,
        orders="The active place isn't well: only a failover moves users now.",
        moves={**LOOKS, **LACKING, **ARCHIVE, **start(E.FAILOVER, E.PROMOTE_OLDER)},
    ),
    S.DOWN: Row(
        meaning="The active place is down, as two observers agree; what is done next depends on proofs and policy.",
        facts="It is down still; deciding goes on at each look.",
        journeys=NO_JOURNEY,
        orders="The active place is down: only a failover moves users now.",
        moves={
            **LOOKS,
            **LACKING,
            **ARCHIVE,
            E.RESTART_DUE: to(S.DOWN, "The cheaper remedy first: its services are restarted."),
            E.FAILOVER_DUE: Move(S.MOVING, "failover", "It is down, and all that a failover depends on is there."),
            E.NO_PROOF: to(S.BLOCKED, "Nothing can prove the fence: the mirror queues, a person has to look."),
            E.CONTROLLER_RESTARTED: UNSEEN,
            **start(E.FAILOVER, E.PROMOTE_OLDER),
        },
    ),
    S.BLOCKED: Row(
        meaning="The active place is down and no fence is proven: the mirror only queues, as the second MX.",
        facts="No fence is proven yet.",
        journeys=NO_JOURNEY,
        orders="The active place is down: only a failover moves users now.",
        moves={
            **{event: move for event, move in LOOKS.items() if event is not E.DOWN_CONFIRMED},
            **LACKING,
            **ARCHIVE,
            E.RESTART_DUE: to(S.DOWN, "Its host answers: the cheaper remedy first."),
            E.PROOF_POSSIBLE: to(S.DOWN, "There is a way again: decide anew."),
            E.FENCE_PROVEN: to(S.DOWN, "The fence is proven: decide anew."),
            E.LEASE_RUN_OUT: to(S.DOWN, "The lease has run out: decide anew."),
            E.ATTEST: to(S.DOWN, "An operator states that it is off: decide anew."),
            E.CONTROLLER_RESTARTED: UNSEEN,
            **start(E.FAILOVER, E.PROMOTE_OLDER),
        },
    ),
    S.MOVING: Row(
        meaning="A journey runs; the journal has which one, and its step.",
        facts="The journey proves for itself what its steps depend on.",
        journeys="The journey goes on, forward or back, as the conductor says.",
        orders="A journey is open: wait for its end, or `op rollback`, or `op abort`.",
        moves={
            E.BOTH_CLAIM: LOOKS[E.BOTH_CLAIM],
            E.CONTROLLER_RESTARTED: to(S.MOVING, "The conductor takes the journey up from the journal."),
            E.JOURNEY_MISSING: to(S.EXPOSED, "None was begun; the next look says how it stands."),
            E.JOURNEY_DONE: to(S.EXPOSED, "Done; the next look says whether a failover is ready."),
            E.JOURNEY_DONE_ALONE: to(S.ALONE, "Done; the other place is away, or has to rejoin."),
            E.JOURNEY_ROLLED_BACK: to(S.EXPOSED, "As before it; the next look says how that is."),
            E.JOURNEY_UNPROVEN: to(S.BLOCKED, "No fence was proven: the mirror queues, a person has to look."),
            E.JOURNEY_STUCK: to(S.HALTED, "It can go neither forward nor back by itself."),
            E.JOURNEY_ABORTED: to(S.HALTED, "An operator left it where it was."),
            E.OP_RESUME: to(S.MOVING, "It goes on."),
            E.OP_ROLLBACK: to(S.MOVING, "It goes back, as long as it may."),
            E.OP_ABORT: to(S.HALTED, "An operator leaves it where it is."),
        },
    ),
    S.ALONE: Row(
        meaning="One place serves, the other is away or of an older epoch.",
        facts="One place serves; bringing the other home is an operator's order.",
        journeys=NO_JOURNEY,
        orders="The other place can't take over as it is: `rejoin` or `seed` it, or promote the older one.",
        moves={
            **LOOKS,
            E.PASSIVE_BACK: to(S.EXPOSED, "Both are there; the next look says whether a failover is ready."),
            **start(E.REJOIN, E.SEED, E.PROMOTE_OLDER),
        },
    ),
    S.SERVING_ARCHIVE: Row(
        meaning="No mail host serves: users read every folder from the archive.",
        facts="Users are at the archive; who brings them back is an operator.",
        journeys=NO_JOURNEY,
        orders="No mail host serves: only a failover brings users back.",
        moves={
            E.BOTH_CLAIM: LOOKS[E.BOTH_CLAIM],
            E.JOURNEY_OPEN: LOOKS[E.JOURNEY_OPEN],
            E.ARCHIVE_ENDS: UNSEEN,
            **start(E.FAILOVER, E.PROMOTE_OLDER),
        },
    ),
    S.HALTED: Row(
        meaning="Nothing happens by itself: a journey is stuck or was aborted, or a split brain was looked at.",
        facts="Held: it is told, and nothing follows until an operator says `resume`.",
        journeys="Held: it is told, and nothing follows until an operator says `op resume` or `resume`.",
        orders="A drill has no place here.",
        moves={
            E.RESUME: to(S.EXPOSED, "An operator lets go; the next look says how it stands."),
            E.OP_RESUME: to(S.MOVING, "An operator has the journey go on."),
            E.OP_ROLLBACK: to(S.MOVING, "An operator has the journey go back."),
            E.OP_ABORT: to(S.HALTED, "The journey is closed as it is."),
            **start(E.SWITCHOVER, E.FAILOVER, E.FAILBACK, E.REJOIN, E.SEED, E.PROMOTE_OLDER),
        },
    ),
    S.SPLIT_BRAIN: Row(
        meaning="Two places claimed the users: replication stands still both ways.",
        facts="Held: which place is right is for a person to say.",
        journeys="Held: which place is right is for a person to say.",
        orders="First look at both places, then `ack`: until then nothing is moved.",
        moves={
            E.ACK: to(S.HALTED, "An operator has looked: orders are taken, nothing happens by itself."),
            E.OP_RESUME: to(S.SPLIT_BRAIN, "First look at both places, then `ack`."),
            E.OP_ROLLBACK: to(S.SPLIT_BRAIN, "First look at both places, then `ack`."),
            E.OP_ABORT: to(S.HALTED, "The journey is closed as it is."),
        },
    ),
}


def follow(state: State, event: Event) -> Move:
    """The cell: where the event leads from this state, what it starts, and why."""
    row = TABLE[state]
    if event in row.moves:
        return row.moves[event]
    kind = row.orders if event in ORDERS else row.journeys if event in JOURNEYS else row.facts
    return Move(state, "", ELSEWHERE.get(event, kind))
