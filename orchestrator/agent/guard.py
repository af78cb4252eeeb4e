"""What a guard decides: from its register, the clock, a datagram or an order to a new state and messages. Pure.

There is a guard on every mail host and on the witness. In an epoch, the active's guard is the *holder* of the lease,
the others are its *granters* (`lease` has the arithmetic). All greet one another, so that each learns of a later epoch,
and the granters know whether they hear each other. In a pair without a witness there is no lease: the active serves
once the passive place's guard has confirmed, in this boot, that no later epoch exists.

A later epoch that is heard of binds everybody but the place that it names as active: that one begins to serve by an
order alone, and without another proof only after the witness's register was there first. Else the witness would grant
the new epoch while what the mirror itself granted in the old one hasn't run out.

Who drives this keeps `Mind.register` durable whenever it changed, before it sends a message or answers an order, and
gives every time as seconds of CLOCK_BOOTTIME.

Invariant: a register's epoch never falls; no order is carried out twice; what can't be told for sure doesn't serve.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from . import lease
from .datagram import ASK, DENY, GRANT, HELLO, WELL, Message, Standing
from .lease import ALWAYS, NEVER, Grant, Granter, Holder, Kept, Request, Terms
from .register import Register

Fresh = Callable[[], int]
"""A number that was never given before, nor can be guessed."""
Stores = Mapping[str, Tuple[int, int]]
"""Store id -> the epoch and generation of its marker, of those that can be read now."""
PACE = 2.0  # seconds between greetings where there is no lease
WITNESS = "witness"


class Rules(NamedTuple):
    """`peers`: the places of the other guards. `ttl`: the lease's length in seconds, 0 in a pair without a witness.
    `soft`: for how many seconds after a promotion nothing is bounced for good.
    """

    place: str
    peers: Tuple[str, ...]
    ttl: float
    terms: Terms = Terms()
    soft: float = 600.0

    @property
    def pace(self) -> float:
        """Seconds between two rounds of messages."""
        return self.ttl / 4 if self.ttl else PACE


@dataclass(frozen=True)
class Mind:
    """A guard's state. `greeted`: the open greeting of each peer; `heard`: when each last answered one; `denied` and
    `doubted`: what each said last instead of granting, and why its messages aren't believed; `confirmed`: a peer said
    in this boot that there is no later epoch; `named`: the later epoch in which each says that this place is active.
    """

    rules: Rules
    boot: str
    register: Register
    holder: Optional[Holder] = None
    granter: Optional[Granter] = None
    greeted: Mapping[str, int] = field(default_factory=dict)
    heard: Mapping[str, float] = field(default_factory=dict)
    denied: Mapping[str, str] = field(default_factory=dict)
    doubted: Mapping[str, str] = field(default_factory=dict)
    confirmed: bool = False
    named: Mapping[str, int] = field(default_factory=dict)
    next_round: float = NEVER
    given: float = NEVER  # when the active last asked for, and was sent, a grant without an end
    silent_until: float = NEVER  # until when what it granted in an earlier epoch may last, see Register.lasting


class Posture(NamedTuple):
    """`role`: active, passive, witness, closed (it was the active, and serves no more), or unknown. `serves_until`:
    NEVER, a time or ALWAYS. `why` is for people.
    """

    role: str
    serves_until: float
    why: str


def began(rules: Rules, register: Register, boot: str, now: float) -> Mind:
    """The state of a guard that starts."""
    if register.boot != boot:
        register = replace(register, boot=boot, without_end=frozenset(), attested="", quiet="", fresh=0.0)
    mind = settled(Mind(rules, boot, replace(register, generation=register.generation + 1)), now)
    return replace(mind, silent_until=now + rules.terms.run_out(register.lasting) if register.lasting else NEVER)


def aged(mind: Mind) -> Mind:
    """A minute later."""
    return replace(mind, register=replace(mind.register, generation=mind.register.generation + 1))


def leaving(mind: Mind) -> Mind:
    """The guard is about to end: its next grant has no end. Not remembered: started anew, it stays."""
    return mind if mind.granter is None else replace(mind, granter=replace(mind.granter, leaving=True))


def settled(mind: Mind, now: float) -> Mind:
    """The parts that this place plays in its register's epoch."""
    rules, register = mind.rules, mind.register
    holder = granter = None
    if register.active == rules.place:
        if register.tombstone <= register.epoch:
            holder = Holder(mind.boot, register.epoch, register.generation, rules.ttl, without_end=register.without_end)
    elif rules.ttl:
        kept = register.kept if register.kept.epoch == register.epoch else Kept(register.epoch)
        register = replace(register, kept=kept)
        granter = replace(lease.started(rules.place, kept, now, rules.terms), leaving=bool(register.leaving))
    elif register.kept.epoch:
        # There is no lease any more: what was promised under one must not count when there is one again.
        register = replace(register, kept=Kept(0, without_end=bool(register.leaving)))
    named = {peer: epoch for peer, epoch in mind.named.items() if epoch > register.epoch}
    return replace(mind, register=register, holder=holder, granter=granter, confirmed=False, denied={}, named=named)


