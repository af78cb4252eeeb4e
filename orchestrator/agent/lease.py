"""Who may serve: arithmetic over clocks that drift, jump and stop, and messages that are lost, late or doubled. Pure.

The *holder* is the guard of the active place; the *granters* are those of the passive place and the witness. The holder
asks each granter again and again, and serves until its own request's sending time + ttl of the newest request that
either has granted. A granter that can't hear the other, or that is about to leave, grants without an end instead. A
promotion needs both granters to refuse, and the time to pass in which all that they ever granted runs out.

All times are seconds of the CLOCK_BOOTTIME of whoever the state belongs to, and never leave it. What has to be kept is
in `Kept` and in a holder's `without_end`: it is durable before the next message is sent.

Invariant: as long as no two clocks differ in speed by more than `drift`, no epoch's holder serves once a later epoch's
may. tests/property/test_lease_model.py looks for a schedule that breaks it. Source: DESIGN section 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import FrozenSet, Mapping, NamedTuple, Optional, Tuple

NEVER = float("-inf")
ALWAYS = float("inf")


class Impossible(ValueError):
    """What was ordered isn't allowed in this state; nothing was changed. The text says what to wait for."""


class Request(NamedTuple):
    """From the holder to one granter. `nonce` is new with every request, `boot` the holder's boot id, `ttl` what it
    asks for; `confirms` is the re-arming that it agreed to, 0 for none.
    """

    nonce: int
    boot: str
    epoch: int
    generation: int
    ttl: float
    confirms: int = 0


class Grant(NamedTuple):
    """A granter's answer to one request. `rearm` asks the holder to let go of this granter's grant without an end."""

    granter: str
    nonce: int
    boot: str
    epoch: int
    generation: int
    without_end: bool = False
    rearm: int = 0


@dataclass(frozen=True)
class Terms:
    """`drift`: by how much the speeds of two clocks may differ; `stop`: seconds from the end of a lease to the last
    answer that can leave the host.
    """

    drift: float = 0.01
    stop: float = 0.5

    def run_out(self, ttl: float) -> float:
        """How long a granter waits after a grant of `ttl` seconds until nobody serves by it any more."""
        return ttl * (1 + self.drift) + self.stop


# --- the holder -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Holder:
    """The active's side, in one boot and one epoch. `without_end` is kept for this boot, so that a guard that starts
    anew beside a place that serves alone doesn't stop it; after a reboot nothing is held: a later epoch may have begun.
    """

    boot: str
    epoch: int
    generation: int
    ttl: float
    until: float = NEVER
    without_end: FrozenSet[str] = frozenset()  # whose grants have no end
    asked: Mapping[Tuple[str, int], float] = field(default_factory=dict)  # (granter, nonce) -> when it was sent
    agreed: Mapping[str, int] = field(default_factory=dict)  # re-armings to be confirmed with the next request

    @property
    def serves_until(self) -> float:
        """`NEVER`, a time, or `ALWAYS`."""
        return ALWAYS if self.without_end else self.until


def ask(holder: Holder, granter: str, now: float, nonce: int) -> Tuple[Holder, Request]:
    """A new request. Those from longer than a ttl ago aren't waited for any more."""
    asked = {key: sent for key, sent in holder.asked.items() if now - sent < holder.ttl}
    asked[granter, nonce] = now
    request = Request(nonce, holder.boot, holder.epoch, holder.generation, holder.ttl, holder.agreed.get(granter, 0))
    return replace(holder, asked=asked), request


