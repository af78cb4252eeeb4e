"""What is remembered from one look at a pair to the next, and the facts of a decision made of both. Pure.

A decision in an outage rests on what was known before it: the epoch and its active place, the lag at the last contact,
the readiness from before the suspicion. That is kept here while all is well, and stands still while it isn't. After a
restart it comes back from the facts of the last decision.

Invariant: a guard's word that was asked for before an epoch was known is held against nobody for it; what wasn't known
before an outage stays unknown in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.failover import gathered
from orchestrator.failover.facts import Decision, Facts, MailHost, Operation, Order
from orchestrator.failover.gathered import Heard, Look
from orchestrator.failover.states import FIRST, Event, State
from orchestrator.health.verdict import Analysis, Level, Remedy, Verdict
from orchestrator.inventory.model import MIRROR, PRIMARY, WITNESS, Pair
from orchestrator.readiness.checks import Readied, ready

UNNOTICED = 10.0
"""Seconds by which an outage may be older than the suspicion: a readiness that ended within them may be red by it, and
a last contact within them is a contact until then."""
FEW = 8
OUTAGE = frozenset((State.SUSPECT, State.DOWN, State.BLOCKED))
NOTHING = Verdict(Level.UNKNOWN, Analysis.BLIND, Remedy.ALERT, ("nobody has looked yet",))


@dataclass(frozen=True)
class Memory:
    """`epoch`, `active`: the greatest epoch that any guard was heard to be in, known `since` (CLOCK_MONOTONIC; -inf:
    before this process). `contact`: when the active's agent was last heard of by replication, `lag` and `at_risk` what
    it said then. `readied`: the last few readinesses, the newest last, none after `suspected`. `moving`: when it was
    decided to move; `moved`: when the roles had, as seen. Other times are seconds since 1970.
    """

    state: State = FIRST
    active: str = ""
    epoch: int = 0
    since: float = float("-inf")
    suspected: float = 0.0
    contact: float = 0.0
    lag: float | None = None
    at_risk: int | None = None
    readied: tuple[Readied, ...] = ()
    moving: float = 0.0
    moved: float = 0.0


def recalled(pair: Pair, facts: Facts, decision: Decision, at: float) -> Memory:
    """From the last decision that was kept. Only an outage that it saw tells how it was before it: what it knew of a
    pair that was well may be hours old.
    """
    memory = Memory(decision.state, facts.active, facts.epoch, moving=at if decision.state is State.MOVING else 0.0)
    if decision.state not in OUTAGE or not facts.suspected:
        return memory
    known = Readied(pair.name, facts.checked, facts.checks)
    return replace(
        memory, suspected=facts.suspected, contact=facts.suspected, lag=facts.lag, at_risk=facts.at_risk,
        readied=(known,),
    )  # fmt: skip


def noticed(memory: Memory, look: Look, pair: Pair) -> Memory:
    """What the look says of the outage that is on, or of how it is before one: known to the decision on this look."""
    holder = look.healths.get(memory.active, NOTHING)
    if look.copied.lag is not None and look.copied.active == _host(pair, memory.active):
        # Also while it is suspected: a contact is a contact.
        memory = replace(memory, contact=look.copied.at, lag=look.copied.lag, at_risk=look.copied.pending)
    if holder.level in (Level.SUSPECT, Level.DOWN):
        return memory if memory.suspected else replace(memory, suspected=look.now)
    if holder.level in (Level.HEALTHY, Level.DEGRADED):
        memory = replace(memory, suspected=0.0)
    last = memory.readied[-1].at if memory.readied else memory.moved
    if memory.suspected or look.readied.at <= last:
        return memory
    return replace(memory, readied=(*memory.readied, look.readied)[-FEW:])


def learnt(memory: Memory, look: Look, pair: Pair, clock: float) -> Memory:
    """What is known before the next look begins, of epochs. `clock` is CLOCK_MONOTONIC, now."""
    words = [(each.word.epoch, each.word.active) for each in look.heard.values() if each.word is not None]
    words = [(epoch, active) for epoch, active in words if epoch and active]
    if not words and not memory.epoch:
        place = next((host.place for host in pair.hosts.values() if host.name == look.copied.active), "")
        words = [(look.copied.epoch, place)] if look.copied.epoch and place else []
    epoch, active = max(words, default=(0, ""))
    if epoch <= memory.epoch:
        return memory
    fresh = replace(memory, epoch=epoch, active=active, since=clock)
    if not memory.epoch:
        return fresh
    return replace(fresh, suspected=0.0, contact=0.0, lag=None, at_risk=None, readied=(), moved=look.now)


def facts(memory: Memory, look: Look, pair: Pair, order: Order | None = None, news: Event | None = None) -> Facts:
    """All that a decision may know, now."""
    holder = _host(pair, memory.active)
    passive = _host(pair, MIRROR if memory.active == PRIMARY else PRIMARY)
    heard = {place: _counts(each, memory) for place, each in look.heard.items()}
    hosts = tuple(_mail_host(pair, place, heard.get(place), look.healths) for place in (PRIMARY, MIRROR))
    witness = heard.get(WITNESS)
    readied = _readied(memory, look)
    lag, at_risk = _lacked(memory, look.now)
    return Facts(
        look.now, memory.state, memory.active, memory.epoch, (hosts[0], hosts[1]),
        witness=witness.word if witness else None,
        witnessed=pair.witness is not None and pair.lease is not None,
        checks=readied.checks, checked=readied.at, suspected=memory.suspected,
        lag=lag, at_risk=at_risk, rpo=pair.rpo, mode=pair.mode,
        device=bool(holder) and gathered.device(look.devices, holder, look.now),
        fence=gathered.fence(look.attested, holder, memory.epoch, passive, look.now),
        lone=look.lone, flags=look.flags, operation=_operation(memory, look), order=order, news=news,
        restarted=look.restarted, refused_at=look.refused[0], refused_why=look.refused[1],
    )  # fmt: skip


def _host(pair: Pair, place: str) -> str:
    found = pair.at(place) if place else None
    return found.name if found else ""


def _counts(each: Heard, memory: Memory) -> Heard:
    """A word that was asked for before the present epoch was known is of another moment: it counts for none."""
    if each.word is None or each.began >= memory.since or each.word.epoch >= memory.epoch:
        return each
    return replace(each, word=None)


def _mail_host(pair: Pair, place: str, heard: Heard | None, healths: Mapping[str, Verdict]) -> MailHost:
    health = healths.get(place, NOTHING)
    if heard is None:
        return MailHost(place, _host(pair, place), health)
    return MailHost(place, _host(pair, place), health, heard.alive, heard.word, heard.epoch)


def _readied(memory: Memory, look: Look) -> Readied:
    """The newest while all is well; in an outage the newest that is green, or ended before it can have begun: a red one
    may be red by it.
    """
    if not memory.suspected:
        return memory.readied[-1] if memory.readied else Readied(look.readied.pair)
    begun = memory.suspected - UNNOTICED
    before = [each for each in memory.readied if each.at <= begun or ready(each.checks).ready]
    return before[-1] if before else Readied(look.readied.pair)


def _lacked(memory: Memory, now: float) -> tuple[float | None, int | None]:
    """The lag at the last contact; older by the time from then until the outage, where that is more than a moment."""
    if memory.lag is None:
        return None, None
    gap = (memory.suspected or now) - memory.contact
    if gap <= UNNOTICED:
        return memory.lag, memory.at_risk
    return memory.lag + gap, None


def _operation(memory: Memory, look: Look) -> Operation | None:
    """The last one; but none where the one that was decided on hasn't begun, and it is older."""
    last = look.operation
    began_before = last is not None and not last.running and last.ended < memory.moving
    return None if memory.state is State.MOVING and began_before else last
