"""What every way of sending users elsewhere shares: plan, refuse when unsafe, apply, prove. Pure, but for
`point_at`, which calls whom it is given.

Whoever moves users must hold a proof that the place which had them can't serve them any more; it is made elsewhere
(a fence, a lease that ran out, an operator's statement), and here only held against the move.

Invariant: nothing that moves users is applied without a fresh proof of the same epoch about the host that had them, and
`point_at` returns only when all who count show the new place. UNKNOWN is never read as either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from orchestrator.errors import HostUnreachable, Refused, StillRunning
from orchestrator.traffic.proof import FENCES, FRESH, Proof

SHOWS, OLD, UNKNOWN = STATES = ("shows", "old", "unknown")


@dataclass(frozen=True)
class Target:
    """Where users are to go: this host, at this place, in this epoch, by order of this operation."""

    epoch: int
    host: str
    place: str
    addresses: tuple[str, ...] = ()
    operation: str = ""


@dataclass(frozen=True)
class Arrival:
    """What became of a change at one server: its state, and after how many seconds it was first seen there (None
    unless it SHOWS). `said` is what it said last. A resolver that is only watched doesn't count.
    """

    server: str
    state: str
    seconds: float | None = None
    said: str = ""
    counts: bool = True


class Move(Protocol):
    """A plan, as far as it concerns everybody."""

    @property
    def is_done(self) -> bool: ...
    @property
    def is_move(self) -> bool: ...


M = TypeVar("M", bound=Move)


class Pointer(Protocol[M]):
    """A way to send users elsewhere. `plan` raises Refused where a change would be unsafe; `apply` demands the proof,
    changes, and raises Refused, NotPermitted or HostError where it can't, and HostUnreachable where nobody knows
    whether it did; `prove` looks for at most so many seconds, tells what it saw, and never raises for what a server
    says.
    """

    def plan(self, target: Target) -> M: ...
    def apply(self, plan: M, proof: Proof | None) -> None: ...
    def prove(self, plan: M, within: float) -> Sequence[Arrival]: ...


def demand(proof: Proof | None, was_at: str | None, host: str, epoch: int, now: float) -> None:
    """Raise Refused unless the proof lets users go, at `now` in seconds since 1970, from the host that had them (None:
    nobody knows) to `host`.
    """
    why = ""
    if proof is None:
        why = "there is no proof that the old place can't serve them"
    elif proof.kind not in FENCES:
        why = f"what is called {proof.kind!r:.40} is no fence"
    elif not 0 <= now - proof.when <= FRESH:
        why = f"the proof ({proof.kind}) is {now - proof.when:.0f} s old, more than {FRESH:.0f}, or from the future"
    elif proof.epoch != epoch:
        why = f"the proof ({proof.kind}) makes room for epoch {proof.epoch}, this is epoch {epoch}"
    elif proof.host == host:
        why = f"the proof ({proof.kind}) says that {host} itself can't be active"
    elif was_at not in (None, host, proof.host):
        why = f"the proof ({proof.kind}) is about {proof.host}, and {was_at} is active"
    if why:
        raise Refused(
            f"Users aren't sent to {host}: {why}.",
            remedy="Fence the old place first (`mailmirror fence status`). Nothing was changed.",
        )


def is_proven(arrivals: Sequence[Arrival]) -> bool:
    """Whether all who count show it; nobody is no proof."""
    counting = [each.state for each in arrivals if each.counts]
    return bool(counting) and set(counting) == {SHOWS}


def point_at(pointer: Pointer[M], target: Target, proof: Proof | None, within: float) -> Sequence[Arrival]:
    """Send users there, and prove it within so many seconds. Safe to repeat. Raises what `plan` and `apply` raise, and
    StillRunning when it was applied, or may have been, and isn't proven.
    """
    plan = pointer.plan(target)
    sent = "The change was sent"
    try:
        if not plan.is_done:
            pointer.apply(plan, proof)
    except HostUnreachable as error:
        sent = f"The change may have been made or not ({str(error).rstrip('.')})"  # only looking tells
    arrivals = pointer.prove(plan, within)
    late = [f"{each.server}: {each.said or each.state}" for each in arrivals if each.counts and each.state != SHOWS]
    if not is_proven(arrivals):
        raise StillRunning(
            f"{sent}, but it isn't proven: {'; '.join(late) or 'nobody could be asked'}.",
            remedy="Until it is, users may be sent to the old place; `mailmirror dns show` tells when they aren't.",
        )
    return arrivals
