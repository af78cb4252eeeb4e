"""What a guard is ordered: by an operator on its host, or by a journey. Pure.

An order has a name of its own, and what it came to is kept with the register: ordered again, it isn't done again. The
epoch that it is meant for goes along, so that one of a stale mind changes nothing (compare-and-swap).

Invariant: an order is refused, and nothing is changed, or it is carried out whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Mapping, NamedTuple, Tuple

from . import lease
from .guard import WITNESS, Mind, acquitted, posture, quiet_left, settled
from .lease import NEVER, Granter, Impossible

LONGEST_QUIET = 600.0
"""Seconds that a place may be made quiet for: nobody's mail waits longer for a controller that has vanished."""


class Order(NamedTuple):
    """`operation` names it for good: ordered again, it isn't done again. `epoch` is the one that it leads to, or stays
    in; `words` say why, or what proves it. `seconds`: for how long, of quiesce. `quiet`, of tombstone: the quiesce that
    must not have ended, or this place may have taken letters that no other has.
    """

    verb: str
    operation: str
    epoch: int
    active: str = ""
    proof: str = ""
    words: str = ""
    seconds: float = 0.0
    quiet: str = ""


def ordered(mind: Mind, order: Order, now: float) -> Tuple[Mind, str]:
    """The state after an order, and what it came to. Raises Impossible, and nothing was changed."""
    known = mind.register.done.get(order.operation)
    if known is not None:
        if not known.startswith(f"{order.verb} "):
            raise Impossible(f"{order.operation} is the name of another order: {known}")
        return mind, known
    verb = _VERBS.get(order.verb)
    if verb is None:
        raise Impossible(f"there is no order {order.verb!r}; there are {', '.join(_VERBS)}")
    mind = verb(mind, order, now)
    outcome = f"{order.verb} in epoch {mind.register.epoch}"
    return replace(mind, register=mind.register.with_done(order.operation, outcome)), outcome


def _same_epoch(mind: Mind, order: Order) -> None:
    if order.epoch != mind.register.epoch:
        raise Impossible(f"it is epoch {mind.register.epoch} here, and not {order.epoch}: look at the state again")


def _next_epoch(mind: Mind, order: Order) -> None:
    if order.epoch != mind.register.epoch + 1:
        raise Impossible(f"epoch {order.epoch} doesn't follow epoch {mind.register.epoch}: look at the state again")


def _begin(mind: Mind, order: Order, now: float) -> Mind:
    """The first register of a place; a later epoch is learnt from the others."""
    if mind.register.epoch:
        raise Impossible(f"it is in epoch {mind.register.epoch} already")
    if order.epoch < 1 or order.active not in {mind.rules.place, *mind.rules.peers} - {WITNESS}:
        raise Impossible(f"nobody begins with epoch {order.epoch} and {order.active!r} as the active")
    return settled(replace(mind, register=mind.register.in_epoch(order.epoch, order.active)), now)


def _attest(mind: Mind, order: Order, now: float) -> Mind:
    """An operator says that nobody else serves, nor will."""
    if not order.words:
        raise Impossible("say why nobody else serves: --attest '...'")
    if order.epoch in mind.named.values() and order.epoch == max(mind.named.values()):
        register = mind.register.in_epoch(order.epoch, mind.rules.place)
        return settled(replace(mind, register=replace(register, attested=order.words)), now)
    _same_epoch(mind, order)
    if mind.holder is None:
        raise Impossible(f"{posture(mind).why}; what it may do then isn't for this host to say")
    return replace(mind, register=replace(mind.register, attested=order.words))


def _confirm(mind: Mind, order: Order, _: float) -> Mind:
    """The controller says that no later epoch exists, in the place of a passive guard that can't be asked."""
    _same_epoch(mind, order)
    if mind.holder is None or mind.rules.ttl:
        raise Impossible("only the active of a pair without a lease is confirmed: with one, a granter has to answer")
    return replace(mind, confirmed=True)


def _leave(mind: Mind, order: Order, _: float) -> Mind:
    """This granter is about to leave: the active gets a grant without an end."""
    if mind.register.active == mind.rules.place:
        raise Impossible("this place is the active: a grant without an end is given by the other places' guards")
    register = replace(mind.register, leaving=order.words or "no reason given", turn=mind.register.turn + 1)
    if mind.granter is None:
        return replace(mind, register=replace(register, kept=replace(register.kept, without_end=True)))
    return replace(mind, register=register, granter=replace(mind.granter, leaving=True))


def _withdraw(mind: Mind, order: Order, _: float) -> Mind:
    """It stays after all; on the active, what an operator attested counts no more."""
    turn = mind.register.turn + 1
    register = replace(mind.register, leaving="", attested="", turn=turn)
    if mind.granter is None:
        return replace(mind, register=register)
    # As long as it is in this epoch, nobody was promoted by what it refused.
    granter = replace(lease.relent(mind.granter), leaving=False)
    return replace(mind, granter=granter, register=replace(register, kept=granter.kept))


def _forget(mind: Mind, order: Order, _: float) -> Mind:
    """The active's stores aren't what they were, and that is meant: what was remembered of them counts no more."""
    _same_epoch(mind, order)
    return replace(mind, register=replace(mind.register, stores={}))