def standing(mind: Mind) -> Standing:
    """What every message of this guard tells."""
    register = mind.register
    return Standing(register.epoch, register.active, register.tombstone, register.generation)


def quiet_left(mind: Mind, now: float) -> float:
    """Seconds for which this active holds its lease and yet serves nobody, or this passive place doesn't even queue,
    by an order; 0 when it isn't so.
    """
    return max(0.0, mind.register.quiet_until - now) if mind.register.quiet else 0.0


def soft_left(mind: Mind, now: float) -> float:
    """Seconds for which this active is a fresh one, that refuses nothing for good; 0 when it isn't."""
    register = mind.register
    return max(0.0, register.fresh + mind.rules.soft - now) if register.fresh and mind.holder is not None else 0.0


def posture(mind: Mind) -> Posture:
    """What this place may do."""
    rules, register = mind.rules, mind.register
    if rules.place == WITNESS:
        return Posture(WITNESS, NEVER, "a witness serves nobody")
    if mind.named:
        later = max(mind.named.values())
        why = f"others know it as active in epoch {later}, and it knows epoch {register.epoch}: its register was lost"
        return Posture("unknown", NEVER, why)
    if not register.epoch:
        return Posture("unknown", NEVER, "it knows of no epoch yet")
    if register.active != rules.place:
        return Posture("passive", NEVER, f"the {register.active} is active in epoch {register.epoch}")
    if mind.holder is None:
        return Posture("closed", NEVER, f"it gave up epoch {register.epoch} for epoch {register.tombstone}")
    if register.attested:
        return Posture("active", ALWAYS, f"an operator attested: {register.attested}")
    if rules.ttl:
        until = mind.holder.serves_until
        named = ", ".join(sorted(mind.holder.without_end))
        return Posture("active", until, f"granted without an end by {named}" if named else "by the lease")
    if register.announced:
        return Posture("active", ALWAYS, "its reboot was announced")
    if mind.confirmed:
        return Posture("active", ALWAYS, f"no later epoch than {register.epoch} exists")
    return Posture("active", NEVER, "nobody has confirmed yet that there is no later epoch")


# --- messages ---------------------------------------------------------------------------------------------------------


def tick(mind: Mind, now: float, stores: Stores, fresh: Fresh, weak: bool = False) -> Tuple[Mind, List[Message]]:
    """What is due: greetings, and the holder's requests. Called at least ten times a second. `weak`: there is no gate
    in this host's kernel, so the lease ends only as quickly as services can be stopped.
    """
    if now < mind.next_round:
        return mind, []
    if mind.register.lasting and now >= mind.silent_until:
        mind = acquitted(mind)
    messages = []
    greeted: Dict[str, int] = {}
    for peer in mind.rules.peers:
        greeted[peer] = fresh()
        body = {"seen": mind.register.seen.get(peer, 0)}
        messages.append(Message(HELLO, mind.rules.place, peer, standing(mind), greeted[peer], body))
    mind = replace(mind, greeted=greeted, next_round=now + mind.rules.pace)
    if mind.holder is not None and mind.rules.ttl:
        for peer in mind.rules.peers:
            holder, request = lease.ask(mind.holder, peer, now, fresh())
            mind = replace(mind, holder=holder)
            asked = {**request._asdict(), "weak": weak, "stores": {store: list(told) for store, told in stores.items()}}
            messages.append(Message(ASK, mind.rules.place, peer, standing(mind), request.nonce, asked))
    return mind, messages


