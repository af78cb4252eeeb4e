"""What stands against moving users: two that claim, no fence to be had, a rule that a failover would break. Pure.

Flags and mode (`holds`) are kept apart from safety rules (`unsafe`): flags hold back only what is done unasked, and
never an operator's order. An order has objections of its own (`against`), which are the same whatever the flags say.

Invariant: what isn't known is an objection, never a permission. Each objection is a sentence, and names what is wrong.
"""

from __future__ import annotations

from orchestrator.failover.facts import Facts, Loss, MailHost, Order
from orchestrator.failover.states import OF_A_JOURNEY, STARTING, Event, State, follow
from orchestrator.health.verdict import Remedy
from orchestrator.inventory.model import PRIMARY
from orchestrator.readiness.checks import ready

READINESS_LASTS = 300.0
"""Seconds for which a readiness counts, at the time of the suspicion: it is looked at every minute, and may be slow."""
RETRY_AFTER = 300.0
"""Seconds after a failover that ended without a promotion, before one is tried again unasked."""
SETTLING = 8.0
"""Seconds after a restart until it is judged: services start, and three looks have to find them well."""


def claims(facts: Facts) -> tuple[str, ...]:
    """Why this is a split brain, or nothing. An epoch has one active place for ever, so words of different moments
    can be held against each other within one epoch; a later epoch counts only if it was known before this look.
    """
    words = [(each.place, each.word) for each in facts.hosts if each.word is not None]
    words += [("witness", facts.witness)] if facts.witness else []
    found = []
    for epoch in sorted({word.epoch for _, word in words if word.epoch >= facts.epoch}):
        said = {name: word.active for name, word in words if word.epoch == epoch}
        said |= {"the journal": facts.active} if epoch == facts.epoch and facts.active else {}
        if len(set(said.values())) > 1:
            who = ", ".join(f"{name} says {active}" for name, active in said.items())
            found.append(f"Epoch {epoch} has two active places: {who}.")
    for place, word in words:
        if word.serves and word.epoch < facts.epoch:
            found.append(f"The {place} serves in epoch {word.epoch}, and epoch {facts.epoch} has begun.")
    return tuple(found)


def is_older(host: MailHost, facts: Facts) -> bool:
    """Whether its store is known to be of an earlier epoch: only to be reclaimed from, or promoted with a loss."""
    known = host.marker if host.marker is not None else host.word.epoch if host.word else None
    return known is not None and known < facts.epoch


def ways(facts: Facts) -> tuple[str, ...]:
    """How the fence of the active place could be proven now, or is; nothing where there is no way."""
    found = []
    holder, word, witness = facts.holder, facts.other.word, facts.witness
    if facts.fence is not None and facts.fence.enough:
        found.append(f"It is proven: {facts.fence.why}")
    if holder is not None and holder.alive:
        found.append(f"{holder.host} answers: its services can be stopped, masked and read.")
    if run_out(facts):
        found.append("Both granters confirm that the lease has run out.")
    elif word and witness and word.armed and witness.armed and {word.epoch, witness.epoch} == {facts.epoch}:
        found.append("The lease is armed and both granters answer: it can be left to run out.")
    if facts.device:
        found.append("A fence device that was tested lately can switch it off.")
    return tuple(found)


def run_out(facts: Facts) -> bool:
    """Whether both granters confirm it for this epoch."""
    granters = (facts.other.word, facts.witness)
    return all(word is not None and word.run_out and word.epoch == facts.epoch for word in granters)


# --- against a failover that nobody ordered ---------------------------------------------------------------------------


def unsafe(facts: Facts) -> tuple[str, ...]:
    """The safety rules that an automatic failover would break (DESIGN section 7)."""
    holder, other, last = facts.holder, facts.other, facts.operation
    if holder is None:
        return ("Nobody knows which place is active.",)
    found = [*_of_the_copy(facts, other), *_of_readiness(facts)]
    if holder.health.remedy is not Remedy.FAILOVER:
        said = f"{holder.health.analysis.value}; the remedy is to {holder.health.remedy.value}."
        found.append(f"A failover wouldn't mend it: {said}")
    if facts.lone:
        found.append(facts.lone)
    if last and last.running:
        found.append(f"Operation {last.name} ({last.journey}) is open.")
    elif last and last.journey == "failover" and last.state != "done" and not last.unproven:
        ago = facts.now - last.ended
        if ago < RETRY_AFTER:
            found.append(f"The last failover ended {ago:.0f} s ago, {last.state}: look why.")
    if facts.refused_why and facts.now - facts.refused_at < RETRY_AFTER:
        ago = facts.now - facts.refused_at
        found.append(f"A failover couldn't be begun {ago:.0f} s ago: {facts.refused_why}")
    return tuple(found)


