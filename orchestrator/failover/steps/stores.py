"""The stores: carried to the last change, proven equal, frozen as a cut, turned to their new roles, copied back.

Replication itself is the world's (`world.Copying`); a marker is turned by the agent that has it (`store.turn`).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.failover.step import DONE, NOT_DONE, UNKNOWN, Found, Step, Voyage
from orchestrator.failover.steps.looks import Guarded, together
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import World

BEYOND = 5.0


def presync(voyage: Voyage[World], parameters: Parameters) -> Step:
    """Passes of replication, until what the passive place lacks is no older than `lag`."""
    return Presync(voyage, float(str(parameters["lag"])))


def final_pass(voyage: Voyage[World], _: Parameters) -> Step:
    """The last pass finds nothing more to carry."""
    return Carried(voyage, "final pass")


def prove_equal(voyage: Voyage[World], _: Parameters) -> Step:
    """Both places' digests are the same, for every account."""
    return Carried(voyage, "equal")


def turn_stores(voyage: Voyage[World], _: Parameters) -> Step:
    """The stores' markers name the new active and its epoch."""
    return Turn(voyage)


def follow_back(voyage: Voyage[World], _: Parameters) -> Step:
    """Replication runs the other way."""
    return Follow(voyage)


@dataclass(frozen=True)
class Presync:
    voyage: Voyage[World]
    lag: float

    def probe(self) -> Found:
        """Not done before this voyage's own session stands: connecting isn't for when the users wait."""
        seconds = self.voyage.world.copying.lag()
        if seconds is None:
            return Found(UNKNOWN, "how much the passive place lacks isn't known")
        ready = seconds <= self.lag and self.voyage.notes.get("presync")
        return Found(DONE if ready else NOT_DONE, f"the passive place lacks {seconds:.1f} s")

    verify = probe

    def act(self) -> None:
        self.voyage.notes.put("presync", self.voyage.world.copying.carry(self.voyage.left).said)

    def undo(self) -> None:
        """A copy that is newer harms nobody."""


@dataclass(frozen=True)
class Carried:
    """Noted when it was proven: nothing that writes is left then, so it stays so until this voyage changes it."""

    voyage: Voyage[World]
    what: str

    def probe(self) -> Found:
        known = self.voyage.notes.get(self.what)
        return Found(DONE, str(known)) if known else Found(NOT_DONE, "not proven yet, with the services stopped")

    verify = probe

    def act(self) -> None:
        found = self.voyage.world.copying.carry(self.voyage.left)
        if not found.equal:
            raise Refused(f"The two places aren't equal: {found.said}.", remedy="See `mailmirror verify`.")
        self.voyage.notes.put(self.what, found.said)

    def undo(self) -> None:
        """The proof of a voyage that turns back counts for no other."""


@dataclass(frozen=True)
class Turn(Guarded):
    """The passive's store first: it is the one that users see. Where the old active can't be asked it stays behind
    with its older epoch, which is what keeps it from being a source.
    """

    def probe(self) -> Found:
        founds = self._founds(self.voyage.passive, "active")
        if self._asks_both():
            founds += self._founds(self.voyage.active, "passive")
        return together(founds)

    verify = probe

    def act(self) -> None:
        self.voyage.world.copying.let_go()
        self._turn(self.voyage.passive, "active")
        if self._asks_both():
            self._turn(self.voyage.active, "passive")

    def undo(self) -> None:
        raise Refused("Markers are turned after the point of no return.", remedy="Switch over again.")

    def _asks_both(self) -> bool:
        return self.voyage.journey != "failover"

    def _founds(self, place: str, role: str) -> list[Found]:
        return [self._found(place, root, role) for root in self.voyage.world.stores(place)]

    def _found(self, place: str, root: str, role: str) -> Found:
        try:
            marker = self.voyage.world.ask(place, "store.look", {"store": root}, BEYOND).head["marker"]
        except (HostError, StillRunning) as error:
            return Found(UNKNOWN, str(error))
        if marker is None:
            return Found(UNKNOWN, f"{root} at the {place} has no marker: is its file system mounted?")
        said = f"{root} at the {place} is {marker['role']} in epoch {marker['epoch']}"
        return Found(DONE if (marker["role"], marker["epoch"]) == (role, self.voyage.leads) else NOT_DONE, said)

    def _turn(self, place: str, role: str) -> None:
        for root in self.voyage.world.stores(place):
            head = {
                "store": root, "operation": self.voyage.operation, "epoch": self.voyage.leads, "role": role,
                "active": self.voyage.passive,
            }  # fmt: skip
            self.voyage.world.ask(place, "store.turn", head, max(BEYOND, self.voyage.left))


@dataclass(frozen=True)
class Follow:
    voyage: Voyage[World]

    def probe(self) -> Found:
        known = self.voyage.notes.get("follows")
        return Found(DONE, str(known)) if known else Found(NOT_DONE, "nothing is copied the other way yet")

    verify = probe

    def act(self) -> None:
        found = self.voyage.world.copying.follow(self.voyage.left)
        self.voyage.notes.put("follows", found.said)

    def undo(self) -> None:
        """A copy that is newer harms nobody."""