def _of_granter(mind: Mind, change: Callable[[Granter], Granter]) -> Mind:
    if mind.granter is None:
        raise Impossible("this place grants nothing in this epoch")
    granter = change(mind.granter)
    return replace(mind, granter=granter, register=replace(mind.register, kept=granter.kept))


def _refuse(mind: Mind, order: Order, _: float) -> Mind:
    _same_epoch(mind, order)
    return _of_granter(mind, lease.refuse)


def _relent(mind: Mind, order: Order, _: float) -> Mind:
    _same_epoch(mind, order)
    return _of_granter(mind, lease.relent)


def _quiesce(mind: Mind, order: Order, now: float) -> Mind:
    """The active goes on holding its lease and starts nothing, for a switchover that ends in a tombstone. Whatever
    becomes of who ordered it, it serves again when the time is over, or after a reboot.
    """
    _same_epoch(mind, order)
    if mind.holder is None:
        raise Impossible(f"only the active is made quiet: {posture(mind).why}")
    if not 0 < order.seconds <= LONGEST_QUIET:
        raise Impossible(f"it is made quiet for up to {LONGEST_QUIET:g} seconds, and not for {order.seconds:g}")
    if quiet_left(mind, now) > 0:
        raise Impossible(f"{mind.register.quiet} has made it quiet already: resume first, or wait")
    register = replace(mind.register, quiet=order.operation, quiet_until=now + order.seconds)
    return replace(mind, register=register)


def _hush(mind: Mind, order: Order, now: float) -> Mind:
    """A passive place's Postfix, which only queues, is kept down too, so that what waits there can be put on hold.
    When the time is over, or after a reboot, it queues and relays again; a promotion ends it.
    """
    _same_epoch(mind, order)
    if mind.rules.place == WITNESS or posture(mind).role != "passive":
        raise Impossible(f"only a passive place is hushed: {posture(mind).why}")
    if not 0 < order.seconds <= LONGEST_QUIET:
        raise Impossible(f"it is hushed for up to {LONGEST_QUIET:g} seconds, and not for {order.seconds:g}")
    register = replace(mind.register, quiet=order.operation, quiet_until=now + order.seconds)
    return replace(mind, register=register)


def _resume(mind: Mind, order: Order, _: float) -> Mind:
    """The end of quiesce or hush before its time: it does again what its role is."""
    _same_epoch(mind, order)
    return replace(mind, register=replace(mind.register, quiet="", quiet_until=0.0))


def _tombstone(mind: Mind, order: Order, now: float) -> Mind:
    """The active gives up its epoch for good: once this is durable, nothing makes it serve until it is active again."""
    _next_epoch(mind, order)
    if mind.register.active != mind.rules.place:
        raise Impossible(f"the {mind.register.active} is active: only its guard can give the epoch up")
    if order.quiet and (mind.register.quiet != order.quiet or not quiet_left(mind, now)):
        raise Impossible(f"it isn't quiet by {order.quiet} any more, and may have taken letters since: copy them first")
    register = replace(mind.register, tombstone=order.epoch, attested="", quiet="", quiet_until=0.0, fresh=0.0)
    return settled(replace(mind, register=register), now)


def _advance(mind: Mind, order: Order, now: float) -> Mind:
    """The next epoch begins here: out of a refusal that has run out, or with a proof that the old active is fenced."""
    if order.proof and (order.epoch, order.active) == (mind.register.epoch, mind.register.active):
        return acquitted(mind)  # it had heard of the epoch; this is the proof that the earlier active is fenced
    _next_epoch(mind, order)
    places = {mind.rules.place, *mind.rules.peers} - {WITNESS}
    if order.active not in places or order.active == mind.register.active:
        raise Impossible(f"the {order.active or 'place without a name'} can't be the next active")
    if order.proof:
        if not mind.rules.ttl and mind.register.kept.without_end:
            raise Impossible("the active announced its reboot and may serve after it: withdraw that first")
    elif mind.granter is None:
        raise Impossible("without a lease the next epoch needs a proof: a tombstone, a fence, or an operator's word")
    elif mind.register.weak:
        raise Impossible("the active has no gate in its kernel, so that its lease has run out proves nothing: fence it")
    else:
        lease.advance(mind.granter, order.epoch, now)
        if order.active == mind.rules.place and mind.named.get(WITNESS) != order.epoch:
            raise Impossible(f"the witness's register has to be in epoch {order.epoch} first, and wasn't heard to be")
    register = mind.register.in_epoch(order.epoch, order.active)
    if order.active == mind.rules.place:
        register = replace(register, fresh=now)
    mind = settled(replace(mind, register=register), now)
    # Who proves it knows that no later epoch exists. It asks for the lease at once: its users wait.
    return replace(mind, confirmed=bool(order.proof), next_round=NEVER)


_VERBS: Mapping[str, Callable[[Mind, Order, float], Mind]] = {
    "begin": _begin,
    "attest": _attest,
    "confirm": _confirm,
    "leave": _leave,
    "withdraw": _withdraw,
    "forget": _forget,
    "refuse": _refuse,
    "relent": _relent,
    "quiesce": _quiesce,
    "hush": _hush,
    "resume": _resume,
    "tombstone": _tombstone,
    "advance": _advance,
}