def granted(holder: Holder, grant: Grant) -> Holder:
    """The holder with a grant; the same one when the grant answers nothing that it waits for."""
    sent = holder.asked.get((grant.granter, grant.nonce))
    if sent is None or (grant.boot, grant.epoch, grant.generation) != (holder.boot, holder.epoch, holder.generation):
        return holder
    asked = {key: at for key, at in holder.asked.items() if key != (grant.granter, grant.nonce)}
    if grant.without_end:
        return replace(holder, asked=asked, without_end=holder.without_end | {grant.granter})
    agreed = {name: number for name, number in holder.agreed.items() if name != grant.granter}
    until, without_end = max(holder.until, sent + holder.ttl), holder.without_end
    if grant.rearm:
        # A grant without an end that is still on its way must not come back to life after this.
        asked = {key: at for key, at in asked.items() if key[0] != grant.granter}
        without_end = without_end - {grant.granter}
        agreed[grant.granter] = grant.rearm
    return replace(holder, asked=asked, until=until, without_end=without_end, agreed=agreed)


# --- a granter --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """What a granter has to remember. `without_end`: the holder may have a grant without an end; `longest`: the longest
    ttl that was granted in this epoch.
    """

    epoch: int
    without_end: bool = True
    refuses: bool = False
    longest: float = 0.0


@dataclass(frozen=True)
class Granter:
    """`run_out`: from when on nobody serves by a timed grant of this one; `heard`: when the other granter was heard."""

    name: str
    kept: Kept
    run_out: float
    heard: float
    rearm: int = 0
    leaving: bool = False  # it is about to leave, or was told to pause


def started(name: str, kept: Kept, now: float, terms: Terms) -> Granter:
    """A granter that starts: it counts as having granted, and heard the other, at this moment."""
    return Granter(name, kept, now + terms.run_out(kept.longest), heard=now)


def heard(granter: Granter, now: float) -> Granter:
    """The other granter was heard, with the same epoch."""
    return replace(granter, heard=max(granter.heard, now))


def answer(granter: Granter, request: Request, now: float, terms: Terms, fresh: int) -> Tuple[Granter, Optional[Grant]]:
    """What a granter says to a request; None: nothing, since it refuses or knows another epoch. When its `kept` is
    another afterwards it has to be durable before the grant is sent. `fresh` is a number that was never used before.
    """
    if request.epoch != granter.kept.epoch or granter.kept.refuses:
        return granter, None
    if request.confirms and request.confirms == granter.rearm:
        granter = replace(granter, rearm=0, kept=replace(granter.kept, without_end=False))
    alone = granter.leaving or now - granter.heard >= request.ttl
    grant = Grant(granter.name, request.nonce, request.boot, request.epoch, request.generation)
    if alone:
        return replace(granter, kept=replace(granter.kept, without_end=True)), grant._replace(without_end=True)
    rearm = (granter.rearm or fresh) if granter.kept.without_end else 0
    kept = replace(granter.kept, longest=max(granter.kept.longest, request.ttl))
    run_out = max(granter.run_out, now + terms.run_out(request.ttl))
    return replace(granter, rearm=rearm, kept=kept, run_out=run_out), grant._replace(rearm=rearm)


def refuse(granter: Granter) -> Granter:
    """Grants nothing more in this epoch. Raises Impossible while the holder may have a grant without an end."""
    if granter.kept.without_end:
        raise Impossible(
            f"{granter.name}: the active may serve without an end; that ends when both granters hear each other and the"
            " active has confirmed it"
        )
    return replace(granter, kept=replace(granter.kept, refuses=True))


def relent(granter: Granter) -> Granter:
    """The promotion was given up: grants again."""
    return replace(granter, kept=replace(granter.kept, refuses=False))


def has_run_out(granter: Granter, now: float) -> bool:
    """Whether nobody serves, nor will, by anything that this granter granted in its epoch."""
    return granter.kept.refuses and now >= granter.run_out


def advance(granter: Granter, epoch: int, now: float) -> Granter:
    """The granter in the next epoch, whose holder may have a grant without an end from it. Raises Impossible."""
    if epoch != granter.kept.epoch + 1:
        raise Impossible(f"{granter.name}: epoch {epoch} doesn't follow {granter.kept.epoch}")
    if not has_run_out(granter, now):
        raise Impossible(f"{granter.name}: what it granted in epoch {granter.kept.epoch} hasn't run out")
    return replace(granter, kept=Kept(epoch), rearm=0)