def received(mind: Mind, message: Message, now: float, fresh: Fresh) -> Tuple[Mind, List[Message]]:
    """The state after a message, and what to answer. Any message may be late, doubled, or sent again by a stranger."""
    if message.by not in mind.rules.peers:
        return mind, []
    answers = message.kind in (GRANT, DENY, WELL) and _is_open(mind, message)
    seen = mind.register.seen.get(message.by, 0)
    if message.standing.generation < seen - 1:
        # One less may be a message that was overtaken. Without an open nonce it may be a stranger's repetition.
        doubt = f"it is a restored copy: generation {message.standing.generation}, {seen} was seen"
        return (replace(mind, doubted={**mind.doubted, message.by: doubt}) if answers else mind), []
    if message.standing.generation > seen:
        register = replace(mind.register, seen={**mind.register.seen, message.by: message.standing.generation})
        mind = replace(mind, register=register)
    if answers:  # else it may be of an earlier life of the pair
        mind = _learned(mind, message.by, message.standing, now)
    if message.kind == HELLO:
        mind = _reminded(mind, int(message.body.get("seen", 0)), now)
        said = mind.register
        body = {"leaving": bool(said.leaving), "announced": said.announced, "turn": said.turn, "ttl": mind.rules.ttl}
        if message.standing.epoch > said.epoch:
            # It may be a stranger's repetition; an answer to its own greeting can't be, and users may wait for it.
            mind = replace(mind, next_round=NEVER)
        return mind, [Message(WELL, mind.rules.place, message.by, standing(mind), message.nonce, body)]
    if message.kind == ASK:
        return _asked(mind, message, now, fresh)
    return (_answered(mind, message, now) if answers else mind), []


def _is_open(mind: Mind, message: Message) -> bool:
    """Whether it answers something that this guard still waits for: only then it is news."""
    if message.kind == WELL:
        return mind.greeted.get(message.by) == message.nonce
    return mind.holder is not None and (message.by, message.nonce) in mind.holder.asked


def _learned(mind: Mind, by: str, told: Standing, now: float) -> Mind:
    """A later epoch, as soon as it is heard of."""
    if told.epoch <= mind.register.epoch:
        return mind
    if told.active == mind.rules.place:
        return replace(mind, named={**mind.named, by: max(told.epoch, mind.named.get(by, 0))})
    register, granter = mind.register.in_epoch(told.epoch, told.active), mind.granter
    until, lasting = mind.silent_until, mind.register.lasting
    # A register that was lost, or is a new one's, doesn't say whom it granted: of the others that can be one alone.
    others = (peer for peer in mind.rules.peers if peer not in (WITNESS, told.active))
    before = mind.register.active or next(others, "")
    if granter is not None and before:
        # Whoever was fenced may be back, and have been granted the old epoch before this guard heard of the new one.
        until = ALWAYS if granter.kept.without_end else max(until, granter.run_out)
        lasting = ALWAYS if granter.kept.without_end else max(lasting, granter.kept.longest)
    register = replace(register, before=before, lasting=lasting if until > now else 0.0)
    return replace(settled(replace(mind, register=register), now), silent_until=until)


def acquitted(mind: Mind) -> Mind:
    """The active of the earlier epoch is known not to serve by anything that this guard granted it."""
    register = mind.register
    if register.lasting:
        register = replace(register, before="", lasting=0.0)
    return replace(mind, register=register, silent_until=NEVER)


def _reminded(mind: Mind, seen: int, now: float) -> Mind:
    """A peer remembers a higher generation: this register is a restored copy. What it promised since is lost, so it
    counts as having promised all: a grant without an end, and none of what it held itself.
    """
    register = mind.register
    if seen <= register.generation:
        return mind
    longest = max(register.kept.longest, mind.rules.ttl)
    kept = Kept(register.epoch, longest=longest) if mind.rules.ttl else register.kept
    register = replace(register, generation=seen + 1, kept=kept, without_end=frozenset(), attested="", announced=False)
    return settled(replace(mind, register=register), now)


