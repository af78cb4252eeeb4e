"""Who is active, who is passive, and in which epoch: asked before a journey begins.

Where both mail hosts have to be at hand, their stores' markers say so. Where the active one may be lost, the registers
of those who would have to know of a later epoch do: the witness's, and that of the place that is to be promoted; and
the stores there have to be of that epoch.

Invariant: never a guess. Who can't be asked, or doesn't agree, is a refusal with what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.failover.world import World
from orchestrator.inventory.model import MIRROR, PRIMARY, WITNESS, Pair
from orchestrator.replication import roles
from orchestrator.replication.roles import Claim

WITHIN = 10.0
AWAY = 3.0
"""Seconds for the guards: one that is away costs a failover no more."""
PLACES = (PRIMARY, MIRROR)


@dataclass(frozen=True)
class Standing:
    """Who has which role, by place, and in which epoch; `behind`: a store of the passive place is of an older one."""

    active: str
    passive: str
    epoch: int
    behind: bool = False


def by_markers(world: World, pair: Pair) -> Standing:
    """By the markers of both hosts' stores. Raises HostError; Refused where they don't agree."""
    claims = [[_claim(world, place, number) for place in PLACES] for number in range(len(world.stores(PRIMARY)))]
    host = roles.active_of(pair.name, claims)
    if host is None:
        raise Refused(f"{pair.name} has no markers yet.", remedy=f"Run `mailmirror init {pair.name}` first.")
    active = next(place for place in PLACES if world.host(place) == host)
    epoch = max(claim.epoch for some in claims for claim in some)
    other = world.host(_other(active))
    behind = any(claim.epoch < epoch for some in claims for claim in some if claim.host == other)
    return Standing(active, _other(active), epoch, behind)


def by_registers(world: World, pair: Pair) -> Standing:
    """By the guards. The active's isn't waited for where witness and passive place agree: no later epoch can have begun
    without both of them. Raises Refused.
    """
    told: dict[str, Mapping[str, Any] | str] = {}
    for place in _in_turn(world):
        told[place] = _word(world, place)
        if _agreed(told):
            break
    words = {place: word for place, word in told.items() if isinstance(word, Mapping)}
    epoch = max((int(word["epoch"]) for word in words.values()), default=0)
    named = {str(word["active"]) for word in words.values() if int(word["epoch"]) == epoch}
    if not epoch or len(named) != 1 or not named <= set(PLACES):
        silent = "; ".join(f"{place}: {why}" for place, why in told.items() if isinstance(why, str))
        why = f"The guards disagree: {' and '.join(sorted(named))}" if epoch and len(named) > 1 else silent
        raise Refused(
            f"No guard says who is active in {pair.name}. {why or 'They know of no epoch yet'}.",
            remedy="See `mailmirror-guard status` on the mirror and the witness.",
        )
    found = Standing(active := named.pop(), _other(active), epoch)
    for place in (found.passive, *((WITNESS,) if world.has(WITNESS) else ())):
        _demand(pair, world, found, place, told[place])
    for root in world.stores(found.passive):
        _of_the_epoch(world, found, root)
    return found


def _in_turn(world: World) -> Iterator[str]:
    """The witness first, then the place that is passive by its word."""
    if world.has(WITNESS):
        yield WITNESS
    yield MIRROR  # mostly that is the one
    yield PRIMARY


def _agreed(told: Mapping[str, Mapping[str, Any] | str]) -> bool:
    """Whether witness and passive place have said the same."""
    witness = told.get(WITNESS)
    if not isinstance(witness, Mapping):
        return False
    passive = told.get(_other(str(witness["active"])))
    return isinstance(passive, Mapping) and all(passive[each] == witness[each] for each in ("epoch", "active"))


def _word(world: World, place: str) -> Mapping[str, Any] | str:
    """What a guard says of itself, or why it says nothing."""
    try:
        return world.ask(place, "guard", {"order": {"verb": "status"}}, AWAY).head
    except (HostError, StillRunning) as error:
        return str(error)


def _demand(pair: Pair, world: World, found: Standing, place: str, word: Mapping[str, Any] | str) -> None:
    """Raises Refused unless that guard answers, and is in the epoch: only then can it begin the next one."""
    host = world.host(place)
    if isinstance(word, str):
        raise Refused(
            f"The guard on {host} ({place}) doesn't answer, and without it no epoch begins: {word}",
            remedy=f"Bring it up, then try again. See `systemctl status mailmirror-guard` on {host}.",
        )
    if int(word["epoch"]) != found.epoch:
        raise Refused(
            f"The {found.active} is active in epoch {found.epoch}; the guard on {host} is in epoch {word['epoch']}.",
            remedy=f"A promotion is half done: `mailmirror history {pair.name}`, then `mailmirror op resume`. Where "
            f"who began it is lost: `mailmirror-guard serve --attest` on {host}.",
        )


def _of_the_epoch(world: World, found: Standing, root: str) -> None:
    """Raises Refused unless the store that is to be promoted is passive, and has taken part in the epoch."""
    host = world.host(found.passive)
    claim = roles.claim(host, world.ask(found.passive, "store.look", {"store": root}, WITHIN).head["marker"])
    if (claim.role, claim.epoch) != ("passive", found.epoch):
        says = f"{claim.role} in epoch {claim.epoch}" if claim.role else "without a marker"
        raise Refused(
            f"{root} on {host} is {says}, and the {found.active} is active in epoch {found.epoch}: it lacks what was "
            "written since, or its file system isn't mounted.",
            remedy=f"Bring the {found.active} back if you can; else see what {host} has before anything else.",
        )


def _claim(world: World, place: str, number: int) -> Claim:
    root = world.stores(place)[number]
    return roles.claim(world.host(place), world.ask(place, "store.look", {"store": root}, WITHIN).head["marker"])


def _other(place: str) -> str:
    return MIRROR if place == PRIMARY else PRIMARY