def settling(facts: Facts) -> tuple[str, ...]:
    """Why no further restart is tried yet: the last one is still to be judged."""
    ago = facts.now - facts.restarted
    return (f"Its services were restarted {ago:.0f} s ago: waiting for the looks.",) if ago < SETTLING else ()


def _of_the_copy(facts: Facts, other: MailHost) -> list[str]:
    found = []
    if not other.well:
        found.append(f"{other.host} is {other.health.level.value}: {other.health.analysis.value}.")
    if other.word is None:
        found.append(f"The guard on {other.host} doesn't answer.")
    if other.marker is None:
        found.append(f"Nobody knows of which epoch the store on {other.host} is.")
    elif other.marker != facts.epoch:
        found.append(f"The store on {other.host} is of epoch {other.marker}, not of {facts.epoch}.")
    words = (*(each.word for each in facts.hosts), facts.witness)
    later = [word.epoch for word in words if word and max(word.epoch, word.tombstone) > facts.epoch]
    if later:
        found.append(f"A guard knows a later epoch than {facts.epoch}: somebody else has promoted, or is about to.")
    if facts.lag is None:
        found.append("The lag at the last contact isn't known.")
    elif facts.lag > facts.rpo:
        found.append(f"The lag at the last contact was {facts.lag:.1f} s, more than mm_rpo ({facts.rpo:g} s).")
    return found


def _of_readiness(facts: Facts) -> list[str]:
    age = (facts.suspected or facts.now) - facts.checked
    if not facts.checks or not 0 <= age <= READINESS_LASTS:
        return ["Its readiness wasn't looked at shortly before."]
    return [f"A check is in the way: {reason}" for reason in ready(facts.checks).reasons]


def holds(facts: Facts, moves: bool = True) -> tuple[str, ...]:
    """Which flags and which mode hold back what nobody ordered. `moves`: users would be moved, not only restarted."""
    flags, found = facts.flags, []
    if flags.paused_until > facts.now:
        left = flags.paused_until - facts.now
        found.append(f"Paused by {flags.paused_by} for {left / 60:.0f} min more: {flags.paused_why}.")
    if moves and flags.cooldown_until > facts.now:
        left = flags.cooldown_until - facts.now
        found.append(f"In cooldown for {left / 60:.0f} min more: `mailmirror ack` ends it.")
    if flags.tilt:
        found.append("In tilt: the controller's own time didn't run steadily.")
    if facts.mode != "auto":
        found.append(f"mm_mode is {facts.mode}.")
    return tuple(found)


# --- against an order -------------------------------------------------------------------------------------------------


def loss(facts: Facts) -> Loss:
    """What a promotion of the other place could lose."""
    return Loss(facts.lag, facts.at_risk)


def loses(facts: Facts) -> bool:
    """Whether a promotion may lose something: only a host that still answers can hand everything over."""
    holder = facts.holder
    return not (holder is not None and holder.alive and loss(facts).none)


def against(order: Order, event: Event, facts: Facts) -> str:
    """Why the order isn't obeyed, as a sentence with what to do; empty when it is. No flag is asked."""
    last, move = facts.operation, follow(facts.state, event)
    running = last if last is not None and last.running else None
    if event in OF_A_JOURNEY:
        if running is None:
            return "No operation is open."
        if event is Event.OP_ROLLBACK and running.past:
            return f"{running.name} is past its point of no return: `op resume` or `op abort`."
        return "" if facts.state in (State.MOVING, State.HALTED) or move.state is not facts.state else move.why
    lets_go = event is Event.RESUME and facts.state is State.HALTED
    if running is not None and (event in STARTING or lets_go):
        return f"{running.name} ({running.journey}) is open: `op resume`, `op rollback` or `op abort` it first."
    if event not in STARTING:
        return ""
    return move.why if not move.playbook else _of_the_places(event, facts)


def _of_the_places(event: Event, facts: Facts) -> str:
    """What a journey needs of the two places before it can begin; its own first step asks for the rest."""
    other, older = facts.other, is_older(facts.other, facts)
    if event is Event.FAILBACK and facts.active == PRIMARY:
        return "The primary is active already."
    if not other.alive:
        return f"{other.host} doesn't answer: bring it up first."
    if event is Event.REJOIN and other.marker == facts.epoch and facts.state is not State.HALTED:
        return f"{other.host} is of the present epoch: nothing has to rejoin."
    if event is Event.PROMOTE_OLDER and not older:
        return f"The store on {other.host} isn't known to be older: use `failover`."
    if event in (Event.SWITCHOVER, Event.FAILOVER, Event.FAILBACK, Event.DRILL) and older:
        return f"{other.host} lacks an epoch: `rejoin` it, or `promote_older` with its loss."
    return ""