def _asked(mind: Mind, message: Message, now: float, fresh: Fresh) -> Tuple[Mind, List[Message]]:
    """A granter's answer to the holder."""

    def denied(why: str) -> Tuple[Mind, List[Message]]:
        body = {"why": why}
        return mind, [Message(DENY, mind.rules.place, message.by, standing(mind), message.nonce, body)]

    if mind.granter is None or mind.register.active != message.by:
        return denied(f"the {mind.register.active} is active in epoch {mind.register.epoch}")
    if now < mind.silent_until:
        old = mind.register.before
        return denied(f"what it granted the {old} before may still last: that has to run out, or the {old} to be heard")
    stores, why = _remembered(mind.register.stores, message.body.get("stores", {}))
    if why:
        return denied(why)
    weak = bool(message.body.get("weak"))
    request = Request(*(message.body[name] for name in Request._fields))
    granter, grant = lease.answer(mind.granter, request, now, mind.rules.terms, fresh())
    mind = replace(mind, granter=granter, register=replace(mind.register, kept=granter.kept, stores=stores, weak=weak))
    if grant is None:
        refuses = f"it refuses in epoch {mind.register.epoch}: a promotion is on"
        return denied(refuses if granter.kept.refuses else f"it knows epoch {mind.register.epoch}")
    if grant.without_end:
        mind = replace(mind, given=now)
    return mind, [Message(GRANT, mind.rules.place, message.by, standing(mind), message.nonce, grant._asdict())]


def _remembered(known: Stores, told: Mapping[str, List[int]]) -> Tuple[Stores, str]:
    """What is known of the active's stores afterwards; or why they aren't believed."""
    stores = dict(known)
    for store, (epoch, generation) in known.items():
        if store not in told:
            remedy = "is the file system mounted? If it was taken out on purpose: mailmirror-guard forget"
            return known, f"its store {store} is missing: {remedy}"
        here = (int(told[store][0]), int(told[store][1]))
        if here < (epoch, generation):
            return known, f"its store {store} is a restored copy: generation {here[1]}, {generation} was seen"
    for store, (epoch, generation) in told.items():
        stores[store] = (int(epoch), int(generation))
    return stores, ""


def _answered(mind: Mind, message: Message, now: float) -> Mind:
    """The answer to something that this guard sent in this life, for the first time."""
    by, register = message.by, mind.register
    mind = replace(
        mind, heard={**mind.heard, by: now}, doubted={name: why for name, why in mind.doubted.items() if name != by}
    )
    if message.kind == WELL:
        mind = replace(mind, greeted={peer: nonce for peer, nonce in mind.greeted.items() if peer != by})
        if by == register.before and message.standing.epoch >= register.epoch:
            mind = acquitted(mind)  # it knows that it isn't the active any more
        return _well(mind, message, now)
    if message.kind == DENY:
        return replace(mind, denied={**mind.denied, by: str(message.body.get("why", ""))})
    assert mind.holder is not None, "only a holder's requests are open"
    grant = Grant(*(message.body[name] for name in Grant._fields))._replace(granter=by)
    holder = lease.granted(mind.holder, grant)
    if holder is mind.holder:
        return mind
    # A grant is worth more than a person's word: what the granters know is in force again.
    register = replace(register, without_end=holder.without_end, attested="")
    denied = {name: why for name, why in mind.denied.items() if name != by}
    return replace(mind, holder=holder, register=register, denied=denied)


def _well(mind: Mind, message: Message, now: float) -> Mind:
    same = message.standing.epoch == mind.register.epoch
    if mind.granter is not None and message.by != mind.register.active and same:
        mind = replace(mind, granter=lease.heard(mind.granter, now))
    if mind.rules.ttl:
        return mind
    register, turn = mind.register, int(message.body["turn"])
    if mind.holder is not None:
        if turn > register.turn:
            register = replace(register, announced=bool(message.body["leaving"]), turn=turn)
        agrees = same and message.standing.active == register.active and not message.body.get("ttl", 0.0)
        return replace(mind, register=register, confirmed=mind.confirmed or agrees)
    if turn > register.turn:
        register = replace(register, turn=turn)  # this register is an older copy
    if message.body["announced"] and message.by == register.active:
        register = replace(register, kept=replace(register.kept, without_end=True))
    if turn == register.turn and not register.leaving and not message.body["announced"]:
        # The active has heard of the withdrawal, and no older word of this guard moves it any more.
        register = replace(register, kept=replace(register.kept, without_end=False))
    return replace(mind, register=register)
