"""The users: whether they may be moved, sent to the new active by name and address, and looked after from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.steps.guards import fence_of
from orchestrator.failover.steps.looks import together
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import World
from orchestrator.traffic import switch
from orchestrator.traffic.holding import plain
from orchestrator.traffic.switch import Arrival, Target

LOOK = 3.0
"""Seconds for looking where users are sent."""


def ready(voyage: Voyage[World], _: Parameters) -> Step:
    """Every check that this journey rests on is green, looked at now."""
    return Ready(voyage)


def point_clients(voyage: Voyage[World], _: Parameters) -> Step:
    """Names and addresses lead to the new active, as every server shows."""
    return Point(voyage)


def verify_outside(voyage: Voyage[World], _: Parameters) -> Step:
    """An observer elsewhere finds the new active's services as they should be."""
    return Outside(voyage)


class Fenced(NamedTuple):
    """How it is known that the old active lets go, for whoever moves users (`traffic.proof.Proof`)."""

    kind: str
    host: str
    epoch: int
    when: float


@dataclass(frozen=True)
class Ready:
    """Looked at once: what was green when it began isn't asked again on the way."""

    voyage: Voyage[World]

    def probe(self) -> Found:
        if self.voyage.notes.get("ready"):
            return Found(DONE, "it was, when the journey began")
        found = list(self.voyage.world.unready(self.voyage.journey))
        return Found(NOT_DONE, " ".join(found)) if found else Found(DONE, "nothing speaks against it")

    def act(self) -> None:
        found = list(self.voyage.world.unready(self.voyage.journey))
        if found:
            raise Refused(" ".join(found), remedy="`mailmirror doctor` says what to do.")

    def verify(self) -> Found:
        found = self.probe()
        if found.state is DONE:
            self.voyage.notes.put("ready", found.said)
        return found

    def undo(self) -> None:
        """Nothing was done."""


@dataclass(frozen=True)
class Point:
    voyage: Voyage[World]

    @property
    def target(self) -> Target:
        world, place = self.voyage.world, self.voyage.passive
        return Target(self.voyage.leads, world.host(place), place, (world.address(place),), self.voyage.operation)

    def probe(self) -> Found:
        founds = [
            self._pointed(pointer.prove(pointer.plan(self.target), 0.0)) for pointer in self.voyage.world.pointers()
        ]
        return together([*founds, self._addressed()])

    def verify(self) -> Found:
        founds = []
        for pointer in self.voyage.world.pointers():
            founds.append(self._pointed(pointer.prove(pointer.plan(self.target), self.voyage.left)))
        return together([*founds, self._addressed()])

    def act(self) -> None:
        known = fence_of(self.voyage)
        old = self.voyage.world.host(self.voyage.active)
        proof = Fenced(str(known["kind"]), old, self.voyage.leads, self.voyage.world.wall()) if known else None
        for pointer in self.voyage.world.pointers():
            switch.point_at(pointer, self.target, proof, self.voyage.left)

    def undo(self) -> None:
        raise Refused("Users are moved only where the old active can't serve them.", remedy="Switch over again.")

    def _pointed(self, arrivals: Sequence[Arrival]) -> Found:
        counting = [each for each in arrivals if each.counts]
        late = [f"{each.server} {each.state}: {each.said}" for each in counting if each.state != switch.SHOWS]
        if not late:
            return Found(DONE, f"{len(counting)} servers show the {self.voyage.passive}")
        unknown = any(each.state == switch.UNKNOWN for each in counting)
        return Found(UNKNOWN if unknown else NOT_DONE, "; ".join(late))

    def _addressed(self) -> Found:
        """The guard's hands take the addresses up, as soon as its place serves; here it is only looked at."""
        vip = self.voyage.world.vip()
        if vip is None:
            return Found(DONE, "no address moves")
        here = self.voyage.world.host(self.voyage.passive)
        seen = {sight.host: sight for sight in vip.seen()}
        wrong = [f"{host} has {plain(each)}" for host, sight in seen.items() for each in vip.addresses
                 if host != here and sight.holds(each)]  # fmt: skip
        if seen[here].unseen:
            return Found(UNKNOWN, seen[here].unseen)
        wrong += [f"{here} lacks {plain(each)}" for each in vip.addresses if not seen[here].holds(each)]
        return Found(NOT_DONE, "; ".join(wrong)) if wrong else Found(DONE, f"{here} has {', '.join(vip.addresses)}")


@dataclass(frozen=True)
class Outside:
    voyage: Voyage[World]

    def probe(self) -> Found:
        try:
            wrong = self.voyage.world.outside(self.voyage.passive, min(LOOK, self.voyage.left))
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))
        return Found(NOT_DONE, wrong) if wrong else Found(DONE, f"the {self.voyage.passive} answers from outside")

    verify = probe

    def act(self) -> None:
        """Its services start by themselves; looked at again until they answer."""
        while self.probe().state is not DONE and self.voyage.left > LOOK:
            self.voyage.clock.pause(0.2)

    def undo(self) -> None:
        """Nothing was done."""
